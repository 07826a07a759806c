"""Where to step from a point, and how far: along one element, along a random direction, or aside.

A step must be small against what it changes, so every step is relative: to the size of the element, or of
the input as a whole.  A function of numbers near 10⁻⁶ or 10⁶ is then checked like one of numbers near 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .objective import Direction, Move

__all__ = [
    "all_elements",
    "along_element",
    "along_part",
    "aside",
    "every_element",
    "random_directions",
    "random_elements",
    "root_mean_square",
]

Directions = dict[Any, Direction]
Point = Mapping[str, np.ndarray]

_SMALLEST = 0.1
"""An element's step is relative to the element, but not to less than this part of the input's largest one."""

_ASIDE = 1e-3


def along_element(point: Point, name: str, at: tuple[int, ...]) -> Direction:
    """Return the direction in which one element grows."""
    x = point[name]
    return (Move(name, at, max(abs(float(x[at])), _SMALLEST * _largest(x))),)


def every_element(point: Point, name: str) -> Directions:
    """Return the direction of each element, by its index."""
    return {at: along_element(point, name, at) for at in np.ndindex(point[name].shape)}


def all_elements(point: Point, name: str) -> Directions:
    """Return the direction in which all elements grow alike: ties stay ties."""
    x = point[name]
    return {"all elements": (Move(name, ..., np.full(x.shape, root_mean_square(x))),)}


def random_elements(point: Point, name: str, count: int, rng: np.random.Generator) -> Directions:
    """Return the directions of `count` different elements, or of all if there are fewer."""
    x = point[name]
    sample = rng.choice(x.size, min(count, x.size), replace=False)
    return {at: along_element(point, name, at) for at in (_unravel(i, x.shape) for i in sample)}


def random_directions(point: Point, names: Iterable[str], count: int, rng: np.random.Generator) -> Directions:
    """Return normal directions, in which each tensor moves in proportion to its root mean square."""
    sizes = {name: root_mean_square(point[name]) for name in names}
    return {
        f"direction {i}": tuple(
            Move(name, ..., size * rng.standard_normal(point[name].shape)) for name, size in sizes.items()
        )
        for i in range(count)
    }


def along_part(move: Move, elements: np.ndarray) -> Move:
    """Return the part of a whole tensor's move that concerns these elements, given by flat indices."""
    index = np.unravel_index(elements, move.values.shape)
    return Move(move.name, index, move.values[index])


def aside(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a displacement of each element by about a thousandth of itself, of zeros by that of the largest.

    It takes ties apart and zeros off a kink, and leaves the signs of all other elements.  Of n equal elements no two
    come closer than 1/n of that: drawn independently, two of them would now and then be too close to tell apart.

    Examples
    --------
    >>> moved = np.sort(aside(np.ones(100), np.random.default_rng(0)))
    >>> bool(np.diff(moved).min() > 0.99e-5)
    True
    """
    steps = (0.5 + rng.permutation(x.size) / max(x.size, 1)) * rng.choice([-1, 1], x.size)
    return _ASIDE * np.where(x == 0, _largest(x), np.abs(x)) * steps.reshape(x.shape)


def _unravel(i: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int, np.unravel_index(i, shape)))


def _largest(x: np.ndarray) -> float:
    """Return the largest magnitude, or 1 where all is too small for a step relative to it."""
    largest = float(np.abs(x).max(initial=0.0))
    return largest if largest > 1e-100 else 1.0


def root_mean_square(x: np.ndarray) -> float:
    """Return the size of a typical element, or 1 where all are 0."""
    largest = _largest(x)
    return largest * float(np.linalg.norm(x / largest)) / max(1.0, x.size**0.5) or 1.0
