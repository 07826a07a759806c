"""Batch normalisation."""

from __future__ import annotations

from ..tensor import Function

__all__ = ["BatchNorm", "BatchNormInference"]


class BatchNorm(Function):
    """y = w x̂ + b with x̂ = (x − μ) / √(σ² + ε); μ and the *biased* variance σ² of the batch, channel by channel.

    Both statistics depend on every x of the channel, m of them, so besides its own way g flows through them:

        db = Σ g,   dw = Σ g x̂,   dx = (w / √(σ² + ε)) (g − db/m − x̂ dw/m).

    ``mean`` and ``var`` (biased) are left for the running statistics.  The variance is the mean square of x − μ, never
    the difference of two large sums.  Kept are x and values a channel: x̂ is computed anew.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015, algorithm 1 and section 3.
    """

    def __init__(self, eps: float):
        self.eps = eps

    def forward(self, x, w, b):
        be = self.be

        def squares(mean, x):
            deviation = be.subtract(x, mean, out=be.scratch("deviation", x.shape, x.dtype))
            return (be.square(deviation, out=deviation),)

        self.count = x.size // x.shape[1]
        self.mean = be.channel_sum(x) / self.count
        self.var = be.channel_sums(squares, self.mean, x)[0] / self.count
        self.x, self.w, self.scale = x, w, 1 / be.sqrt(self.var + self.eps)
        return normalised(be, x, self.mean, w * self.scale, b)

    def backward(self, g):
        be = self.be

        def terms(x, mean, g):
            deviation = be.subtract(x, mean, out=be.scratch("deviation", g.shape, g.dtype))
            return g, be.multiply(g, deviation, out=deviation)

        def gradient(x, mean, share_w, share_b, slope, g, dx):
            be.subtract(x, mean, out=dx)
            dx *= share_w
            dx += share_b
            be.subtract(g, dx, out=dx)
            dx *= slope

        db, dw = be.channel_sums(terms, self.x, self.mean, g)
        dw *= self.scale
        shares = self.scale * dw / self.count, db / self.count
        dx = be.in_pieces(gradient, self.x, self.mean, *shares, self.w * self.scale, g, be.empty_like(g))
        return dx, dw, db


class BatchNormInference(Function):
    """y = w (x − μ) / √(σ² + ε) + b with fixed statistics.   dx = g w / √(σ² + ε),   dw = Σ g x̂,   db = Σ g."""

    def __init__(self, mean, var, eps: float):
        # Copied, for training changes running statistics in place.
        self.mean, self.var, self.eps = mean.copy(), var.copy(), eps

    def forward(self, x, w, b):
        self.x, self.w, self.scale = x, w, 1 / self.be.sqrt(self.var + self.eps)
        return normalised(self.be, x, self.mean, w * self.scale, b)

    def backward(self, g):
        be = self.be
        dx = dw = db = None

        def terms(x, mean, g):
            deviation = be.subtract(x, mean, out=be.scratch("deviation", g.shape, g.dtype))
            return (be.multiply(g, deviation, out=deviation),)

        if self.needs[0]:
            slope = self.w * self.scale
            dx = be.in_pieces(lambda g, slope, dx: be.multiply(g, slope, out=dx), g, slope, be.empty_like(g))
        if self.needs[1]:
            dw = be.channel_sums(terms, self.x, self.mean, g)[0] * self.scale
        if self.needs[2]:
            db = be.channel_sum(g)
        return dx, dw, db


def normalised(be, x, mean, slope, b):
    """Return slope · (x − mean) + b, with one mean, slope and b a channel."""

    def step(x, mean, slope, b, y):
        be.subtract(x, mean, out=y)
        y *= slope
        y += b

    return be.in_pieces(step, x, mean, slope, b, be.empty_like(x))
