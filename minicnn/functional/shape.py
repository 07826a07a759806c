"""Padding, flattening, concatenation."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

from ..ops.cat import Cat
from ..ops.pad import MODES, Pad
from ..tensor import Tensor
from .arguments import Data, as_tensor

__all__ = ["cat", "flatten", "pad"]


def pad(input: Data, pad: Sequence[int], mode: str = "constant", value: float | None = 0) -> Tensor:
    """Extend or cut a tensor at its borders.

    Parameters
    ----------
    input : Tensor
    pad : sequence of int
        (before, after) for the last axis, then for the one before it, and so on.  A negative number cuts.
    mode : {'constant', 'reflect', 'replicate', 'circular'}
        All but 'constant' want both numbers for the image axes of the input: the last axis of a 2-D or 3-D tensor,
        the last two of a 3-D or 4-D one, or the last three of a 4-D or 5-D one.
    value : float
        The constant.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> pad(tensor([[1.0, 2.0, 3.0]]), (2, 1), mode="reflect")
    tensor([[3., 2., 1., 2., 3., 2.]], dtype=float32)
    """
    x = as_tensor(input)
    amounts = _pad_amounts(x, pad, mode)
    if mode != "constant" and value not in (0, None):
        raise ValueError(f"pad: value goes with mode='constant' only, got {value} with mode={mode!r}")
    return Pad(amounts, mode, 0 if value is None else value)(x)


def flatten(input: Data, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the axes from `start_dim` to `end_dim`, both included, into one.

    Raises
    ------
    TypeError, ValueError
        If there are no such axes, or they are in the wrong order.

    Examples
    --------
    >>> from minicnn import tensor
    >>> flatten(tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), 1).shape
    (2, 2)
    """
    return as_tensor(input).flatten(start_dim, end_dim)


def cat(tensors: Sequence[Data], dim: int = 0) -> Tensor:
    """Join tensors one after the other along an axis.

    Raises
    ------
    TypeError, ValueError
        If there are none, or their other axes differ.

    Examples
    --------
    >>> from minicnn import tensor
    >>> cat([tensor([1.0]), tensor([2.0, 3.0])])
    tensor([1., 2., 3.], dtype=float32)
    """
    if isinstance(tensors, Tensor) or not isinstance(tensors, Sequence):
        raise TypeError(f"cat: tensors must be a sequence of tensors, got {type(tensors).__name__}")
    if not tensors:
        raise ValueError("cat: there must be at least one tensor")
    return Cat(dim)(*(as_tensor(t) for t in tensors))


def _pad_amounts(x: Tensor, pad: Sequence[int], mode: str) -> list[tuple[int, int]]:
    """Return (before, after) for every axis, the first axis first."""
    if mode not in MODES:
        raise ValueError(f"pad: mode must be one of {', '.join(map(repr, MODES))}, got {mode!r}")
    if not isinstance(pad, Sequence) or isinstance(pad, str):
        raise TypeError(f"pad: the amounts must be a sequence of ints, got {pad!r}")
    if any(isinstance(n, bool) or not hasattr(n, "__index__") for n in pad):
        raise TypeError(f"pad: the amounts must be ints, got {tuple(pad)}")
    numbers = [operator.index(n) for n in pad]
    axes = len(numbers) // 2
    if len(numbers) % 2 or axes > x.ndim:
        raise ValueError(
            f"pad: there must be two amounts for each of at most {x.ndim} axes, got {tuple(pad)}"
        )
    if mode != "constant" and (axes not in (1, 2, 3) or x.ndim not in (axes + 1, axes + 2)):
        raise ValueError(
            f"pad: mode {mode!r} takes 2, 4 or 6 amounts for a tensor of one or two axes more, got "
            f"{len(numbers)} for input {x.shape}"
        )
    last_first = [(numbers[2 * i], numbers[2 * i + 1]) for i in range(axes)]
    amounts = [(0, 0)] * (x.ndim - axes) + last_first[::-1]
    for n, (before, after) in zip(x.shape, amounts, strict=True):
        _check_pad(x, n, before, after, mode)
    return amounts


def _check_pad(x: Tensor, n: int, before: int, after: int, mode: str) -> None:
    where = f"; amounts ({before}, {after}) on an axis of {n}, input {x.shape}"
    if n + before + after < 0 or -before > n or -after > n:
        raise ValueError(f"pad: an axis cannot be cut by more than its length{where}")
    left = n + min(before, 0) + min(after, 0)
    most = {"reflect": n - 1, "circular": left, "replicate": math.inf if n else 0}.get(mode, math.inf)
    if max(before, after) > max(most, 0):
        raise ValueError(f"pad: mode {mode!r} can add at most {max(most, 0)}{where}")
