"""Arrays of the GPU as the kernels take them: channels last, C-contiguous, beginning at a multiple of 16 bytes.

The operations' arrays are logical (N, C, …), of any strides.  Over channels-last memory, as the operations make it,
they become rows of channels by a view.  What lies otherwise is converted: copied, once, for this kernel.
"""

from __future__ import annotations

from typing import Any

from .plan import ALIGNMENT

__all__ = ["channels", "is_packed", "packed", "rows", "shape_last"]

Array = Any


def rows(x: Array) -> Array:
    """Return x (N, C, …) as (N, …, C), packed; with less than three axes the order stays."""
    return packed(x if x.ndim < 3 else x.transpose(0, *range(2, x.ndim), 1))


def channels(y: Array) -> Array:
    """View the rows y (N, …, C) as (N, C, …)."""
    return y if y.ndim < 3 else y.transpose(0, y.ndim - 1, *range(1, y.ndim - 1))


def shape_last(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the shape of images (N, C, H, W) as that of their rows, (N, H, W, C)."""
    n, c, height, width = shape
    return n, height, width, c


def packed(array: Array, dtype: Any = None) -> Array:
    """Return an array C-contiguous and aligned, in its own dtype or another: itself if it is so already."""
    array = array if dtype is None or array.dtype == dtype else array.astype(dtype)
    return array if is_packed(array) else array.copy()


def is_packed(array: Array) -> bool:
    """Whether an array is C-contiguous and aligned."""
    return array.flags.c_contiguous and array.data.ptr % ALIGNMENT == 0
