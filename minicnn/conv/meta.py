"""Convolution of arrays that have a shape and no values (:mod:`minicnn.backend.meta`): nothing to compute."""

from __future__ import annotations

import numpy as np

from ..backend import meta
from ..geometry import Window2d

__all__ = ["backward_data", "backward_weight", "forward"]

Array = np.ndarray


def forward(
    x: Array, w: Array, b: Array | None, window: Window2d, groups: int, out: Array, relu: bool = False
) -> None:
    """Leave `out` as it is."""


def backward_data(g: Array, w: Array, input_shape: tuple[int, ...], window: Window2d, groups: int) -> Array:
    """Return the shape of ∂L/∂x."""
    return meta.empty(input_shape, g.dtype)


def backward_weight(x: Array, g: Array, window: Window2d, groups: int) -> Array:
    """Return the shape of ∂L/∂w."""
    return meta.empty((g.shape[1], x.shape[1] // groups, *window.kernel), g.dtype)
