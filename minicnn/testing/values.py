"""Numbers to test with: of a kind, from a seed, and short enough to read.

What a test can see depends on the numbers it looks at.  Among values that are all different no maximum is tied
and no ReLU is at its corner, so a function is smooth around them and must agree with differences; among ties and
zeros every corner is met; numbers of many magnitudes show what cancels.  Nearly all are multiples of powers of
two: they print in a few digits and are the same in single precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..nn.check import int_of_at_least, one_of

__all__ = ["VALUES", "fill", "fill_weight", "lengths", "type_of_numbers"]

_COARSE = 0.25
"""The distance of distinct values, as long as there are enough of them."""


def fill(
    shape: int | tuple[int, ...], values: str = "distinct", seed: int = 0, dtype: Any = np.float64
) -> np.ndarray:
    """Return an array of a given kind of numbers.

    Parameters
    ----------
    shape : int or tuple of ints
    values : str
        One of :data:`VALUES`:

        ``"distinct"``
            Between −2 and 2, all different, none 0.  For n values the margin, between any two and to 0, is 1/4,
            halved until 2n multiples of it fit.
        ``"ties"``
            −1, 0 and 1: many ties, many zeros.
        ``"equal"``
            One number everywhere, 1, 0 or −1.
        ``"positive"``
            Between 0.5 and 2.5, all different.
        ``"negative"``
            The same below 0.
        ``"integers"``
            From −4 to 4: sums and products of few of them are exact in floating point.
        ``"ill-scaled"``
            Of either sign, with one digit and magnitudes from 10⁻⁶ to 10⁶.  For comparing two computations: no one
            step of differences suits them all.
    seed : int, at least 0
    dtype : dtype
        float32 or float64; for ``"ties"``, ``"equal"`` and ``"integers"`` also a signed integer.

    Returns
    -------
    array of `shape`, in C order
        The same for the same arguments.

    Raises
    ------
    ValueError
        If there is no such kind, or a length or the seed is below 0.
    TypeError
        If a length is no int, or the numbers would not survive the dtype.

    Examples
    --------
    >>> x = fill((2, 3))
    >>> x.shape, np.unique(x).size, float(np.abs(x).min()) >= 0.25
    ((2, 3), 6, True)
    >>> sorted(set(fill(100, "ties").tolist()))
    [-1.0, 0.0, 1.0]
    """
    numbers = _NUMBERS[one_of(VALUES, "fill", "values", values)]
    shape = lengths("fill", shape)
    rng = np.random.default_rng(int_of_at_least(0, "fill", "seed", seed))
    return numbers(math.prod(shape), rng).astype(type_of_numbers("fill", values, dtype)).reshape(shape)


def lengths(caller: str, shape: Any) -> tuple[int, ...]:
    """Return a shape, once it is sure that it is one."""
    each = shape if isinstance(shape, (tuple, list)) else (shape,)
    return tuple(int_of_at_least(0, caller, "each length in shape", n) for n in each)


def type_of_numbers(caller: str, values: str, dtype: Any) -> np.dtype:
    """Return the dtype, once it is sure that this kind of numbers survives it."""
    found = np.dtype(dtype)
    if found in (np.float32, np.float64) or (found.kind == "i" and values in _WHOLE):
        return found
    wanted = "float32, float64 or a signed integer" if values in _WHOLE else "float32 or float64"
    raise TypeError(f"{caller}: dtype must be {wanted} for {values!r} values, got {found}")


def fill_weight(shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    """Return distinct numbers for a parameter: those of a weight divided by its fan-in.

    So a layer's output is about as large as its input, and no sigmoid after it is saturated.

    Parameters
    ----------
    shape : tuple of ints
        A weight (K, C, …) sums over all but the first axis; a parameter of one axis is not divided.
    seed : int, at least 0
    dtype : dtype

    Examples
    --------
    >>> bool((fill_weight((2, 3)) == fill((2, 3)) / 4).all())
    True
    """
    fan_in = max(1, math.prod(shape[1:]))
    power_of_two = 2 ** math.ceil(math.log2(fan_in))  # keeps the digits few
    return fill(shape, "distinct", seed, dtype) / power_of_two


def _among(n: int, rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Draw n different multiples of a step from [low, high], without 0."""
    step = _COARSE
    while (high - low) / step < 2 * n:
        step /= 2
    multiples = np.arange(low, high + step, step)
    return rng.permutation(multiples[multiples != 0])[:n]


def _ill_scaled(n: int, rng: np.random.Generator) -> np.ndarray:
    digits, decades = rng.integers(1, 10, n) * rng.choice([-1, 1], n), rng.integers(-6, 7, n)
    return np.where(
        decades < 0, digits / 10.0**-decades, digits * 10.0**decades
    )  # 3e-05, not 3.0000000000000004e-05


_NUMBERS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "distinct": lambda n, rng: _among(n, rng, -2.0, 2.0),
    "ties": lambda n, rng: rng.integers(-1, 2, n),
    "equal": lambda n, rng: np.full(n, rng.integers(-1, 2)),
    "positive": lambda n, rng: _among(n, rng, 0.5, 2.5),
    "negative": lambda n, rng: -_among(n, rng, 0.5, 2.5),
    "integers": lambda n, rng: rng.integers(-4, 5, n),
    "ill-scaled": _ill_scaled,
}

VALUES = tuple(_NUMBERS)
"""The kinds that :func:`fill` knows, the plainest first."""

_WHOLE = ("ties", "equal", "integers")
