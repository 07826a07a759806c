"""Local response normalisation on a device: the ladder of ``kernels/lrn.cu``."""

from __future__ import annotations

from typing import Any

from .arguments import HALVES, ceil_div, chosen, result, unmade
from .window import checked_images

__all__ = ["LADDER", "lrn_backward", "lrn_forward"]

Array = Any

LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    operation: {f"v{i}": (f"{operation}_v{i}",) for i in (1, 2, 3)}
    for operation in ("lrn_forward", "lrn_backward")
}

THREADS = 256  # of a block
WARP = 32
PIXELS = 8  # of a block that keeps them in shared memory, if they are not too large:
SHARED = 1 << 15  # bytes, of which a multiprocessor has room for several
UNROLLED = 5  # channels of the windows that v3 is made for
WRITING = 30  # of a warp's lanes; the outermost only help
DTYPES = {
    "v1": ("float32", "float64"),
    "v2": ("float32", *HALVES),
    "v3": ("float32", *HALVES),
}


def lrn_forward(
    on: Any,
    x: Array,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Divide each number by a power of the energy of the `size` channels around it.

    Parameters
    ----------
    on : Launcher
    x : (N, H, W, C), of float32, float16 or bfloat16; float64 in v1
    size, alpha, beta, k
        As :func:`minicnn.functional.local_response_norm` takes them: alpha is divided by size.
    version : str, optional
        Of ``LADDER``; by default the fastest for the case.  v3 needs C a multiple of 4 and size 5; of halves, beta ¾.
    out : array of the shape and dtype of x, optional

    Returns
    -------
    array of the shape and dtype of x

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    y = result(on, "lrn_forward", x.shape, x.dtype, out)
    _launch(on, "lrn_forward", version, (x, y), size, alpha, beta, k)
    return y


def lrn_backward(
    on: Any,
    x: Array,
    g: Array,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Return ∂L/∂x from x and g = ∂L/∂y, both (N, H, W, C).

    The other parameters and errors are those of :func:`lrn_forward`.
    """
    dx = result(on, "lrn_backward", x.shape, x.dtype, out)
    _launch(on, "lrn_backward", version, (x, g, dx), size, alpha, beta, k)
    return dx


def _launch(
    on: Any,
    op: str,
    version: str | None,
    arrays: tuple[Array, ...],
    size: int,
    alpha: float,
    beta: float,
    k: float,
) -> None:
    n, height, width, channels = checked_images(op, "x", arrays[0].shape)
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise ValueError(f"{op}: size must be an int of at least 1, got {size!r}")
    row_bytes = _row_bytes(op, channels, size)
    unfit = _unfit(arrays[0].dtype, channels, size, beta, row_bytes, on.device.shared_memory)
    version = chosen(op, version, LADDER[op], unfit)
    name, pixels, numbers = f"{op}_{version}", n * height * width, (alpha / size, beta, k)
    if version == "v1":
        count = pixels * channels
        on.launch(name, (ceil_div(count, THREADS),), (THREADS,), *arrays, channels, size, *numbers, count)
    elif version == "v2":
        rows = 1 << max(min(PIXELS, SHARED // max(row_bytes, 1)), 1).bit_length() - 1
        grid, block = (ceil_div(pixels, rows),), (THREADS // rows, rows)
        on.launch(name, grid, block, *arrays, channels, size, *numbers, pixels, shared=rows * row_bytes)
    else:
        vectors = pixels * channels // 4
        grid = (ceil_div(vectors, THREADS // WARP * WRITING),)
        template = {"kSize": size, "kThreeQuarters": beta == 0.75}
        on.launch(name, grid, (THREADS,), *arrays, channels, *numbers, vectors, **template)


def _row_bytes(op: str, channels: int, size: int) -> int:
    """Return the bytes of shared memory that one pixel takes in v2."""
    row = channels + size - 1
    return 4 * (row if op == "lrn_forward" else 2 * row + channels)


def _unfit(
    dtype: Any, channels: int, size: int, beta: float, row_bytes: int, shared_memory: int
) -> dict[str, str]:
    """Return which versions cannot do such a case, and why."""
    found = unmade(dtype, DTYPES)
    if row_bytes > shared_memory:
        found.setdefault(
            "v2", f"a pixel takes {row_bytes} bytes of shared memory, a block has {shared_memory}"
        )
    if channels % 4 or size != UNROLLED:
        found.setdefault(
            "v3", f"C must be a multiple of 4 and size {UNROLLED}, got C = {channels} and size = {size}"
        )
    if dtype.name in HALVES and beta != 0.75:
        found.setdefault("v3", f"beta must be 0.75 for {dtype}, got {beta}")
    return found
