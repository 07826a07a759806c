"""Convolution on a device the classical way: unfold, and let the vendor's library multiply.

What Caffe did, and what every faster algorithm is measured against.  With columns = im2col(x) and kernels w read as
groups of matrices (K/groups, R·S·C/groups)::

    y = columns · wᵀ,      dw = gᵀ · columns,      dx = col2im(g · w)

The product runs at the library's full speed.  But the columns, R·S times the images, are written to memory and read
again: 8·R·S bytes a number of the input, for 2·R·S·K FLOPs.  So it is good where there are many kernels, and the
implicit product of ``kernels/conv2d_forward.cu``, which never stores the columns, where there are few.  A bounded
workspace takes the images a few at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...geometry import Pair, Window2d
from ..launch import ALIGNMENT
from .arguments import ceil_div, result
from .col2im import col2im
from .im2col import im2col
from .window import checked_images

__all__ = ["im2col_conv2d", "im2col_conv2d_backward_data", "im2col_conv2d_backward_weight"]

Array = Any
Shape = tuple[int, int, int, int]

WORKSPACE = 1 << 28  # bytes of columns: enough rows for the library's largest tiles on any GPU


def im2col_conv2d(
    on: Any,
    x: Array,
    w: Array,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    workspace: int = WORKSPACE,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Return the convolution of x with w.

    Parameters
    ----------
    on : Launcher
    x : (N, H, W, C), of float32 or float64
    w : (K, R, S, C/groups), the same
    stride, padding, dilation
        As :meth:`minicnn.geometry.Window2d.of` takes them.
    groups : int
    workspace : int
        Bytes of columns at a time; but one image's at least.
    version : str, optional
        Of im2col's ladder.
    out : array (N, P, Q, K), optional

    Returns
    -------
    array (N, P, Q, K)

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    op = "im2col_conv2d"
    _check_dtypes(op, x, w)
    window, output_shape = _check(op, x.shape, w, stride, padding, dilation, groups)
    y = result(on, op, output_shape, x.dtype, out)
    kernels = _by_group(w, groups).swapaxes(1, 2)
    for some in _chunks(output_shape, w, groups, workspace):
        _multiply(on, _columns(on, x[some], window, groups, version), kernels, _rows(y[some], groups))
    return y


def im2col_conv2d_backward_data(
    on: Any,
    g: Array,
    w: Array,
    input_shape: Shape,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    workspace: int = WORKSPACE,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Return ∂L/∂x (N, H, W, C) from g = ∂L/∂y (N, P, Q, K).

    The other parameters and errors are those of :func:`im2col_conv2d`; `version` is one of col2im's.
    """
    op = "im2col_conv2d_backward_data"
    _check_dtypes(op, g, w)
    window, output_shape = _check(op, input_shape, w, stride, padding, dilation, groups)
    _check_gradient(op, g, output_shape)
    dx = result(on, op, input_shape, g.dtype, out)
    kernels = _by_group(w, groups)
    for some in _chunks(output_shape, w, groups, workspace):
        gradients = _rows(g[some], groups)
        columns = on.empty((groups, gradients.shape[1], kernels.shape[2]), g.dtype)
        _multiply(on, gradients, kernels, columns)
        pixels = dx[some]
        if _are_pixels(window, groups):
            pixels[...] = columns.reshape(pixels.shape)
            continue
        geometry = window.kernel, window.stride, window.padding, window.dilation
        into = pixels if _is_aligned(on, pixels) else None
        folded = col2im(on, columns, pixels.shape, *geometry, version=version, out=into)
        if into is None:
            pixels[...] = folded
    return dx


def im2col_conv2d_backward_weight(
    on: Any,
    x: Array,
    g: Array,
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    workspace: int = WORKSPACE,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Return ∂L/∂w (K, R, S, C/groups) from x (N, H, W, C) and g = ∂L/∂y (N, P, Q, K).

    The other parameters and errors are those of :func:`im2col_conv2d`.  The chunks' sums are added in order.
    """
    op = "im2col_conv2d_backward_weight"
    _check_dtypes(op, x, g)
    r, s = Window2d.of(op, kernel_size).kernel
    k, c = g.shape[-1], checked_images(op, "x", x.shape)[3]
    dw = result(on, op, (k, r, s, c // max(groups, 1)), x.dtype, out)
    window, output_shape = _check(op, x.shape, dw, stride, padding, dilation, groups)
    _check_gradient(op, g, output_shape)
    total = _by_group(dw, groups)
    total[...] = 0
    part = on.empty(total.shape, dw.dtype)
    for some in _chunks(output_shape, dw, groups, workspace):
        columns = _columns(on, x[some], window, groups, version)
        _multiply(on, _rows(g[some], groups).swapaxes(1, 2), columns, part)
        total += part
    return dw


def _check(
    op: str,
    input_shape: tuple[int, ...],
    w: Array,
    stride: Pair,
    padding: Pair | str,
    dilation: Pair,
    groups: int,
) -> tuple[Window2d, Shape]:
    """Return the window and the shape of y."""
    if len(input_shape) != 4 or w.ndim != 4:
        raise ValueError(
            f"{op}: x must be [N, H, W, C] and w [K, R, S, C/groups], got {input_shape}, {w.shape}"
        )
    (n, height, width, c), (k, r, s, channels) = input_shape, w.shape
    if groups < 1 or c % groups or k % groups or channels != c // groups:
        raise ValueError(
            f"{op}: x has {c} channels and w {k} kernels of {channels}, in {groups} groups; each group must have "
            f"C/groups channels and K/groups kernels"
        )
    window = Window2d.of(op, (r, s), stride, padding, dilation)
    return window, (n, *window.output_size(height, width), k)


def _check_dtypes(op: str, a: Array, b: Array) -> None:
    if a.dtype != b.dtype:
        raise TypeError(f"{op}: the arrays must have one dtype, got {a.dtype} and {b.dtype}")


def _check_gradient(op: str, g: Array, output_shape: Shape) -> None:
    if g.shape != output_shape:
        raise ValueError(f"{op}: g must have the output's shape {output_shape}, got {g.shape}")


def _chunks(output_shape: Shape, w: Array, groups: int, workspace: int) -> Iterator[slice]:
    """Cut the images into chunks whose columns fit the workspace, as even as can be."""
    n, p, q, _ = output_shape
    image = p * q * math.prod(w.shape[1:]) * groups * w.dtype.itemsize
    pieces = ceil_div(n, max(workspace // max(image, 1), 1))
    return (slice(n * i // pieces, n * (i + 1) // pieces) for i in range(pieces))


def _are_pixels(window: Window2d, groups: int) -> bool:
    """Whether the columns are the images as they are."""
    return groups == 1 and window.kernel == window.stride == (1, 1) and not any(window.padding)


def _columns(on: Any, x: Array, window: Window2d, groups: int, version: str | None) -> Array:
    if _are_pixels(window, groups):
        return _rows(x, 1)
    geometry = window.kernel, window.stride, window.padding, window.dilation
    return im2col(on, x if _is_aligned(on, x) else x.copy(), *geometry, groups, version=version)


def _is_aligned(on: Any, images: Array) -> bool:
    """Whether kernels can take them as they are: some images of an odd number of elements may begin anywhere."""
    return on.device.address(images) % ALIGNMENT == 0


def _rows(pixels: Array, groups: int) -> Array:
    """View (N, P, Q, K) as (groups, N·P·Q, K/groups)."""
    *shape, k = pixels.shape
    return pixels.reshape(math.prod(shape), groups, k // groups).swapaxes(0, 1)


def _by_group(w: Array, groups: int) -> Array:
    """View (K, R, S, C/groups) as (groups, K/groups, R·S·C/groups)."""
    return w.reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))


def _multiply(on: Any, a: Array, b: Array, out: Array) -> None:
    """Write a · b, of stacks of matrices, to `out`; of one matrix without the stack, which copies no transposed one."""
    if len(a) == 1:
        a, b, out = a[0], b[0], out[0]
    on.matmul(a, b, out)
