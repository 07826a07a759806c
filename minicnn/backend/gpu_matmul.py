"""The matrix product on the GPU."""

from __future__ import annotations

from typing import Any

import cupy  # pyright: ignore[reportMissingImports]  (an extra)

__all__ = ["matmul"]

Array = Any


def matmul(a: Array, b: Array) -> Array:
    """Matrix product with the meaning of ``numpy.matmul``, by cuBLAS."""
    return cupy.matmul(a, b)
