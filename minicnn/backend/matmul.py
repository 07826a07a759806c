"""A matrix product shared among threads, with the same bits for any number of them."""

from __future__ import annotations

import numpy as np

from .parallel import one_blas_thread, parallel_for
from .workspace import empty

__all__ = ["matmul"]

_TASK = 1 << 22  # multiply-adds; sharing a smaller product would cost more than it gains
_NARROWEST = 64  # rows or columns of a piece: BLAS packs the other matrix anew for each
_MOST_PIECES = 8
_THIN = 32  # terms of a sum: with fewer, writing the result takes longer than computing it,
_RESULT = 1 << 16  # so a piece of the result, which BLAS fills with zeros first, stays in the cache: elements
_LOWEST = 4  # rows of such a piece
_FEW = 16  # rows of a: with no more, reading b takes longer than computing,
_TERMS = 128  # so each piece is of so many rows of b, read as they are in memory


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Matrix product with the meaning of ``numpy.matmul``.

    A product of two matrices is cut along the longer side of its result into pieces of at least 4 million
    multiply-adds each, which the threads share.  A BLAS with threads of its own would cut by their number, and round
    differently for each.

    A fully connected layer with a small batch is another case: its weight W is read, or dW is written, and main
    memory sets the pace.  So dW = gᵀ x, a large result of short sums, is cut into a few rows at a time, and g W
    along the sums.

    Examples
    --------
    >>> matmul(np.ones((2, 3)), np.ones((3, 2)))
    array([[3., 3.],
           [3., 3.]])
    """
    if a.ndim == b.ndim == 2:
        rows, inner, columns = *a.shape, b.shape[1]
        work = rows * inner * columns // _TASK
        if inner < _THIN and (pieces := min(rows * columns // _RESULT, rows // _LOWEST)) > 1:
            return _by_rows(a, b, pieces)
        if work > 1 and rows <= _FEW and inner >= 2 * _TERMS and b.flags.c_contiguous:
            return _by_terms(a, b, inner // _TERMS)
        if (pieces := min(work, max(rows, columns) // _NARROWEST, _MOST_PIECES)) > 1:
            return _by_rows(a, b, pieces) if rows >= columns else _by_columns(a, b, pieces)
    with one_blas_thread():
        return np.matmul(a, b)


def _by_rows(a: np.ndarray, b: np.ndarray, pieces: int) -> np.ndarray:
    out = empty((a.shape[0], b.shape[1]), np.result_type(a, b))
    cuts = _cuts(a.shape[0], pieces)

    def product(i: int) -> None:
        np.matmul(a[cuts[i]], b, out=out[cuts[i]])

    parallel_for(pieces, product)
    return out


def _by_columns(a: np.ndarray, b: np.ndarray, pieces: int) -> np.ndarray:
    out = empty((a.shape[0], b.shape[1]), np.result_type(a, b))
    cuts = _cuts(b.shape[1], pieces)
    rows_in_memory = b.T.flags.c_contiguous and not b.flags.c_contiguous

    def product(i: int) -> None:
        if rows_in_memory:  # as (Bᵀ Aᵀ)ᵀ: BLAS reads them faster
            out[:, cuts[i]] = np.matmul(b[:, cuts[i]].T, a.T).T
        else:
            np.matmul(a, b[:, cuts[i]], out=out[:, cuts[i]])

    parallel_for(pieces, product)
    return out


def _by_terms(a: np.ndarray, b: np.ndarray, pieces: int) -> np.ndarray:
    sums = empty((pieces, a.shape[0], b.shape[1]), np.result_type(a, b))
    cuts = _cuts(a.shape[1], pieces)

    def product(i: int) -> None:
        np.matmul(a[:, cuts[i]], b[cuts[i]], out=sums[i])

    parallel_for(pieces, product)
    return sums.sum(axis=0)


def _cuts(length: int, pieces: int) -> list[slice]:
    """Cut an axis into pieces, as even as can be."""
    return [slice(length * i // pieces, length * (i + 1) // pieces) for i in range(pieces)]
