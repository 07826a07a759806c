"""Folding columns into images on a device: the ladder of ``kernels/col2im.cu``."""

from __future__ import annotations

import math
from typing import Any

from ...geometry import Pair, Window2d
from ..launch import MAX_GRID
from .arguments import ceil_div, chosen, result
from .window import checked_images, conv2d, lanes

__all__ = ["LADDER", "col2im"]

Array = Any

LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    "col2im": {"v1": ("col2im_v1",), "v2": ("col2im_v2",), "v3": ("col2im_v3",), "v4": ("col2im_v4",)},
}

THREADS = 256  # of a block
MOST_GROUPS = MAX_GRID[1]


def col2im(
    on: Any,
    columns: Array,
    input_shape: tuple[int, int, int, int],
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    *,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Add each number of the columns to the pixel it comes from: the adjoint of :func:`.im2col.im2col`.

    Parameters
    ----------
    on : Launcher
    columns : (groups, N·P·Q, R·S·C/groups), of float32 or, in the first two versions, float64
    input_shape : (N, H, W, C)
    kernel_size, stride, padding, dilation
        As :meth:`minicnn.geometry.Window2d.of` takes them.
    version : str, optional
        Of ``LADDER``; by default the fastest for the case.  v3 needs float32 and C/groups a multiple of 4; v4 also
        windows of 3×3 with stride and dilation 1.
    out : array (N, H, W, C), optional

    Returns
    -------
    array (N, H, W, C)

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    op = "col2im"
    groups = columns.shape[0] if columns.ndim == 3 else 0
    n, height, width, c = checked_images(op, "input_shape", input_shape)
    if groups < 1 or c % groups:
        raise ValueError(
            f"{op}: columns must be [groups, windows, samples] with C a multiple of groups, got shape "
            f"{columns.shape} for images {input_shape}"
        )
    window = Window2d.of(op, kernel_size, stride, padding, dilation)
    conv, channels = conv2d(window, input_shape, groups), c // groups
    expected = (groups, n * conv["P"] * conv["Q"], window.samples * channels)
    if columns.shape != expected:
        raise ValueError(
            f"{op}: columns must have shape {expected} for images {input_shape}, got {columns.shape}"
        )
    dx = result(on, op, input_shape, columns.dtype, out)
    version = chosen(op, version, LADDER[op], _unfit(window, channels, columns.dtype))
    steps = [s // math.gcd(s, d) for s, d in zip(window.stride, window.dilation, strict=True)]
    pixels, vectors = n * height * width, n * height * width * c // 4
    if version == "v1":
        count = pixels * c
        on.launch("col2im_v1", (ceil_div(count, THREADS),), (THREADS,), columns, dx, conv, count)
    elif version == "v2":
        across = lanes(channels)
        rows = THREADS // across
        grid = ceil_div(pixels, rows), min(groups, MOST_GROUPS)
        on.launch("col2im_v2", grid, (across, rows), columns, dx, conv, *steps, pixels)
    elif version == "v3":
        grid = (ceil_div(vectors, THREADS),)
        on.launch("col2im_v3", grid, (THREADS,), columns, dx, conv, *steps, vectors)
    else:
        grid = (ceil_div(vectors, THREADS),)
        on.launch("col2im_v4", grid, (THREADS,), columns, dx, conv, vectors, kR=3, kS=3)
    return dx


def _unfit(window: Window2d, channels: int, dtype: Any) -> dict[str, str]:
    """Return which versions cannot fold such columns, and why."""
    if dtype != "float32":
        return dict.fromkeys(("v3", "v4"), f"columns must be float32, got {dtype}")
    if channels % 4:
        return dict.fromkeys(("v3", "v4"), f"C/groups must be a multiple of 4, got {channels}")
    if window.kernel != (3, 3) or window.stride != (1, 1) or window.dilation != (1, 1):
        return {
            "v4": f"the kernel must be 3×3 with stride and dilation 1, got {window.kernel} with {window.stride} "
            f"and {window.dilation}"
        }
    return {}
