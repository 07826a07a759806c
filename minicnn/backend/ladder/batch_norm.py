"""Batch normalisation on a device: the ladder of ``kernels/batch_norm.cu``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..launch import MAX_GRID
from .arguments import ceil_div, chosen, in_rows, result, sums_dtype, vector

__all__ = ["LADDER", "batch_norm_backward", "batch_norm_forward", "batch_norm_inference"]

Array = Any

LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    "batch_norm_inference": {
        "v1": ("batch_norm_inference_v1",),
        "v2": ("batch_norm_inference_v2",),
    },
    "batch_norm_forward": {
        "v1": ("batch_norm_forward_v1",),
        "v2": ("batch_norm_forward_v2_moments", "batch_norm_inference_v1"),
        "v3": ("batch_norm_forward_v3_partial", "batch_norm_forward_v3_merge", "batch_norm_inference_v1"),
        "v4": ("batch_norm_forward_v4_partial", "batch_norm_forward_v3_merge", "batch_norm_inference_v2"),
    },
    "batch_norm_backward": {
        "v1": ("batch_norm_backward_v1",),
        "v2": ("batch_norm_backward_v2_sums", "batch_norm_backward_v2_dx"),
        "v3": (
            "batch_norm_backward_v3_partial",
            "batch_norm_backward_v3_merge",
            "batch_norm_backward_v2_dx",
        ),
        "v4": (
            "batch_norm_backward_v4_partial",
            "batch_norm_backward_v3_merge",
            "batch_norm_backward_v4_dx",
        ),
    },
}

THREADS = 256  # of a block
WARP = 32
BLOCKS = 1024  # a few for each multiprocessor of a large GPU; one number for all GPUs, and so one order of the sums
ROWS = 8  # that a thread takes at least, if there are as many
MOST_BLOCKS = MAX_GRID[1]  # of rows
COUNTED = 1 << 24  # ones that a float32 can add up


def batch_norm_inference(
    on: Any,
    x: Array,
    mean: Array,
    var: Array,
    w: Array | None = None,
    b: Array | None = None,
    *,
    eps: float = 1e-5,
    relu: bool = False,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Normalise each channel by given statistics, scale and shift it: y = w (x − mean) / √(var + eps) + b.

    Parameters
    ----------
    on : Launcher
    x : (…, C), of float32, float64, float16 or bfloat16
    mean, var : (C,), of float32; float64 if x is
    w, b : the same, optional
    eps : float
    relu : bool
        Take the positive part, in the same pass.
    version : str, optional
        Of ``LADDER``; by default the fastest for the case.
    out : array of the shape and dtype of x, optional

    Returns
    -------
    array of the shape and dtype of x

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    op = "batch_norm_inference"
    rows, y = in_rows(op, "x", x), result(on, op, x.shape, x.dtype, out)
    version = chosen(op, version, LADDER[op], _unfit(rows, no_double=("v2",), vectors="v2"))
    _each_element(
        on, LADDER[op][version][0], rows, rows, in_rows(op, "out", y), w, b, mean, var, *rows.shape, eps, relu
    )
    return y


def batch_norm_forward(
    on: Any,
    x: Array,
    w: Array | None = None,
    b: Array | None = None,
    *,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
    relu: bool = False,
    version: str | None = None,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Normalise each channel by its own mean and variance, scale and shift it, and move the running statistics.

    Parameters
    ----------
    on : Launcher
    x : (…, C), of float32, float64, float16 or bfloat16
        More than one value a channel.
    w, b : (C,), of float32; float64 if x is; optional
    running_mean, running_var : the same, optional
        Changed in place: (1 − momentum) · running + momentum · batch, with the batch's unbiased variance.
    momentum, eps : float
    relu, version, out
        As in :func:`batch_norm_inference`.

    Returns
    -------
    y : array of the shape and dtype of x
    mean, var : (C,)
        The batch's, the variance biased, as :func:`batch_norm_backward` takes them.

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, one value a channel, or a version that cannot do the case.
    """
    op = "batch_norm_forward"
    rows, y = in_rows(op, "x", x), result(on, op, x.shape, x.dtype, out)
    count, channels = rows.shape
    if count < 2:
        raise ValueError(f"{op}: training needs more than one value a channel, got x {x.shape}")
    unfit = _unfit(rows, no_double=("v3", "v4"), vectors="v4")
    if count > COUNTED * THREADS // WARP:
        unfit["v2"] = f"a thread counts up to {COUNTED} rows, {count} rows are too many for one block"
    version = chosen(op, version, LADDER[op], unfit)
    kernels, into = LADDER[op][version], in_rows(op, "out", y)
    mean, var = (on.empty((channels,), sums_dtype(x.dtype)) for _ in range(2))
    kept = mean, var, running_mean, running_var
    if version == "v1":
        grid, size = (ceil_div(channels, THREADS),), rows.shape
        on.launch(kernels[0], grid, (THREADS,), rows, into, w, b, *kept, *size, momentum, eps, relu)
        return y, mean, var
    if version == "v2":
        block, columns, _ = _blocks(rows, vectors=False)
        on.launch(kernels[0], (columns,), block, rows, *kept, count, channels, momentum)
    else:
        found, sizes = _partial(on, kernels[0], rows, version == "v4", rows)
        on.launch(kernels[1], _warps(channels), (THREADS,), *found, *kept, *sizes, momentum)
    _each_element(on, kernels[-1], rows, rows, into, w, b, mean, var, count, channels, eps, relu)
    return y, mean, var


def batch_norm_backward(
    on: Any,
    g: Array,
    x: Array,
    mean: Array,
    var: Array,
    w: Array | None = None,
    b: Array | None = None,
    *,
    eps: float = 1e-5,
    relu: bool = False,
    training: bool = True,
    version: str | None = None,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Return the gradients of a batch normalisation's input, weight and bias.

    Parameters
    ----------
    on : Launcher
    g : (…, C)
        Of the result.
    x : of the shape and dtype of g
        What was normalised.
    mean, var, w, b, eps, relu
        What it was normalised with.
    training : bool
        Whether mean and var are the batch's own, and so depend on x.
    version : str, optional
        Of ``LADDER``; by default the fastest for the case.
    out : array of the shape and dtype of x, optional
        For dx.

    Returns
    -------
    dx : array of the shape and dtype of x
    dw, db : (C,)

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    op = "batch_norm_backward"
    if g.shape != x.shape:
        raise ValueError(f"{op}: g must have the shape of x, {x.shape}, got {g.shape}")
    rows, into = in_rows(op, "x", x), result(on, op, x.shape, x.dtype, out)
    version = chosen(op, version, LADDER[op], _unfit(rows, no_double=("v3", "v4"), vectors="v4"))
    kernels, size, channels = LADDER[op][version], rows.shape, rows.shape[1]
    dw, db = (on.empty((channels,), sums_dtype(x.dtype)) for _ in range(2))
    given = in_rows(op, "g", g), rows, w, b, mean, var
    dx, last = in_rows(op, "out", into), (*size, eps, relu, training)
    if version == "v1":
        on.launch(kernels[0], (ceil_div(channels, THREADS),), (THREADS,), *given, dx, dw, db, *last)
        return into, dw, db
    if version == "v2":
        block, columns, _ = _blocks(rows, vectors=False)
        on.launch(kernels[0], (columns,), block, *given, dw, db, *size, eps, relu)
    else:
        found, (_, _, parts, _) = _partial(on, kernels[0], rows, version == "v4", *given, after=(eps, relu))
        on.launch(kernels[1], _warps(channels), (THREADS,), *found, var, dw, db, channels, parts, eps)
    _each_element(on, kernels[-1], rows, *given, dw, db, dx, *last)
    return into, dw, db


# How threads lie over rows and channels


def _unfit(rows: Array, no_double: Iterable[str], vectors: str) -> dict[str, str]:
    """Which versions cannot do a case, and why."""
    channels, dtype = rows.shape[1], rows.dtype
    if dtype == np.float64:
        return dict.fromkeys(no_double, "takes float32, float16 and bfloat16, got float64")
    if dtype != np.float32 and channels % vector(dtype):
        return {vectors: f"takes {dtype} with a multiple of {vector(dtype)} channels only, got {channels}"}
    return {}


def _blocks(rows: Array, vectors: bool) -> tuple[tuple[int, int], int, dict[str, int]]:
    """Return a block's threads over channels and rows, how many blocks cover all channels, and the template's rest.

    With `vectors` a thread takes 16 bytes of channels if it can, and a block is no wider than they need.
    """
    channels = rows.shape[1]
    if not vectors:
        return (WARP, THREADS // WARP), ceil_div(channels, WARP), {}
    size = vector(rows.dtype) if channels % vector(rows.dtype) == 0 else 1
    width = min(WARP, 1 << (channels // size - 1).bit_length())
    return (width, THREADS // width), ceil_div(channels, size * width), {"kVector": size}


def _warps(channels: int) -> tuple[int]:
    """Blocks that have a warp for each channel."""
    return (ceil_div(channels * WARP, THREADS),)


def _partial(
    on: Any, kernel: str, rows: Array, vectors: bool, *arrays: Array | None, after: tuple[Any, ...] = ()
) -> tuple[list[Array], tuple[int, int, int, int]]:
    """Find two numbers of each channel (C, parts) for parts of the rows; return them, M, C, parts and a part's rows."""
    count, channels = rows.shape
    block, columns, template = _blocks(rows, vectors)
    size = max(ceil_div(count, max(BLOCKS // max(columns, 1), 1)), ROWS * block[1])
    sizes = count, channels, ceil_div(count, size), size
    found = [on.empty((channels, sizes[2]), sums_dtype(rows.dtype)) for _ in range(2)]
    on.launch(kernel, (columns, sizes[2]), block, *arrays, *found, *sizes, *after, **template)
    return found, sizes


def _each_element(on: Any, kernel: str, rows: Array, *arguments: Any) -> None:
    """Start a kernel that computes each element of `rows` by itself."""
    if kernel in ("batch_norm_inference_v2", "batch_norm_backward_v4_dx"):
        block, columns, template = _blocks(rows, vectors=True)
        height = min(ceil_div(rows.shape[0], ROWS * block[1]), MOST_BLOCKS)
        on.launch(kernel, (columns, height), block, *arguments, **template)
    else:
        on.launch(kernel, (ceil_div(rows.size, THREADS),), (THREADS,), *arguments)
