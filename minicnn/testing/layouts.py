"""The same values in other memory: what an operation must give the same answer for.

An array is a shape, a pointer and a step in bytes along each axis.  An operation that trusts the steps to be
those of C order reads something else, or writes it, when handed a slice, a transposed array or a broadcast one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..nn.check import one_of

__all__ = ["LAYOUTS", "lay_out"]

LAYOUTS = ("c", "fortran", "channels_last", "strided", "negative", "broadcast")
"""The names that :func:`lay_out` knows, the plainest first."""


def lay_out(array: np.ndarray, layout: str) -> np.ndarray:
    """Copy an array into memory of a given layout.

    Parameters
    ----------
    array : array of numbers, of any shape
    layout : str
        One of :data:`LAYOUTS`:

        ``"c"``
            The last axis is the densest.
        ``"fortran"``
            The first axis is the densest.
        ``"channels_last"``
            The densest axis is the third from the end, the channels of images (N, C, H, W) or (C, H, W); the
            others are in C order.  Arrays of fewer axes have no channels and get C order.
        ``"strided"``
            Every other element of a larger array along every axis; what lies between is NaN, or the
            largest integer (or True), so that a stray read shows.
        ``"negative"``
            All axes run backwards through memory.
        ``"broadcast"``
            Each axis along which the values repeat has step 0: all its elements are one in memory, and the array
            is read-only.  Where no values repeat, this is C order.

    Returns
    -------
    array
        The same values, shape and dtype.

    Raises
    ------
    ValueError
        If there is no such layout.

    Examples
    --------
    >>> x = np.arange(6.0).reshape(2, 3)
    >>> for layout in ("c", "fortran", "strided", "negative"):
    ...     print(layout, lay_out(x, layout).strides)
    c (24, 8)
    fortran (8, 16)
    strided (96, 16)
    negative (-24, -8)
    >>> lay_out(np.zeros((2, 3)), "broadcast").strides
    (0, 0)
    """
    match one_of(LAYOUTS, "lay_out", "layout", layout):
        case "fortran":
            return array.copy(order="F")
        case "channels_last":
            return _channels_last(array)
        case "strided":
            return _strided(array)
        case "negative":
            return array[_every(-1, array.ndim)].copy()[_every(-1, array.ndim)]
        case "broadcast":
            return _broadcast(array)
        case _:
            return array.copy(order="C")


def _every(step: int, ndim: int) -> Any:
    return ..., *(slice(None, None, step) for _ in range(ndim))


def _channels_last(array: np.ndarray) -> np.ndarray:
    if array.ndim < 3:
        return array.copy(order="C")
    return np.moveaxis(np.moveaxis(array, -3, -1).copy(order="C"), -1, -3)


def _strided(array: np.ndarray) -> np.ndarray:
    spread = np.full([2 * n for n in array.shape], _between(array.dtype), array.dtype)
    seen = spread[_every(2, array.ndim)]
    seen[...] = array
    return seen


def _between(dtype: np.dtype) -> Any:
    if dtype.kind in "fc":
        return np.nan
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.ones((), dtype)


def _broadcast(array: np.ndarray) -> np.ndarray:
    kept = array
    for axis in range(array.ndim):
        first = kept.take([0], axis) if array.shape[axis] else kept
        if (kept == first).all():
            kept = first
    return np.broadcast_to(kept.copy(order="C"), array.shape)
