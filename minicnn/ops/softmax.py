"""Softmax and its logarithm."""

from __future__ import annotations

from ..tensor import Function
from .axes import as_float, axis_of, to_sum_in

__all__ = ["LogSoftmax", "Softmax", "log_softmax"]


def log_softmax(be, x, axis):
    """x − ln Σ eˣ along an axis, with the largest x taken out first so that no power overflows.

    Where the largest is infinite, subtracting it would give ∞ − ∞; a finite number does as well.
    """
    top = x.max(axis=axis, keepdims=True)
    shifted = x - be.where(be.isinf(top), 0, top)
    return shifted - be.log(be.exp(shifted).sum(axis=axis, keepdims=True))


def wide(be, x):
    """Return halves as float32, to compute with, and any other array as it is."""
    return x.astype(to_sum_in(be, x.dtype), copy=False)


class Softmax(Function):
    """yᵢ = e^xᵢ / Σⱼ e^xⱼ.   dxᵢ = yᵢ (gᵢ − Σⱼ gⱼ yⱼ)."""

    def __init__(self, dim):
        self.dim = dim

    def forward(self, x):
        self.axis = axis_of("softmax", self.dim, x.ndim)
        x = as_float(self.be, x)
        self.y = self.be.exp(log_softmax(self.be, wide(self.be, x), self.axis)) if x.size else x.copy()
        return self.y.astype(x.dtype, copy=False)

    def backward(self, g):
        gy = g * self.y
        return gy - self.y * gy.sum(axis=self.axis, keepdims=True)


class LogSoftmax(Function):
    """yᵢ = xᵢ − ln Σⱼ e^xⱼ.   dxᵢ = gᵢ − e^yᵢ Σⱼ gⱼ."""

    def __init__(self, dim):
        self.dim = dim

    def forward(self, x):
        self.axis = axis_of("log_softmax", self.dim, x.ndim)
        x = as_float(self.be, x)
        self.y = log_softmax(self.be, wide(self.be, x), self.axis) if x.size else x.copy()
        return self.y.astype(x.dtype, copy=False)

    def backward(self, g):
        return g - self.be.exp(self.y) * g.sum(axis=self.axis, keepdims=True)
