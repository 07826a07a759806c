"""Unfolding images into their windows (im2col) and folding windows back into images (col2im)."""

from __future__ import annotations

from ..conv.columns import fold, unfold
from ..geometry import Window2d
from ..tensor import Function

__all__ = ["Fold", "Unfold"]


def blocks(x, window: Window2d):
    """Return the windows of x (N, C, H, W) as columns (N, C·R·S, P·Q), the channels slowest (PyTorch's order)."""
    n, c = x.shape[:2]
    p, q = window.output_size(*x.shape[2:])
    seen = unfold(x, window).reshape(n, p * q, window.samples, c)
    return seen.transpose(0, 3, 2, 1).reshape(n, c * window.samples, p * q)


def images(columns, shape: tuple[int, ...], window: Window2d):
    """Return the adjoint of :func:`blocks`: images (N, C, H, W), overlapping entries summed."""
    n, c, height, width = shape
    p, q = window.output_size(height, width)
    entries = columns.reshape(n, c, window.samples, p * q).transpose(0, 3, 2, 1)
    return fold(entries.reshape(n * p * q, window.samples * c), shape, window)


class Unfold(Function):
    """y[n, (c, r, s), (p, q)] = what sample (r, s) of window (p, q) sees of channel c.   dx = fold(g)."""

    def __init__(self, window: Window2d):
        self.window = window

    def forward(self, x):
        return blocks(x, self.window)

    def backward(self, g):
        return images(g, self.shapes[0], self.window)


class Fold(Function):
    """y[n, c, h, w] = Σ of the entries whose window sees pixel (h, w).   dx = unfold(g)."""

    def __init__(self, window: Window2d, size: tuple[int, int]):
        self.window, self.size = window, size

    def forward(self, x):
        n, rows, columns = x.shape
        window, (p, q) = self.window, self.window.output_size(*self.size)
        if rows % window.samples or columns != p * q:
            raise ValueError(
                f"fold: input must be (N, C·{window.samples}, {p * q}) for output_size {self.size} and kernel "
                f"{window.kernel}, got {x.shape}"
            )
        return images(x, (n, rows // window.samples, *self.size), window)

    def backward(self, g):
        return blocks(g, self.window)
