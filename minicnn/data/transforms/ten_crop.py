"""Ten looks at an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..check import check_images, size_pair
from .crop import check_holds, corners_and_centre
from .flip import mirrored

__all__ = ["TenCrop"]


class TenCrop:
    """Makes ten of each image: its four corners, its centre, and the mirror images of these five.

    Their order is top left, top right, bottom left, bottom right, centre; then the mirrored ones likewise.  A network
    is asked about all of them and its ten answers averaged: :func:`minicnn.training.predict_crops`.

    Parameters
    ----------
    size : int or pair of ints (height, width), at least 1

    Attributes
    ----------
    count : int
        10.

    Raises
    ------
    ValueError
        If the size is none, or the images are smaller.

    Notes
    -----
    torchvision mirrors the image before it cuts: its last five are the same, left and right exchanged in their order.

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
    section 4.1; its images are the 256×256 pixels in the middle, its crops 224×224.

    Examples
    --------
    >>> TenCrop(1)(np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3)).ravel()
    array([0, 2, 6, 8, 4, 0, 2, 6, 8, 4], dtype=uint8)
    """

    count = 10

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = size_pair("TenCrop", size)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the crops (10 N, C, h, w), those of the first image first."""
        check_images("TenCrop", images)
        check_holds("TenCrop", images, self.size)
        five = corners_and_centre(images, self.size)
        views = np.stack([*five, *map(mirrored, five)], axis=1)
        return views.reshape(-1, *views.shape[2:])

    def __repr__(self) -> str:
        return f"TenCrop({self.size})"
