"""Transforms: callables that make of a batch of images what a network shall see.

Each takes a whole batch, an array (N, C, H, W) of uint8 (0 to 255) or floats, and leaves it as it was.  Names
and parameters are torchvision's, which works on one image at a time.

>>> transform = Compose([ToFloat(), Pad(2), Normalize(mean=0.5, std=0.25)])
>>> transform(np.full((1, 1, 28, 28), 255, np.uint8))[0, 0, 1:3, 16]
array([-2.,  2.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .affine import RandomAffine
from .check import check_images

__all__ = ["Compose", "Normalize", "Pad", "RandomAffine", "ToFloat", "Transform"]

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


class ToFloat:
    """Makes float32 between 0 and 1 of uint8 between 0 and 255; floats it leaves alone.

    Examples
    --------
    >>> ToFloat()(np.array([[[[0, 51, 255]]]], np.uint8))
    array([[[[0. , 0.2, 1. ]]]], dtype=float32)
    """

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the images as floats."""
        check_images("ToFloat", images)
        return images / np.float32(255) if images.dtype == np.uint8 else images

    def __repr__(self) -> str:
        return "ToFloat()"


class Normalize:
    """x ↦ (x − mean) / std, the same in all channels or with one pair of numbers for each.

    Parameters
    ----------
    mean, std : float or sequence of C floats
        std must be positive.

    Examples
    --------
    >>> Normalize(mean=0.5, std=0.25)(np.array([[[[0.0, 0.5, 1.0]]]]))
    array([[[[-2.,  0.,  2.]]]])
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean, self.std = (np.asarray(value, np.float64) for value in (mean, std))
        for name, value in (("mean", self.mean), ("std", self.std)):
            if value.ndim > 1 or not np.isfinite(value).all():
                raise ValueError(f"Normalize: {name} must be a finite number, or one a channel, got {value}")
        if (self.std <= 0).any():
            raise ValueError(f"Normalize: std must be greater than 0, got {std}")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the normalised images, of the type they came in."""
        check_images("Normalize", images)
        if images.dtype == np.uint8:
            raise TypeError("Normalize: images must be floats, got uint8; ToFloat() before it makes them so")
        for value in (self.mean, self.std):
            if value.size not in (1, images.shape[1]):
                raise ValueError(
                    f"Normalize: mean and std must be one number or one a channel, got {value.size} "
                    f"for images of shape {images.shape}"
                )
        mean, std = (value.astype(images.dtype).reshape(-1, 1, 1) for value in (self.mean, self.std))
        return (images - mean) / std

    def __repr__(self) -> str:
        mean, std = (np.array2string(value, separator=", ", precision=6) for value in (self.mean, self.std))
        return f"Normalize(mean={mean}, std={std})"


class Pad:
    """Puts a frame of one value around each image.

    Parameters
    ----------
    padding : int, at least 0
        The frame's width in pixels.
    fill : float

    Examples
    --------
    >>> Pad(1)(np.ones((1, 1, 1, 1), np.uint8))
    array([[[[0, 0, 0],
             [0, 1, 0],
             [0, 0, 0]]]], dtype=uint8)
    """

    def __init__(self, padding: int, fill: float = 0) -> None:
        if isinstance(padding, bool) or not hasattr(padding, "__index__") or padding < 0:
            raise ValueError(f"Pad: padding must be an int of at least 0, got {padding!r}")
        self.padding, self.fill = int(padding), fill

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the images (N, C, H + 2 padding, W + 2 padding)."""
        check_images("Pad", images)
        n, c, h, w = images.shape
        p = self.padding
        # Channels-last in memory, which is how everything here computes.
        padded = np.full((n, h + 2 * p, w + 2 * p, c), self.fill, images.dtype).transpose(0, 3, 1, 2)
        padded[:, :, p : p + h, p : p + w] = images
        return padded

    def __repr__(self) -> str:
        return f"Pad({self.padding}, fill={self.fill})"
