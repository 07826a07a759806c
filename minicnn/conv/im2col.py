"""Convolution as one matrix product, the textbook way.

*Unfolding* (im2col) writes what each window sees as one row of a matrix, and the convolution becomes a product with the
matrix of kernels::

    columns  (N·P·Q, R·S·C)   one row an output pixel
    kernels  (K, R·S·C)       one row an output channel
    y = columns · kernelsᵀ,      dw = gᵀ · columns,      dx = fold(g · kernels)

where *folding* (col2im) adds each entry back to the pixel it was copied from: the adjoint of unfolding.  With groups
all three matrices get a leading axis, one product a group.  Within a row the channels run fastest, as they do in
channels-last memory, so unfolding copies whole runs and the product *is* the channels-last output.

The threads share the product: it is cut along its longer side, in two, or in more parts if it is large.  The problem
alone decides how, so the result has the same bits for any number of threads.

Cost: 2·N·K·P·Q·R·S·C/groups FLOPs and a workspace of N·P·Q·R·S·C elements, R·S times the input, that has to pass
through main memory: :mod:`minicnn.conv.im2col_chunked` mends that.

References
----------
K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing", 2006.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..backend.cpu import empty_images
from ..backend.parallel import parallel_for
from ..backend.workspace import empty, scratch
from ..geometry import Window2d, inside
from .chunks import Chunk, cut, length, slab, split
from .counted import products, slab_bytes
from .problem import Direction, Problem
from .result import channels_last
from .tail import finish
from .work import Pass, Work

__all__ = [
    "are_pixels",
    "backward_data",
    "backward_weight",
    "by_group",
    "fold",
    "forward",
    "kernel_matrix",
    "product",
    "supports",
    "unfold",
    "windows",
    "work",
]

COPY_BYTES = 1 << 22  # of columns that a thread copies at a time
SHARED = 1 << 24  # multiply-adds that are worth a second thread
PART = 2048  # rows or columns of a part of a product, where there are enough for more than two parts,
PARTS = 8  # of which there are at most so many
FEW_ROWS = 80  # with fewer in the left matrix, BLAS is faster at the transposed product

Part = tuple[slice, slice]


def supports(problem: Problem, direction: Direction) -> Literal[True]:
    """Whether this can compute a problem: any."""
    return True


def work(problem: Problem, direction: Direction) -> Work:
    """Return what it does for a problem whose arrays are in channels-last memory."""
    (n, c, height, width), (_, k, p, q) = problem.input_shape, problem.output_shape
    window, groups, size = problem.window, problem.groups, problem.dtype.itemsize
    rows, inner, outer = n * p * q, window.samples * c // groups, k // groups
    columns, image = rows * groups * inner * size, height * width * c * size
    if direction == "backward_data":
        parts = _parts(groups, rows, outer, inner)
        return Work(
            products([(length(some), outer, length(block)) for some, block in parts], times=groups),
            (Pass(2 * columns, c // groups * size), Pass(n * image, image)),
            tasks=len(parts),
            calls=20 + 4 * window.samples,
            shared=columns,
        )
    slabs = [slab_bytes(problem, window, chunk, q) for chunk in _pieces(n, p, q, inner * groups * size)]
    if _are_pixels_of_x(window, groups):
        columns = 0
    run = c // groups * size * (window.kernel[1] if groups == 1 and window.dilation[1] == 1 else 1)
    copies = Pass(sum(slabs), width * c * size), Pass(columns, run)
    if direction == "forward":
        sizes, result = (rows, inner, outer), (Pass(rows * k * size, k * size),)
    else:
        sizes, result = (outer, rows, inner), ()
    parts = _parts(groups, *sizes)
    turned = rows * groups * length(parts[0][1]) * size if direction == "forward" and rows < FEW_ROWS else 0
    return Work(
        products([(length(some), sizes[1], length(block)) for some, block in parts], times=groups),
        (*copies, *result),
        tasks=len(parts),
        calls=20,
        shared=columns,
        private=max(slabs, default=0) + turned,
    )


def windows(image: np.ndarray, window: Window2d, p: int, q: int) -> np.ndarray:
    """View padded channels-last images (N, H', W', C) as what each window sees: (N, P, Q, R, S, C).

    Nothing is copied: overlapping windows share their pixels.
    """
    n, _, _, c = image.shape
    along_n, along_h, along_w, along_c = image.strides
    (stride_h, stride_w), (dilation_h, dilation_w) = window.stride, window.dilation
    return as_strided(
        image,
        (n, p, q, *window.kernel, c),
        (
            along_n,
            along_h * stride_h,
            along_w * stride_w,
            along_h * dilation_h,
            along_w * dilation_w,
            along_c,
        ),
        writeable=False,
    )


def by_group(pixels: np.ndarray, groups: int) -> np.ndarray:
    """View (N, P, Q, …, C) as (groups, N, P, Q, …, C/groups)."""
    *front, c = pixels.shape
    return pixels.reshape(*front, groups, c // groups).transpose(-2, *range(len(front)), -1)


def kernel_matrix(w: np.ndarray, groups: int) -> np.ndarray:
    """Return the kernels w (K, C/groups, R, S) as (groups, K/groups, R·S·C/groups); a view of channels-last ones."""
    k = w.shape[0]
    return w.transpose(0, 2, 3, 1).reshape(groups, k // groups, -1)


def unfold(x: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return the columns (groups, N·P·Q, R·S·C/groups) of x (N, C, H, W)."""
    n, c, height, width = x.shape
    p, q = window.output_size(height, width)
    columns = empty((groups, n, p, q, *window.kernel, c // groups), x.dtype)
    pieces = _pieces(n, p, q, window.samples * c * x.itemsize)

    def task(i: int) -> None:
        images, rows = pieces[i]
        padded = slab(x, images, window.seen(0, rows), window.seen(1, slice(0, q)))
        np.copyto(
            columns[:, images, rows], by_group(windows(padded, window, rows.stop - rows.start, q), groups)
        )

    parallel_for(len(pieces), task)
    return columns.reshape(groups, n * p * q, window.samples * c // groups)


def fold(columns: np.ndarray, input_shape: tuple[int, ...], window: Window2d) -> np.ndarray:
    """Return Σ of the columns' entries at the pixels they come from, (N, C, H, W): the adjoint of :func:`unfold`."""
    n, c, height, width = input_shape
    p, q = window.output_size(height, width)
    groups = columns.shape[0]
    entries = columns.reshape(groups, n, p, q, *window.kernel, c // groups)
    dx = empty_images(n, c, height, width, columns.dtype)
    pixels = by_group(dx.transpose(0, 2, 3, 1), groups)
    image = math.prod(columns.shape[::2]) * p * q * columns.itemsize
    pieces = cut(n, p, q, max(COPY_BYTES // max(image, 1), 1) * p * q)  # of whole images, for windows overlap

    def task(i: int) -> None:
        images = pieces[i].images
        pixels[:, images] = 0
        for r, s in window.offsets():
            here, there = inside(r * window.dilation[0] - window.padding[0], window.stride[0], height, p)
            across, along = inside(s * window.dilation[1] - window.padding[2], window.stride[1], width, q)
            pixels[:, images, there, along] += entries[:, images, here, across, r, s]

    parallel_for(len(pieces), task)
    return dx


def _pieces(n: int, p: int, q: int, pixel_bytes: int) -> list[Chunk]:
    """Cut the columns of N images of P×Q windows into chunks to copy."""
    return cut(n, p, q, COPY_BYTES // max(pixel_bytes, 1))


def are_pixels(window: Window2d, groups: int) -> bool:
    """Whether the columns are the padded pixels as they are."""
    return groups == 1 and window.kernel == window.stride == (1, 1)


def _are_pixels_of_x(window: Window2d, groups: int) -> bool:
    return are_pixels(window, groups) and not any(window.padding)


def _columns(x: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return the columns of x, to be read only: they may be x itself."""
    return _pixel_rows(x, groups) if _are_pixels_of_x(window, groups) else unfold(x, window, groups)


def _pixel_rows(y: np.ndarray, groups: int) -> np.ndarray:
    """Return y (N, K, P, Q) as (groups, N·P·Q, K/groups): a view if y is in channels-last memory."""
    n, k, p, q = y.shape
    return by_group(y.transpose(0, 2, 3, 1), groups).reshape(groups, n * p * q, k // groups)


def _parts(groups: int, rows: int, inner: int, columns: int) -> list[Part]:
    """Cut the result of a product (rows × inner) · (inner × columns) into parts, along its longer side."""
    longer = max(rows, columns)
    count = 1 if groups * rows * inner * columns < SHARED else min(max(longer // PART, 2), PARTS)
    if rows >= columns:
        return [(some, slice(0, columns)) for some in split(rows, count)]
    return [(slice(0, rows), block) for block in split(columns, count)]


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write the products of a (…, M, K) with b (…, K, N) to `out`; as (bᵀaᵀ)ᵀ where that is faster.

    Examples
    --------
    >>> out = np.empty((2, 1))
    >>> product(np.ones((2, 3)), np.ones((3, 1)), out)
    >>> out
    array([[3.],
           [3.]])
    """
    if not _is_turned(a.shape[-2], b):
        np.matmul(a, b, out=out)
        return
    turned = scratch("conv turned", (*out.shape[:-2], *out.shape[:-3:-1]), out.dtype)
    np.matmul(b.swapaxes(-1, -2), a.swapaxes(-1, -2), out=turned)
    out[...] = turned.swapaxes(-1, -2)


def _is_turned(rows: int, b: np.ndarray) -> bool:
    """Whether few rows are multiplied with kernels as they lie in memory, column by column."""
    return rows < FEW_ROWS and b.strides[-2] < b.strides[-1]


def _multiply(
    a: np.ndarray, b: np.ndarray, out: np.ndarray, bias: np.ndarray | None = None, relu: bool = False
) -> np.ndarray:
    """Write the product of each group to `out`, with `bias` added and `relu` its positive part; return `out`."""
    groups, rows, inner = a.shape
    parts = _parts(groups, rows, inner, b.shape[2])

    def task(i: int) -> None:
        some, block = parts[i]
        part = out[:, some, block]
        product(a[:, some], b[..., block], part)
        finish(part, None if bias is None else bias[..., block], relu)

    parallel_for(len(parts), task)
    return out


def forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    window: Window2d,
    groups: int,
    out: np.ndarray,
    relu: bool = False,
) -> None:
    """Write the convolution of x (N, C, H, W) with w (K, C/groups, R, S), plus b (K,), into `out` (N, K, P, Q).

    With `relu`, its positive part.
    """
    kernels = kernel_matrix(w, groups).swapaxes(1, 2)
    bias = None if b is None else b.reshape(groups, 1, -1)
    with channels_last(out) as y:
        _multiply(_columns(x, window, groups), kernels, _pixel_rows(y, groups), bias, relu)


def backward_data(
    g: np.ndarray, w: np.ndarray, input_shape: tuple[int, ...], window: Window2d, groups: int
) -> np.ndarray:
    """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q)."""
    gradients, kernels = _pixel_rows(g, groups), kernel_matrix(w, groups)
    columns = empty((groups, gradients.shape[1], kernels.shape[2]), g.dtype)
    return fold(_multiply(gradients, kernels, columns), input_shape, window)


def backward_weight(x: np.ndarray, g: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return ∂L/∂w (K, C/groups, R, S) from g = ∂L/∂y (N, K, P, Q)."""
    k, columns = g.shape[1], _columns(x, window, groups)
    dw = empty((groups, k // groups, columns.shape[2]), x.dtype)
    _multiply(_pixel_rows(g, groups).swapaxes(1, 2), columns, dw)
    return dw.reshape(k, *window.kernel, -1).transpose(0, 3, 1, 2)
