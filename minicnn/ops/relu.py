"""The rectified linear unit."""

from __future__ import annotations

from ..tensor import Function

__all__ = ["ReLU", "passed"]


class ReLU(Function):
    """y = max(x, 0).   dx = g where y > 0, else 0: the subgradient at 0 is 0.

    Kept is y, which the operation that follows keeps anyhow.

    References
    ----------
    V. Nair and G. Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", ICML 2010.
    """

    def forward(self, x):
        be = self.be
        y = be.empty_like(x, be.result_type(x.dtype, 0))  # of truth values it is an integer
        self.y = be.in_pieces(lambda x, y: be.maximum(x, 0, out=y), x, y)
        return self.y

    def backward(self, g):
        return passed(self.be, self.y, g)


def passed(be, y, g):
    """Return what of g a ReLU lets through whose result was y, in a new array: g where y > 0, else 0.

    It is a product with [y > 0], four times as fast as a selection, which the processor cannot predict; so where g is
    infinite, 0 shows as NaN.
    """

    def step(y, g, out):
        be.greater(y, 0, out=out)
        out *= g

    return be.in_pieces(step, y, g, be.empty_like(g))
