"""Batch normalisation."""

from __future__ import annotations

from ..tensor import Function
from .relu import passed

__all__ = ["BatchNorm", "BatchNormInference"]


class BatchNorm(Function):
    """y = w x̂ + b with x̂ = (x − μ) / √(σ² + ε); μ and the *biased* variance σ² of the batch, channel by channel.

    Both statistics depend on every x of the channel, m of them, so besides its own way g flows through them:

        db = Σ g,   dw = Σ g x̂ = (Σ g x − μ db) / √(σ² + ε),   dx = (w / √(σ² + ε)) (g − db/m − x̂ dw/m).

    So y is a line in x, channel by channel, and dx one in g and x.  Large arrays cross the memory bus eight times: x is
    read for the statistics, and for y; g and x are read for the sums, and for dx.

    With `relu` the result is max(y, 0), taken while y is in the cache, and g counts only where it is positive: the rest
    of g, a new array, becomes dx in its place.

    ``mean`` and ``var`` (biased) are left for the running statistics.  Kept are x and values a channel, and with `relu`
    the result, which the operation that follows keeps anyhow: x̂ is computed anew.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015, algorithm 1 and section 3.
    """

    def __init__(self, eps: float, relu: bool = False):
        self.eps, self.relu = eps, relu

    def forward(self, x, w, b):
        be = self.be
        self.mean, self.var = be.channel_moments(x)
        self.x, self.w, self.scale = x, w, 1 / be.sqrt(self.var + self.eps)
        y = normalised(be, x, self.mean, w * self.scale, b, self.relu)
        self.y = y if self.relu else None
        return y

    def backward(self, g):
        be, relu, count = self.be, self.relu, self.x.size // self.x.shape[1]

        def gradient(x, slope_x, constant, slope, g, dx):
            line = be.multiply(x, slope_x, out=be.scratch("line", x.shape, x.dtype) if relu else dx)
            line += constant
            be.subtract(g, line, out=dx)
            dx *= slope

        if relu:
            g = passed(be, self.y, g)
        dw, db = be.channel_sums(lambda x, g: products(be, x, g), self.x, g)
        dw = (dw - self.mean * db) * self.scale
        slope_x = self.scale * dw / count
        constant = db / count - slope_x * self.mean
        dx = g if relu else be.empty_like(g)
        return be.in_pieces(gradient, self.x, slope_x, constant, self.w * self.scale, g, dx), dw, db


class BatchNormInference(Function):
    """y = w (x − μ) / √(σ² + ε) + b with fixed statistics.   dx = g w / √(σ² + ε),   dw = Σ g x̂,   db = Σ g.

    With `relu` the result is max(y, 0), and g counts only where it is positive.
    """

    def __init__(self, mean, var, eps: float, relu: bool = False):
        # Copied, for training changes running statistics in place.
        self.mean, self.var, self.eps, self.relu = mean.copy(), var.copy(), eps, relu

    def forward(self, x, w, b):
        self.x, self.w, self.scale = x, w, 1 / self.be.sqrt(self.var + self.eps)
        y = normalised(self.be, x, self.mean, w * self.scale, b, self.relu)
        self.y = y if self.relu else None
        return y

    def backward(self, g):
        be = self.be
        dx = dw = db = None
        if self.relu:
            g = passed(be, self.y, g)
        if self.needs[0]:
            slope = self.w * self.scale
            dx = be.in_pieces(lambda g, slope, dx: be.multiply(g, slope, out=dx), g, slope, be.empty_like(g))
        if self.needs[1] or self.needs[2]:
            dw, db = be.channel_sums(lambda x, g: products(be, x, g), self.x, g)
            dw = (dw - self.mean * db) * self.scale
        return dx, dw, db


def normalised(be, x, mean, slope, b, relu):
    """Return slope · (x − mean) + b, with one mean, slope and b a channel; with `relu` its positive part."""

    def step(x, slope, constant, y):
        be.multiply(x, slope, out=y)
        y += constant
        if relu:
            be.maximum(y, 0, out=y)

    return be.in_pieces(step, x, slope, b - mean * slope, be.empty_like(x))


def products(be, x, g):
    """Yield g x, and then g, which is in the cache by now."""
    yield be.multiply(g, x, out=be.scratch("product", x.shape, x.dtype))
    yield g
