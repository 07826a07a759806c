"""Images and their mirror images."""

from __future__ import annotations

import numpy as np

from ...random import default_generator
from ..check import check_generator, check_images

__all__ = ["RandomHorizontalFlip", "mirrored"]


class RandomHorizontalFlip:
    """Mirrors some of the images left to right.

    Parameters
    ----------
    p : float in [0, 1]
        The probability for each.
    generator : numpy.random.Generator, optional
        Default: minicnn's, see :func:`minicnn.manual_seed`.

    Raises
    ------
    ValueError
        If `p` is no probability.

    Examples
    --------
    >>> RandomHorizontalFlip(p=1)(np.array([[[[1, 2, 3]]]], np.uint8))
    array([[[[3, 2, 1]]]], dtype=uint8)
    """

    def __init__(self, p: float = 0.5, *, generator: np.random.Generator | None = None) -> None:
        if isinstance(p, bool) or not hasattr(p, "__float__") or not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be a number in [0, 1], got {p!r}")
        check_generator("RandomHorizontalFlip", generator)
        self.p, self.generator = p, generator

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the images, mirrored or not."""
        check_images("RandomHorizontalFlip", images)
        chosen = (self.generator or default_generator()).random(len(images)) < self.p
        return np.where(chosen.reshape(-1, 1, 1, 1), mirrored(images), images)

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


def mirrored(images: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) with left and right exchanged; a view."""
    return images[..., ::-1]
