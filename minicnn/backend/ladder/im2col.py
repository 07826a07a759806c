"""Unfolding images on a device: the ladder of ``kernels/im2col.cu``."""

from __future__ import annotations

from typing import Any

from ...geometry import Pair, Window2d
from ..launch import MAX_GRID
from .arguments import ceil_div, chosen, result
from .window import checked_images, conv2d, lanes

__all__ = ["LADDER", "im2col"]

Array = Any

LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    "im2col": {"v1": ("im2col_v1",), "v2": ("im2col_v2",), "v3": ("im2col_v3",)},
}

THREADS = 256  # of a block
MOST_GROUPS = MAX_GRID[1]
UNROLLED = ((3, 3), (1, 1))  # windows that v3 is made for; others it does by a loop


def im2col(
    on: Any,
    x: Array,
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Return what each window of x sees, as one row of a matrix.

    Parameters
    ----------
    on : Launcher
    x : (N, H, W, C), of float32 or, in the first two versions, float64
    kernel_size, stride, padding, dilation
        As :meth:`minicnn.geometry.Window2d.of` takes them.
    groups : int
        C must be a multiple of it.
    version : str, optional
        Of ``LADDER``; by default the fastest for the case.  v3 needs float32 and C/groups a multiple of 4.
    out : array (groups, N·P·Q, R·S·C/groups), optional

    Returns
    -------
    array (groups, N·P·Q, R·S·C/groups)
        Rows in the order n, p, q and columns r, s, c, so that with kernels w (K, R, S, C/groups) the convolution is
        ``columns @ w.reshape(groups, K / groups, -1).swapaxes(1, 2)``.

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    op = "im2col"
    n, _, _, c = checked_images(op, "x", x.shape)
    if groups < 1 or c % groups:
        raise ValueError(f"{op}: C must be a multiple of groups, got C = {c} and groups = {groups}")
    conv = conv2d(Window2d.of(op, kernel_size, stride, padding, dilation), x.shape, groups)
    windows, taps, channels = n * conv["P"] * conv["Q"], conv["R"] * conv["S"], c // groups
    columns = result(on, op, (groups, windows, taps * channels), x.dtype, out)
    version = chosen(op, version, LADDER[op], unfit(channels, x.dtype))
    if version == "v1":
        count = windows * taps * c
        on.launch("im2col_v1", (ceil_div(count, THREADS),), (THREADS,), x, columns, conv, count)
    elif version == "v2":
        runs, across = windows * taps, lanes(channels)
        rows = THREADS // across
        grid = ceil_div(runs, rows), min(groups, MOST_GROUPS)
        on.launch("im2col_v2", grid, (across, rows), x, columns, conv, runs)
    else:
        vectors = windows * c // 4
        size = (conv["R"], conv["S"]) if (conv["R"], conv["S"]) in UNROLLED else (0, 0)
        grid = (ceil_div(vectors, THREADS),)
        on.launch("im2col_v3", grid, (THREADS,), x, columns, conv, vectors, kR=size[0], kS=size[1])
    return columns


def unfit(channels: int, dtype: Any) -> dict[str, str]:
    """Return why v3 cannot unfold images of so many channels a group, if it cannot."""
    if dtype != "float32":
        return {"v3": f"x must be float32, got {dtype}"}
    return {"v3": f"C/groups must be a multiple of 4, got {channels}"} if channels % 4 else {}
