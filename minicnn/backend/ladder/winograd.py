"""Winograd's convolution of 3×3 kernels on a device: the ladder of ``kernels/winograd.cu``.

F(2×2, 3×3) and F(4×4, 3×3) as separate kernels, with a product by the vendor's library for each position of a tile
between them, and F(2×2, 3×3) fused into one.  Groups are refused, as on the CPU: in each a tile's transform, which is
what the saved multiplications are paid with, would serve a fraction of the kernels only.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...geometry import Window2d
from .arguments import ceil_div, chosen, result
from .conv2d import problem

__all__ = ["LADDER", "winograd_backward_data", "winograd_forward", "workspace_bytes"]

Array = Any
Shape = tuple[int, ...]
Conv2d = dict[str, int]  # the fields of the kernels' struct

LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    "winograd2": {
        "v1": ("winograd2_v1_kernels", "winograd2_v1_input", "winograd2_v1_output"),
        "v2": ("winograd2_v1_kernels", "winograd2_v2"),
        "v3": ("winograd2_v3_kernels", "winograd2_v3"),
        "v4": ("winograd2_v3_kernels", "winograd2_v4"),
    },
    "winograd4": {
        "v1": ("winograd4_v1_kernels", "winograd4_v1_input", "winograd4_v1_output"),
        "v2": ("winograd4_v2_kernels", "winograd4_v2_input", "winograd4_v2_output"),
    },
}


class _Block(NamedTuple):
    """What a block of a fused kernel takes: tiles, kernels, channels at a time, threads, dynamic shared memory."""

    tiles: int
    kernels: int
    depth: int
    threads: tuple[int, ...]
    shared: int = 0


FUSED = {
    "winograd2_v2": _Block(16, 16, 16, (16, 16)),
    "winograd2_v3": _Block(32, 32, 8, (256,)),
    "winograd2_v4": _Block(32, 64, 8, (256,), shared=2 * 4 * 8 * (16 * 32 + 4 + 16 * 64)),
}
VERSIONS = tuple(f"{operation}_{version}" for operation, versions in LADDER.items() for version in versions)
DOUBLE = ("winograd2_v1", "winograd4_v1")  # made for float64 too
THREADS = {"v1": 256, "v2": 128}  # of a block that transforms tiles
SQUARE = 32  # kernels and channels that a block of the faster transform of kernels takes
WORKSPACE = 1 << 29  # bytes of V and M: enough tiles for large products


def winograd_forward(
    on: Any,
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    window: Window2d,
    relu: bool = False,
    version: str | None = None,
    out: Array | None = None,
    workspace: int = WORKSPACE,
) -> Array:
    """Convolve images with 3×3 kernels, y = x ∗ w + b, or its positive part.

    Parameters
    ----------
    on : Launcher
    x : (N, H, W, C), of float32; of float64 in the first versions
    w : (K, 3, 3, C), of x's dtype
    b : (K,), of x's dtype, optional
    window : Window2d
        3×3 with stride 1, dilation 1, any padding.
    relu : bool
        Take the positive part, in the same pass.
    version : str, optional
        ``"winograd2_v1"`` … ``"winograd4_v2"``; by default the fastest of F(2×2, 3×3) for the case.  F(4×4, 3×3), whose
        rounding errors are about three times as large, must be asked for.
    out : (N, P, Q, K), of x's dtype, optional
    workspace : int
        Bytes that the transformed tiles, V and M, may take where they pass through memory.  If all would take more,
        they are worked on in batches.

    Returns
    -------
    (N, P, Q, K), of x's dtype

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, a window it cannot do, or a version that cannot do the case.
    """
    op = "winograd_forward"
    conv = _problem(op, window, x.shape, w.shape)
    return _convolve(on, op, x, w, b, out, conv, relu, version, workspace)


def winograd_backward_data(
    on: Any,
    g: Array,
    w: Array,
    input_shape: Shape,
    *,
    window: Window2d,
    version: str | None = None,
    out: Array | None = None,
    workspace: int = WORKSPACE,
) -> Array:
    """Return ∂L/∂x of y = x ∗ w from g = ∂L/∂y: the convolution of g with w turned by 180° and transposed.

    The transform of the kernels reads w turned; no copy is made.

    Parameters
    ----------
    on : Launcher
    g : (N, P, Q, K), of float32; of float64 in the first versions
    w : (K, 3, 3, C), of g's dtype
    input_shape : tuple (N, H, W, C)
    window, version, workspace
        As in :func:`winograd_forward`.
    out : (N, H, W, C), of g's dtype, optional

    Returns
    -------
    dx : (N, H, W, C), of g's dtype

    Raises
    ------
    TypeError, ValueError
        As :func:`winograd_forward`, and if g has not the shape of y.
    """
    op = "winograd_backward_data"
    conv = _problem(op, window, input_shape, w.shape)
    shape = _output_shape(conv)
    if g.shape != shape:
        raise ValueError(f"{op}: g must have shape {shape}, got {g.shape}")
    return _convolve(on, op, g, w, None, out, _turned(conv), False, version, workspace, turned=True)


def workspace_bytes(
    input_shape: Shape,
    kernels: int,
    *,
    window: Window2d,
    version: str,
    itemsize: int = 4,
    workspace: int = WORKSPACE,
) -> int:
    """Return the bytes of device memory that :func:`winograd_forward` takes beside its arguments and its result.

    Parameters
    ----------
    input_shape : tuple (N, H, W, C)
    kernels : int
        K.
    window, version, workspace
        As there.
    itemsize : int
        Bytes of a number.

    Raises
    ------
    ValueError
        For a window it cannot do, or a version there is not.

    Examples
    --------
    >>> window = Window2d.of("example", 3, padding=1)
    >>> workspace_bytes((8, 56, 56, 64), 64, window=window, version="winograd2_v4")
    262144
    >>> workspace_bytes((8, 56, 56, 64), 64, window=window, version="winograd4_v1")
    29491200
    """
    op = "workspace_bytes"
    m = _m(chosen(op, version, VERSIONS, {}))
    conv = _problem(op, window, input_shape, (kernels, 3, 3, input_shape[-1]))
    numbers = math.prod(_kernels_shape(conv, version))
    if version not in FUSED:
        numbers += (m + 2) ** 2 * _batch(conv, m, itemsize, workspace) * (conv["C"] + conv["K"])
    return numbers * itemsize


# What is asked


def _problem(op: str, window: Window2d, input_shape: Shape, weight_shape: Shape) -> Conv2d:
    for name, value, only in (
        ("kernel", window.kernel, (3, 3)),
        ("stride", window.stride, (1, 1)),
        ("dilation", window.dilation, (1, 1)),
    ):
        if value != only:
            raise ValueError(f"{op}: the {name} must be {only}, got {value}")
    return problem(op, window, input_shape, weight_shape, groups=1)


def _turned(conv: Conv2d) -> Conv2d:
    """Return the convolution of g that gives dx."""
    swapped = {"H": "P", "W": "Q", "C": "K", "P": "H", "Q": "W", "K": "C"}
    padding = {name: 2 - conv[name] for name in ("pad_h", "pad_w")}
    return conv | {name: conv[other] for name, other in swapped.items()} | padding


def _version(on: Any, op: str, conv: Conv2d, dtype: Any, version: str | None) -> str:
    """Return the version asked for, or the fastest of F(2×2, 3×3), if it can do the case."""
    candidates = VERSIONS
    if version is None:
        candidates = tuple(f"winograd2_{name}" for name in LADDER["winograd2"])
        if conv["K"] <= FUSED["winograd2_v3"].kernels:  # half of a block of v4 would have nothing to do
            candidates = candidates[:-1]
    return chosen(op, version, candidates, _unfit(on, dtype))


def _unfit(on: Any, dtype: Any) -> dict[str, str]:
    """Return the versions that cannot do the case, and why."""
    if dtype.name == "float64":
        return {one: "is made for float32, got float64" for one in VERSIONS if one not in DOUBLE}
    device, shared = on.device, FUSED["winograd2_v4"].shared
    if device.capability < 80:
        return {"winograd2_v4": f"needs compute capability 8.0, the device has {device.capability / 10}"}
    if device.shared_memory < shared:
        return {
            "winograd2_v4": f"takes {shared} bytes of shared memory, the device has {device.shared_memory}"
        }
    return {}


def _m(version: str) -> int:
    """Return the side of a tile."""
    return int(version[len("winograd")])


def _tiles(conv: Conv2d, m: int) -> int:
    return conv["N"] * ceil_div(conv["P"], m) * ceil_div(conv["Q"], m)


def _output_shape(conv: Conv2d) -> tuple[int, int, int, int]:
    return conv["N"], conv["P"], conv["Q"], conv["K"]


# The work


def _convolve(
    on: Any,
    op: str,
    x: Array,
    w: Array,
    b: Array | None,
    out: Array | None,
    conv: Conv2d,
    relu: bool,
    version: str | None,
    workspace: int,
    turned: bool = False,
) -> Array:
    if w.dtype != x.dtype:
        raise TypeError(f"{op}: the arrays must have one dtype, got {x.dtype} and {w.dtype}")
    version = _version(on, op, conv, x.dtype, version)
    y = result(on, op, _output_shape(conv), x.dtype, out)
    kernels = _transformed(on, w, conv, version, turned)
    if version in FUSED:
        _fused(on, version, x, kernels, b, y, conv, relu)
    else:
        _separate(on, version, x, kernels, b, y, conv, relu, workspace)
    return y


def _kernels_shape(conv: Conv2d, version: str) -> tuple[int, int, int]:
    """Return the shape of U: positions, channels and kernels, filled up with zeros to whole blocks."""
    block = FUSED.get(version)
    depth, width = (block.depth, block.kernels) if block else (1, 1)
    return (_m(version) + 2) ** 2, ceil_div(conv["C"], depth) * depth, ceil_div(conv["K"], width) * width


def _transformed(on: Any, w: Array, conv: Conv2d, version: str, turned: bool) -> Array:
    """Return U."""
    operation, number = version.split("_")
    name = LADDER[operation][number][0]
    kernels = on.empty(_kernels_shape(conv, version), w.dtype)
    _, depth, width = kernels.shape
    sizes = w.shape[0], w.shape[3], depth, width
    if turned or name.endswith("v1_kernels"):  # turned, v1 reads and writes whole lines too
        threads = THREADS["v1"]
        grid = (ceil_div(depth * width, threads),)
        on.launch(f"{operation}_v1_kernels", grid, (threads,), w, kernels, *sizes, kRotate=turned)
    else:
        grid = ceil_div(width, SQUARE), ceil_div(depth, SQUARE)
        on.launch(name, grid, (SQUARE, 8), w, kernels, *sizes)
    return kernels


def _fused(
    on: Any, version: str, x: Array, kernels: Array, b: Array | None, y: Array, conv: Conv2d, relu: bool
) -> None:
    block, tiles = FUSED[version], _tiles(conv, 2)
    _, depth, width = kernels.shape
    grid = (ceil_div(tiles, block.tiles) * (width // block.kernels),)
    sizes = conv, depth, width, tiles
    on.launch(version, grid, block.threads, x, kernels, b, y, *sizes, bool(relu), shared=block.shared)


def _separate(
    on: Any,
    version: str,
    x: Array,
    kernels: Array,
    b: Array | None,
    y: Array,
    conv: Conv2d,
    relu: bool,
    workspace: int,
) -> None:
    """Transform the tiles, multiply, transform back: batch by batch."""
    m, positions, c, k = _m(version), len(kernels), conv["C"], conv["K"]
    total, most = _tiles(conv, m), _batch(conv, m, x.dtype.itemsize, workspace)
    data = on.empty((positions * most * c,), x.dtype)
    products = on.empty((positions * most * k,), x.dtype)
    for first in range(0, total, most):
        tiles = min(most, total - first)
        V, M = _head(data, positions, tiles, c), _head(products, positions, tiles, k)
        _each_tile(on, f"{version}_input", tiles * c, c, x, V, conv, first, tiles)
        on.matmul(V, kernels, M)
        _each_tile(on, f"{version}_output", tiles * k, k, M, b, y, conv, first, tiles, bool(relu))


def _batch(conv: Conv2d, m: int, itemsize: int, workspace: int) -> int:
    """Return the most tiles whose V and M the workspace holds; at least one."""
    tile = (m + 2) ** 2 * (conv["C"] + conv["K"]) * itemsize
    return max(min(_tiles(conv, m), workspace // tile), 1)


def _head(memory: Array, *shape: int) -> Array:
    return memory[: math.prod(shape)].reshape(shape)


def _each_tile(on: Any, name: str, count: int, channels: int, *arguments: Any) -> None:
    """Start a transform of tiles, a thread for each number of a position, or in v2 for each four channels."""
    version = name.split("_")[1]
    threads = THREADS[version]
    if version == "v1":
        on.launch(name, (ceil_div(count, threads),), (threads,), *arguments)
    else:
        vector = 4 if channels % 4 == 0 else 1
        on.launch(name, (ceil_div(count // vector, threads),), (threads,), *arguments, kVector=vector)
