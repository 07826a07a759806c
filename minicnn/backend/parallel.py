"""Work shared among threads, with the same bits for any number of them.

NumPy releases the interpreter lock inside copies, elementwise loops and matrix products, so plain Python threads
run them side by side.  Two rules make the result independent of how many there are: the *problem* decides how work is
cut into tasks, never the thread count, and no two tasks write the same memory.  While tasks run, the BLAS library is
held to one thread of its own; it would otherwise start as many as there are cores in each of ours.

Nobody waits for a thread that has not begun.  The caller invites helpers, works through the tasks itself, closes the
work to whoever comes now, and waits for those that came in time::

    caller   invite ─ task 0 ─ task 2 ─ task 3 ─ close, wait ─┐
    worker        └──── task 1 ──────── task 4 ───────────────┴▶ done

So a call ends wherever its helpers are: busy with other calls, never started, or gone, as they are in a forked child
and when the interpreter shuts down.
"""

from __future__ import annotations

import contextvars
import itertools
import operator
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

from .blas_limit import hold_for_good, one_blas_thread
from .cpus import usable_cpus

__all__ = ["get_num_threads", "one_blas_thread", "parallel_for", "set_num_threads"]


def _default_threads() -> int:
    """Return OMP_NUM_THREADS where it is set to a number, else the CPUs this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(asked) if asked.isdigit() and int(asked) > 0 else usable_cpus()


class _Inside(threading.local):
    a_task = False  # whether this thread is running one


_inside = _Inside()


class _Work:
    """The tasks of one call, and who is at work on them."""

    def __init__(self, count: int, task: Callable[[int], None]) -> None:
        self.count, self.task = count, task
        self.numbers = itertools.count()  # next() on it is atomic: each number is handed out once
        self.errors: list[BaseException] = []
        self.lock = threading.Lock()
        self.closed = False
        self.begun = self.ended = 0  # helpers
        self.departures: SimpleQueue[None] = SimpleQueue()

    def run(self) -> None:
        _inside.a_task = True
        try:
            while not self.errors and (i := next(self.numbers)) < self.count:
                self.task(i)
        except BaseException as error:  # carried to the calling thread, Ctrl-C included
            self.errors.append(error)
        finally:
            _inside.a_task = False

    def help(self) -> None:
        with self.lock:
            if self.closed:
                return
            self.begun += 1
        self.run()
        with self.lock:
            self.ended += 1
        self.departures.put(None)

    def finish(self) -> None:
        """Let no more helpers begin, and wait for those that have."""
        while True:
            try:
                with self.lock:
                    self.closed = True
                while self.ended < self.begun:
                    self.departures.get()
                break
            except BaseException as interruption:  # Ctrl-C: nobody may go on writing after we have returned
                self.errors.append(interruption)
        del self.task  # and its arrays, which the invitations still under way would hold


class _Workers:
    """Threads that wait for invitations, started with the first one."""

    def __init__(self, number: int) -> None:
        self.number, self.started = number, 0
        self.lock = threading.RLock()  # a signal handler or a finalizer may compute, in the midst of this
        self.invitations: SimpleQueue[tuple[contextvars.Context, _Work] | None] = SimpleQueue()

    def invite(self, work: _Work, helpers: int) -> None:
        if self.started < self.number:
            self.start()
        for _ in range(helpers):
            # In a copy of the caller's context each: NumPy keeps its error state there.
            self.invitations.put((contextvars.copy_context(), work))

    def start(self) -> None:
        with self.lock:
            while self.started < self.number:
                # Daemons: at exit nobody has to end them, and none is in a task but for another daemon.
                thread = threading.Thread(None, _serve, "minicnn", (self.invitations,), daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the system has no thread to give, or the interpreter is shutting down
                    return
                self.started += 1

    def dismiss(self) -> None:
        with self.lock:
            self.number = 0
            for _ in range(self.started):
                self.invitations.put(None)


def _serve(invitations: SimpleQueue[tuple[contextvars.Context, _Work] | None]) -> None:
    """Accept one invitation after the other, as a worker thread, until it is dismissed."""
    hold_for_good()
    while (invitation := invitations.get()) is not None:
        context, work = invitation
        context.run(work.help)


class _Pool:
    """The process's worker threads; the calling thread is one more."""

    def __init__(self, threads: int) -> None:
        self.set(threads)

    def set(self, threads: int) -> None:
        self.threads, self.workers = threads, _Workers(threads - 1)

    def forget(self) -> None:
        """In a forked child, the workers are gone, and whoever held a lock."""
        self.set(self.threads)


_pool = _Pool(_default_threads())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


def set_num_threads(n: int) -> None:
    """Set how many threads share the work of one operation.

    The results do not depend on it, to the last bit.  Operations that other threads are computing end with the number
    they began with.

    Parameters
    ----------
    n : int, at least 1

    Raises
    ------
    ValueError
        If `n` is below 1.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    if isinstance(n, bool) or not hasattr(n, "__index__") or n < 1:
        raise ValueError(f"set_num_threads: n must be an int of at least 1, got {n!r}")
    workers = _pool.workers
    _pool.set(operator.index(n))
    workers.dismiss()


def get_num_threads() -> int:
    """Return how many threads share the work of one operation.

    At the start that is OMP_NUM_THREADS, or else the number of CPUs this process may use: those it may run on, or fewer
    where its container has a quota.
    """
    return _pool.threads


def parallel_for(count: int, task: Callable[[int], None]) -> None:
    """Call ``task(0)`` … ``task(count - 1)``, shared among the threads, and return when all are done.

    Tasks must write to disjoint memory, and not fork.  A task that calls :func:`parallel_for` itself runs the inner
    tasks one after the other.  The calling thread works too, so progress never waits for a free worker.

    Parameters
    ----------
    count : int
        Number of tasks, chosen from the problem's size alone.
    task : callable
        Takes the task's number.

    Raises
    ------
    BaseException
        The first one a task raised; tasks not yet begun are then left out.

    Examples
    --------
    >>> squares = [0] * 5
    >>> parallel_for(5, lambda i: squares.__setitem__(i, i * i))
    >>> squares
    [0, 1, 4, 9, 16]
    """
    helpers = min(_pool.threads, count) - 1
    with one_blas_thread():
        if helpers < 1 or _inside.a_task:
            for i in range(count):
                task(i)
        else:
            _share(_Work(count, task), helpers)


def _share(work: _Work, helpers: int) -> None:
    try:
        _pool.workers.invite(work, helpers)
        work.run()
    except BaseException as interruption:  # Ctrl-C between the tasks
        work.errors.append(interruption)
    work.finish()
    if work.errors:
        error = work.errors[0]
        work.errors.clear()
        try:
            raise error
        finally:
            del error  # whose traceback holds this frame: a cycle, and the arrays in it
