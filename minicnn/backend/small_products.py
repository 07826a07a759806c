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
from .workspace import scratch

__all__ = [
    "are_small",
    "column_products",
    "is_small",
    "multiply",
    "multiply_columns",
    "multiply_tall",
    "operand",
    "tall_blocks",
    "tall_products",
]

MULTIPLY_ADDS = 10**6  # of a small product; OpenBLAS's own limit
ROWS = 64  # of a block
COLUMNS = 256  # of a block, where the long matrix is the right one
TALL = 128  # rows of a block of both matrices, where both are long

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
    return has_small_kernels() and min(rows, ROWS) * inner * columns <= MULTIPLY_ADDS


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
        np.matmul(
            _blocks(a[..., :whole, :], ROWS), b[..., None, :, :], out=_blocks(out[..., :whole, :], ROWS)
        )
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
    whole = _column_blocks_of(len(a), *b.shape) * COLUMNS
    if whole:
        np.matmul(a, _column_blocks(b[:, :whole]), out=_column_blocks(out[:, :whole]))
    if whole < b.shape[1]:
        np.matmul(a, b[:, whole:], out=out[:, whole:])


def tall_blocks(rows: int, k: int, n: int) -> int:
    """Return how many blocks :func:`multiply_tall` makes of (rows, k) and (rows, n), what is left over not counted.

    Examples
    --------
    >>> tall_blocks(1000, 512, 512)
    0
    """
    return rows // TALL if has_small_kernels() and TALL * k * n <= MULTIPLY_ADDS and rows >= 2 * TALL else 0


def column_products(rows: int, inner: int, columns: int) -> list[tuple[int, int, int]]:
    """Return the products that :func:`multiply_columns` makes of one, (rows, inner, columns) each.

    Examples
    --------
    >>> column_products(512, 512, 1000)
    [(512, 512, 1000)]
    """
    blocks = _column_blocks_of(rows, inner, columns)
    rest = columns - blocks * COLUMNS
    return [(rows, inner, COLUMNS)] * blocks + [(rows, inner, rest)] * (rest > 0)


def _column_blocks_of(rows: int, inner: int, columns: int) -> int:
    """Return into how many blocks of columns a product is cut."""
    return columns // COLUMNS if has_small_kernels() and rows * inner * COLUMNS <= MULTIPLY_ADDS else 0


def tall_products(rows: int, k: int, n: int) -> list[tuple[int, int, int]]:
    """Return the products (rows, inner, columns) that :func:`multiply_tall` makes of (rows, k) and (rows, n).

    Examples
    --------
    >>> tall_products(1000, 512, 256)
    [(512, 1000, 256)]
    """
    blocks = tall_blocks(rows, k, n)
    rest = rows - blocks * TALL
    return [(k, TALL, n)] * blocks + [(k, rest, n)] * (rest > 0)


def multiply_tall(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write the matrix product of aᵀ, for a (M, K), with b (M, N) to `out` (K, N), as a sum over blocks of rows.

    Examples
    --------
    >>> out = np.empty((1, 2))
    >>> multiply_tall(np.ones((3, 1)), np.ones((3, 2)), out)
    >>> out
    array([[3., 3.]])
    """
    blocks = tall_blocks(len(a), *out.shape)
    if not blocks:
        np.matmul(a.T, b, out=out)
        return
    whole = blocks * TALL
    products = scratch("tall products", (blocks, *out.shape), out.dtype)
    np.matmul(_blocks(a[:whole], TALL).swapaxes(1, 2), _blocks(b[:whole], TALL), out=products)
    np.add.reduce(products, axis=0, out=out)
    if whole < len(a):
        out += np.matmul(a[whole:].T, b[whole:], out=products[0])


def _blocks(rows: np.ndarray, size: int) -> np.ndarray:
    """View (…, M, K) as (…, blocks, size, K)."""
    *stack, m, k = rows.shape
    return rows.reshape(*stack, m // size, size, k)


def _column_blocks(columns: np.ndarray) -> np.ndarray:
    """View (K, N) as (blocks, K, COLUMNS)."""
    return columns.reshape(len(columns), columns.shape[1] // COLUMNS, COLUMNS).swapaxes(0, 1)
