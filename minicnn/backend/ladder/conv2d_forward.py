"""Convolution on a device: the ladder of ``kernels/conv2d_forward.cu``."""

from __future__ import annotations

import math
from typing import Any

from ...geometry import Window2d
from .arguments import ceil_div, result
from .conv2d import FEW, Product, chosen, problem

__all__ = ["LADDER", "conv2d_forward"]

Array = Any

LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    "conv2d_forward": {f"v{n}": (f"conv2d_forward_v{n}",) for n in range(1, 9)}
}

WARP = 32
THREADS = 256  # of a block of v1 and v2


def conv2d_forward(
    on: Any,
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    window: Window2d,
    groups: int = 1,
    relu: bool = False,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Convolve images with kernels, add the bias and take the positive part if asked.

    Parameters
    ----------
    on : Launcher
    x : (N, H, W, C), of float32, float64, float16 or bfloat16
    w : (K, R, S, C/groups), of x's dtype
    b : (K,), of x's dtype, optional
    window : Window2d
        Its kernel is R×S.
    groups : int
    relu : bool
        Take the positive part, in the same pass.
    version : str, optional
        Of ``LADDER``; by default the fastest for the case, by count, that rounds no inputs: not v7, which makes
        them TF32.
    out : (N, P, Q, K), of x's dtype, optional

    Returns
    -------
    (N, P, Q, K), of x's dtype

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    op = "conv2d_forward"
    conv = problem(op, window, x.shape, w.shape, groups)
    shape = conv["N"], conv["P"], conv["Q"], conv["K"]
    y = result(on, op, shape, x.dtype, out)
    outputs = math.prod(shape)
    product = Product(
        rows=outputs // conv["K"],
        columns=conv["K"] // groups,
        depth=math.prod(w.shape[1:]),
        vector=w.shape[3] & -w.shape[3],
    )
    if version is None and product.columns < FEW and x.dtype.name in ("float32", "float64"):
        version = "v1" if w.shape[3] < WARP else "v2"
    kernels = {name: launched for name, (launched,) in LADDER[op].items()}
    version, instance = chosen(on.device, op, version, kernels, product, window, (x, w, y))
    threads = {"v1": outputs, "v2": outputs * WARP}
    blocks = ceil_div(threads[version], THREADS) if version in threads else instance.tiles(product)
    grid = (blocks,) if version in threads else (blocks, 1, groups)
    instance.start(on, product, grid, x, w, b, y, conv, relu)
    return y
