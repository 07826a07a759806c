"""Checks of the numbers that optimisers and schedulers are given."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

__all__ = ["number", "whole"]


def number(op: str, name: str, value: Any, least: float = -math.inf, below: float = math.inf) -> float:
    """Return `value` as a float, if it is a number in [least, below).

    Parameters
    ----------
    op, name : str
        The optimiser or scheduler and the option, for the error message.
    value : int or float
    least, below : float
        The smallest value allowed, and the bound under which it must stay.

    Raises
    ------
    TypeError
        If `value` is no real number.
    ValueError
        If it is not in the range; neither NaN nor an infinity ever is.

    Examples
    --------
    >>> number("SGD", "lr", 1, least=0)
    1.0
    """
    # To Python a bool is an int; lr=True is a mistake all the same.
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{op}: {name} must be a number, got {value!r}")
    result = float(value)
    if not (least <= result < below and math.isfinite(result)):
        interval = f"{'(' if math.isinf(least) else '['}{least:g}, {below:g})"
        raise ValueError(f"{op}: {name} must be in {interval}, got {value!r}")
    return result


def whole(op: str, name: str, value: Any, least: int) -> int:
    """Return `value` as an int, if it is one of at least `least`.

    Raises
    ------
    TypeError
        If `value` is no int.
    ValueError
        If it is below `least`.

    Examples
    --------
    >>> whole("StepLR", "step_size", 30, least=1)
    30
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{op}: {name} must be an int, got {value!r}")
    if operator.index(value) < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {value!r}")
    return operator.index(value)
