"""Sums over everything but the channels: biases' gradients, batch statistics."""

from __future__ import annotations

import numpy as np

from .parallel import parallel_for

__all__ = ["channel_sum"]

_ROWS = 4096  # pixels a partial sum: short enough to round little, long enough to be worth a call


def channel_sum(x: np.ndarray) -> np.ndarray:
    """Sum x (N, C, …) over all axes but the second, to (C,).

    Over channels-last memory it is a product of a row of ones with the matrix of pixels, in pieces: one pass at memory
    speed, rounding like a sum of the pieces' lengths, the same bits for any number of threads.

    Examples
    --------
    >>> channel_sum(np.ones((2, 3, 4, 4)))
    array([32., 32., 32.])
    """
    last = np.moveaxis(x, 1, -1)
    if not last.flags.c_contiguous or not x.size:
        return x.sum(axis=(0, *range(2, x.ndim)))
    pixels = last.reshape(-1, x.shape[1])
    pieces = -(-len(pixels) // _ROWS)
    sums = np.empty((pieces, x.shape[1]), x.dtype)
    ones = np.ones((1, _ROWS), x.dtype)

    def task(i: int) -> None:
        piece = pixels[i * _ROWS : (i + 1) * _ROWS]
        np.matmul(ones[:, : len(piece)], piece, out=sums[i : i + 1])

    parallel_for(pieces, task)
    return sums.sum(axis=0)
