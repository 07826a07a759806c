"""What the functions share: arguments made into tensors, and checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import backend
from ..autocast import widened
from ..tensor import Tensor, tensor

__all__ = ["Data", "as_batch", "as_tensor", "floating", "given", "number", "on_images", "without_batch"]

Data = Any
"""A Tensor, or what :func:`minicnn.tensor` makes one of."""

_WIDE = frozenset({"cross_entropy", "local_response_norm", "mse_loss", "nll_loss"})
"""The functions that take an input in half precision as float32 where :class:`minicnn.autocast` holds."""


def as_tensor(value: Data) -> Tensor:
    """Return a Tensor as it is, and make one of anything else."""
    return value if isinstance(value, Tensor) else tensor(value)


def given(value: Data | None) -> tuple[Tensor, ...]:
    """Return an optional argument as the arguments to pass on: one or none."""
    return () if value is None else (as_tensor(value),)


def number(op: str, name: str, value: Any) -> float:
    """Return a real number as it is."""
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise TypeError(f"{op}: {name} must be a number, got {value!r}")
    return value


def floating(op: str, x: Tensor) -> Tensor:
    """Return a floating-point tensor as it is, or in the precision that :class:`minicnn.autocast` wants it in."""
    if not backend.of(x.data).is_float(x.dtype):
        raise TypeError(f"{op}: input must be floating point, got {x.dtype}; convert it first")
    return widened(x) if op in _WIDE else x


def as_batch(x: Tensor) -> Tensor:
    """Make a batch of one."""
    return x.reshape(1, *x.shape)


def without_batch(x: Tensor) -> Tensor:
    """Undo :func:`as_batch`."""
    return x.reshape(x.shape[1:])


def on_images(op: str, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `function`, made for batches, to a batch (N, C, H, W) or to a single image (C, H, W)."""
    if x.ndim not in (3, 4):
        raise ValueError(f"{op}: input must be (N, C, H, W) or (C, H, W), got shape {x.shape}")
    return function(x) if x.ndim == 4 else without_batch(function(as_batch(x)))
