"""Pooling on the GPU, by the kernels of ``kernels/pool.cu``: the functions of :mod:`.pooling` over CuPy arrays.

Two things differ.  The winners of a max pooling are known by their places h·W + w in the image, int64, as PyTorch's
indices are; and a divisor is not an array but a rule, for the kernels count for themselves (:class:`Divisor`).
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..geometry import Window2d
from .cupy_device import launcher
from .gpu_fused import MOST
from .gpu_fused import takes as _takes
from .gpu_rows import channels, rows, shape_last
from .ladder import pool

__all__ = [
    "MOST_SAMPLES",
    "Divisor",
    "avg_pool",
    "avg_pool_backward",
    "max_pool",
    "max_pool_backward",
    "takes",
]

Array = Any

MOST_SAMPLES = 2**31 - 1  # of a window: kernels number them with an int
PADDED = 8  # blocks that are patches have less than twice the threads along each of their three axes


class Divisor(NamedTuple):
    """What the sum of a window is divided by."""

    count_include_pad: bool = True
    """Whether samples of the declared padding count, or those in the image alone."""
    given: int | None = None
    """Instead of the samples that count."""


def takes(x: Array, window: Window2d) -> bool:
    """Whether the kernels are made for images like x."""
    if not _takes(x) or x.dtype == np.float32:
        return _takes(x)
    numbers = prod((*x.shape[:2], *window.output_size(*x.shape[2:])))
    alone = x.dtype.itemsize == 2 and x.shape[1] % 8  # halves that no thread takes eight of
    return max(x.size, numbers) <= (MOST // PADDED if alone else MOST)


def max_pool(x: Array, window: Window2d, wanted: bool) -> tuple[Array, Array | None]:
    """Return the maxima (N, C, P, Q) of x (N, C, H, W), and if `wanted` where they are.

    Returns
    -------
    y : array
    places : array (N, C, P, Q) of int64, or None
        −1 where the window saw no pixel.
    """
    options = _options(window, dilation=window.dilation)
    y, places = launcher().run(pool.max_pool_forward, rows(x), **options, with_indices=wanted)
    return channels(y), None if places is None else channels(places)


def max_pool_backward(g: Array, places: Array, window: Window2d, shape: tuple[int, ...]) -> Array:
    """Return ∂L/∂x, of this shape (N, C, H, W), from g = ∂L/∂y: to each place the sum of what comes from it."""
    options = _options(window, dilation=window.dilation, input_shape=shape_last(shape))
    return channels(launcher().run(pool.max_pool_backward, rows(g), rows(places), **options))


def avg_pool(x: Array, window: Window2d, divisor: Divisor) -> Array:
    """Return the sums (N, C, P, Q) of the windows over x (N, C, H, W), divided as `divisor` says."""
    return channels(launcher().run(pool.avg_pool_forward, rows(x), **_options(window, **_rule(divisor))))


def avg_pool_backward(g: Array, divisor: Divisor, window: Window2d, shape: tuple[int, ...]) -> Array:
    """Return ∂L/∂x, of this shape (N, C, H, W), from g = ∂L/∂y."""
    options = _options(window, **_rule(divisor), input_shape=shape_last(shape))
    return channels(launcher().run(pool.avg_pool_backward, rows(g), **options))


def _options(window: Window2d, **others: Any) -> dict[str, Any]:
    """Return a window as the ladder takes it, and the other options."""
    size = {"kernel_size": window.kernel, "stride": window.stride, "padding": window.padding}
    return {**size, "ceil_mode": window.ceil_mode, **others}


def _rule(divisor: Divisor) -> dict[str, Any]:
    return {"count_include_pad": divisor.count_include_pad, "divisor_override": divisor.given}
