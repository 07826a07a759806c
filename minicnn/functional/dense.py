"""The fully connected layer."""

from __future__ import annotations

from ..ops.linear import Linear
from ..tensor import Tensor
from .arguments import Data, as_batch, as_tensor, given

__all__ = ["linear"]


def linear(input: Data, weight: Data, bias: Data | None = None) -> Tensor:
    """x Wᵀ + b over the last axis.

    Parameters
    ----------
    input : Tensor (…, in)
    weight : Tensor (out, in), or (in,) for a single output without an axis
    bias : Tensor (out,), or () with a 1-D weight, optional

    Raises
    ------
    ValueError
        If the sizes do not fit.

    Examples
    --------
    >>> from minicnn import tensor
    >>> linear(tensor([1.0, 2.0]), tensor([[3.0, 4.0]]), tensor([0.5]))
    tensor([11.5], dtype=float32)
    """
    x, w, b = as_tensor(input), as_tensor(weight), given(bias)
    if w.ndim not in (1, 2) or not x.ndim or x.shape[-1] != w.shape[-1]:
        raise ValueError(f"linear: input (…, in) and weight (out, in) must fit, got {x.shape} and {w.shape}")
    if b and b[0].shape != w.shape[:-1]:
        raise ValueError(f"linear: bias must have shape {w.shape[:-1]}, got {b[0].shape}")
    if w.ndim == 2:
        return Linear()(x, w, *b)
    return linear(x, as_batch(w), *(as_batch(t) for t in b)).reshape(x.shape[:-1])
