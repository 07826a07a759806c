"""Memory of large arrays, handed out again when the last array in it has gone.

A network makes the same large arrays at every step.  The system takes the memory of an array back as soon as nobody
needs it, and gives out new memory page by page, each cleared when it is first touched: for 100 MB that takes as long as
half a ReLU over them.  Here the memory is kept for the next arrays.

It comes from the system in long stretches, of which only the pages that were touched are memory.  An array gets the
first gap that is wide enough, from its beginning.  When the array has gone its place is a gap again, one with the gaps
beside it.  The first part of a gap *waits*, it has its memory; the rest is *clean*, it has none, or none any more::

    │ array │ waits │ array │ array │ waits · · clean · │ array │ · · · · · · · clean · · · · · · · │

What is lent and what waits are together hardly more than was lent at one time: the process grows no larger than
without, it only stays so.  When an array reaches into what is clean, as much of what waits elsewhere goes back to the
system; after :func:`release` nothing waits.

How it is noticed that the last array has gone: the memory is lent as a :class:`_Lease`, which is no array, but the base
of one.  Every view, a view of a view too, keeps it alive.  When it dies its place is free.
"""

from __future__ import annotations

import mmap
import os
import threading
from bisect import bisect
from collections import deque
from contextlib import suppress
from typing import NamedTuple

import numpy as np

__all__ = ["lend", "release"]

_PAGE = mmap.PAGESIZE
_HUGE_PAGE = 1 << 21  # bytes: what stays when some is given back ends with a whole one; parts are slow
_STRETCH = 1 << 30  # bytes: room for most networks, so that arrays of all sizes can follow each other
_SPARE = 128  # the part of what was lent at one time that may wait beyond it; without play, gaps move about


class _Gap(NamedTuple):
    """Bytes of a stretch that are not lent: they wait from `start` to `clean`, and are clean from there to `stop`."""

    start: int
    clean: int
    stop: int


class _Stretch:
    """Memory from the system, and the gaps in it, from the first to the last."""

    def __init__(self, size: int) -> None:
        self.memory = _mapped(size)
        self.address = np.frombuffer(self.memory, np.uint8).__array_interface__["data"][0]
        self.gaps = [_Gap(0, 0, size)]

    def is_idle(self) -> bool:
        """Whether nothing of it is lent."""
        return [(gap.start, gap.stop) for gap in self.gaps] == [(0, len(self.memory))]

    def take(self, size: int) -> tuple[int, int] | None:
        """Return where so many bytes of a gap begin, now lent, and how many of them waited; None if no gap will do."""
        for i, (start, clean, stop) in enumerate(self.gaps):
            end = start + size
            if end <= stop:
                self.gaps[i : i + 1] = [_Gap(end, max(clean, end), stop)] if end < stop else []
                return start, min(clean - start, size)
        return None

    def put_back(self, start: int, stop: int) -> int:
        """Make lent bytes a gap, one with those beside it, and return how many more wait now."""
        clean, more = stop, stop - start
        i = bisect(self.gaps, (start,))
        if i < len(self.gaps) and self.gaps[i].start == stop:
            _, clean, stop = self.gaps.pop(i)
        if i > 0 and self.gaps[i - 1].stop == start:
            i -= 1
            start, clean_before, stop_before = self.gaps.pop(i)
            more += stop_before - clean_before  # in the midst of what waits, so it is taken for that
        self.gaps.insert(i, _Gap(start, clean, stop))
        return more

    def give_back(self, least: int) -> int:
        """Give at least so many bytes that wait back to the system, or all, the last ones first; return how many."""
        given = 0
        for i, (start, clean, stop) in reversed([*enumerate(self.gaps)]):
            if given < least and start < clean:
                kept = max((clean - least + given) // _HUGE_PAGE * _HUGE_PAGE, start)
                _clear(self.memory, kept, clean - kept)
                self.gaps[i] = _Gap(start, kept, stop)
                given += clean - kept
        return given


Place = tuple[_Stretch, int, int]  # from where to where

_returned: deque[Place] = deque()  # by finalizers, which may run in the midst of anything and so take no lock


class _Lease:
    """A place on loan."""

    _give_back = staticmethod(_returned.append)

    def __init__(self, place: Place, size: int) -> None:
        self.place = stretch, start, _ = place
        where = (stretch.address + start, False)
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": (size,), "data": where}

    def __del__(self) -> None:
        self._give_back(self.place)


class _Places:
    """The stretches, and how much of them is lent, and how much waits."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stretches: list[_Stretch] = []
        self.bytes_waiting = self.bytes_lent = self.most_lent = 0

    def take(self, size: int) -> Place:
        """Lend so many bytes."""
        with self.lock:
            self.collect()
            stretch, start, waited = self.first_gap(size)
            self.bytes_lent += size
            self.bytes_waiting -= waited
            self.most_lent = max(self.most_lent, self.bytes_lent)
            self.give_back(self.bytes_lent + self.bytes_waiting - self.most_lent - self.most_lent // _SPARE)
        return stretch, start, start + size

    def first_gap(self, size: int) -> tuple[_Stretch, int, int]:
        """Take bytes of the first gap that is wide enough, in a new stretch if need be."""
        for stretch in self.stretches:
            if found := stretch.take(size):
                return stretch, *found
        self.stretches.append(_new_stretch(size))
        return self.first_gap(size)

    def collect(self) -> None:
        """Let the places wait that have come back."""
        while _returned:
            stretch, start, stop = _returned.popleft()
            self.bytes_lent -= stop - start
            self.bytes_waiting += stretch.put_back(start, stop)

    def give_back(self, excess: int) -> None:
        """Give so many bytes that wait back to the system: those of the last gaps, which are needed the least."""
        for stretch in reversed(self.stretches):
            if excess > 0:
                given = stretch.give_back(excess)
                self.bytes_waiting -= given
                excess -= given


_places = _Places()
if hasattr(os, "register_at_fork"):  # a child may have been forked while another thread held the lock
    os.register_at_fork(after_in_child=lambda: setattr(_places, "lock", threading.Lock()))


def lend(size: int) -> np.ndarray:
    """Return `size` bytes with undefined contents, whose memory is used again when the last view of them has gone.

    Raises
    ------
    MemoryError
        If the system has not so much memory.

    Examples
    --------
    >>> before = lend(1 << 20)
    >>> address = before.ctypes.data
    >>> del before
    >>> lend(1 << 20).ctypes.data == address
    True
    """
    return np.asarray(_Lease(_places.take(_rounded(size)), size))


def release() -> None:
    """Give all memory that waits back to the system.

    Examples
    --------
    >>> release()
    """
    with _places.lock:
        _places.collect()
        _places.give_back(_places.bytes_waiting)
        _places.stretches = [stretch for stretch in _places.stretches if not stretch.is_idle()]
        _places.most_lent = _places.bytes_lent


def _rounded(size: int) -> int:
    """Return the size in whole pages, of which there is at least one."""
    return -(-max(size, 1) // _PAGE) * _PAGE


def _new_stretch(size: int) -> _Stretch:
    """Return a stretch of the usual length, or of `size` bytes where that is more, or all that the system allows."""
    for length in (max(size, _STRETCH), size):
        with suppress(OSError, OverflowError):
            return _Stretch(length)
    raise MemoryError(f"lend: the system has no {size} bytes")


def _mapped(size: int) -> mmap.mmap:
    """Return memory of this process alone, in huge pages where there are such."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # as on Windows
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _clear(memory: mmap.mmap, start: int, size: int) -> None:
    """Give some pages back to the system, where it can take single ones."""
    if hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED, start, size)
