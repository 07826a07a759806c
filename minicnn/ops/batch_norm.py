"""Batch normalisation."""

from __future__ import annotations

from typing import Any

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

    The running statistics, arrays (C,) or None, are moved in place, r ← (1 − momentum) r + momentum s, with the batch's
    mean and its unbiased variance for s.  Kept are x and values a channel, and with `relu` the result, which the
    operation that follows keeps anyhow: x̂ is computed anew.

    On a GPU kernels of the project do all of it (:func:`minicnn.backend.gpu_fused.batch_norm`), in fewer passes over
    memory, and keep no result; `plain` asks for what is written here.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015, algorithm 1 and section 3.
    """

    def __init__(
        self,
        eps: float,
        relu: bool = False,
        running_mean: Any = None,
        running_var: Any = None,
        momentum: float = 0.1,
        plain: bool = False,
    ):
        self.eps, self.relu, self.plain = eps, relu, plain
        self.running_mean, self.running_var, self.momentum = running_mean, running_var, momentum

    def forward(self, x, w, b):
        be = self.be
        self.x, self.w, self.b = x, w, b
        self.plain = self.plain or not (be.fused and be.fused.takes(x))
        if not self.plain:
            running = self.running_mean, self.running_var, self.momentum
            y, self.mean, self.var = be.fused.batch_norm(x, w, b, *running, self.eps, self.relu)
            return y
        self.mean, self.var = be.channel_moments(x)
        self._move_running()
        self.scale = 1 / be.sqrt(self.var + self.eps)
        y = normalised(be, x, self.mean, w * self.scale, b, self.relu)
        self.y = y if self.relu else None
        return y

    def _move_running(self):
        count = self.x.size // self.x.shape[1]
        for running, batch, factor in (
            (self.running_mean, self.mean, 1),
            (self.running_var, self.var, count / (count - 1)),
        ):
            if running is not None:
                running *= 1 - self.momentum
                running += self.momentum * factor * batch

    def backward(self, g):
        be, relu, count = self.be, self.relu, self.x.size // self.x.shape[1]
        if not self.plain:
            given = self.x, self.mean, self.var, self.w, self.b
            return be.fused.batch_norm_backward(g, *given, self.eps, relu, training=True)

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

    def __init__(self, mean, var, eps: float, relu: bool = False, plain: bool = False):
        self.mean, self.var, self.eps, self.relu, self.plain = mean, var, eps, relu, plain

    def forward(self, x, w, b):
        be = self.be
        self.x, self.w, self.b = x, w, b
        if True in self.needs:  # training may change running statistics in place before backward
            self.mean, self.var = self.mean.copy(), self.var.copy()
        self.plain = self.plain or not (be.fused and be.fused.takes(x))
        if not self.plain:
            return be.fused.batch_norm_fixed(x, self.mean, self.var, w, b, self.eps, self.relu)
        self.scale = 1 / be.sqrt(self.var + self.eps)
        y = normalised(be, x, self.mean, w * self.scale, b, self.relu)
        self.y = y if self.relu else None
        return y

    def backward(self, g):
        be = self.be
        if not self.plain:
            given = self.x, self.mean, self.var, self.w, self.b
            return be.fused.batch_norm_backward(g, *given, self.eps, self.relu, training=False)
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
