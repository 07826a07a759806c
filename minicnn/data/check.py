"""Checks that transforms and the loader share."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["check_generator", "check_images"]


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
