"""Long, narrow matrix products, cut into blocks that BLAS multiplies without packing.

A BLAS copies (*packs*) its matrices into an order of its own before it multiplies.  That pays where each element is
used many times; a convolution of 64 channels to 64 uses each pixel 64 times, and packing takes a quarter of the time.
OpenBLAS has kernels for small matrices that do without, on processors with AVX-512, and takes them for products of at
most a million multiply-adds.  So a product of thousands of rows by a small matrix is handed over as many products of 64
rows.  ``numpy.matmul`` runs such a stack in a loop of its own, without Python in between.

Measured on one core of a Xeon: 3,072 rows, 64 → 64 channels at 170 instead of 131 GFLOP/s, 256 → 32 at 154 instead of
116, 192 → 16 at 115 instead of 84.  Where OpenBLAS has no such kernels, blocks would be slower, and nothing is cut.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .machine import blas_name

__all__ = ["are_small", "is_small", "multiply", "multiply_columns", "operand"]

MULTIPLY_ADDS = 10**6  # of a small product; OpenBLAS's own limit
ROWS = 64  # of a block
COLUMNS = 256  # of a block, where the long matrix is the right one

_KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids")


@cache
def has_small_kernels() -> bool:
    """Whether BLAS multiplies small matrices without packing them."""
    return blas_name().startswith("openblas") and blas_name().endswith(_KERNELS)


def are_small(inner: int, columns: int) -> bool:
    """Whether a product with a matrix (inner, columns) is cut into blocks.

    Examples
    --------
    >>> are_small(512, 512)
    False
    """
    return has_small_kernels() and ROWS * inner * columns <= MULTIPLY_ADDS


def is_small(rows: int, inner: int, columns: int) -> bool:
    """Whether BLAS gets a product as it is or in blocks that it does not pack."""
    least = min(rows * inner * columns, ROWS * inner * columns, rows * inner * COLUMNS)
    return has_small_kernels() and least <= MULTIPLY_ADDS


def operand(b: np.ndarray) -> np.ndarray:
    """Return b (…, K, N) in the memory order that :func:`multiply` is fast for."""
    return np.ascontiguousarray(b) if are_small(*b.shape[-2:]) else b


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write the matrix products of a (…, M, K) with b (…, K, N) to `out` (…, M, N), by blocks of rows of a.

    Examples
    --------
    >>> out = np.empty((2, 1))
    >>> multiply(np.ones((2, 3)), np.ones((3, 1)), out)
    >>> out
    array([[3.],
           [3.]])
    """
    whole = a.shape[-2] // ROWS * ROWS if are_small(*b.shape[-2:]) else 0
    if whole > ROWS:
        np.matmul(_blocks(a[..., :whole, :]), b[..., None, :, :], out=_blocks(out[..., :whole, :]))
    else:
        whole = 0
    if whole < a.shape[-2]:
        np.matmul(a[..., whole:, :], b, out=out[..., whole:, :])


def multiply_columns(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write the matrix product of a (M, K) with b (K, N) to `out` (M, N), by blocks of columns of b.

    Examples
    --------
    >>> out = np.empty((1, 2))
    >>> multiply_columns(np.ones((1, 3)), np.ones((3, 2)), out)
    >>> out
    array([[3., 3.]])
    """
    small = has_small_kernels() and a.size * COLUMNS <= MULTIPLY_ADDS
    whole = b.shape[1] // COLUMNS * COLUMNS if small else 0
    if whole:
        np.matmul(a, _column_blocks(b[:, :whole]), out=_column_blocks(out[:, :whole]))
    if whole < b.shape[1]:
        np.matmul(a, b[:, whole:], out=out[:, whole:])


def _blocks(rows: np.ndarray) -> np.ndarray:
    """View (…, M, K) as (…, blocks, ROWS, K)."""
    *stack, m, k = rows.shape
    return rows.reshape(*stack, m // ROWS, ROWS, k)


def _column_blocks(columns: np.ndarray) -> np.ndarray:
    """View (K, N) as (blocks, K, COLUMNS)."""
    return columns.reshape(len(columns), columns.shape[1] // COLUMNS, COLUMNS).swapaxes(0, 1)
