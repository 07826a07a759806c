"""A matrix product shared among threads, with the same bits for any number of them."""

from __future__ import annotations

import numpy as np

from .parallel import one_blas_thread, parallel_for
from .workspace import unwritten

__all__ = ["matmul"]

_TASK = 1 << 22  # multiply-adds; sharing a smaller product would cost more than it gains
_NARROWEST = 64  # rows or columns of a piece: BLAS packs the other matrix anew for each
_MOST_PIECES = 8


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Matrix product with the meaning of ``numpy.matmul``.

    A product of two matrices is cut along the longer side of its result into pieces of at least 4 million
    multiply-adds each, which the threads share.  A BLAS with threads of its own would cut by their number, and round
    differently for each.

    Examples
    --------
    >>> matmul(np.ones((2, 3)), np.ones((3, 2)))
    array([[3., 3.],
           [3., 3.]])
    """
    pieces = _pieces(a, b)
    if pieces < 2:
        with one_blas_thread():
            return np.matmul(a, b)
    rows, columns = a.shape[0], b.shape[1]
    out = unwritten(np.empty((rows, columns), np.result_type(a, b)))
    edges = [max(rows, columns) * i // pieces for i in range(pieces + 1)]

    def product(i: int) -> None:
        piece = slice(edges[i], edges[i + 1])
        if rows >= columns:
            np.matmul(a[piece], b, out=out[piece])
        else:
            np.matmul(a, b[:, piece], out=out[:, piece])

    parallel_for(pieces, product)
    return out


def _pieces(a: np.ndarray, b: np.ndarray) -> int:
    if a.ndim != 2 or b.ndim != 2:
        return 1
    rows, inner, columns = *a.shape, b.shape[1]
    return min(rows * inner * columns // _TASK, max(rows, columns) // _NARROWEST, _MOST_PIECES)
