"""BLAS held to one thread of its own, while threads of ours share the work.

Most BLAS libraries have one number of threads for the whole process.  The first of our threads to come inside sets it
to one and the last one out restores it; meanwhile a matrix product of the user's in yet another thread runs on one
thread too.  An OpenBLAS built on OpenMP has a number for each thread instead, and each of ours sets its own.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from itertools import product
from typing import NamedTuple

from threadpoolctl import ThreadpoolController

__all__ = ["hold_for_good", "one_blas_thread"]


class _Library(NamedTuple):
    """How to ask a BLAS library for its number of threads, and to set it."""

    get: Callable[[], int]
    set: Callable[[int], object]


_Numbers = tuple[tuple[_Library, int], ...]


class _Mine(threading.local):
    """What each thread knows of itself."""

    holds = False  # inside a block of one_blas_thread()
    before: _Numbers = ()  # what to restore of the libraries that have a number for each thread


class _Limit:
    """How many threads are inside, and what to restore when the last one leaves."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler or a finalizer may compute, in the midst of this
        self.users = 0
        self.found = False
        self.libraries: list[_Library] = []  # with one number of threads for the whole process
        self.own: list[_Library] = []  # with one for each thread
        self.before: _Numbers = ()
        self.mine = _Mine()

    def hold(self) -> bool:
        """Hold BLAS to one thread, and return whether this thread did not before."""
        if self.mine.holds:
            return False
        with self.lock:
            if not self.found:
                self.find()
            if self.users == 0:
                self.before = _numbers(self.libraries)
            self.users += 1  # before BLAS is changed: a child forked in between will know what to undo
            if self.users == 1:
                _set_to_one(self.libraries)
        self.mine.before = _numbers(self.own)
        _set_to_one(self.own)
        self.mine.holds = True
        return True

    def lift(self) -> None:
        self.mine.holds = False
        _restore(self.mine.before)
        with self.lock:
            if self.users == 1:
                _restore(self.before)
            self.users -= 1

    def find(self) -> None:
        for library in ThreadpoolController().select(user_api="blas").lib_controllers:
            if library.internal_api != "openblas":
                self.libraries.append(_Library(library.get_num_threads, library.set_num_threads))
            elif library.threading_layer == "openmp":
                self.own.append(_Library(library.get_num_threads, library.set_num_threads))
            else:
                self.libraries.append(_openblas(library.filepath))
        self.found = True

    def forget_others(self) -> None:
        """In a forked child: of all threads only this one is left."""
        self.lock = threading.RLock()
        if self.users and not self.mine.holds:
            _restore(self.before)
        self.users = int(self.mine.holds)


def _openblas(path: str) -> _Library:
    """Return OpenBLAS's own two functions: threadpoolctl lets only the first thread that comes set the number."""
    # Called without letting go of the interpreter: OpenBLAS must not be in the midst of it when another thread forks.
    library = ctypes.PyDLL(path)
    for prefix, suffix in product(("scipy_", ""), ("64_", "_64", "")):
        names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
        if all(hasattr(library, name) for name in names):
            return _Library(*(getattr(library, name) for name in names))
    raise RuntimeError(f"{path}: OpenBLAS without its functions for the number of threads")


def _numbers(libraries: Iterable[_Library]) -> _Numbers:
    return tuple((library, library.get()) for library in libraries)


def _set_to_one(libraries: Iterable[_Library]) -> None:
    for library in libraries:
        library.set(1)


def _restore(numbers: _Numbers) -> None:
    for library, number in numbers:
        library.set(number)


_limit = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.forget_others)


class one_blas_thread:
    """Hold the BLAS library to one thread inside the block, and restore its own number after it.

    Blocks may nest and overlap between threads; the first one in sets the limit and the last one out lifts it.
    Entering and leaving costs about 2 µs, and a fraction of that within another such block.

    Examples
    --------
    >>> import numpy as np
    >>> with one_blas_thread():
    ...     y = np.ones((2, 2)) @ np.ones((2, 2))
    """

    __slots__ = ("_outermost",)

    def __enter__(self) -> None:
        self._outermost = _limit.hold()

    def __exit__(self, *error: object) -> None:
        if self._outermost:
            _limit.lift()


def hold_for_good() -> None:
    """Tell that this thread works only for others, who are inside :class:`one_blas_thread` themselves."""
    _set_to_one(_limit.own)
    _limit.mine.holds = True
