"""A sliding window over images in a device's memory, as the kernels take it: structs of ``kernels/common.cuh``."""

from __future__ import annotations

from collections.abc import Sequence

from ...geometry import Window2d

__all__ = ["checked_images", "conv2d", "lanes", "pool2d"]

MOST_PIXELS = 2**31 - 1  # of an image: kernels number them with an int


def checked_images(op: str, name: str, shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Return a shape of images, (N, H, W, C).

    Raises
    ------
    ValueError
        If there are not four axes, or an image has more pixels than an int can number.
    """
    if len(shape) != 4:
        raise ValueError(f"{op}: {name} must be images [N, H, W, C], got shape {tuple(shape)}")
    n, height, width, c = shape
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"{op}: {name} must have at most {MOST_PIXELS} pixels an image, got {height}×{width}"
        )
    return n, height, width, c


def conv2d(
    window: Window2d, input_shape: tuple[int, ...], groups: int = 1, kernels: int = 0
) -> dict[str, int]:
    """Return ``Conv2d``, the convolution of images (N, H, W, C) with so many kernels.

    Raises
    ------
    ValueError
        If not one window fits.

    Examples
    --------
    >>> conv2d(Window2d.of("test", 3, padding=1), (1, 8, 8, 2))["P"]
    8
    """
    return _window(window, input_shape) | {"G": groups, "K": kernels}


def pool2d(window: Window2d, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Return ``Pool2d``, the windows over images (N, H, W, C).

    Raises
    ------
    ValueError
        If not one window fits.
    """
    _, bottom, _, right = window.padding
    return _window(window, input_shape) | {"pad_bottom": bottom, "pad_right": right}


def _window(window: Window2d, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Return what both structs have."""
    n, height, width, c = input_shape
    p, q = window.output_size(height, width)
    fields = {"N": n, "H": height, "W": width, "C": c, "P": p, "Q": q}
    for (down, across), pair in (
        (("R", "S"), window.kernel),
        (("stride_h", "stride_w"), window.stride),
        (("pad_h", "pad_w"), window.padding[::2]),
        (("dilation_h", "dilation_w"), window.dilation),
    ):
        fields[down], fields[across] = pair
    return fields


def lanes(count: int, most: int = 32) -> int:
    """Return how many threads share `count` neighbours: the next power of two, but no more than `most`.

    Examples
    --------
    >>> lanes(3), lanes(100)
    (4, 32)
    """
    return min(1 << max(count - 1, 0).bit_length(), most)
