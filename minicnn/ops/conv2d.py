"""Two-dimensional convolution."""

from __future__ import annotations

from typing import Any

from ..conv.check import check_problem
from ..conv.choose import choose
from ..geometry import Window2d
from ..tensor import Function

__all__ = ["Conv2d"]


class Conv2d(Function):
    """y[n, k, p, q] = b[k] + Σ_{c, r, s} x[n, c, h, w] · w[k, c, r, s] with h = p·stride + r·dilation − top, w alike.

    Every product x·w passes its output's g to both factors:

        dx[n, c, h, w] = Σ g[n, k, p, q] · w[k, c, r, s]      over all (k, p, q, r, s) that see pixel (h, w)
        dw[k, c, r, s] = Σ g[n, k, p, q] · x[n, c, h, w]      over all (n, p, q)
        db[k]          = Σ g[n, k, p, q]                      over all (n, p, q)

    Kept for backward: x and w, never the columns of x, which are made again.  The three sums are computed by one of the
    algorithms in :mod:`minicnn.conv`.
    """

    x: Any  # kept where w needs a gradient
    w: Any  # kept where x needs one

    def __init__(self, window: Window2d, groups: int = 1, algorithm: str = "auto"):
        self.window, self.groups, self.wanted = window, groups, algorithm

    def forward(self, x, w, b=None):
        y = self.be.empty_images(*check_problem("conv2d", self.window, x, w, b, self.groups), x.dtype)
        self.algorithm = choose(self.wanted, x)
        self.algorithm.forward(x, w, b, self.window, self.groups, y)
        self.x = x if self.needs[1] else None
        self.w = w if self.needs[0] else None
        return y

    def backward(self, g):
        dx = dw = db = None
        if self.needs[0]:
            dx = self.algorithm.backward_data(g, self.w, self.shapes[0], self.window, self.groups)
        if self.needs[1]:
            dw = self.algorithm.backward_weight(self.x, g, self.window, self.groups)
        if self.needs[2:] == (True,):
            db = self.be.channel_sum(g)
        return (dx, dw, db)[: len(self.shapes)]
