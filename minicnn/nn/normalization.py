"""Normalisation layers."""

from __future__ import annotations

import math
from typing import Any

from .. import backend
from .. import functional as F
from ..tensor import Tensor, tensor
from . import init
from .check import int_of_at_least, number_in
from .module import Module
from .parameter import Parameter, new_parameter

__all__ = ["BatchNorm2d", "LocalResponseNorm"]


class BatchNorm2d(Module):
    """Normalise each channel to mean 0 and variance 1 over the batch, then scale and shift it.

    In training the statistics are the batch's, and the running ones are moved towards them; in evaluation the
    running ones are used.  The batch is normalised with the biased variance, the unbiased one is stored.

    Parameters
    ----------
    num_features : int
        Channels.
    eps : float
        Added to the variance.
    momentum : float in [0, 1], or None
        The weight of the *new* statistic; None makes the running ones the plain average over all batches.
    affine : bool
        Whether to scale and shift.
    track_running_stats : bool
        False uses the batch's statistics in evaluation too.
    device, dtype : optional
        Of parameters and buffers; default ``"cpu"`` and float32.

    Attributes
    ----------
    weight, bias : Parameter (num_features,), or None
        At first 1 and 0.
    running_mean, running_var : Tensor (num_features,), or None
        Buffers, at first 0 and 1.
    num_batches_tracked : Tensor (), or None
        Buffer, int64.
    relu : bool
        Whether a ReLU follows in the same pass, False until :func:`fuse` sets it.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> norm = nn.BatchNorm2d(1, eps=0.0)
    >>> norm(tensor([[[[1.0, 3.0]]]])).data
    array([[[[-1.,  1.]]]], dtype=float32)
    >>> norm.running_mean, norm.running_var
    (tensor([0.2], dtype=float32), tensor([1.1], dtype=float32))
    """

    optional_state = frozenset({"num_batches_tracked"})  # checkpoints from before PyTorch 0.4.1 have none

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    relu = False

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_features = int_of_at_least(1, "BatchNorm2d", "num_features", num_features)
        self.eps = number_in(0, math.inf, "BatchNorm2d", "eps", eps)
        self.momentum = None if momentum is None else number_in(0, 1, "BatchNorm2d", "momentum", momentum)
        self.affine, self.track_running_stats = affine, track_running_stats
        shape = (self.num_features,)
        for name in ("weight", "bias"):
            self.register_parameter(name, new_parameter(shape, device, dtype) if affine else None)
        for name in ("running_mean", "running_var"):
            buffer = new_parameter(shape, device, dtype).detach()
            self.register_buffer(name, buffer if track_running_stats else None)
        with backend.on(device) as be:
            count = Tensor(be.zeros((), be.int64))
        self.register_buffer("num_batches_tracked", count if track_running_stats else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Set the running mean to 0, the running variance to 1 and the number of batches to 0."""
        if self.running_mean is not None and self.running_var is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
        if self.num_batches_tracked is not None:
            with backend.running("batch_norm", self.num_batches_tracked.data):
                self.num_batches_tracked.data[...] = 0

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0, and reset the running statistics."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def _momentum(self) -> float:
        """Return the share of this batch in the running statistics; in an average of all batches 1/n for the nth."""
        if self.momentum is not None:
            return self.momentum
        batches = self.num_batches_tracked
        return 1 / (int(batches) + 1) if self.training and batches is not None else 0.0

    def forward(self, input: Tensor) -> Tensor:
        input = input if isinstance(input, Tensor) else tensor(input)
        if input.ndim != 4:
            raise ValueError(f"BatchNorm2d: input must be 4-D (N, C, H, W), got shape {input.shape}")
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        of_batch = self.training or mean is None
        if self.training and not self.track_running_stats:
            mean = var = batches = None
        options = of_batch, self._momentum(), self.eps
        output = F.batch_norm(input, mean, var, self.weight, self.bias, *options, relu=self.relu)
        if self.training and batches is not None:
            with backend.running("batch_norm", batches.data):
                batches.data += 1
        return output

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}" + ", relu=True" * self.relu
        )


class LocalResponseNorm(Module):
    """Divide each value by a power of the energy of neighbouring channels.

    y_c = x_c / (k + (alpha / size) Σ x_j²)^beta, the sum over `size` channels around c.  AlexNet's paper does
    not divide α by n: for its α = 10⁻⁴ and n = 5 pass ``alpha=5e-4``.

    Parameters
    ----------
    size : int
        Channels in a window.
    alpha, beta, k : float

    Raises
    ------
    TypeError, ValueError
        If `size` is no int, or below 1.

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
    2012, section 3.3.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.LocalResponseNorm(1, alpha=1.0, beta=1.0)(tensor([[[2.0]]]))
    tensor([[[0.4]]], dtype=float32)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = int_of_at_least(1, "LocalResponseNorm", "size", size)
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
