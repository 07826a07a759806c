"""Padding."""

from __future__ import annotations

from ..tensor import Function

__all__ = ["MODES", "Pad"]

MODES = ("constant", "reflect", "replicate", "circular")


class Pad(Function):
    """Each axis extended before and after, or cut where the amount is negative.

    Along an axis, output element i is input element source(i), or the constant.  So padding is a gather, axis by axis,
    and its adjoint adds every element of g to the source it was copied from:

        constant    v v | a b c d | v v        replicate   a a | a b c d | d d
        reflect     c b | a b c d | c b        circular    c d | a b c d | a b

    `amounts` is a pair (before, after) for each axis.
    """

    def __init__(self, amounts, mode: str, value: float):
        self.amounts, self.mode, self.value = amounts, mode, value

    def forward(self, x):
        if self.mode == "constant":
            return self._constant(x)
        for axis, (before, after) in enumerate(self.amounts):
            if (before, after) != (0, 0):
                x = self.be.take(x, self._sources(x.shape[axis], before, after), axis=axis)
        return x

    def _constant(self, x):
        inner, outer = self._overlap(x.shape)
        size = tuple(n + before + after for n, (before, after) in zip(x.shape, self.amounts, strict=True))
        y = self.be.empty_like(x, shape=size)
        y[...] = self.value
        y[outer] = x[inner]
        return y

    def _overlap(self, shape):
        """Return where the input that remains lies in the input, and where in the output."""
        inner = tuple(
            slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(shape, self.amounts, strict=True)
        )
        outer = tuple(
            slice(max(b, 0), max(b, 0) + s.stop - s.start)
            for s, (b, _) in zip(inner, self.amounts, strict=True)
        )
        return inner, outer

    def _sources(self, n: int, before: int, after: int):
        i = self.be.arange(-before, n + after)
        if self.mode == "replicate":
            return self.be.clip(i, 0, n - 1)
        if self.mode == "circular":  # what is cut is gone before the rest goes round
            first, last = max(-before, 0), n - max(-after, 0)
            return first + (i - first) % (last - first)
        return (n - 1) - self.be.abs((n - 1) - self.be.abs(i))  # mirrored at 0 and at n − 1

    def backward(self, g):
        (shape,) = self.shapes
        if self.mode == "constant":
            inner, outer = self._overlap(shape)
            if min(map(min, self.amounts), default=0) >= 0:
                return g[outer]
            dx = self.be.empty_like(g, shape=shape)
            dx[...] = 0
            dx[inner] = g[outer]
            return dx
        for axis, (before, after) in enumerate(self.amounts):
            if (before, after) != (0, 0):
                g = self._gather_back(g, axis, shape[axis], before, after)
        return g

    def _gather_back(self, g, axis: int, n: int, before: int, after: int):
        dx = self.be.zeros((*g.shape[:axis], n, *g.shape[axis + 1 :]), g.dtype)
        sources = self._sources(n, before, after)
        self.be.add_at(dx, (slice(None),) * axis + (sources,), g)
        return dx
