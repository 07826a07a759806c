"""Cross entropy and negative log-likelihood against weighted target distributions.

Both losses have one form.  Whatever the target (class numbers or probabilities), the class weights, the label smoothing
and the ignored labels, together they say how much each class of each sample counts: a weight a ≥ 0 for every logit.
"""

from __future__ import annotations

from ..tensor import Function
from .softmax import log_softmax

__all__ = ["CrossEntropy", "NegativeLogLikelihood"]


class CrossEntropy(Function):
    """L = −Σ_c a_c ln p_c a sample, p = softmax(z) over axis 1.   dz = g (p Σ_c a_c − a),   da_c = −g ln p_c.

    A class of weight 0 adds 0 even where its probability is 0.
    """

    def forward(self, z, a):
        self.a, self.log_p = a, log_softmax(self.be, z, axis=1)
        return -weighted(self.be, self.a, self.log_p)

    def backward(self, g):
        g = self.be.expand_dims(g, 1)
        dz = da = None
        if self.needs[0]:
            dz = g * (self.be.exp(self.log_p) * self.a.sum(axis=1, keepdims=True) - self.a)
        if self.needs[1]:
            da = -g * self.log_p
        return dz, da


class NegativeLogLikelihood(Function):
    """L = −Σ_c a_c z_c a sample, z the log-probabilities.   dz = −g a,   da_c = −g z_c."""

    def forward(self, z, a):
        self.a, self.z = a, z
        return -weighted(self.be, a, z)

    def backward(self, g):
        g = self.be.expand_dims(g, 1)
        return -g * self.a, -g * self.z if self.needs[1] else None


def weighted(be, a, log_p):
    """Σ_c a_c ln p_c, where 0 · (−∞) is 0."""
    return be.where(a == 0, 0, a * log_p).sum(axis=1)
