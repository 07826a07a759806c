"""Two-dimensional convolution."""

from __future__ import annotations

from typing import Any

from ..backend.precision import allow_tf32, tf32
from ..conv.check import check_problem
from ..conv.choice import choose
from ..conv.problem import Problem
from ..geometry import Window2d
from ..tensor import Function
from .relu import passed

__all__ = ["Conv2d"]


class Conv2d(Function):
    """y[n, k, p, q] = b[k] + Σ_{c, r, s} x[n, c, h, w] · w[k, c, r, s] with h = p·stride + r·dilation − top, w alike.

    Every product x·w passes its output's g to both factors:

        dx[n, c, h, w] = Σ g[n, k, p, q] · w[k, c, r, s]      over all (k, p, q, r, s) that see pixel (h, w)
        dw[k, c, r, s] = Σ g[n, k, p, q] · x[n, c, h, w]      over all (n, p, q)
        db[k]          = Σ g[n, k, p, q]                      over all (n, p, q)

    Kept for backward: x and w, never the columns of x, which are made again.  The three sums are computed by algorithms
    of :mod:`minicnn.conv`.  With `relu` the result is max(y, 0), taken while y is in the cache; it is kept too, and g
    counts only where it is positive.
    """

    x: Any  # kept where w needs a gradient
    w: Any  # kept where x needs one
    y: Any  # kept with `relu`

    def __init__(self, window: Window2d, groups: int = 1, algorithm: str = "auto", relu: bool = False):
        self.window, self.groups, self.wanted, self.relu = window, groups, algorithm, relu

    def forward(self, x, w, b=None):
        y = self.be.empty_images(*check_problem("conv2d", self.window, x, w, b, self.groups), x.dtype)
        self.tf32 = tf32()
        self.problem = Problem(x.shape, w.shape[0], self.window, self.groups, x.dtype)
        self._algorithm("forward", x).forward(x, w, b, self.window, self.groups, y, self.relu)
        self.x = x if self.needs[1] else None
        self.w = w if self.needs[0] else None
        self.y = y if self.relu else None
        return y

    def backward(self, g):
        dx = dw = db = None
        if self.relu:
            g = passed(self.be, self.y, g)
        with allow_tf32(self.tf32):
            if self.needs[0]:
                dx = self._algorithm("backward_data", g).backward_data(
                    g, self.w, self.shapes[0], self.window, self.groups
                )
            if self.needs[1]:
                dw = self._algorithm("backward_weight", g).backward_weight(
                    self.x, g, self.window, self.groups
                )
        if self.needs[2:] == (True,):
            db = self.be.channel_sum(g)
        return (dx, dw, db)[: len(self.shapes)]

    def _algorithm(self, direction, array):
        return choose(self.wanted, self.problem, direction, array)
