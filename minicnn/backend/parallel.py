"""Work shared among threads, with the same bits for any number of them.

NumPy releases the interpreter lock inside copies, elementwise loops and matrix products, so plain Python threads
run them side by side.  Two rules make the result independent of how many there are: the *problem* decides how work is
cut into tasks, never the thread count, and no two tasks write the same memory.  While tasks run, the BLAS library is
held to one thread of its own; it would otherwise start as many as there are cores in each of ours.
"""

from __future__ import annotations

import contextvars
import itertools
import operator
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["get_num_threads", "one_blas_thread", "parallel_for", "set_num_threads"]


def _default_threads() -> int:
    """Return OMP_NUM_THREADS where it is set to a number, else the CPUs this process may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Pool:
    """The process's worker threads, started at the first use and forgotten by a forked child."""

    def __init__(self) -> None:
        self.threads = _default_threads()
        self.start_afresh()

    def forget(self) -> None:
        """In a forked child: the threads are gone, and with them whoever held BLAS to one of its own."""
        if self.blas.users:
            self.blas.limiter.restore_original_limits()
        self.start_afresh()

    def start_afresh(self) -> None:
        self.lock = threading.Lock()
        self.executor: ThreadPoolExecutor | None = None
        self.blas = _BlasLimit()

    def resize(self, threads: int) -> None:
        with self.lock:
            if self.executor is not None:
                self.executor.shutdown(wait=False)
            self.executor, self.threads = None, threads

    def submit(self, work: Callable[[], None], copies: int) -> list[Future[None]]:
        with self.lock:
            if self.executor is None:
                self.executor = ThreadPoolExecutor(max(self.threads - 1, 1), "minicnn")
            try:
                # In a copy of the caller's context each: NumPy keeps its error state there.
                return [self.executor.submit(contextvars.copy_context().run, work) for _ in range(copies)]
            except RuntimeError:  # the interpreter is shutting down: the caller does all the work itself
                return []
            except BaseException:
                # Ctrl-C while a thread was being started: the executor may not know of it, would not end it, and
                # the process would wait for it for ever.  Told to shut down, every thread ends by itself.
                self.executor.shutdown()
                self.executor = None
                raise


class _BlasLimit:
    """Holds BLAS to one thread while anyone is inside, however deep and from however many threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.controller: ThreadpoolController | None = None
        self.limiter: Any = None

    def enter(self) -> None:
        with self.lock:
            if self.users == 0:
                self.controller = self.controller or ThreadpoolController()
                self.limiter = self.controller.limit(limits=1, user_api="blas")
            self.users += 1

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.limiter.restore_original_limits()


_pool = _Pool()
_inside = threading.local()  # .a_task is True while this thread runs a task
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


def set_num_threads(n: int) -> None:
    """Set how many threads share the work of one operation.

    The results do not depend on it, to the last bit.

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
    _pool.resize(operator.index(n))


def get_num_threads() -> int:
    """Return how many threads share the work of one operation.

    At the start that is OMP_NUM_THREADS, or else the number of CPUs this process may run on.
    """
    return _pool.threads


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold the BLAS library to one thread inside the block, and restore its own number after it.

    Blocks may nest and overlap between threads; the first one in sets the limit and the last one out lifts it.
    Entering costs about 11 µs, and next to nothing within another such block.
    """
    blas = _pool.blas
    blas.enter()
    try:
        yield
    finally:
        blas.leave()


def parallel_for(count: int, task: Callable[[int], None]) -> None:
    """Call ``task(0)`` … ``task(count - 1)``, shared among the threads, and return when all are done.

    Tasks must write to disjoint memory.  A task that calls :func:`parallel_for` itself runs the inner tasks one after
    the other.  The calling thread works too, so progress never waits for a free worker.

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
        if helpers < 1 or getattr(_inside, "a_task", False):
            for i in range(count):
                task(i)
        else:
            _share(count, task, helpers)


def _share(count: int, task: Callable[[int], None], helpers: int) -> None:
    numbers = itertools.count()  # next() on it is atomic: each number is handed out once
    errors: list[BaseException] = []

    def work() -> None:
        _inside.a_task = True
        try:
            while not errors and (i := next(numbers)) < count:
                task(i)
        except BaseException as error:  # carried to the calling thread, Ctrl-C included
            errors.append(error)
        finally:
            _inside.a_task = False

    futures = _pool.submit(work, helpers)
    work()
    begun = [future for future in futures if not future.cancel()]
    try:
        wait(begun)
    except BaseException as interruption:  # Ctrl-C: nobody may go on writing after we have returned
        errors.append(interruption)
        wait(begun)
    if errors:
        raise errors[0]
