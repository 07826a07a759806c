"""Checks that transforms and the loader share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

__all__ = ["check_generator", "check_images", "size_pair", "two_numbers"]


def check_images(op: str, images: Any) -> None:
    """Raise TypeError or ValueError unless `images` is an array (N, C, H, W) of uint8 or floats."""
    if not isinstance(images, np.ndarray) or not (images.dtype == np.uint8 or images.dtype.kind == "f"):
        kind = images.dtype if isinstance(images, np.ndarray) else type(images).__qualname__
        raise TypeError(f"{op}: images must be an array of uint8 or floats, got {kind}")
    if images.ndim != 4:
        raise ValueError(f"{op}: images must be a batch (N, C, H, W), got shape {images.shape}")


def check_generator(op: str, generator: Any) -> None:
    """Raise TypeError unless `generator` is a random generator or None."""
    if generator is not None and not isinstance(generator, np.random.Generator):
        raise TypeError(f"{op}: generator must be a numpy.random.Generator, got {generator!r}")


def size_pair(op: str, size: Any) -> tuple[int, int]:
    """Return the (height, width) that a pair is, or an int means; ValueError unless both are positive ints."""
    pair = tuple(size) if isinstance(size, Sequence) else (size, size)
    whole = all(hasattr(side, "__index__") and not isinstance(side, bool) for side in pair)
    if len(pair) != 2 or not whole or min(pair) < 1:
        raise ValueError(f"{op}: size must be an int of at least 1 or a pair of such, got {size!r}")
    return int(pair[0]), int(pair[1])


def two_numbers(op: str, name: str, value: Any) -> tuple[float, float]:
    """Return `value`, which must be two finite numbers."""
    numbers = tuple(value) if isinstance(value, Sequence) else ()
    if len(numbers) != 2 or not all(isinstance(number, Real) and math.isfinite(number) for number in numbers):
        raise ValueError(f"{op}: {name} must be two finite numbers, got {value!r}")
    return float(numbers[0]), float(numbers[1])
