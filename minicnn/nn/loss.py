"""Losses."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..tensor import Tensor, tensor
from .check import number_in, one_of
from .module import Module

__all__ = ["CrossEntropyLoss", "MSELoss", "NLLLoss"]


class _Loss(Module):
    """What the losses share: how the losses of the samples become one number."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.reduction = one_of(["mean", "sum", "none"], self._name, "reduction", reduction)


class _ClassLoss(_Loss):
    """A loss over class numbers: with weights of the classes, which are a buffer, and a number to ignore."""

    weight: Tensor | None

    def __init__(self, weight: Any, ignore_index: int, reduction: str) -> None:
        super().__init__(reduction)
        weights = weight.detach() if isinstance(weight, Tensor) else weight
        self.register_buffer("weight", None if weights is None else tensor(weights))
        self.ignore_index = ignore_index


class CrossEntropyLoss(_ClassLoss):
    """Negative log-likelihood of the targets under the softmax of the input.

    Parameters
    ----------
    weight : Tensor or array (C,), optional
        A factor for each class; copied into a buffer.
    ignore_index : int
        Samples with this class number count for nothing.
    reduction : {'mean', 'sum', 'none'}
    label_smoothing : float in [0, 1]
        How much of each target distribution is replaced by the uniform one.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    See Also
    --------
    minicnn.functional.cross_entropy : the shapes it takes, and the mean's definition.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> loss = nn.CrossEntropyLoss()(tensor([[0.0, 0.0], [5.0, 5.0]]), tensor([0, 1]))
    >>> print(f"{loss.item():.6f}")
    0.693147
    """

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = number_in(0, 1, "CrossEntropyLoss", "label_smoothing", label_smoothing)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(_ClassLoss):
    """Negative log-likelihood of class numbers, given log-probabilities.

    Parameters
    ----------
    weight : Tensor or array (C,), optional
        A factor for each class; copied into a buffer.
    ignore_index : int
        Samples with this class number count for nothing.
    reduction : {'mean', 'sum', 'none'}

    Raises
    ------
    ValueError
        If there is no such reduction.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.NLLLoss()(tensor([[-1.0, -2.0]]), tensor([1])).item()
    2.0
    """

    def __init__(self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, ignore_index, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(_Loss):
    """Squared difference (input − target)².

    Parameters
    ----------
    reduction : {'mean', 'sum', 'none'}

    Raises
    ------
    ValueError
        If there is no such reduction.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.MSELoss()(tensor([1.0, 2.0]), tensor([1.0, 4.0])).item()
    2.0
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, self.reduction)
