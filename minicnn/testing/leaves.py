"""What a check differentiates by: fn's floating-point inputs, and parameters that it uses without being passed them.

While a check lasts they hold float64 copies of their values; after it, their own arrays and gradients again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["borrowed", "collected"]


def collected(
    caller: str, inputs: Any, parameters: Mapping[str, Tensor] | Iterable[Tensor]
) -> tuple[list[Any], dict[str, Tensor]]:
    """Return the arguments that fn is called with, and by name the tensors to differentiate by.

    Raises
    ------
    TypeError, ValueError
        In the name of `caller`: if there are none, or one is no floating-point Tensor or not finite.
    """
    values = [inputs] if isinstance(inputs, Tensor | np.ndarray) else list(inputs)
    arguments = [_leaf(value) if _is_float(value) else value for value in values]
    leaves: dict[str, Any] = {f"input {i}": arguments[i] for i, v in enumerate(values) if _is_float(v)}
    leaves |= _named(parameters)
    _check(caller, leaves)
    return arguments, leaves


@contextmanager
def borrowed(leaves: Iterable[Tensor]) -> Iterator[None]:
    """Let the tensors hold float64 copies inside the block, and after it their own arrays and gradients."""
    kept = [(leaf, leaf.data, leaf.grad) for leaf in leaves]
    try:
        for leaf, data, _ in kept:
            leaf.data = np.array(data, np.float64)
        yield
    finally:
        for leaf, data, grad in kept:
            leaf.data, leaf.grad = data, grad


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray | np.floating) and value.dtype.kind == "f"


def _leaf(value: Any) -> Tensor:
    source = value.data if isinstance(value, Tensor) else value
    return Tensor(source, requires_grad=True)


def _named(parameters: Mapping[str, Tensor] | Iterable[Tensor]) -> dict[str, Tensor]:
    if not isinstance(parameters, Mapping):
        return {f"parameter {i}": tensor for i, tensor in enumerate(parameters)}
    return {str(name): tensor for name, tensor in parameters.items()}


def _check(caller: str, leaves: Mapping[str, Any]) -> None:
    if not leaves:
        raise ValueError(f"{caller}: there must be a floating-point array or Tensor to check, got none")
    for name, leaf in leaves.items():
        if not isinstance(leaf, Tensor) or not _is_float(leaf):
            kind = f"a Tensor of {leaf.dtype}" if isinstance(leaf, Tensor) else type(leaf).__name__
            raise TypeError(f"{caller}: {name} must be a floating-point Tensor, got {kind}")
        if not np.isfinite(leaf.data).all():
            raise ValueError(f"{caller}: {name} must be finite, it has NaN or infinite elements")
