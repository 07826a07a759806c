"""The hyperbolic tangent."""

from __future__ import annotations

from ..tensor import Function
from .axes import as_float

__all__ = ["Tanh"]


class Tanh(Function):
    """y = tanh x.   dx = g (1 − y²)."""

    def forward(self, x):
        self.y = self.be.tanh(as_float(self.be, x))
        return self.y

    def backward(self, g):
        return g * (1 - self.y * self.y)
