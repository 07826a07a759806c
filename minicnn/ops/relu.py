"""The rectified linear unit."""

from __future__ import annotations

from ..tensor import Function

__all__ = ["ReLU"]


class ReLU(Function):
    """y = max(x, 0).   dx = g where y > 0, else 0: the subgradient at 0 is 0.

    dx is computed as a product with [y > 0], so where g is infinite, 0 shows as NaN.

    References
    ----------
    V. Nair and G. Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", ICML 2010.
    """

    def forward(self, x):
        self.y = self.be.maximum(x, 0)
        return self.y

    def backward(self, g):
        return g * (self.y > 0)  # four times as fast as a selection, which the processor cannot predict
