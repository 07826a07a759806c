"""Sums over everything but the channels: biases' gradients, batch statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .elementwise import pieces, run
from .parallel import one_blas_thread, parallel_for
from .workspace import unwritten

__all__ = ["channel_sum", "channel_sums"]

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


def channel_sums(terms: Callable[..., Sequence[np.ndarray]], *arrays: np.ndarray) -> list[np.ndarray]:
    """Sum what ``terms(*pieces)`` returns over all axes but the second, each to (C,).

    Like ``[channel_sum(t) for t in terms(*arrays)]``, but the terms are computed one cache-full at a time.

    Parameters
    ----------
    terms : callable
        Works elementwise, and returns arrays as large as the last piece, which it may use again at the next call.
    *arrays : numpy.ndarray
        As :func:`~minicnn.backend.elementwise.in_pieces` takes them: at least one must be (C,).

    Examples
    --------
    >>> x, mean = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([2.0, 2.0])
    >>> channel_sums(lambda mean, x: (x, (x - mean) ** 2), mean, x)
    [array([4., 4.]), array([2., 0.])]
    """
    channels = arrays[-1].shape[1]
    parts = pieces([_rows(a) for a in arrays])
    found: list[list[np.ndarray]] = [[] for _ in parts]

    def task(i: int) -> None:
        found[i] = [_block_sums(term.reshape(-1, channels)) for term in terms(*parts[i])]

    run(len(parts), task)
    return [channel_sum(np.concatenate(sums)) for sums in zip(*found, strict=True)]


def _rows(x: np.ndarray) -> np.ndarray:
    """Return x (N, C, …) as (pixels, C), a view if it is in channels-last memory; and any (C,) as it is."""
    return x if x.ndim == 1 else np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


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
        with one_blas_thread():
            np.matmul(ones[0, :rest], rows[whole * _BLOCK :], out=sums[whole])
    return sums
