"""What becomes of each pixel's value, wherever it is: the range and the normalisation a network asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..check import check_images

__all__ = ["Normalize", "ToFloat"]


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
