"""Reductions: sum, mean, maximum."""

from __future__ import annotations

from ..tensor import Function
from .axes import axes_of, axis_of, to_sum_in

__all__ = ["Max", "MaxAlong", "Mean", "Sum"]


class Sum(Function, operator="sum"):
    """y = Σ x over some axes.   dx = g, repeated along them."""

    def __init__(self, dim=None, keepdim=False):
        self.dim, self.keepdim = None if dim == () else dim, keepdim

    def forward(self, x):
        self.axes = axes_of("sum", self.dim, x.ndim)
        return x.sum(axis=self.axes, keepdims=self.keepdim)

    def backward(self, g):
        return self.spread(g)

    def spread(self, g):
        """Repeat g along the axes that were reduced."""
        (shape,) = self.shapes
        kept = g if self.keepdim else self.be.expand_dims(g, self.axes)
        return self.be.broadcast_to(kept, shape)


class Mean(Sum, operator="mean"):
    """y = (1/n) Σ x over some axes with n elements.   dx = g / n, repeated along them."""

    def forward(self, x):
        if not self.be.is_float(x.dtype):
            raise TypeError(f"mean: input must be floating point, got {x.dtype}")
        self.axes = axes_of("mean", self.dim, x.ndim)
        dtype = to_sum_in(self.be, x.dtype)  # the mean of halves is one even where their sum is none
        total = x.sum(axis=self.axes, keepdims=self.keepdim, dtype=dtype)
        self.count = x.size // max(total.size, 1)
        return self.be.divide(total, self.count, dtype=dtype).astype(x.dtype, copy=False)

    def backward(self, g):
        return self.spread(g / self.count)


class Max(Function, operator="max"):
    """y = max x over all elements.   dx = g shared evenly among the elements equal to y."""

    def forward(self, x):
        if not x.size:
            raise ValueError(f"max: input must have at least one element, got shape {x.shape}")
        y = x.max()
        self.largest = x == y
        return y

    def backward(self, g):
        return self.largest * (g / self.largest.sum(dtype=to_sum_in(self.be, g.dtype)))


class MaxAlong(Function, operator="max_along"):
    """y = max x along one axis.   dx = g at the first element equal to y, 0 elsewhere.

    ``indices`` are the positions of those elements along the axis.
    """

    def __init__(self, dim, keepdim=False):
        self.dim, self.keepdim = dim, keepdim

    def forward(self, x):
        self.axis = axis_of("max", self.dim, x.ndim)
        if not x.shape[self.axis]:
            raise ValueError(f"max: dim {self.dim} must have at least one element, got shape {x.shape}")
        self.at = self.be.expand_dims(self.be.argmax(x, axis=self.axis), self.axis)
        self.indices = self.at if self.keepdim else self.at.squeeze(self.axis)
        values = self.be.take_along_axis(x, self.at, self.axis)
        return values if self.keepdim else values.squeeze(self.axis)

    def backward(self, g):
        dx = self.be.zeros(self.shapes[0], g.dtype)
        kept = g if self.keepdim else self.be.expand_dims(g, self.axis)
        self.be.put_along_axis(dx, self.at, kept, self.axis)
        return dx
