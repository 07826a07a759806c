"""What follows a convolution's sums while they are in the cache: the bias, and the ReLU where it is fused."""

from __future__ import annotations

import numpy as np

__all__ = ["finish"]


def finish(pixels: np.ndarray, b: np.ndarray | None, relu: bool) -> None:
    """Add b (K,) to pixels (…, K), or any b that broadcasts, and, with `relu`, take their positive part, both in place.

    Examples
    --------
    >>> pixels = np.array([[-1.0, 1.0], [2.0, -2.0]])
    >>> finish(pixels, np.array([0.5, 1.0]), relu=True)
    >>> pixels
    array([[0. , 2. ],
           [2.5, 0. ]])
    """
    if b is not None:
        pixels += b
    if relu:
        np.maximum(pixels, 0, out=pixels)
