"""A chain of transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

__all__ = ["Compose", "Transform"]

Transform = Callable[[np.ndarray], np.ndarray]


class Compose:
    """Applies one transform after the other.

    Parameters
    ----------
    transforms : iterable of callables
    """

    def __init__(self, transforms: Iterable[Transform]) -> None:
        self.transforms = list(transforms)
        for transform in self.transforms:
            if not callable(transform):
                raise TypeError(f"Compose: transforms must be callable, got {transform!r}")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return what the last transform makes of the images."""
        for transform in self.transforms:
            images = transform(images)
        return images

    def __repr__(self) -> str:
        return f"Compose({self.transforms!r})"
