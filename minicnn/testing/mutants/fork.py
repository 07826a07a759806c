"""Functions run in forked children, several at a time.

A child has all of the parent's memory, so nothing is imported or handed over, and whatever a function does to its
process (replaces code, hangs, crashes, eats memory) ends with it.  Forking is not to be had on Windows.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

__all__ = ["Died", "alarm", "in_children"]

_MEMORY = 8 << 30  # bytes of address space; threads and libraries reserve some that they never use


@dataclass(frozen=True)
class Died:
    """Instead of a result: how a child ended that gave none."""

    status: int
    """The exit status; below 0 the signal's number."""

    @property
    def overdue(self) -> bool:
        """Whether the alarm ended it."""
        return self.status == -signal.SIGALRM


def alarm(seconds: float) -> None:
    """End this process after so many seconds, whatever it is doing; 0 takes that back."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def in_children(functions: Sequence[Callable[[], Any]], jobs: int) -> Iterator[tuple[int, Any]]:
    """Call each function in a child, `jobs` of them at a time; yield (its number, its result), first come first.

    Raises
    ------
    RuntimeError
        If a function raises; the message is the child's traceback.

    Examples
    --------
    >>> sorted(in_children([lambda: 6 * 7, lambda: "b"], jobs=2))
    [(0, 42), (1, 'b')]
    """
    waiting = list(enumerate(functions))[::-1]
    running: dict[Any, tuple[int, Any]] = {}  # by the connection that the result comes through
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, function = waiting.pop()
                receiver, child = _start(function)
                running[receiver] = number, child
            for receiver in wait(list(running)):
                number, child = running.pop(receiver)
                yield number, _result(receiver, child)
    finally:
        for _, child in running.values():
            child.kill()
            child.join()


def _start(function: Callable[[], Any]) -> tuple[Any, Any]:
    """Return the end of the pipe that the result will come through, and the child."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(function, sender))
    with warnings.catch_warnings():
        # Python 3.12 warns of threads: those of BLAS look after themselves.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    sender.close()
    return receiver, child


def _result(receiver: Any, child: Any) -> Any:
    try:
        failed, value = receiver.recv()
    except EOFError:
        failed, value = False, None
    receiver.close()
    child.join()
    if failed:
        raise RuntimeError(value)
    return Died(child.exitcode) if child.exitcode else value


def _child(function: Callable[[], Any], sender: Any) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _limit_memory()
    try:
        sender.send((False, function()))
    except BaseException:  # to the parent, whatever it is
        sender.send((True, traceback.format_exc()))
    os._exit(0)  # threads that a mutant left hanging do not keep the child


def _limit_memory() -> None:
    """Let allocations beyond the limit fail, where the system can, and leave no core file behind."""
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # elsewhere the address space is no measure of memory
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = _MEMORY if most == resource.RLIM_INFINITY else min(_MEMORY, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
