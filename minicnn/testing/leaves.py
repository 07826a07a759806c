"""What a check differentiates by: fn's floating-point inputs, and parameters that it uses without being passed them.

While a check lasts they hold float64 copies of their values; after it, their own arrays and gradients again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..tensor import Tensor

__all__ = ["borrowed", "collected", "generator"]


def collected(
    caller: str, inputs: Any, parameters: Mapping[str, Tensor] | Iterable[Tensor]
) -> tuple[list[Any], dict[str, Tensor]]:
    """Return the arguments that fn is called with, and by name the tensors to differentiate by.

    Raises
    ------
    TypeError, ValueError
        In the name of `caller`: if there are none, or one is no floating-point Tensor, no leaf or not finite.
    """
    values = _listed(f"{caller}: inputs must be a sequence, or one array or Tensor", inputs)
    arguments = [_leaf(value) if _is_float(value) else value for value in values]
    leaves: dict[str, Any] = {f"input {i}": arguments[i] for i, v in enumerate(values) if _is_float(v)}
    named = _named(caller, parameters)
    if taken := leaves.keys() & named.keys():
        raise ValueError(f"{caller}: no parameter can have the name of an input, {min(taken)!r}")
    leaves |= named
    if not leaves:
        kinds = ", ".join(_kind(value) for value in values) or "none"
        raise ValueError(f"{caller}: there must be a floating-point array or Tensor to check, got {kinds}")
    _check(caller, leaves)
    return arguments, leaves


@contextmanager
def borrowed(leaves: Iterable[Tensor]) -> Iterator[None]:
    """Let the tensors hold float64 copies inside the block, and after it be what they were.

    All get a gradient inside it, a frozen parameter too.
    """
    kept = [(leaf, leaf.data, leaf.grad, leaf.requires_grad) for leaf in leaves]
    try:
        for leaf, data, *_ in kept:
            leaf.data, leaf.requires_grad = np.array(data, np.float64), True
        yield
    finally:
        for leaf, data, grad, requires_grad in kept:
            leaf.data, leaf.grad, leaf.requires_grad = data, grad, requires_grad


def generator(caller: str, *seeds: int) -> np.random.Generator:
    """Return a generator of what a check draws; the last of the seeds is the caller's own."""
    seed = seeds[-1]
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"{caller}: seed must be an int of at least 0, got {seed!r}")
    return np.random.default_rng(seeds)


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray | np.floating) and value.dtype.kind == "f"


def _leaf(value: Any) -> Tensor:
    source = value.data if isinstance(value, Tensor) else value
    return Tensor(source, requires_grad=True)


def _listed(rule: str, values: Any) -> list[Any]:
    if isinstance(values, Tensor | np.ndarray | np.floating):
        return [values]
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{rule}, got {_kind(values)}") from None


def _named(caller: str, parameters: Mapping[str, Tensor] | Iterable[Tensor]) -> dict[str, Tensor]:
    if isinstance(parameters, Mapping):
        return {str(name): tensor for name, tensor in parameters.items()}
    rule = f"{caller}: parameters must be Tensors, such as dict(model.named_parameters())"
    listed = _listed(rule, parameters)
    return {f"parameter {i}": tensor for i, tensor in enumerate(listed)}


def _check(caller: str, leaves: Mapping[str, Any]) -> None:
    for name, leaf in leaves.items():
        if not isinstance(leaf, Tensor) or not _is_float(leaf):
            raise TypeError(f"{caller}: {name} must be a floating-point Tensor, got {_kind(leaf)}")
        if leaf.creator is not None:
            raise ValueError(f"{caller}: {name} must be a leaf, it was made by {leaf.creator.name}")
        if leaf.device != "cpu":
            raise ValueError(
                f"{caller}: {name} must be on the CPU, got one on {leaf.device}; let the function send it there"
            )
        if not np.isfinite(leaf.data).all():
            raise ValueError(f"{caller}: {name} must be finite, it has NaN or infinite elements")


def _kind(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{'a Tensor' if isinstance(value, Tensor) else 'an array'} of {value.dtype}"
    return type(value).__name__
