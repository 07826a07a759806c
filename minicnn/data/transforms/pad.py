"""A frame around images."""

from __future__ import annotations

import numpy as np

from ..check import check_images

__all__ = ["Pad"]


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
