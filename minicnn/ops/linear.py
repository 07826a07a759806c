"""The fully connected layer."""

from __future__ import annotations

import math
from typing import Any

from ..backend.precision import allow_tf32, tf32
from ..conv.check import check_dtypes
from ..tensor import Function

__all__ = ["Linear"]


class Linear(Function):
    """y = x Wᵀ + b for x (…, in), W (out, in), b (out,).   dx = g W,   dW = gᵀ x,   db = Σ g.

    The leading axes are one long batch.  2·batch·in·out FLOPs in each direction.
    """

    x: Any  # kept where w needs a gradient
    w: Any  # kept where x needs one

    def forward(self, x, w, b=None):
        check_dtypes("linear", input=x, weight=w, bias=b)
        x = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        self.tf32 = tf32()
        y = self.be.matmul(x, w.T)
        if b is not None:
            y += b
        self.x = x if self.needs[1] else None
        self.w = w if self.needs[0] else None
        return y.reshape(*self.shapes[0][:-1], w.shape[0])

    def backward(self, g):
        g = g.reshape(math.prod(g.shape[:-1]), g.shape[-1])
        dx = dw = db = None
        with allow_tf32(self.tf32):
            if self.needs[0]:
                dx = self.be.matmul(g, self.w).reshape(self.shapes[0])
            if self.needs[1]:
                dw = self.be.matmul(g.T, self.x)
        if self.needs[2:] == (True,):
            db = g.sum(axis=0)
        return (dx, dw, db)[: len(self.shapes)]
