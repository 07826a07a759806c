"""Layers that change the shape, or nothing."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..tensor import Tensor
from .module import Module

__all__ = ["Flatten", "Identity"]


class Flatten(Module):
    """Join the axes from `start_dim` to `end_dim` into one: by default all but the batch's.

    The order is C, H, W whatever the memory layout, so a dense layer after it takes PyTorch's weights.

    Parameters
    ----------
    start_dim, end_dim : int

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.Flatten()(tensor([[[[1.0], [2.0]], [[3.0], [4.0]]]]))
    tensor([[1., 2., 3., 4.]], dtype=float32)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Return the input: a place holder.

    Parameters
    ----------
    *args, **kwargs
        Ignored, so that it can stand in for any layer.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.Identity()(tensor([1.0]))
    tensor([1.], dtype=float32)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input
