"""Convolution as it is defined: plain loops over every output, every input channel and every kernel sample.

    y[n, k, p, q] = b[k] + Σ_{c, r, s} x[n, c, h, w] · w[k, c, r, s]
    h = p·stride + r·dilation − top,   w = q·stride + s·dilation − left

where x is 0 outside the image and, with groups, c runs over the channels of k's group only.  (The literature's
*cross-correlation*: the kernel is not flipped.)  Each product x·w of the forward sum gives the two backward sums one
term each, g·w for dx and g·x for dw, so the three directions are one loop.

Cost: N·K·P·Q·(C/groups)·R·S multiply-adds at the speed of the Python interpreter, no workspace.  It exists to be read
and to hold the other algorithms to.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Literal

import numpy as np

from ..geometry import Window2d
from .problem import Direction, Problem
from .work import Work

__all__ = ["backward_data", "backward_weight", "forward", "supports", "work"]

Index = tuple[int, int, int, int]


def terms(
    input_shape: tuple[int, ...], weight_shape: tuple[int, ...], window: Window2d, groups: int
) -> Iterator[tuple[Index, Index, Index]]:
    """Every term of the sum, as the indices (of y, of x, of w); terms in the padding are left out."""
    n, c, height, width = input_shape
    k = weight_shape[0]
    (stride_h, stride_w), (dilation_h, dilation_w) = window.stride, window.dilation
    top, _, left, _ = window.padding
    p, q = window.output_size(height, width)
    for i, ko, po, qo in product(range(n), range(k), range(p), range(q)):
        group = ko // (k // groups)
        for ci, (r, s) in product(range(c // groups), window.offsets()):
            h = po * stride_h + r * dilation_h - top
            w = qo * stride_w + s * dilation_w - left
            if 0 <= h < height and 0 <= w < width:
                yield (i, ko, po, qo), (i, group * (c // groups) + ci, h, w), (ko, ci, r, s)


def supports(problem: Problem, direction: Direction) -> Literal[True]:
    """Whether this can compute a problem: any."""
    return True


def work(problem: Problem, direction: Direction) -> Work:
    """Return what it does for a problem: a turn of Python's loops for each multiply-add of an image without padding."""
    return Work(steps=problem.flops // 2)


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
    out[...] = 0 if b is None else b[:, None, None]
    for y_at, x_at, w_at in terms(x.shape, w.shape, window, groups):
        out[y_at] += x[x_at] * w[w_at]
    if relu:
        np.maximum(out, 0, out=out)


def backward_data(
    g: np.ndarray, w: np.ndarray, input_shape: tuple[int, ...], window: Window2d, groups: int
) -> np.ndarray:
    """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q)."""
    dx = np.zeros(input_shape, g.dtype)
    for y_at, x_at, w_at in terms(input_shape, w.shape, window, groups):
        dx[x_at] += g[y_at] * w[w_at]
    return dx


def backward_weight(x: np.ndarray, g: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return ∂L/∂w (K, C/groups, R, S) from g = ∂L/∂y (N, K, P, Q)."""
    dw = np.zeros((g.shape[1], x.shape[1] // groups, *window.kernel), g.dtype)
    for y_at, x_at, w_at in terms(x.shape, dw.shape, window, groups):
        dw[w_at] += g[y_at] * x[x_at]
    return dw
