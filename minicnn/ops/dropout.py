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

    On a GPU a kernel of the project draws the mask from a seed where it needs it, and nothing is kept but the seed
    (:func:`minicnn.backend.gpu_fused.dropout`); `plain` asks for what is written here, with the same mask.

    References
    ----------
    N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014, section 4 and
    the remark on inverted dropout in section 10.
    """

    def __init__(self, p: float, scale: float, generator: Any, plain: bool = False):
        self.p, self.scale, self.generator, self.plain = p, scale, generator, plain

    def forward(self, x):
        be = self.be
        self.plain = self.plain or not (be.fused and be.fused.takes(x))
        if self.plain:
            self.mask = be.random_mask(self.generator, x.shape, self.p)
        else:
            self.seed = int(self.generator.integers(1 << 63))
        return self._masked(x)

    def backward(self, g):
        return self._masked(g)

    def _masked(self, x):
        be = self.be
        if not self.plain:
            return be.fused.dropout(x, self.p, self.scale, self.seed)

        def step(mask, x, y):
            be.select(mask, x, y)
            y *= self.scale

        return be.in_pieces(step, self.mask, x, be.empty_like(x))
