"""Max and average pooling on a device: the ladder of ``kernels/pool.cu``."""

from __future__ import annotations

from typing import Any

from ...geometry import Pair, Window2d
from .arguments import HALVES, ceil_div, chosen, result, unmade, vector
from .window import checked_images, lanes, pool2d

__all__ = ["LADDER", "avg_pool_backward", "avg_pool_forward", "max_pool_backward", "max_pool_forward"]

Array = Any
Shape = tuple[int, int, int, int]

LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    operation: {f"v{i}": (f"{operation}_v{i}",) for i in range(1, count + 1)}
    for operation, count in (
        ("max_pool_forward", 3),
        ("max_pool_backward", 3),
        ("avg_pool_forward", 4),
        ("avg_pool_backward", 3),
    )
}

THREADS = 256  # of a block
PATCH_ROWS, PATCH_VECTORS = 8, 8  # of a block's patch: 128 bytes of the channels of 8 rows × 4 columns
LARGE = 32  # samples of a window that are worth a block
LARGE_LANES, LARGE_ROWS = 32, 8  # of threads of such a block, as the kernel has them
DTYPES = {
    "v1": ("float32", "float64"),
    "v2": ("float32",),
    "v3": ("float32", *HALVES),
    "v4": ("float32", *HALVES),
}


def max_pool_forward(
    on: Any,
    x: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    *,
    with_indices: bool = True,
    version: str | None = None,
    out: Array | None = None,
) -> tuple[Array, Array | None]:
    """Take the largest number of each window, and say where it was.

    Parameters
    ----------
    on : Launcher
    x : (N, H, W, C), of float32, float16 or bfloat16; float64 in v1
    kernel_size, stride, padding, dilation, ceil_mode
        As :func:`minicnn.functional.max_pool2d` takes them; padding also as (top, bottom, left, right).
    with_indices : bool
        Without them, as for inference, 8 bytes a number are not written.
    version : str, optional
        Of ``LADDER``; by default the fastest for the case.
    out : array (N, P, Q, C), optional

    Returns
    -------
    y : array (N, P, Q, C)
    indices : array (N, P, Q, C) of int64, or None
        h·W + w of each maximum; −1 where the window saw no pixel.

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    op = "max_pool_forward"
    window = _window(op, kernel_size, stride, padding, dilation, ceil_mode)
    pool = pool2d(window, checked_images(op, "x", x.shape))
    y = result(on, op, _output_shape(pool), x.dtype, out)
    indices = on.empty(y.shape, "int64") if with_indices else None
    version = chosen(op, version, LADDER[op], _unfit(op, x))
    _launch(on, op, version, (x, y, indices, pool), y)
    return y, indices


def max_pool_backward(
    on: Any,
    g: Array,
    indices: Array,
    input_shape: Shape,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    *,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Return ∂L/∂x (N, H, W, C) from g = ∂L/∂y (N, P, Q, C): each pixel's sum of g over the windows that chose it.

    Parameters
    ----------
    indices : (N, P, Q, C) of int64
        Of :func:`max_pool_forward`, whose other parameters and errors these are.
    """
    op = "max_pool_backward"
    window = _window(op, kernel_size, stride, padding, dilation, ceil_mode)
    pool = pool2d(window, checked_images(op, "input_shape", input_shape))
    dx = result(on, op, input_shape, g.dtype, out)
    version = chosen(op, version, LADDER[op], _unfit(op, g))
    _launch(on, op, version, (g, indices, dx, pool), dx)
    return dx


def avg_pool_forward(
    on: Any,
    x: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Average each window.

    Parameters
    ----------
    on : Launcher
    x : (N, H, W, C), of float32, float16 or bfloat16; float64 in v1
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As :func:`minicnn.functional.avg_pool2d` takes them; padding also as (top, bottom, left, right).
    version : str, optional
        Of ``LADDER``; by default the fastest for the case: v4 for windows of 32 samples and more.
    out : array (N, P, Q, C), optional

    Returns
    -------
    array (N, P, Q, C)

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    op = "avg_pool_forward"
    window = _window(op, kernel_size, stride, padding, 1, ceil_mode)
    pool = pool2d(window, checked_images(op, "x", x.shape))
    y = result(on, op, _output_shape(pool), x.dtype, out)
    candidates = [name for name in LADDER[op] if name != "v4" or version or window.samples >= LARGE]
    version = chosen(op, version, candidates, _unfit(op, x))
    arguments = x, y, pool, bool(count_include_pad), _divisor(op, divisor_override)
    if version != "v4":
        _launch(on, op, version, arguments, y)
        return y
    grid = pool["N"] * pool["P"] * pool["Q"], ceil_div(pool["C"], vector(x.dtype) * LARGE_LANES)
    on.launch("avg_pool_forward_v4", grid, (LARGE_LANES, LARGE_ROWS), *arguments, kVector=vector(x.dtype))
    return y


def avg_pool_backward(
    on: Any,
    g: Array,
    input_shape: Shape,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Return ∂L/∂x (N, H, W, C) from g = ∂L/∂y (N, P, Q, C): each pixel's sum of g / divisor over its windows.

    The other parameters and errors are those of :func:`avg_pool_forward`.
    """
    op = "avg_pool_backward"
    window = _window(op, kernel_size, stride, padding, 1, ceil_mode)
    pool = pool2d(window, checked_images(op, "input_shape", input_shape))
    dx = result(on, op, input_shape, g.dtype, out)
    version = chosen(op, version, LADDER[op], _unfit(op, g))
    arguments = g, dx, pool, bool(count_include_pad), _divisor(op, divisor_override)
    _launch(on, op, version, arguments, dx)
    return dx


def _window(
    op: str, kernel_size: Pair, stride: Pair | None, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Window2d:
    """Return the window of a pooling operation; its stride is its kernel unless given."""
    stride = kernel_size if stride is None else stride
    window = Window2d.of(op, kernel_size, stride, padding, dilation, ceil_mode)
    (down, across), (top, bottom, left, right) = window.extent, window.padding
    if max(top, bottom) > down // 2 or max(left, right) > across // 2:
        raise ValueError(
            f"{op}: padding must be at most half the kernel, got padding {window.padding} for a kernel covering "
            f"{window.extent}"
        )
    return window


def _output_shape(pool: dict[str, int]) -> Shape:
    return pool["N"], pool["P"], pool["Q"], pool["C"]


def _divisor(op: str, divisor_override: int | None) -> int:
    """Return the number to divide by, or 0 for the samples that count."""
    if divisor_override == 0:
        raise ValueError(f"{op}: divisor_override must be an int other than 0, got 0")
    return 0 if divisor_override is None else divisor_override


def _unfit(op: str, x: Array) -> dict[str, str]:
    """Return which versions cannot pool numbers like those of x (…, C), and why."""
    found = unmade(x.dtype, {name: DTYPES[name] for name in LADDER[op]})
    channels = x.shape[-1]
    if "v4" in LADDER[op] and "v4" not in found and channels % vector(x.dtype):
        found["v4"] = f"C must be a multiple of {vector(x.dtype)}, got {channels}"
    return found


def _launch(on: Any, op: str, version: str, arguments: tuple[Any, ...], result: Array) -> None:
    """Start v1, v2 or v3: a thread, or a vector of one, for each number of the result (N, rows, columns, C)."""
    name = LADDER[op][version][0]
    n, height, width, channels = result.shape
    pixels = n * height * width
    if version == "v1":
        count = pixels * channels
        on.launch(name, (ceil_div(count, THREADS),), (THREADS,), *arguments, count)
        return
    size = vector(result.dtype)
    size = 1 if channels % size else size
    vectors = channels // size
    if version == "v2":
        across = lanes(vectors)
        rows = THREADS // across
        on.launch(name, (ceil_div(pixels, rows),), (across, rows), *arguments, pixels, kVector=size)
        return
    block = _patch(height, width, vectors)
    patches = n * ceil_div(height, block[2]) * ceil_div(width, block[1])
    on.launch(name, (patches, ceil_div(vectors, block[0])), block, *arguments, kVector=size)


def _patch(height: int, width: int, vectors: int) -> tuple[int, int, int]:
    """Return a block's vectors, columns and rows: a patch that is not much larger than the image."""
    rows, across = lanes(height, PATCH_ROWS), lanes(vectors, PATCH_VECTORS)
    columns = lanes(width, THREADS // (rows * across))
    return lanes(vectors, THREADS // (rows * columns)), columns, rows
