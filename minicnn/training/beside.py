"""Where a model's inputs must be: on the device of its parameters."""

from __future__ import annotations

from ..nn import Module
from ..tensor import Tensor

__all__ = ["beside"]


def beside(model: Module, tensor: Tensor) -> Tensor:
    """Return a tensor on the device of a model's parameters: itself when it is there, or there are none.

    Examples
    --------
    >>> from minicnn import models, tensor
    >>> beside(models.lenet5(), tensor([1.0])).device
    'cpu'
    """
    parameter = next(iter(model.parameters()), None)
    return tensor if parameter is None else tensor.to(parameter.device)
