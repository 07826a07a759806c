"""Concatenation."""

from __future__ import annotations

from ..tensor import Function
from .axes import axis_of

__all__ = ["Cat"]


class Cat(Function):
    """Arrays one after the other along an axis; each gets back its own slice of g."""

    def __init__(self, dim=0):
        self.dim = dim

    def forward(self, *arrays):
        shapes = [a.shape for a in arrays]
        # PyTorch's rule, kept for its users: an empty 1-D tensor joins anything.
        full = [a for a in arrays if a.shape != (0,)] or list(arrays)
        self.axis = axis_of("cat", self.dim, full[0].ndim)
        rests = {(a.ndim, a.shape[: self.axis] + a.shape[self.axis + 1 :]) for a in full}
        if len(rests) > 1:
            raise ValueError(
                f"cat: shapes must agree but along dim {self.dim}, got {', '.join(map(str, shapes))}"
            )
        return self.be.concatenate(full, axis=self.axis)

    def backward(self, g):
        grads, start = [], 0
        for shape in self.shapes:
            if shape == (0,):
                grads.append(self.be.zeros(shape, g.dtype))
                continue
            stop = start + shape[self.axis]
            grads.append(g[(slice(None),) * self.axis + (slice(start, stop),)])
            start = stop
        return tuple(grads)
