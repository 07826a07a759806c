"""The fully connected layer."""

from __future__ import annotations

import math
from typing import Any

from .. import functional as F
from ..tensor import Tensor
from . import init
from .check import int_of_at_least
from .module import Module
from .parameter import Parameter, new_parameter

__all__ = ["Linear"]


class Linear(Module):
    """y = x Wᵀ + b over the last axis.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    device, dtype : optional
        Of the parameters; default ``"cpu"`` and float32.

    Attributes
    ----------
    weight : Parameter (out_features, in_features)
    bias : Parameter (out_features,), or None

    Raises
    ------
    TypeError, ValueError
        If a number of features is no int, or below 1.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.Linear(3, 2)(tensor([[1.0, 2.0, 3.0]])).shape
    (1, 2)
    """

    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = int_of_at_least(1, "Linear", "in_features", in_features)
        self.out_features = int_of_at_least(1, "Linear", "out_features", out_features)
        self.weight = new_parameter((self.out_features, self.in_features), device, dtype)
        self.register_parameter("bias", new_parameter((self.out_features,), device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias from U(−1/√in_features, 1/√in_features), PyTorch's default."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )
