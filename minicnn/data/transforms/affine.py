"""Random affine distortion, the augmentation that handwriting asks for.

Every image of a batch is turned, scaled, sheared and shifted by amounts of its own, about its centre c::

    p ↦ A (p − c) + c + t,      A = scale · rotation(angle) · shear_y · shear_x

The value of an output pixel is looked up where it came from, p ↦ A⁻¹ (p − c − t) + c, between four input
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from ...random import default_generator
from ..check import check_generator, check_images, two_numbers

__all__ = ["RandomAffine"]

Range = tuple[float, float]


class RandomAffine:
    """Distorts every image of a batch by a random affine map; the type and size of the images stay.

    Parameters
    ----------
    degrees : float or pair
        Angles are drawn from [−degrees, degrees] or [first, second]; positive ones turn clockwise.
    translate : pair of floats in [0, 1], optional
        Images are shifted by up to these fractions of their width and of their height, either way.
    scale : pair of positive floats, optional
        Sizes are multiplied by a factor between these.
    shear : float, pair or four floats, optional
        Range of the angles, in degrees, of a shear along x: [−shear, shear] or [first, second]; the last two
        of four are the range of a shear along y.
    fill : float
        What lies outside the image.
    generator : numpy.random.Generator, optional
        Default: minicnn's, see :func:`minicnn.manual_seed`.

    Raises
    ------
    ValueError
        If a range is none, or out of bounds.

    Notes
    -----
    Parameters and their meaning are torchvision's; but the interpolation is always bilinear, and shifts are
    not rounded to whole pixels.

    References
    ----------
    P. Simard, D. Steinkraus, J. Platt, "Best practices for convolutional neural networks applied to visual
    document analysis", 2003, section 2.

    Examples
    --------
    >>> distort = RandomAffine(degrees=10, translate=(0.1, 0.1), generator=np.random.default_rng(0))
    >>> distort(np.zeros((64, 1, 28, 28), np.uint8)).shape
    (64, 1, 28, 28)
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        *,
        fill: float = 0,
        generator: np.random.Generator | None = None,
    ) -> None:
        self.degrees = _range("degrees", degrees)
        self.translate = two_numbers("RandomAffine", "translate", (0, 0) if translate is None else translate)
        if not 0 <= min(self.translate) <= max(self.translate) <= 1:
            raise ValueError(f"RandomAffine: translate must be fractions in [0, 1], got {translate!r}")
        self.scale = _range("scale", (1, 1) if scale is None else scale)
        if self.scale[0] <= 0:
            raise ValueError(f"RandomAffine: scale must be greater than 0, got {scale!r}")
        self.shear_x, self.shear_y = _shears(0 if shear is None else shear)
        check_generator("RandomAffine", generator)
        self.fill, self.generator = fill, generator

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the distorted images (N, C, H, W)."""
        check_images("RandomAffine", images)
        n, _, height, width = images.shape
        inverse, shift = self._draw(n, height, width)
        # Pixel coordinates relative to the centre, as x and y along the first axis.
        centre = np.array([(width - 1) / 2, (height - 1) / 2]).reshape(2, 1, 1)
        grid = np.indices((height, width))[::-1] - centre
        moved = grid - shift.reshape(n, 2, 1, 1)
        x, y = np.moveaxis(np.einsum("nij,njhw->nihw", inverse, moved) + centre, 1, 0)
        return _bilinear(images, x, y, self.fill)

    def _draw(self, n: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return A⁻¹ (N, 2, 2) and t (N, 2) for each image."""
        generator = self.generator or default_generator()
        angle = np.radians(generator.uniform(*self.degrees, n))
        reach = np.array(self.translate) * (width, height)
        shift = generator.uniform(-reach, reach, (n, 2))
        scale = generator.uniform(*self.scale, n)
        shear_x = np.tan(np.radians(generator.uniform(*self.shear_x, n)))
        shear_y = np.tan(np.radians(generator.uniform(*self.shear_y, n)))
        one = np.ones(n)
        rotation = _matrices(np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))
        along_y = _matrices(one, 0 * one, -shear_y, one)
        along_x = _matrices(one, -shear_x, 0 * one, one)
        return np.linalg.inv(scale[:, None, None] * rotation @ along_y @ along_x), shift

    def __repr__(self) -> str:
        return (
            f"RandomAffine(degrees={self.degrees}, translate={self.translate}, scale={self.scale}, "
            f"shear={self.shear_x + self.shear_y}, fill={self.fill})"
        )


def _bilinear(images: np.ndarray, x: np.ndarray, y: np.ndarray, fill: float) -> np.ndarray:
    """Return the images' values between pixels, at (x, y) of shape (N, H, W) each."""
    n, c, height, width = images.shape
    dtype = np.result_type(images.dtype, np.float32)
    # A frame of `fill`, one pixel wide, stands for all that is outside.
    framed = np.full((n, height + 2, width + 2, c), fill, dtype)
    framed[:, 1:-1, 1:-1] = images.transpose(0, 2, 3, 1)
    x, y = np.clip(x + 1, 0, width + 1), np.clip(y + 1, 0, height + 1)
    left, top = np.minimum(x.astype(np.intp), width), np.minimum(y.astype(np.intp), height)
    right, down = ((position - base)[..., None].astype(dtype) for position, base in ((x, left), (y, top)))
    index = (np.arange(n).reshape(-1, 1, 1) * (height + 2) + top) * (width + 2) + left

    pixels = framed.reshape(-1, c)
    upper = pixels[index] * (1 - right) + pixels[index + 1] * right
    index += width + 2
    lower = pixels[index] * (1 - right) + pixels[index + 1] * right
    values = (upper * (1 - down) + lower * down).transpose(0, 3, 1, 2)
    if images.dtype == np.uint8:
        values = np.rint(values)
    return values.astype(images.dtype, copy=False)


def _matrices(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Return the matrices ((a, b), (c, d)), of shape (N, 2, 2)."""
    return np.stack([a, b, c, d], axis=-1).reshape(-1, 2, 2)


def _range(name: str, value: Any) -> Range:
    """Return [−value, value] for a number, or the pair that `value` is."""
    low, high = two_numbers("RandomAffine", name, (-value, value) if isinstance(value, Real) else value)
    if low > high:
        raise ValueError(f"RandomAffine: {name} must be a range, low before high, got {value!r}")
    return low, high


def _shears(shear: Any) -> tuple[Range, Range]:
    """Return the ranges along x and along y."""
    both = (shear[:2], shear[2:]) if isinstance(shear, Sequence) and len(shear) == 4 else (shear, 0)
    ranges = _range("shear", both[0]), _range("shear", both[1])
    if not all(-90 < angle < 90 for angle in ranges[0] + ranges[1]):
        raise ValueError(f"RandomAffine: shear must be between -90 and 90 degrees, got {shear!r}")
    return ranges
