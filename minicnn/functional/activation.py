"""Activation functions."""

from __future__ import annotations

from ..ops.relu import ReLU
from ..ops.sigmoid import Sigmoid
from ..ops.softmax import LogSoftmax, Softmax
from ..ops.tanh import Tanh
from ..tensor import Tensor
from .arguments import Data, as_tensor

__all__ = ["log_softmax", "relu", "sigmoid", "softmax", "tanh"]


def relu(input: Data) -> Tensor:
    """max(x, 0), elementwise; the subgradient at 0 is 0.

    >>> from minicnn import tensor
    >>> relu(tensor([-1.0, 2.0]))
    tensor([0., 2.], dtype=float32)
    """
    return ReLU()(as_tensor(input))


def sigmoid(input: Data) -> Tensor:
    """1 / (1 + e⁻ˣ), elementwise, without overflow.

    >>> from minicnn import tensor
    >>> sigmoid(tensor([0.0, -1000.0]))
    tensor([0.5, 0. ], dtype=float32)
    """
    return Sigmoid()(as_tensor(input))


def tanh(input: Data) -> Tensor:
    """Hyperbolic tangent, elementwise.

    >>> from minicnn import tensor
    >>> tanh(tensor([0.0]))
    tensor([0.], dtype=float32)
    """
    return Tanh()(as_tensor(input))


def softmax(input: Data, dim: int) -> Tensor:
    """e^xᵢ / Σ e^xⱼ along an axis, without overflow.

    Raises
    ------
    TypeError, ValueError
        If `dim` is no axis of the input.

    Examples
    --------
    >>> from minicnn import tensor
    >>> softmax(tensor([1000.0, 1000.0]), dim=0)
    tensor([0.5, 0.5], dtype=float32)
    """
    return Softmax(dim)(as_tensor(input))


def log_softmax(input: Data, dim: int) -> Tensor:
    """Logarithm of :func:`softmax`, exact where the softmax itself would round to 0.

    Raises
    ------
    TypeError, ValueError
        If `dim` is no axis of the input.

    Examples
    --------
    >>> from minicnn import tensor
    >>> log_softmax(tensor([0.0, 1000.0]), dim=0)
    tensor([-1000., 0.], dtype=float32)
    """
    return LogSoftmax(dim)(as_tensor(input))
