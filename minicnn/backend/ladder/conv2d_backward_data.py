"""The gradient of a convolution's images on a device: the ladder of ``kernels/conv2d_backward_data.cu``."""

from __future__ import annotations

import math
from typing import Any

from ...geometry import Window2d
from .arguments import ceil_div, result
from .conv2d import FEW, MOST, Product, chosen, problem

__all__ = ["LADDER", "conv2d_backward_data"]

Array = Any

NAME = "conv2d_backward_data"
NAIVE = ("v1", "v2")
TURNED = ("v5", "v6", "v7", "v8")  # versions that read turned weights
LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    NAME: {f"v{n}": (f"{NAME}_v{n}",) for n in range(1, 5)}
    | {version: (f"{NAME}_v5_turn", f"{NAME}_{version}") for version in TURNED}
}

THREADS = 256  # of a block of v1, v2 and the turn
SIDE = 32  # of a tile that is turned
MOST_ROWS = 128  # of a tile of the product


def conv2d_backward_data(
    on: Any,
    g: Array,
    w: Array,
    input_shape: tuple[int, int, int, int],
    *,
    window: Window2d,
    groups: int = 1,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Return ∂L/∂x of a convolution of x with w from g = ∂L/∂y.

    Parameters
    ----------
    on : Launcher
    g : (N, P, Q, K), of float32, float64, float16 or bfloat16
    w : (K, R, S, C/groups), of g's dtype
    input_shape : (N, H, W, C)
        Of x: what a stride skips at its end, g does not tell.
    window : Window2d
        Its kernel is R×S.
    groups : int
    version : str, optional
        Of ``LADDER``; by default the fastest for the case that rounds no inputs: not v7, which makes them TF32,
        and v2 where a group has few channels.
        From v5 on w is turned first, into a workspace of its size.
    out : (N, H, W, C), of g's dtype, optional

    Returns
    -------
    (N, H, W, C), of g's dtype

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    shape = tuple(input_shape)
    conv = problem(NAME, window, shape, w.shape, groups)
    places = _places(conv, window)
    dx = result(on, NAME, shape, g.dtype, out)
    kernels, channels = conv["K"] // groups, conv["C"] // groups
    (stride_h, stride_w), taps = window.stride, conv["R"] * conv["S"]
    product = Product(
        rows=conv["N"] * ceil_div(conv["H"], stride_h) * ceil_div(conv["W"], stride_w),
        columns=channels,
        depth=taps * kernels,
        vector=kernels & -kernels,
    )
    if version is None and channels < FEW and g.dtype.name in ("float32", "float64"):
        version = "v2"
    multiply = {name: launched[-1] for name, launched in LADDER[NAME].items()}
    version, instance = chosen(on.device, NAME, version, multiply, product, window, (g, w, dx), places)
    if version in TURNED:
        w = _turned(on, w, conv, instance.index)
    tiles = instance.tiles(product), 1, groups * stride_h * stride_w
    grid = (ceil_div(math.prod(shape), THREADS),) if version in NAIVE else tiles
    instance.start(on, product, grid, g, w, dx, conv)
    return dx


def _turned(on: Any, w: Array, conv: dict[str, int], index: str) -> Array:
    """Return w (K, R, S, C/groups) as (C, R, S, K/groups)."""
    groups, taps = conv["G"], conv["R"] * conv["S"]
    kernels, channels = conv["K"] // groups, conv["C"] // groups
    turned = on.empty((conv["C"], conv["R"], conv["S"], kernels), w.dtype)
    blocks = groups * taps * ceil_div(kernels, SIDE) * ceil_div(channels, SIDE)
    on.launch(f"{NAME}_v5_turn", (blocks,), (THREADS,), w, turned, conv, Index=index)
    return turned


def _places(conv: dict[str, int], window: Window2d) -> int:
    """Return the end of what pixels count as windows, also beyond g and beyond the last image, times the kernels.

    Raises
    ------
    ValueError
        If there are more pixels, or numbers of g under one kernel's extent, than an int counts.
    """
    (stride_h, stride_w), (extent_h, extent_w) = window.stride, window.extent
    under = (extent_h // stride_h * conv["Q"] + extent_w // stride_w + 1) * conv["K"]
    counted = {"pixels": conv["N"] * conv["H"] * conv["W"], "numbers of g under a kernel": under}
    for what, count in counted.items():
        if count > MOST:
            raise ValueError(f"{NAME}: there must be at most {MOST} {what}, got {count} in {conv}")
    least = max(conv["H"] // stride_h, 1) * max(conv["W"] // stride_w, 1)  # pixels of an image and a residue
    images = conv["N"] + MOST_ROWS // least
    last_row = (conv["H"] + conv["pad_h"]) // stride_h
    last_column = (conv["W"] + conv["pad_w"]) // stride_w
    return ((images * conv["P"] + last_row) * conv["Q"] + last_column + 1) * conv["K"]
