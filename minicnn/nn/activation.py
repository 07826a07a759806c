"""Activation layers."""

from __future__ import annotations

from .. import functional as F
from ..tensor import Tensor
from .module import Module

__all__ = ["LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Tanh"]


class ReLU(Module):
    """max(x, 0), elementwise.

    Parameters
    ----------
    inplace : bool
        Taken for PyTorch's sake; the input is never changed.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.ReLU()(tensor([-1.0, 2.0]))
    tensor([0., 2.], dtype=float32)
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ), elementwise.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.Sigmoid()(tensor([0.0]))
    tensor([0.5], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class Tanh(Module):
    """Hyperbolic tangent, elementwise.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.Tanh()(tensor([0.0]))
    tensor([0.], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class Softmax(Module):
    """e^xᵢ / Σ e^xⱼ along an axis.

    Parameters
    ----------
    dim : int

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.Softmax(dim=1)(tensor([[1.0, 1.0]]))
    tensor([[0.5, 0.5]], dtype=float32)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """Logarithm of :class:`Softmax`, exact where the softmax itself would round to 0.

    Parameters
    ----------
    dim : int

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.LogSoftmax(dim=1)(tensor([[0.0, 1000.0]]))
    tensor([[-1000., 0.]], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)
