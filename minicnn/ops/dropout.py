"""Dropout."""

from __future__ import annotations

from typing import Any

from ..tensor import Function

__all__ = ["Dropout"]


class Dropout(Function):
    """y = scale · mask · x, mask 0 with probability p and else 1.   dx = scale · mask · g.

    With scale = 1 / (1 − p) ("inverted") the expectation of y is x, and nothing is left to do at test time.  The papers
    use scale = 1 and multiply by 1 − p at test time instead.

    Kept is the mask, one byte an element.  It selects and does not multiply: a dropped infinity is 0, not NaN.

    References
    ----------
    N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014, section 4 and
    the remark on inverted dropout in section 10.
    """

    def __init__(self, p: float, scale: float, generator: Any):
        self.p, self.scale, self.generator = p, scale, generator

    def forward(self, x):
        self.mask = self.be.random_mask(self.generator, x.shape, self.p)
        return self._masked(x)

    def backward(self, g):
        return self._masked(g)

    def _masked(self, x):
        be = self.be

        def step(mask, x, y):
            be.select(mask, x, y)
            y *= self.scale

        return be.in_pieces(step, self.mask, x, be.empty_like(x))
