"""What a convolution demands of its arguments; every error names the operation, the rule and the values."""

from __future__ import annotations

from typing import Any

from .. import backend
from ..geometry import Window2d

__all__ = ["check_dtypes", "check_groups", "check_kernel", "check_out", "check_problem", "check_shape"]


def check_kernel(op: str, w: Any) -> tuple[int, int]:
    """Return the kernel size (R, S) of the weight, which must be (K, C/groups, R, S)."""
    if w.ndim != 4:
        raise ValueError(f"{op}: weight must be 4-D (K, C/groups, R, S), got shape {tuple(w.shape)}")
    return tuple(w.shape[2:])


def check_problem(
    op: str, window: Window2d, x: Any, w: Any, b: Any, groups: int
) -> tuple[int, int, int, int]:
    """Return the output shape (N, K, P, Q), after checking that the arguments fit together.

    Parameters
    ----------
    op : str
        Named in the errors.
    window : Window2d
    x, w, b
        Anything with ``shape``, ``ndim`` and ``dtype``; `b` may be None.
    groups : int

    Raises
    ------
    TypeError
        If a dtype is not floating point, or they differ, or `groups` is no int.
    ValueError
        If a rank or a number of channels is wrong.
    """
    if x.ndim != 4:
        raise ValueError(f"{op}: input must be 4-D (N, C, H, W), got shape {tuple(x.shape)}")
    check_dtypes(op, input=x, weight=w, bias=b)
    (n, c, height, width), (k, c_group) = x.shape, w.shape[:2]
    check_groups(op, groups)
    if k < 1 or c_group < 1:
        raise ValueError(f"{op}: there must be at least one channel on each side; {_shapes(x, w)}")
    if c != c_group * groups:
        raise ValueError(
            f"{op}: input has {c} channels, weight expects {c_group * groups} (groups={groups}); {_shapes(x, w)}"
        )
    if k % groups:
        raise ValueError(
            f"{op}: the {k} output channels must be divisible by groups={groups}; {_shapes(x, w)}"
        )
    if b is not None and tuple(b.shape) != (k,):
        raise ValueError(f"{op}: bias must have shape ({k},), one an output channel, got {tuple(b.shape)}")
    return (n, k, *window.output_size(height, width))


def _shapes(x: Any, w: Any) -> str:
    return f"input {tuple(x.shape)}, weight {tuple(w.shape)}"


def check_groups(op: str, groups: Any) -> None:
    """Demand a positive int."""
    if isinstance(groups, bool) or not hasattr(groups, "__index__"):
        raise TypeError(f"{op}: groups must be an int, got {groups!r}")
    if groups < 1:
        raise ValueError(f"{op}: groups must be at least 1, got {groups}")


def check_dtypes(op: str, **arrays: Any) -> None:
    """Demand one floating-point dtype of all these arrays; those that are None do not count."""
    dtypes = {name: a.dtype for name, a in arrays.items() if a is not None}
    for name, dtype in dtypes.items():
        if not backend.is_float(dtype):
            raise TypeError(f"{op}: {name} must be floating point, got {dtype}; convert it first")
    if len(set(dtypes.values())) > 1:
        listed = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise TypeError(f"{op}: all arrays must have one dtype, got {listed}")


def check_shape(op: str, name: str, array: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Demand this shape and dtype of an array."""
    if tuple(array.shape) != tuple(shape):
        raise ValueError(f"{op}: {name} must have shape {tuple(shape)}, got {tuple(array.shape)}")
    if array.dtype != dtype:
        raise TypeError(f"{op}: {name} must have dtype {dtype}, got {array.dtype}")


def check_out(op: str, out: Any, shape: tuple[int, ...], *inputs: Any) -> None:
    """Demand that `out` can take a result of this shape, and is none of the inputs."""
    check_shape(op, "out", out, shape, inputs[0].dtype)
    if not getattr(out.flags, "writeable", True):  # what CuPy's arrays always are
        raise ValueError(f"{op}: out must be writeable")
    if any(a is not None and backend.of(a).may_share_memory(out, a) for a in inputs):
        raise ValueError(f"{op}: out must not share memory with the input, the weight or the bias")
