"""Memory of large arrays, handed out again when the last array in it has gone.

A network makes the same large arrays at every step.  The system takes the memory of an array back as soon as nobody
needs it, and gives out new memory page by page, each cleared when it is first touched: for 100 MB that takes as long as
half a ReLU over them.  Here the memory is kept for the next array of its size.

What is lent and what waits are together never more than was lent at one time: the process grows no larger than without,
it only stays so.  :func:`release` gives back what waits.

How it is noticed that the last array has gone: the memory is lent as a :class:`_Lease`, which is no array, but the base
of one.  Every view, a view of a view too, keeps it alive.  When it dies its block comes back.
"""

from __future__ import annotations

import os
import threading
from collections import deque

import numpy as np

__all__ = ["lend", "release"]

_STEP = 1 << 12  # bytes

_returned: deque[np.ndarray] = (
    deque()
)  # by finalizers, which may run in the midst of anything and so take no lock


class _Lease:
    """A block on loan."""

    _give_back = staticmethod(_returned.append)

    def __init__(self, block: np.ndarray, size: int) -> None:
        self.block = block
        self.__array_interface__ = {**block.__array_interface__, "shape": (size,)}

    def __del__(self) -> None:
        self._give_back(self.block)


class _Blocks:
    """The blocks that wait, by their size; the sizes in the order in which they were last used."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: dict[int, list[np.ndarray]] = {}
        self.bytes_waiting = self.bytes_lent = self.most_lent = 0

    def take(self, size: int) -> np.ndarray:
        """Return a block of this size: one that waits, or a new one."""
        with self.lock:
            self.collect()
            block = self.waiting_of(size)
            self.bytes_lent += size
            self.most_lent = max(self.most_lent, self.bytes_lent)
            self.drop(self.bytes_lent + self.bytes_waiting - self.most_lent)
        return np.empty(size, np.uint8) if block is None else block

    def waiting_of(self, size: int) -> np.ndarray | None:
        alike = self.waiting.pop(size, None)
        if alike is None:
            return None
        block = alike.pop()  # the one used last
        if alike:
            self.waiting[size] = alike
        self.bytes_waiting -= size
        return block

    def collect(self) -> None:
        """Let the blocks wait that have come back."""
        while _returned:
            block = _returned.popleft()
            self.waiting.setdefault(block.size, []).append(block)
            self.bytes_waiting += block.size
            self.bytes_lent -= block.size

    def drop(self, excess: int) -> None:
        """Give so many bytes back to the system, those first whose size was not asked for the longest."""
        while excess > 0 and self.waiting:
            size = next(iter(self.waiting))
            self.waiting[size].pop()
            if not self.waiting[size]:
                del self.waiting[size]
            self.bytes_waiting -= size
            excess -= size


_blocks = _Blocks()
if hasattr(os, "register_at_fork"):  # a child may have been forked while another thread held the lock
    os.register_at_fork(after_in_child=lambda: setattr(_blocks, "lock", threading.Lock()))


def lend(size: int) -> np.ndarray:
    """Return `size` bytes with undefined contents, whose memory is used again when the last view of them has gone.

    Examples
    --------
    >>> before = lend(1 << 20)
    >>> address = before.ctypes.data
    >>> del before
    >>> lend(1 << 20).ctypes.data == address
    True
    """
    return np.asarray(_Lease(_blocks.take(_rounded(size)), size))


def release() -> None:
    """Give all memory that waits back to the system.

    Examples
    --------
    >>> release()
    """
    with _blocks.lock:
        _blocks.collect()
        _blocks.drop(_blocks.bytes_waiting)
        _blocks.most_lent = _blocks.bytes_lent


def _rounded(size: int) -> int:
    """Return the size in whole steps, so that arrays of nearly the same size can follow each other."""
    return -(-size // _STEP) * _STEP
