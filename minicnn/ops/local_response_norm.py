"""Local response normalisation across channels."""

from __future__ import annotations

from ..tensor import Function

__all__ = ["LocalResponseNorm"]


class LocalResponseNorm(Function):
    """y_c = x_c / d_c^β with d_c = k + (α/n) Σ_{j ∈ window(c)} x_j².

    The window of channel c are the n channels from c − ⌊n/2⌋ to c + ⌊(n − 1)/2⌋ that exist.  By the chain rule, with
    ∂d_c/∂x_j = (2α/n) x_j for j in window(c),

        dx_j = g_j d_j^−β − (2αβ/n) x_j Σ_{c : j ∈ window(c)} g_c x_c d_c^(−β−1)

    where the last sum runs over the window mirrored.  PyTorch's convention divides α by n; AlexNet's paper does not.

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
    section 3.3.
    """

    def __init__(self, size: int, alpha: float, beta: float, k: float):
        self.before, self.after = size // 2, (size - 1) // 2
        self.alpha, self.beta, self.k = alpha / size, beta, k

    def forward(self, x):
        self.x = x
        self.d = self.alpha * window_sum(x * x, self.before, self.after) + self.k
        return x * self.d**-self.beta

    def backward(self, g):
        scale = self.d**-self.beta
        inner = window_sum(g * self.x * scale / self.d, self.after, self.before)
        return g * scale - (2 * self.alpha * self.beta) * self.x * inner


def window_sum(x, before: int, after: int):
    """Return, for each channel c of x (N, C, …), the sum of the channels from c − before to c + after."""
    channels = x.shape[1]
    total = x.copy(order="K")
    for step in range(1, min(before, channels - 1) + 1):
        total[:, step:] += x[:, :-step]
    for step in range(1, min(after, channels - 1) + 1):
        total[:, :-step] += x[:, step:]
    return total
