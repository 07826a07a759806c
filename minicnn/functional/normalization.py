"""Normalisation, across channels and across the batch."""

from __future__ import annotations

import operator
from typing import Any

from .. import backend
from ..conv.check import check_dtypes
from ..ops.batch_norm import BatchNorm, BatchNormInference
from ..ops.local_response_norm import LocalResponseNorm
from ..tensor import Tensor
from .arguments import Data, as_tensor, floating, number

__all__ = ["batch_norm", "local_response_norm"]


def local_response_norm(
    input: Data, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide each value by a power of the energy of `size` neighbouring channels.

    y_c = x_c / (k + (alpha / size) Σ x_j²)^beta, the sum over `size` channels around c.  AlexNet's paper does not
    divide α by n: for its α = 10⁻⁴ and n = 5 pass ``alpha=5e-4``.

    Parameters
    ----------
    input : Tensor (N, C, …), at least 3-D
        Floating point.
    size : int
        Channels in a window, at least 1; an even window reaches one channel further down than up.
    alpha, beta, k : float

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> local_response_norm(tensor([[[2.0]]]), size=1, alpha=1.0, beta=1.0)
    tensor([[[0.4]]], dtype=float32)
    """
    op = "local_response_norm"
    x = floating(op, as_tensor(input))
    if x.ndim < 3:
        raise ValueError(f"{op}: input must be at least 3-D (N, C, …), got shape {x.shape}")
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise ValueError(f"{op}: size must be an int of at least 1, got {size!r}")
    for name, value in (("alpha", alpha), ("beta", beta), ("k", k)):
        number(op, name, value)
    return LocalResponseNorm(operator.index(size), alpha, beta, k)(x)


def batch_norm(
    input: Data,
    running_mean: Data | None,
    running_var: Data | None,
    weight: Data | None = None,
    bias: Data | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    relu: bool = False,
) -> Tensor:
    """Normalise each channel to mean 0 and variance 1, then scale and shift it.

    In training the statistics are the batch's, and the running ones, where given, are moved towards them *in place*:
    ``running = (1 − momentum) · running + momentum · batch``.  The batch is normalised with the biased variance; the
    unbiased one goes into `running_var`.  In evaluation the running statistics are used.

    Parameters
    ----------
    input : Tensor (N, C) or (N, C, …)
        Floating point; in training with more than one value a channel.
    running_mean, running_var : Tensor or array (C,), optional in training
    weight, bias : Tensor (C,), optional
        All of the input's dtype; beside an input in half precision all may be float32.
    training : bool
    momentum : float
        The weight of the *new* statistic.
    eps : float
        Added to the variance.
    relu : bool
        Take the result's positive part, in the same pass.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> batch_norm(tensor([[1.0], [3.0]]), None, None, training=True, eps=0.0)
    tensor([[-1.], [ 1.]], dtype=float32)
    """
    op = "batch_norm"
    x = floating(op, as_tensor(input))
    if x.ndim < 2:
        raise ValueError(f"{op}: input must be at least 2-D (N, C, …), got shape {x.shape}")
    momentum, eps = number(op, "momentum", momentum), number(op, "eps", eps)
    channels = x.shape[1]
    mean = _per_channel(op, "running_mean", running_mean, channels)
    var = _per_channel(op, "running_var", running_var, channels)
    w = _per_channel(op, "weight", weight, channels)
    b = _per_channel(op, "bias", bias, channels)
    dtype = _dtype_of_channels(op, x, running_mean=mean, running_var=var, weight=w, bias=b)
    be = backend.of(*(t.data for t in (x, mean, var, w, b) if t is not None), op=op)
    with be.running(op, x.data):
        w = Tensor(be.full(channels, 1, dtype)) if w is None else w
        b = Tensor(be.zeros(channels, dtype)) if b is None else b
    if not training:
        if mean is None or var is None:
            raise ValueError(f"{op}: running_mean and running_var must be given unless training=True")
        return BatchNormInference(mean.data, var.data, eps, relu)(x, w, b)
    count = x.size // max(channels, 1)
    if count < 2:
        raise ValueError(f"{op}: training needs more than one value a channel, got input {x.shape}")
    running_mean, running_var = (None if one is None else one.data for one in (mean, var))
    return BatchNorm(eps, relu, running_mean, running_var, momentum)(x, w, b)


def _dtype_of_channels(op: str, x: Tensor, **given: Tensor | None) -> Any:
    """Return the one dtype of what is given a channel: the input's, or float32 beside a half."""
    dtypes, wide = [t.dtype for t in given.values() if t is not None], backend.of(x.data).float32
    if x.dtype.itemsize == 2 and dtypes and all(dtype == wide for dtype in dtypes):
        return wide
    check_dtypes(op, input=x, **given)
    return x.dtype


def _per_channel(op: str, name: str, value: Data | None, channels: int) -> Tensor | None:
    if value is None:
        return None
    # An array is wrapped, not copied: running statistics are changed in place.
    t = Tensor(value) if hasattr(value, "dtype") and not isinstance(value, Tensor) else as_tensor(value)
    if t.shape != (channels,):
        raise ValueError(f"{op}: {name} must have shape ({channels},), one a channel, got {t.shape}")
    return t
