"""The fully connected layer."""

from __future__ import annotations

import math

from ..tensor import Function

__all__ = ["Linear"]


class Linear(Function):
    """y = x Wᵀ + b for x (…, in), W (out, in), b (out,).   dx = g W,   dW = gᵀ x,   db = Σ g.

    The leading axes are one long batch.  2·batch·in·out FLOPs in each direction.
    """

    def forward(self, x, w, b=None):
        self.x, self.w = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), w
        y = self.be.matmul(self.x, w.T)
        if b is not None:
            y += b
        return y.reshape(*x.shape[:-1], w.shape[0])

    def backward(self, g):
        g = g.reshape(len(self.x), self.w.shape[0])
        dx = self.be.matmul(g, self.w).reshape(self.shapes[0]) if self.needs[0] else None
        dw = self.be.matmul(g.T, self.x) if self.needs[1] else None
        return (dx, dw, g.sum(axis=0))[: len(self.shapes)]
