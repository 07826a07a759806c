"""The gradients of kernels and bias on a device: the ladders of ``kernels/conv2d_backward_weight.cu``."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from ...geometry import Window2d
from . import arguments
from .arguments import ceil_div, flat, result, sums_dtype
from .conv2d import Instance, Product, chosen, problem

__all__ = ["LADDER", "conv2d_backward_bias", "conv2d_backward_weight", "parts_of", "workspace"]

Array = Any

WEIGHT, BIAS, SUM = "conv2d_backward_weight", "conv2d_backward_bias", "conv2d_backward_weight_v5_sum"
NAIVE = ("v1", "v2")
IN_PARTS = ("v5", "v6", "v7", "v8")  # versions that cut the windows into parts
LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    WEIGHT: {f"v{n}": (f"{WEIGHT}_v{n}",) for n in range(1, 5)}
    | {version: (f"{WEIGHT}_{version}", SUM) for version in IN_PARTS},
    BIAS: {"v1": (f"{BIAS}_v1",), "v2": (f"{BIAS}_v2", SUM)},
}

THREADS = 256  # of a block of the naive versions, of the bias and of the sum
KERNELS = 32  # of a block of the bias's v2
BLOCKS = 2  # a multiprocessor's, at least, before the windows are cut no further
LEAST = 256  # windows a part
STEP = 64  # windows that the loops of v5 to v8 take at a time, at most


def conv2d_backward_weight(
    on: Any,
    x: Array,
    g: Array,
    *,
    window: Window2d,
    groups: int = 1,
    version: str | None = None,
    parts: int | None = None,
    dtype: Any = None,
    out: Array | None = None,
) -> Array:
    """Return ∂L/∂w of a convolution of x with w from g = ∂L/∂y.

    Parameters
    ----------
    on : Launcher
    x : (N, H, W, C), of float32, float64, float16 or bfloat16
    g : (N, P, Q, K), of x's dtype
    window : Window2d
        Its kernel is R×S.
    groups : int
    version : str, optional
        Of ``LADDER``; by default the fastest for the case that rounds no inputs: not v7, which makes them TF32.
    parts : int, optional
        How many parts v5 to v8 cut the N·P·Q windows into, at most; by default :func:`parts_of`.  The sums of
        different numbers of parts differ by their rounding; :func:`workspace` is what they take.
    dtype : dtype, optional
        Of dw: x's by default, or float32 where x is of half precision, whose sums float32 holds as they are.
    out : (K, R, S, C/groups), of that dtype, optional

    Returns
    -------
    (K, R, S, C/groups)

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    if g.ndim != 4 or x.ndim != 4 or groups < 1:
        raise ValueError(
            f"{WEIGHT}: x must be [N, H, W, C] and g [N, P, Q, K], with at least 1 group, got {x.shape}, {g.shape}, "
            f"groups {groups}"
        )
    if g.dtype != x.dtype:
        raise TypeError(f"{WEIGHT}: g must have x's dtype, got {g.dtype} and {x.dtype}")
    shape = (g.shape[3], *window.kernel, x.shape[3] // groups)
    conv = problem(WEIGHT, window, x.shape, shape, groups)
    dw = _result(on, x, shape, dtype, out)
    kernels, channels = shape[0] // groups, shape[3]
    product = Product(
        rows=kernels,
        columns=math.prod(shape[1:]),
        depth=conv["N"] * conv["P"] * conv["Q"],
        vector=(kernels | channels) & -(kernels | channels),
        along_depth=(False, False),
    )
    arrays = x, g, dw
    multiply = {name: launched[0] for name, launched in LADDER[WEIGHT].items()}
    version, instance = chosen(on.device, WEIGHT, version, multiply, product, window, arrays)
    if version in IN_PARTS:
        # However few tiles there are, their parts keep all multiprocessors at work.
        one: Any = SimpleNamespace(capability=on.device.capability, multiprocessors=1)
        _, instance = chosen(one, WEIGHT, version, multiply, product, window, arrays)
        blocks = instance.tiles(product) * groups
        count = parts_of(on, blocks, product.depth) if parts is None else parts
        _in_parts(on, instance, product, arrays, conv, count)
        return dw
    _check_unused(WEIGHT, version, parts)
    tiles = instance.tiles(product), 1, groups
    grid = (ceil_div(math.prod(shape), THREADS),) if version in NAIVE else tiles
    instance.start(on, product, grid, g, x, dw, conv)
    return dw


def conv2d_backward_bias(
    on: Any,
    g: Array,
    *,
    version: str | None = None,
    parts: int | None = None,
    out: Array | None = None,
) -> Array:
    """Return ∂L/∂b of a convolution with bias from g = ∂L/∂y: its sum over images and pixels.

    Parameters
    ----------
    on : Launcher
    g : (N, P, Q, K), of float32, float64, float16 or bfloat16
    version : str, optional
        Of ``LADDER``; by default the last.
    parts : int, optional
        How many parts v2 cuts the N·P·Q windows into, at most; by default :func:`parts_of`.
    out : (K,), of g's dtype, optional

    Returns
    -------
    (K,), of g's dtype

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version there is not.
    """
    if g.ndim != 4:
        raise ValueError(f"{BIAS}: g must be [N, P, Q, K], got shape {g.shape}")
    version = arguments.chosen(BIAS, version, LADDER[BIAS], {})
    windows, kernels = math.prod(g.shape[:3]), g.shape[3]
    db = result(on, BIAS, (kernels,), g.dtype, out)
    if version == "v1":
        _check_unused(BIAS, version, parts)
        on.launch(f"{BIAS}_v1", (ceil_div(kernels, THREADS),), (THREADS,), g, db, windows, kernels)
        return db
    across = ceil_div(kernels, KERNELS)
    count = parts_of(on, across, windows) if parts is None else parts
    length, count = _cut(BIAS, windows, count)
    sums = on.empty((count, kernels), sums_dtype(g.dtype))
    on.launch(f"{BIAS}_v2", (across, count), (THREADS,), g, sums, windows, length, kernels)
    _sum(on, sums, db)
    return db


def _check_unused(op: str, version: str, parts: int | None) -> None:
    if parts is not None:
        raise ValueError(f"{op}: {version} does not cut its sums into parts, got parts {parts}")


def parts_of(on: Any, blocks: int, windows: int) -> int:
    """Return into how many parts so many windows are cut if each takes so many blocks.

    As many as give every multiprocessor its blocks, but none shorter than LEAST windows.
    """
    wanted = ceil_div(BLOCKS * on.device.multiprocessors, max(blocks, 1))
    return max(1, min(wanted, windows // LEAST))


def workspace(shape: tuple[int, ...], parts: int, dtype: Any) -> int:
    """Return the bytes of the workspace of a dw of this shape and dtype in so many parts.

    One part needs none where dw has the type that sums are kept in, float or double.

    Examples
    --------
    >>> workspace((64, 3, 3, 64), 27, np.dtype("float32"))
    3981312
    """
    sums = sums_dtype(dtype)
    return 0 if parts == 1 and sums == dtype else parts * math.prod(shape) * sums.itemsize


def _result(on: Any, x: Array, shape: tuple[int, ...], dtype: Any, out: Array | None) -> Array:
    dtype = np.dtype(dtype) if dtype is not None else x.dtype if out is None else out.dtype
    if dtype not in (x.dtype, sums_dtype(x.dtype)):
        raise TypeError(f"{WEIGHT}: dw must be {x.dtype} or {sums_dtype(x.dtype)}, got {dtype}")
    return result(on, WEIGHT, shape, dtype, out)


def _in_parts(
    on: Any,
    instance: Instance,
    product: Product,
    arrays: tuple[Array, Array, Array],
    conv: dict[str, int],
    count: int,
) -> None:
    """Write the parts' sums to the workspace and add them up; one part alone is dw itself, if it has their dtype."""
    x, g, dw = arrays
    length, count = _cut(WEIGHT, product.depth, count)
    sums = sums_dtype(x.dtype)
    alone = count == 1 and dw.dtype == sums
    parts = dw[None] if alone else on.empty((count, *dw.shape), sums)
    instance.start(on, product, (instance.tiles(product), count, conv["G"]), g, x, parts, conv, length)
    if not alone:
        _sum(on, parts.reshape(count, -1), flat(WEIGHT, "out", dw))


def _cut(op: str, windows: int, parts: int) -> tuple[int, int]:
    """Return how long a part is, and how many there are: no more than asked for, and none without a window."""
    if parts < 1:
        raise ValueError(f"{op}: parts must be at least 1, got {parts}")
    length = max(ceil_div(windows, parts), 1)
    if length >= LEAST:  # then a part of whole steps is worth more than parts of the same length
        length = ceil_div(length, STEP) * STEP
    return length, max(ceil_div(windows, length), 1)


def _sum(on: Any, parts: Array, sums: Array) -> None:
    count, size = parts.shape
    on.launch(SUM, (ceil_div(size, THREADS),), (THREADS,), parts, sums, count, size)
