"""Scratch memory that is kept between calls, one piece per thread and purpose.

A convolution needs the same buffers at every step of training.  Asking the system for them anew would cost page faults
over the whole buffer each time; here each buffer is allocated once, grows to the largest size asked for, and stays.
"""

from __future__ import annotations

import math
import threading

import numpy as np

__all__ = ["scratch"]

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register

_local = threading.local()


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
    buffers: dict[str, np.ndarray] = _local.__dict__.setdefault("buffers", {})
    size = math.prod(shape) * dtype.itemsize
    buffer = buffers.get(purpose)
    if buffer is None or buffer.size < size:
        buffers.pop(purpose, None)  # freed before the larger one is asked for
        buffer = buffers[purpose] = _aligned(size)
    return buffer[:size].view(dtype).reshape(shape)


def _aligned(size: int) -> np.ndarray:
    block = np.empty(size + _ALIGNMENT, np.uint8)
    start = -block.ctypes.data % _ALIGNMENT
    return block[start : start + size]
