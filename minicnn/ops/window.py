"""What the pooling operations share: images padded so that every window lies inside."""

from __future__ import annotations

from typing import Any

from ..geometry import Window2d

__all__ = ["inside", "padded", "surrounded"]

Array = Any


def padded(be: Any, shape: tuple[int, ...], dtype: Any, window: Window2d, value: float) -> Array:
    """Return a batch filled with `value` that has room for images of `shape` and all that their windows see."""
    n, c, height, width = shape
    top, bottom, left, right = window.reach(height, width)
    size = height + top + max(bottom, 0), width + left + max(right, 0)
    return be.full_images(n, c, *size, dtype, value)


def inside(room: Array, shape: tuple[int, ...], window: Window2d) -> Array:
    """View the images themselves in a batch made by :func:`padded`."""
    top, _, left, _ = window.padding
    return room[:, :, top : top + shape[2], left : left + shape[3]]


def surrounded(be: Any, x: Array, window: Window2d, value: float) -> Array:
    """Return the images with `value` around them where a window sees more than them; else the images themselves."""
    if max(window.reach(*x.shape[2:])) <= 0:
        return x
    room = padded(be, x.shape, x.dtype, window, value)
    inside(room, x.shape, window)[...] = x
    return room
