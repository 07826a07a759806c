"""The matrix product on the GPU: cuBLAS's, through CuPy, at the precision that is allowed.

CuPy lets cuBLAS add products of float16 and bfloat16 up in float32, but for three cases, which are computed in float32
here and rounded at the end: a result of a single number, for which CuPy has a sum in the arrays' own type; stacks of
matrices, which CuPy copies to float32 where they are of float16, and refuses where they are of bfloat16; and GPUs whose
cuBLAS has no such product.

cuBLAS rounds factors of type float32 to TF32 if its handle says so.  CuPy has a handle for each thread and GPU, so what
one thread allows no other is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import cupy  # pyright: ignore[reportMissingImports]  (an extra)
import numpy as np

from .cupy_device import launcher
from .precision import tf32

__all__ = ["as_allowed", "matmul"]

Array = Any

TF32_TENSOR_OP_MATH = 3  # of cuBLAS's cublasMath_t
LEAST_CAPABILITY = {"float16": 70, "bfloat16": 80}  # with which cuBLAS multiplies halves


def matmul(a: Array, b: Array) -> Array:
    """Matrix product with the meaning of ``numpy.matmul``: matrices, vectors, and broadcast stacks of matrices.

    Parameters
    ----------
    a, b : arrays of at least one axis
        Of any strides; CuPy copies those that cuBLAS cannot take.

    Returns
    -------
    array
        Of integers the sums overflow as NumPy's do.
    """
    if _in_float32(a, b):
        return cupy.matmul(a.astype(np.float32), b.astype(np.float32)).astype(cupy.result_type(a, b))
    with as_allowed(a):
        return cupy.matmul(a, b)


def _in_float32(a: Array, b: Array) -> bool:
    least = LEAST_CAPABILITY.get(a.dtype.name)
    if least is None:
        return False
    stacks = max(a.ndim, b.ndim) > 2
    one_number = a.size == b.size == a.shape[-1]
    return stacks or one_number or launcher().device.capability < least


def as_allowed(array: Array) -> AbstractContextManager[None]:
    """Return the context in which cuBLAS computes with arrays like this one as :mod:`.precision` allows."""
    return _rounding_to_tf32() if tf32() and array.dtype == np.float32 else nullcontext()


@contextmanager
def _rounding_to_tf32() -> Iterator[None]:
    cublas, handle = cupy.cuda.cublas, cupy.cuda.get_cublas_handle()
    before = cublas.getMathMode(handle)
    cublas.setMathMode(handle, TF32_TENSOR_OP_MATH)
    try:
        yield
    finally:
        cublas.setMathMode(handle, before)
