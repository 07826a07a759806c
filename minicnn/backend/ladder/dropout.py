"""Dropout on a device, from a counter-based generator: the ladder of ``kernels/dropout.cu``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import ceil_div, chosen, flat, result, vector

__all__ = ["LADDER", "dropout", "philox"]

Array = Any

LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    "philox": {"v1": ("philox_v1",)},
    "dropout": {"v1": ("dropout_v1",), "v2": ("dropout_v2",)},
}

THREADS = 256  # of a block
WORDS = 1 << 32  # different random words


def dropout(
    on: Any,
    x: Array,
    p: float = 0.5,
    *,
    seed: int,
    offset: int = 0,
    scale: float | None = None,
    version: str | None = None,
    out: Array | None = None,
) -> Array:
    """Set each element to 0 with probability p, and multiply the others by `scale`.

    No mask is kept: the gradient of x is the dropout of y's gradient with the same numbers, which draws the same mask.

    Parameters
    ----------
    on : Launcher
    x : of any shape, float32, float64, float16 or bfloat16
    p : float in [0, 1]
    seed, offset : int in [0, 2**64)
        Element i, in the order of memory, is dropped or not by (seed, offset, i) alone, in every version and on every
        device.  Each call of a layer takes an offset of its own.
    scale : float, optional
        Default: 1 / (1 − p), which leaves the expectation as it is.
    version : str, optional
        Of ``LADDER``; by default the fastest for the case.
    out : array of the shape and dtype of x, optional
        May be x.

    Returns
    -------
    array of the shape and dtype of x

    Raises
    ------
    TypeError, ValueError
        For arrays or numbers that do not fit, or a version that cannot do the case.
    """
    op = "dropout"
    if not 0 <= p <= 1:
        raise ValueError(f"{op}: p must be in [0, 1], got {p}")
    y = result(on, op, x.shape, x.dtype, out)
    unfit = {"v2": "takes float32, float16 and bfloat16, got float64"} if x.dtype == np.float64 else {}
    version = chosen(op, version, LADDER[op], unfit)
    if scale is None:
        scale = 1 / (1 - p) if p < 1 else 1.0
    each = vector(x.dtype) if version == "v2" else 1
    template = {"kVector": each} if version == "v2" else {}
    arrays, numbers = (flat(op, "x", x), flat(op, "out", y)), (seed, offset, round(p * WORDS), scale)
    grid = (ceil_div(x.size, each * THREADS),)
    on.launch(LADDER[op][version][0], grid, (THREADS,), *arrays, x.size, *numbers, **template)
    return y


def philox(on: Any, counters: Array, keys: Array) -> Array:
    """Philox4x32-10: four random words of each counter and key.

    Parameters
    ----------
    on : Launcher
    counters : (n, 4), of uint32
    keys : (n, 2), of uint32

    Returns
    -------
    (n, 4), of uint32

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit.

    References
    ----------
    J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    words = on.empty(counters.shape, counters.dtype)
    count = counters.shape[0]
    on.launch("philox_v1", (ceil_div(count, THREADS),), (THREADS,), counters, keys, words, count)
    return words
