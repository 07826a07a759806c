"""Sums over everything but the channels: biases' gradients, batch statistics."""

from __future__ import annotations

import numpy as np

from .parallel import parallel_for
from .workspace import unwritten

__all__ = ["channel_sum"]

_BLOCK = 256  # rows of one sum: few enough to round little
_TASK = 16  # blocks of one task


def channel_sum(x: np.ndarray) -> np.ndarray:
    """Sum x (N, C, …) over all axes but the second, to (C,).

    Over channels-last memory the sum is a tree: blocks of 256 pixels become one row each, by a product with a row of
    ones at memory speed, and so on with the rows.  Its rounding error grows with 256 · log₂₅₆ of the number of pixels,
    where a running sum's grows with the number itself; the bits are the same for any number of threads.

    Examples
    --------
    >>> channel_sum(np.ones((2, 3, 4, 4)))
    array([32., 32., 32.])
    """
    last = np.moveaxis(x, 1, -1)
    if not last.flags.c_contiguous or not x.size:
        return x.sum(axis=(0, *range(2, x.ndim)))
    rows = last.reshape(-1, x.shape[1])
    while len(rows) > 1:
        rows = _block_sums(rows)
    return rows[0].copy() if np.shares_memory(rows, x) else rows[0]


def _block_sums(rows: np.ndarray) -> np.ndarray:
    """Sum each block of rows (M, C) to one: (⌈M/256⌉, C)."""
    whole, rest = divmod(len(rows), _BLOCK)
    sums = unwritten(np.empty((whole + (rest > 0), rows.shape[1]), rows.dtype))
    ones = np.ones((1, _BLOCK), rows.dtype)

    def task(i: int) -> None:
        blocks = slice(i * _TASK, min((i + 1) * _TASK, whole))
        pixels = rows[blocks.start * _BLOCK : blocks.stop * _BLOCK]
        np.matmul(ones, pixels.reshape(-1, _BLOCK, rows.shape[1]), out=sums[blocks, None])

    parallel_for(-(-whole // _TASK), task)
    if rest:
        np.matmul(ones[0, :rest], rows[whole * _BLOCK :], out=sums[whole])
    return sums
