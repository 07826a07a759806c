"""What an array holds, in one line: shape, dtype, range, and how many elements are not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Extent", "Odd"]

Array = Any


class Odd(NamedTuple):
    """Elements of one kind: how many there are, and the index of the first."""

    number: int
    first: tuple[int, ...]


@dataclass(frozen=True)
class Extent:
    """What is told of an array.

    Attributes
    ----------
    shape, dtype
        The array's.
    low, high : number or None
        The smallest and largest of its finite elements; None where there are none, or they are no real numbers.
    odd : dict of str to Odd
        Its elements that are "NaN", "Inf", "-Inf"; only what there is.

    Examples
    --------
    >>> import numpy as np
    >>> from minicnn.backend import cpu
    >>> extent = Extent.of(cpu, np.array([1.0, np.nan, -2.0, np.nan]))
    >>> print(extent)
    float64 (4,), -2 … 1, 2 NaN
    >>> extent.odd
    {'NaN': Odd(number=2, first=(1,))}
    """

    shape: tuple[int, ...]
    dtype: Any
    low: Any
    high: Any
    odd: dict[str, Odd]

    @classmethod
    def of(cls, be: Any, array: Array) -> Extent:
        """Look at an array of the backend `be`."""
        low, high = _ends(array)
        if low is None or (math.isfinite(low) and math.isfinite(high)):  # with a NaN, both would be NaN
            return cls(array.shape, array.dtype, low, high, {})
        infinite = be.isinf(array)
        kinds = {"NaN": be.isnan(array), "Inf": infinite & (array > 0), "-Inf": infinite & (array < 0)}
        finite = array[~(kinds["NaN"] | infinite)]
        odd = {kind: Odd(int(mask.sum()), _first(mask)) for kind, mask in kinds.items() if mask.any()}
        return cls(array.shape, array.dtype, *_ends(finite), odd)

    def __str__(self) -> str:
        told = [f"{self.dtype} {self.shape}"]
        told += [] if self.low is None else [f"{self.low:.4g} … {self.high:.4g}"]
        return ", ".join(told + [f"{odd.number:,} {kind}" for kind, odd in self.odd.items()])


def _ends(array: Array) -> tuple[Any, Any]:
    if array.size == 0 or array.dtype.kind not in "biuf":
        return None, None
    return array.min().item(), array.max().item()


def _first(mask: Array) -> tuple[int, ...]:
    return tuple(int(places[0]) for places in mask.nonzero()) if mask.ndim else ()
