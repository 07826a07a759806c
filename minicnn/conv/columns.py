"""What windows see of images, as the rows of a matrix, and back: on any device.

On the CPU that is :mod:`minicnn.conv.im2col`'s, on a GPU the kernels of ``kernels/im2col.cu`` and ``col2im.cu``.  Those
are made for float32 and float64; for other dtypes here is a copy, or a sum, for each sample of the window.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import backend
from ..geometry import Window2d, inside
from . import im2col

__all__ = ["fold", "unfold"]

Array = Any


def unfold(x: Array, window: Window2d) -> Array:
    """Return the columns (N·P·Q, R·S·C) of x (N, C, H, W), the channels running fastest.

    Examples
    --------
    >>> import numpy as np
    >>> unfold(np.arange(4.0).reshape(1, 1, 2, 2), Window2d.of("unfold", (1, 2)))
    array([[0., 1.],
           [2., 3.]])
    """
    be = backend.of(x)
    if be is backend.cpu:
        return im2col.unfold(x, window, groups=1)[0]
    if _has_kernel(be, x):
        from . import cuda

        return cuda.unfold(x, window)
    n, c, height, width = x.shape
    p, q = window.output_size(height, width)
    columns = be.zeros((n, p, q, *window.kernel, c), x.dtype)
    for at, pixels in _samples(x.transpose(0, 2, 3, 1), columns, window):
        at[...] = pixels
    return columns.reshape(n * p * q, window.samples * c)


def fold(columns: Array, input_shape: tuple[int, ...], window: Window2d) -> Array:
    """Return Σ of the entries of columns (N·P·Q, R·S·C) at the pixels they come from: the adjoint of :func:`unfold`.

    Examples
    --------
    >>> import numpy as np
    >>> fold(np.ones((2, 2)), (1, 1, 1, 3), Window2d.of("fold", (1, 2)))
    array([[[[1., 2., 1.]]]])
    """
    be = backend.of(columns)
    if be is backend.cpu:
        return im2col.fold(columns[None], input_shape, window)
    if _has_kernel(be, columns):
        from . import cuda

        return cuda.fold(columns, input_shape, window)
    n, c, height, width = input_shape
    p, q = window.output_size(height, width)
    entries = columns.reshape(n, p, q, *window.kernel, c)
    dx = be.full_images(*input_shape, columns.dtype, 0)
    for at, pixels in _samples(dx.transpose(0, 2, 3, 1), entries, window):
        pixels += at
    return dx


def _has_kernel(be: Any, array: Array) -> bool:
    return be is not backend.meta and array.size > 0 and array.dtype.name in ("float32", "float64")


def _samples(pixels: Array, columns: Array, window: Window2d) -> Iterator[tuple[Array, Array]]:
    """Yield views of the columns (N, P, Q, R, S, C) of each sample, and of the pixels (N, H, W, C) that it sees."""
    _, height, width, _ = pixels.shape
    _, p, q = columns.shape[:3]
    for r, s in window.offsets():
        here, there = inside(r * window.dilation[0] - window.padding[0], window.stride[0], height, p)
        across, along = inside(s * window.dilation[1] - window.padding[2], window.stride[1], width, q)
        yield columns[:, here, across, r, s], pixels[:, there, along]
