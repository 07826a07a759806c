"""Parts of images, cut out at one place or at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...random import default_generator
from ..check import check_generator, check_images, size_pair
from .pad import Pad

__all__ = ["CenterCrop", "RandomCrop", "check_holds", "corners_and_centre"]


class CenterCrop:
    """Cuts out the middle.

    Parameters
    ----------
    size : int or pair of ints (height, width), at least 1

    Raises
    ------
    ValueError
        If the size is none, or the images are smaller.

    Notes
    -----
    What cannot be halved evenly is rounded as torchvision does it, half a pixel to the even one.

    Examples
    --------
    >>> CenterCrop(1)(np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3))
    array([[[[4]]]], dtype=uint8)
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = size_pair("CenterCrop", size)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the middles (N, C, h, w)."""
        check_images("CenterCrop", images)
        check_holds("CenterCrop", images, self.size)
        return corners_and_centre(images, self.size)[-1]

    def __repr__(self) -> str:
        return f"CenterCrop({self.size})"


class RandomCrop:
    """Cuts a part out of each image at a random place, after padding it.

    Parameters
    ----------
    size : int or pair of ints (height, width), at least 1
    padding : int, at least 0
        The width of the frame put around the images first.
    fill : float
        What the frame is filled with.
    generator : numpy.random.Generator, optional
        Default: minicnn's, see :func:`minicnn.manual_seed`.

    Raises
    ------
    ValueError
        If the size or the padding is none, or the padded images are smaller.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", 2015, section 4.2: for CIFAR, a
    padding of 4 and crops of 32×32.

    Examples
    --------
    >>> crop = RandomCrop(32, padding=4, generator=np.random.default_rng(0))
    >>> crop(np.zeros((64, 3, 32, 32), np.uint8)).shape
    (64, 3, 32, 32)
    """

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int = 0,
        *,
        fill: float = 0,
        generator: np.random.Generator | None = None,
    ) -> None:
        self.size = size_pair("RandomCrop", size)
        if isinstance(padding, bool) or not hasattr(padding, "__index__") or padding < 0:
            raise ValueError(f"RandomCrop: padding must be an int of at least 0, got {padding!r}")
        check_generator("RandomCrop", generator)
        self.padding, self.fill, self.generator = int(padding), fill, generator

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the parts (N, C, h, w)."""
        check_images("RandomCrop", images)
        padded = Pad(self.padding, self.fill)(images)
        check_holds("RandomCrop", padded, self.size)
        (n, _, height, width), (h, w) = padded.shape, self.size
        generator = self.generator or default_generator()
        tops = generator.integers(0, height - h, n, endpoint=True)
        lefts = generator.integers(0, width - w, n, endpoint=True)
        parts = padded[:, :, :h, :w].copy()
        for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            parts[i] = padded[i, :, top : top + h, left : left + w]
        return parts

    def __repr__(self) -> str:
        return f"RandomCrop({self.size}, padding={self.padding}, fill={self.fill})"


def check_holds(op: str, images: np.ndarray, size: tuple[int, int]) -> None:
    """Raise ValueError unless a part of this size can be cut out of the images."""
    if images.shape[2] < size[0] or images.shape[3] < size[1]:
        raise ValueError(f"{op}: images must be at least {size[0]}×{size[1]}, got shape {images.shape}")


def corners_and_centre(images: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    """Return the parts at the top left, top right, bottom left, bottom right and in the middle; views."""
    h, w = size
    rows, columns = images.shape[2] - h, images.shape[3] - w
    places = [(0, 0), (0, columns), (rows, 0), (rows, columns), (round(rows / 2), round(columns / 2))]
    return [images[:, :, top : top + h, left : left + w] for top, left in places]
