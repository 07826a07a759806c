"""Parts of images, of random size and shape, brought to one size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...random import default_generator
from ..check import check_generator, check_images, size_pair, two_numbers
from .resize import resized

__all__ = ["RandomResizedCrop"]

_TRIES = 10


class RandomResizedCrop:
    """Cuts a part of random area, proportions and place out of each image and resizes it.

    Parameters
    ----------
    size : int or pair of ints (height, width), at least 1
        Of what is returned.
    scale : pair of floats in (0, 1]
        The part's area, as a share of the image's, is drawn evenly from between these.
    ratio : pair of positive floats
        Its width divided by its height is drawn from between these, narrow as often as wide.
    generator : numpy.random.Generator, optional
        Default: minicnn's, see :func:`minicnn.manual_seed`.

    Raises
    ------
    ValueError
        If a size or range is none, or an image has no pixels.

    Notes
    -----
    Where ten parts drawn in turn do not fit into the image, it is the largest in its middle whose proportions are
    allowed, as in torchvision.

    References
    ----------
    C. Szegedy et al., "Going Deeper with Convolutions", 2014, section 6: 8 % to 100 % of the area, proportions from
    3:4 to 4:3.

    Examples
    --------
    >>> crop = RandomResizedCrop(224, generator=np.random.default_rng(0))
    >>> crop(np.zeros((2, 3, 375, 500), np.uint8)).shape
    (2, 3, 224, 224)
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        *,
        generator: np.random.Generator | None = None,
    ) -> None:
        self.size = size_pair("RandomResizedCrop", size)
        self.scale = two_numbers("RandomResizedCrop", "scale", scale)
        self.ratio = two_numbers("RandomResizedCrop", "ratio", ratio)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"RandomResizedCrop: scale must be a range within (0, 1], got {scale!r}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"RandomResizedCrop: ratio must be a range of positive numbers, got {ratio!r}")
        check_generator("RandomResizedCrop", generator)
        self.generator = generator

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the resized parts (N, C, h, w)."""
        check_images("RandomResizedCrop", images)
        n, c, height, width = images.shape
        if not height or not width:
            raise ValueError(f"RandomResizedCrop: images must have pixels, got shape {images.shape}")
        generator = self.generator or default_generator()
        out = np.empty((n, *self.size, c), images.dtype).transpose(0, 3, 1, 2)  # channels-last in memory
        for i in range(n):
            top, left, h, w = self._draw(generator, height, width)
            out[i] = resized(images[i : i + 1, :, top : top + h, left : left + w], self.size)[0]
        return out

    def _draw(self, generator: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
        """Return a part's top, left, height and width."""
        for _ in range(_TRIES):
            area = height * width * generator.uniform(*self.scale)
            ratio = math.exp(generator.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                top, left = generator.integers(0, (height - h, width - w), endpoint=True)
                return int(top), int(left), h, w
        narrowest, widest = self.ratio
        h = min(height, max(1, round(width / narrowest)))
        w = min(width, max(1, round(height * widest)))
        return (height - h) // 2, (width - w) // 2, h, w

    def __repr__(self) -> str:
        return f"RandomResizedCrop({self.size}, scale={self.scale}, ratio={self.ratio})"
