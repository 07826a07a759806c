"""Axes and shapes, checked: what many operations share."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

__all__ = ["as_float", "axes_of", "axis_of", "check_broadcast", "to_sum_in", "unbroadcast"]

Array = Any


def axis_of(op: str, dim: Any, ndim: int) -> int:
    """Return `dim` counted from the front.

    Raises
    ------
    TypeError
        If `dim` is no int.
    ValueError
        If there is no such axis.
    """
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise TypeError(f"{op}: dim must be an int, got {dim!r}")
    axis = operator.index(dim)
    if not -ndim <= axis < ndim:
        bounds = f"in [{-ndim}, {ndim - 1}]" if ndim else "left out"
        raise ValueError(f"{op}: dim must be {bounds} for a {ndim}-D input, got {dim}")
    return axis % ndim


def axes_of(op: str, dim: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes named by `dim`, an int, several, or None for all."""
    if dim is None:
        return tuple(range(ndim))
    axes = tuple(axis_of(op, d, ndim) for d in (dim if isinstance(dim, Iterable) else (dim,)))
    if len(set(axes)) < len(axes):
        raise ValueError(f"{op}: dim must name each axis once, got {dim}")
    return axes


def check_broadcast(op: str, be: Any, *arrays: Array) -> None:
    """Demand that the arrays' shapes broadcast to one."""
    try:
        be.broadcast(*arrays)
    except ValueError:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise ValueError(f"{op}: shapes {shapes} do not broadcast") from None


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    """Sum `g` over the axes along which an array of `shape` was repeated to get g's shape.

    The adjoint of broadcasting: what was copied to many places gets the sum of their gradients.
    """
    if g.shape == shape:
        return g
    new = g.ndim - len(shape)
    repeated = tuple(range(new)) + tuple(i + new for i, size in enumerate(shape) if size == 1)
    return g.sum(axis=repeated, keepdims=True).reshape(shape)


def as_float(be: Any, x: Array) -> Array:
    """Return `x`, integers and bools as float32."""
    return x if be.is_float(x.dtype) else x.astype(be.float32)


def to_sum_in(be: Any, dtype: Any) -> Any:
    """Return the dtype for sums of a floating-point dtype: itself, and float32 for halves."""
    return be.float32 if dtype.itemsize == 2 else dtype
