"""What the ladders' host functions ask of their arguments: a version that can do the case, arrays seen as rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

__all__ = ["HALVES", "ceil_div", "chosen", "flat", "in_rows", "result", "sums_dtype", "unmade", "vector"]

Array = Any

HALVES = ("float16", "bfloat16")


def chosen(op: str, version: str | None, versions: Collection[str], unfit: Mapping[str, str]) -> str:
    """Return the version asked for, or the last one that can do the case.

    Parameters
    ----------
    op : str
        The operation, for the error message.
    version : str or None
    versions : collection of str
        From the naive one to the fastest.
    unfit : mapping of str to str
        Versions that cannot do the case, and why.

    Raises
    ------
    ValueError
        If there is no such version, or it cannot do the case, or none can.

    Examples
    --------
    >>> chosen("scale", None, ("v1", "v2"), {"v2": "C must be a multiple of 4, got 3"})
    'v1'
    """
    if version is None:
        fit = [name for name in versions if name not in unfit]
        if not fit:
            raise ValueError(f"{op}: {'; '.join(f'{name}: {why}' for name, why in unfit.items())}")
        return fit[-1]
    if version not in versions:
        raise ValueError(f"{op}: version must be one of {', '.join(versions)}, got {version!r}")
    if version in unfit:
        raise ValueError(f"{op} {version}: {unfit[version]}")
    return version


def flat(op: str, name: str, array: Array) -> Array:
    """View an array as one row of numbers.

    Raises
    ------
    ValueError
        If it is not C-contiguous, for then there is no such view.
    """
    return _contiguous(op, name, array).reshape(math.prod(array.shape))


def in_rows(op: str, name: str, array: Array) -> Array:
    """View an array (…, C) as rows of channels (M, C).

    Raises
    ------
    ValueError
        If it has less than two axes, or is not C-contiguous.
    """
    if array.ndim < 2:
        raise ValueError(f"{op}: {name} must have rows and channels (…, C), got shape {array.shape}")
    *rows, channels = array.shape
    return flat(op, name, array).reshape(math.prod(rows), channels)


def result(on: Any, op: str, shape: tuple[int, ...], dtype: Any, out: Array | None) -> Array:
    """Return `out`, or a new array.

    Raises
    ------
    ValueError
        If `out` has another shape or dtype, or is not C-contiguous.
    """
    if out is None:
        return on.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"{op}: out must be {dtype} of shape {shape}, got {out.dtype} of shape {out.shape}")
    return _contiguous(op, "out", out)  # a reshaped one would be a copy, and what is written there lost


def unmade(dtype: Any, made: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return why versions made for these dtypes cannot take numbers of `dtype`, of those that cannot.

    Examples
    --------
    >>> unmade(np.dtype("float64"), {"v1": ("float32", "float64"), "v2": ("float32",)})
    {'v2': 'numbers must be float32, got float64'}
    """
    return {
        version: f"numbers must be {' or '.join(dtypes)}, got {dtype}"
        for version, dtypes in made.items()
        if dtype.name not in dtypes
    }


def sums_dtype(dtype: Any) -> Any:
    """Return the dtype that sums of numbers of `dtype` have: halves are only stored."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def vector(dtype: Any) -> int:
    """Return how many numbers of `dtype` 16 bytes hold.

    Examples
    --------
    >>> vector(np.dtype("float16"))
    8
    """
    return 16 // dtype.itemsize


def ceil_div(a: int, b: int) -> int:
    """Return ⌈a / b⌉.

    Examples
    --------
    >>> ceil_div(7, 2)
    4
    """
    return -(-a // b)


def _contiguous(op: str, name: str, array: Array) -> Array:
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{op}: {name} must be C-contiguous, got strides {array.strides} of shape {array.shape}"
        )
    return array
