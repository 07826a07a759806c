"""Cross entropy and negative log-likelihood against weighted target distributions.

Both losses have one form.  Whatever the target (class numbers or probabilities), the class weights, the label smoothing
and the ignored labels, together they say how much each class of each sample counts: a weight a ≥ 0 for every logit.

On a GPU kernels of the project go from logits and class numbers to the loss, and to its gradient on the way.
"""

from __future__ import annotations

from ..tensor import Function
from .softmax import log_softmax

__all__ = ["CrossEntropy", "NegativeLogLikelihood", "SoftmaxCrossEntropy"]


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


class SoftmaxCrossEntropy(Function):
    """What :class:`CrossEntropy` makes of class numbers, reduced too.   dz = g ∂L/∂z.

    For a GPU (:func:`minicnn.backend.gpu_fused.softmax_cross_entropy`).  The forward pass finds ∂L/∂z besides the loss,
    for all it takes is at hand; that is what is kept.  A label out of range makes the loss NaN.
    """

    def __init__(self, ignore_index: int, label_smoothing: float, reduction: str):
        self.options = ignore_index, label_smoothing, reduction

    def forward(self, z, target, weight=None):
        fused = self.be.fused.softmax_cross_entropy
        loss, self.dz = fused(z, target, weight, *self.options, gradient=self.needs[0])
        return loss.astype(z.dtype, copy=False)

    def backward(self, g):
        dz, self.dz = self.dz, None
        dz *= self.be.expand_dims(g, 1) if g.ndim else g  # a loss a sample, or one for all
        return (dz, None, None)[: len(self.shapes)]


def weighted(be, a, log_p):
    """Σ_c a_c ln p_c, where 0 · (−∞) is 0."""
    return be.where(a == 0, 0, a * log_p).sum(axis=1)
