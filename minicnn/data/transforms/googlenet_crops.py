"""A hundred and forty-four looks at an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..check import check_images, size_pair
from .crop import corners_and_centre
from .flip import mirrored
from .resize import Resize, resized

__all__ = ["GoogLeNetCrops"]

_SIDES, _SIZE = (256, 288, 320, 352), 224  # the paper's


class GoogLeNetCrops:
    """Makes 144 of each image, as GoogLeNet's authors did for the challenge.

    ::

        4 scales     the shorter side 256, 288, 320 and 352 pixels long
        3 squares    left, centre and right; of an upright image top, centre and bottom
        6 views      the square's four corners and its centre, 224×224, and the square resized to that
        2            each of the six, then the mirror images of the six

    The order is that of nested loops, the scales outermost.  A network is asked about all of them and its answers
    averaged: :func:`minicnn.training.predict_crops`.

    Parameters
    ----------
    size : int, or that int twice, at least 1
        The side of the crops.  If it is not 224, the four scales change in proportion.

    Attributes
    ----------
    count : int
        144.

    Raises
    ------
    ValueError
        If the size is none, or not that of a square.

    References
    ----------
    C. Szegedy et al., "Going Deeper with Convolutions", 2014, section 7.

    Examples
    --------
    >>> GoogLeNetCrops()(np.zeros((1, 3, 375, 500), np.uint8)).shape
    (144, 3, 224, 224)
    """

    count = 144

    def __init__(self, size: int | Sequence[int] = _SIZE) -> None:
        self.size, width = size_pair("GoogLeNetCrops", size)
        if self.size != width:
            raise ValueError(f"GoogLeNetCrops: size must be that of a square, got {size}")
        self.sides = [round(side * self.size / _SIZE) for side in _SIDES]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the crops (144 N, C, size, size), those of the first image first."""
        check_images("GoogLeNetCrops", images)
        size = self.size, self.size
        views: list[np.ndarray] = []
        for side in self.sides:
            for square in _squares(Resize(side)(images)):
                six = [*corners_and_centre(square, size), resized(square, size)]
                views += [*six, *map(mirrored, six)]
        return np.stack(views, axis=1).reshape(-1, images.shape[1], *size)

    def __repr__(self) -> str:
        return f"GoogLeNetCrops({self.size})"


def _squares(images: np.ndarray) -> list[np.ndarray]:
    """Return the largest squares at one end, in the middle and at the other end."""
    corners = corners_and_centre(images, (min(images.shape[2:]),) * 2)
    return [corners[0], corners[4], corners[3]]
