"""Convolution as one matrix product, the textbook way.

*Unfolding* (im2col) writes what each window sees as one row of a matrix, and the convolution becomes a product with the
matrix of kernels::

    columns  (N·P·Q, R·S·C)   one row an output pixel
    kernels  (K, R·S·C)       one row an output channel
    y = columns · kernelsᵀ,      dw = gᵀ · columns,      dx = fold(g · kernels)

where *folding* (col2im) adds each entry back to the pixel it was copied from: the adjoint of unfolding.  With groups
all three matrices get a leading axis, one product a group.  Within a row the channels run fastest, as they do in
channels-last memory, so unfolding copies whole runs and the product *is* the channels-last output.

Cost: 2·N·K·P·Q·R·S·C/groups FLOPs and a workspace of N·P·Q·R·S·C elements, R·S times the input, that has to pass
through main memory: :mod:`minicnn.conv.im2col_chunked` mends that.

References
----------
K. Chellapilla, S. Puri, P. Simard, "High Performance Convolutional Neural Networks for Document Processing", 2006.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..backend.matmul import matmul
from ..geometry import Window2d
from .problem import Direction, Problem
from .tail import finish
from .work import Pass, Product, Work

__all__ = [
    "backward_data",
    "backward_weight",
    "fold",
    "forward",
    "kernel_matrix",
    "supports",
    "unfold",
    "windows",
    "work",
]


def supports(problem: Problem, direction: Direction) -> Literal[True]:
    """Whether this can compute a problem: any."""
    return True


def work(problem: Problem, direction: Direction) -> Work:
    """Return what it does for a problem: padding, unfolding or folding, and one product."""
    n, c, height, width = problem.input_shape
    _, k, p, q = problem.output_shape
    groups, size, samples = problem.groups, problem.dtype.itemsize, problem.window.samples
    rows, inner, columns = n * p * q, samples * c // groups, k // groups
    top, bottom, left, right = problem.window.padding
    padded = n * (height + top + bottom) * (width + left + right) * c * size
    unfolded, result = rows * samples * c * size, rows * k * size
    run = (
        c
        // groups
        * size
        * (problem.window.kernel[1] if problem.window.dilation[1] == 1 and groups == 1 else 1)
    )
    products = {
        "forward": Product(groups, rows, inner, columns),
        "backward_data": Product(groups, rows, columns, inner),
        "backward_weight": Product(groups, columns, rows, inner),
    }
    passes = {
        "forward": (Pass(padded, width * c * size), Pass(unfolded, run), Pass(4 * result, k * size)),
        "backward_data": (Pass(2 * unfolded, c // groups * size), Pass(padded, width * c * size)),
        "backward_weight": (Pass(padded, width * c * size), Pass(unfolded, run)),
    }
    shared = {
        "forward": padded + unfolded + 2 * result,
        "backward_data": padded + 2 * unfolded + result,
        "backward_weight": padded + unfolded + result,
    }
    calls = 20 if direction != "backward_data" else 20 + 4 * samples
    return Work((products[direction],), passes[direction], calls=calls, shared=shared[direction])


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
    return np.moveaxis(pixels.reshape(*front, groups, c // groups), -2, 0)


def kernel_matrix(w: np.ndarray, groups: int) -> np.ndarray:
    """Return the kernels w (K, C/groups, R, S) as (groups, K/groups, R·S·C/groups); a view of channels-last ones."""
    k = w.shape[0]
    return w.transpose(0, 2, 3, 1).reshape(groups, k // groups, -1)


def unfold(x: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return the columns (groups, N·P·Q, R·S·C/groups) of x (N, C, H, W)."""
    n, c, height, width = x.shape
    p, q = window.output_size(height, width)
    seen = windows(_pad(x, window).transpose(0, 2, 3, 1), window, p, q)
    return by_group(seen, groups).reshape(groups, n * p * q, window.samples * c // groups)


def fold(columns: np.ndarray, input_shape: tuple[int, ...], window: Window2d) -> np.ndarray:
    """Return Σ of the columns' entries at the pixels they come from, (N, C, H, W): the adjoint of :func:`unfold`."""
    n, c, height, width = input_shape
    p, q = window.output_size(height, width)
    top, bottom, left, right = window.padding
    size = height + top + max(bottom, 0), width + left + max(right, 0)
    padded = np.zeros((n, *size, c), columns.dtype).transpose(0, 3, 1, 2)
    groups = columns.shape[0]
    entries = columns.reshape(groups, n, p, q, *window.kernel, c // groups)
    for r, s in window.offsets():
        from_groups = entries[..., r, s, :].transpose(1, 0, 4, 2, 3).reshape(n, c, p, q)
        padded[window.at(r, s, p, q)] += from_groups
    return padded[:, :, top : top + height, left : left + width]


def _pad(x: np.ndarray, window: Window2d) -> np.ndarray:
    top, bottom, left, right = window.padding
    return np.pad(x, ((0, 0), (0, 0), (top, max(bottom, 0)), (left, max(right, 0))))


def _gradient_matrix(g: np.ndarray, groups: int) -> np.ndarray:
    """Return g (N, K, P, Q) as (groups, N·P·Q, K/groups)."""
    n, k, p, q = g.shape
    return by_group(g.transpose(0, 2, 3, 1), groups).reshape(groups, n * p * q, k // groups)


def _products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the matrix product of each group."""
    return np.stack([matmul(a, b) for a, b in zip(left, right, strict=True)])


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
    n, k, p, q = out.shape
    product = _products(unfold(x, window, groups), kernel_matrix(w, groups).swapaxes(1, 2))
    pixels = product.transpose(1, 0, 2).reshape(n, p, q, k)
    finish(pixels, b, relu)
    out[...] = pixels.transpose(0, 3, 1, 2)


def backward_data(
    g: np.ndarray, w: np.ndarray, input_shape: tuple[int, ...], window: Window2d, groups: int
) -> np.ndarray:
    """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q)."""
    columns = _products(_gradient_matrix(g, groups), kernel_matrix(w, groups))
    return fold(columns, input_shape, window)


def backward_weight(x: np.ndarray, g: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return ∂L/∂w (K, C/groups, R, S) from g = ∂L/∂y (N, K, P, Q)."""
    kernels = _products(_gradient_matrix(g, groups).swapaxes(1, 2), unfold(x, window, groups))
    return kernels.reshape(g.shape[1], *window.kernel, -1).transpose(0, 3, 1, 2)
