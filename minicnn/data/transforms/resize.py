"""Images at another size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..check import check_images, size_pair

__all__ = ["Resize", "resized"]

_MOST = 1 << 26  # pixels an image may come to; a thread of 1×10,000 pixels would else fill the memory


class Resize:
    """Brings images to another size, by bilinear interpolation.

    Parameters
    ----------
    size : int or pair of ints, at least 1
        An int is the length of the shorter side; the proportions are kept, the longer side rounded down.  A pair is
        (height, width), whatever the proportions were.

    Raises
    ------
    ValueError
        If the size is none, an image has no pixels, or would come to more than 67 million.

    Notes
    -----
    It is Pillow's: a smaller image's pixel is a weighted mean over all it covers (antialiasing), bytes are rounded,
    floats computed in float32.  Whoever published weights measured their accuracy with it.

    Examples
    --------
    >>> Resize(256)(np.zeros((1, 3, 375, 500), np.uint8)).shape
    (1, 3, 256, 341)
    >>> Resize((32, 32))(np.zeros((1, 3, 375, 500), np.uint8)).shape
    (1, 3, 32, 32)
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        height, width = size_pair("Resize", size)
        self.size: int | tuple[int, int] = (height, width) if isinstance(size, Sequence) else height

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the images (N, C, h, w)."""
        check_images("Resize", images)
        height, width = images.shape[2:]
        if not height or not width:
            raise ValueError(f"Resize: images must have pixels, got shape {images.shape}")
        size = self.size if isinstance(self.size, tuple) else _in_proportion(self.size, height, width)
        if size[0] * size[1] > _MOST:
            raise ValueError(
                f"Resize: images must not come to more than {_MOST:,} pixels, got {height}×{width}, "
                f"which would become {size[0]}×{size[1]}"
            )
        return resized(images, size)

    def __repr__(self) -> str:
        return f"Resize({self.size})"


def resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return images (N, C, H, W) at the size (height, width)."""
    from PIL import Image

    (n, c), (height, width) = images.shape[:2], size
    out = np.empty((n, height, width, c), images.dtype).transpose(0, 3, 1, 2)  # channels-last in memory
    for i, k in np.ndindex(n, c):
        plane = images[i, k] if images.dtype == np.uint8 else images[i, k].astype(np.float32)
        out[i, k] = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
    return out


def _in_proportion(shorter: int, height: int, width: int) -> tuple[int, int]:
    """Return the size whose shorter side is given."""
    least = min(height, width)
    return shorter * height // least, shorter * width // least
