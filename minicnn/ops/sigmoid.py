"""The logistic function."""

from __future__ import annotations

from ..tensor import Function
from .axes import as_float

__all__ = ["Sigmoid"]


class Sigmoid(Function):
    """y = 1 / (1 + e⁻ˣ).   dx = g y (1 − y).

    Computed from e = e^−|x|, which cannot overflow: y = 1 / (1 + e) for x ≥ 0 and e / (1 + e) for x < 0.
    """

    def forward(self, x):
        x = as_float(self.be, x)
        e = self.be.exp(-self.be.abs(x))
        self.y = self.be.divide(self.be.where(x >= 0, 1, e), 1 + e, out=self.be.empty_like(x))
        return self.y

    def backward(self, g):
        return self.be.multiply(g * self.y, 1 - self.y, out=self.be.empty_like(g))
