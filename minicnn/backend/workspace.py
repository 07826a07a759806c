"""Scratch memory that is kept between calls, one piece per thread and purpose.

A convolution needs the same buffers at every step of training.  Asking the system for them anew would cost page faults
over the whole buffer each time; here each buffer is allocated once, grows to the largest size asked for, and stays.
Only large ones do not: their memory is lent by :mod:`~minicnn.backend.recycling`, and serves other arrays in between.

That undefined contents are never read, :func:`poisoned` can prove: inside it they are NaN.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from .recycling import lend

__all__ = ["aligned", "empty", "empty_like", "poisoned", "scratch", "unwritten"]

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
_SMALL = 1 << 16  # bytes: for less, aligning takes longer than it saves
_LARGE = 1 << 18  # bytes: from there on memory is lent, for the system would give it out page by page
_KEPT = 1 << 20  # bytes: scratch memory below is kept by its thread, which is sooner done

Buffers = dict[str, np.ndarray]


class _Poison(NamedTuple):
    """What a block of :func:`poisoned` fills memory with, and its own buffers, thread by thread."""

    byte: int
    buffers: dict[int, Buffers]


_local = threading.local()
# Worker threads run in a copy of their caller's context, and so see it too.
_poison: ContextVar[_Poison | None] = ContextVar("poison", default=None)


def scratch(purpose: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array with undefined contents, valid until this thread asks for the same `purpose` again.

    Parameters
    ----------
    purpose : str
        Names the buffer; two buffers in use at the same time need two names.
    shape : tuple of int
    dtype : numpy.dtype

    Returns
    -------
    numpy.ndarray
        C-contiguous, aligned to 64 bytes.

    Examples
    --------
    >>> a = scratch("example", (2, 3), np.dtype("float32"))
    >>> b = scratch("example", (3, 2), np.dtype("float32"))
    >>> np.shares_memory(a, b)
    True
    """
    size = math.prod(shape) * dtype.itemsize
    if size >= _KEPT and _poison.get() is None:
        return aligned(size).view(dtype).reshape(shape)
    buffers = _buffers()
    buffer = buffers.get(purpose)
    if buffer is not None:
        unwritten(buffer)
    if buffer is None or buffer.size < size:
        buffers.pop(purpose, None)  # freed before the larger one is asked for
        buffer = buffers[purpose] = _at_multiple(np.empty(size + _ALIGNMENT, np.uint8))
    return buffer[:size].view(dtype).reshape(shape)


def empty(shape: tuple[int, ...], dtype: Any = float) -> np.ndarray:
    """Return a new array with undefined contents, aligned to 64 bytes unless it is small.

    NumPy aligns to 16, and then every vector written straddles two cache lines: in the second-level cache an
    addition takes twice as long.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    return unwritten(np.empty(shape, dtype)) if size < _SMALL else aligned(size).view(dtype).reshape(shape)


def empty_like(array: np.ndarray, dtype: Any = None, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return a new array with undefined contents, its axes in memory in the order of those of `array`.

    Parameters
    ----------
    array : numpy.ndarray
    dtype, shape : optional
        Default: those of `array`.
    """
    shape = array.shape if shape is None else shape
    if array.ndim < 2:
        return empty(shape, dtype or array.dtype)
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    back = sorted(range(array.ndim), key=order.__getitem__)
    return empty(tuple(shape[axis] for axis in order), dtype or array.dtype).transpose(back)


def unwritten(array: np.ndarray) -> np.ndarray:
    """Return `array`, whose contents are undefined: as they are or, inside :func:`poisoned`, full of poison."""
    poison = _poison.get()
    if poison is not None:
        array[...] = np.frombuffer(bytes([poison.byte]) * array.itemsize, array.dtype)
    return array


@contextmanager
def poisoned(byte: int = 0xFF) -> Iterator[None]:
    """Fill all memory with `byte` when it is handed out inside the block, and scratch memory at its end again.

    Bytes 0xFF are NaN in every floating-point type, and −1 or the largest number in the integer ones.  Scratch memory
    comes from buffers of the block's own.  So blocks nest, and threads outside are not disturbed.

    Examples
    --------
    >>> with poisoned():
    ...     a = scratch("example", (2,), np.dtype("float32"))
    ...     a
    array([nan, nan], dtype=float32)
    """
    poison = _Poison(byte, {})
    token = _poison.set(poison)
    try:
        yield
    finally:
        for buffers in poison.buffers.values():
            for buffer in buffers.values():
                unwritten(buffer)
        _poison.reset(token)


def _buffers() -> Buffers:
    """Return this thread's buffers."""
    poison = _poison.get()
    if poison is None:
        return _local.__dict__.setdefault("buffers", {})
    return poison.buffers.setdefault(threading.get_ident(), {})


def aligned(size: int) -> np.ndarray:
    """Return `size` new bytes with undefined contents, aligned to 64; inside :func:`poisoned` from the system."""
    large = size >= _LARGE and _poison.get() is None
    return _at_multiple(lend(size + _ALIGNMENT) if large else np.empty(size + _ALIGNMENT, np.uint8))


def _at_multiple(block: np.ndarray) -> np.ndarray:
    """Return all but 64 bytes of a block, from the first on whose address is a multiple of 64."""
    unwritten(block)
    start = -block.__array_interface__["data"][0] % _ALIGNMENT
    return block[start : start + block.size - _ALIGNMENT]
