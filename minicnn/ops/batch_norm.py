"""Batch normalisation."""

from __future__ import annotations

from ..tensor import Function

__all__ = ["BatchNorm", "BatchNormInference"]


class BatchNorm(Function):
    """y = w x̂ + b with x̂ = (x − μ) / √(σ² + ε); μ and the *biased* variance σ² of the batch, channel by channel.

    Both statistics depend on every x of the channel, m of them, so besides its own way g flows through them:

        db = Σ g,   dw = Σ g x̂,   dx = (w / √(σ² + ε)) (g − db/m − x̂ dw/m).

    ``mean`` and ``var`` (biased) are left for the running statistics.  The variance is the mean square of x − μ, never
    the difference of two large sums.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015, algorithm 1 and section 3.
    """

    def __init__(self, eps: float):
        self.eps = eps

    def forward(self, x, w, b):
        self.count = x.size // x.shape[1]
        self.mean = self.be.channel_sum(x) / self.count
        centred = x - by_channel(self.mean, x.ndim)
        self.var = self.be.channel_sum(centred * centred) / self.count
        self.x, self.w, self.scale = x, w, 1 / self.be.sqrt(self.var + self.eps)
        centred *= by_channel(w * self.scale, x.ndim)
        centred += by_channel(b, x.ndim)
        return centred

    def backward(self, g):
        ndim = g.ndim
        normal = (self.x - by_channel(self.mean, ndim)) * by_channel(self.scale, ndim)
        db, dw = self.be.channel_sum(g), self.be.channel_sum(g * normal)
        normal *= by_channel(dw / self.count, ndim)
        dx = g - normal
        dx -= by_channel(db / self.count, ndim)
        dx *= by_channel(self.w * self.scale, ndim)
        return dx, dw, db


class BatchNormInference(Function):
    """y = w (x − μ) / √(σ² + ε) + b with fixed statistics.   dx = g w / √(σ² + ε),   dw = Σ g x̂,   db = Σ g."""

    def __init__(self, mean, var, eps: float):
        # Copied, for training changes running statistics in place.
        self.mean, self.var, self.eps = mean.copy(), var.copy(), eps

    def forward(self, x, w, b):
        self.x, self.w, self.scale = x, w, 1 / self.be.sqrt(self.var + self.eps)
        y = x - by_channel(self.mean, x.ndim)
        y *= by_channel(w * self.scale, x.ndim)
        y += by_channel(b, x.ndim)
        return y

    def backward(self, g):
        dx = dw = db = None
        if self.needs[0]:
            dx = g * by_channel(self.w * self.scale, g.ndim)
        if self.needs[1]:
            dw = self.be.channel_sum(g * (self.x - by_channel(self.mean, g.ndim))) * self.scale
        if self.needs[2]:
            db = self.be.channel_sum(g)
        return dx, dw, db


def by_channel(values, ndim: int):
    """View one value a channel (C,) so that it broadcasts against (N, C, …)."""
    return values.reshape(-1, *(1,) * (ndim - 2))
