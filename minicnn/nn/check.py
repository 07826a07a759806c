"""What layers demand of their arguments; every error names the layer, the rule and the value."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Sequence
from typing import Any

__all__ = ["int_of_at_least", "number_in", "one_of"]


def int_of_at_least(least: int, layer: str, name: str, value: Any) -> int:
    """Return `value`, which must be an int of at least `least`."""
    # To Python a bool is an int; out_channels=True is a mistake all the same.
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{layer}: {name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{layer}: {name} must be at least {least}, got {value}")
    return operator.index(value)


def number_in(low: float, high: float, layer: str, name: str, value: Any) -> float:
    """Return `value`, which must be a number in [low, high]."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{layer}: {name} must be a number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{layer}: {name} must be in [{low:g}, {high:g}], got {value}")
    return value


def one_of(choices: Sequence[str], layer: str, name: str, value: Any) -> str:
    """Return `value`, which must be one of the choices; an error suggests the nearest."""
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{layer}: {name} must be one of {listed}, got {value!r}{hint}")
    return value
