"""A picture of one handwritten digit, brought to the form the MNIST digits have.

A network trained on MNIST has only ever seen digits that were prepared in one way, so a picture from
elsewhere has to go the same way before it is shown to the network:

1. *grey*: one brightness a pixel, turned upright, transparent parts laid on paper;
2. *ink*: how far each pixel stands out from the paper, 0 to 1, whichever of the two is the lighter;
3. *size*: the box around the ink is scaled, its proportions kept, to fit into 20×20 pixels;
4. *place*: in 28×28 pixels, with the ink's centre of mass in the middle.

Steps 3 and 4 are those of the paper.  What tells the ink from the paper is not from there: the NIST scans
were black and white to begin with.

References
----------
Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", 1998,
section III.A.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from .picture import decoded

__all__ = ["read_digit"]

_LONGEST = 256  # pixels a side: more only costs time, and averaging them away takes the camera's noise along
_FAINTEST = 0.05  # contrast between ink and paper, white being 1 and black 0, below which a picture is blank
_BOX_LEVEL = 0.15  # ink fainter than this does not widen the box


def read_digit(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the picture of one digit and return it as MNIST would hold it.

    Dark ink on light paper and light on dark both work, at any size, in colour or grey, with transparency,
    from a drawing, a scan or a photograph in even light.  There must be nothing but the digit in it, and most
    of the picture's edge must be paper.

    Parameters
    ----------
    path : str or path
        A picture file of any kind that Pillow reads.

    Returns
    -------
    numpy.ndarray
        float32 (28, 28), the background 0 and the ink up to 1.

    Raises
    ------
    ValueError
        If there is no such file, it is no picture or a broken or far too large one, or there is no ink in it.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> one = Image.new("L", (90, 60), "white")
    >>> one.paste("black", (40, 10, 44, 50))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     one.save(f"{folder}/one.png")
    ...     digit = read_digit(f"{folder}/one.png")
    >>> digit[4:24, 13:15].min(), digit.sum() == digit[4:24, 13:15].sum()
    (np.float32(1.0), np.True_)
    """
    name = os.fspath(path)
    ink = _ink(decoded("read_digit", name, _brightness))
    solid = _solid(ink > _BOX_LEVEL)
    if not solid.any():
        raise ValueError(f"read_digit: there is no ink in {name!r}, nothing that stands out from the paper")
    return _centred(_scaled(ink, solid))


def _brightness(image: Any) -> np.ndarray:
    """Return the brightness of a picture, float32 (H, W), black 0 and white 1."""
    if image.mode == "F" or image.mode.startswith("I"):  # 16 or 32 bits a pixel, of whatever range
        values = np.asarray(_at_most_longest(image.convert("F")))
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        return values / max(float(np.abs(values).max()), 1e-30)
    transparent = image.has_transparency_data
    image = _at_most_longest(image.convert("RGBA" if transparent else "RGB"))
    grey = np.asarray(image.convert("L"), np.float32) / 255
    return _on_paper(grey, np.asarray(image.getchannel("A"), np.float32) / 255) if transparent else grey


def _at_most_longest(image: Any) -> Any:
    from PIL import Image

    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BOX)
    return image


def _on_paper(grey: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lay a partly transparent picture on paper.

    Where most of it is transparent, what is opaque is the ink and the paper takes the opposite shade.
    Otherwise there is paper in the picture, and the transparent rest continues it.
    """
    opaque = grey[alpha > 0.5]
    if opaque.size == 0:
        return np.zeros_like(grey)  # blank
    shade = float(np.median(opaque))
    paper = shade if opaque.size > grey.size / 2 else float(shade < 0.5)
    return alpha * grey + (1 - alpha) * paper


def _ink(grey: np.ndarray) -> np.ndarray:
    """Return how much ink is at each pixel, 0 to 1; none anywhere if the contrast is within the noise.

    The median distance from the paper's shade along the rim is a measure of noise and uneven light that a
    digit reaching into the rim does not upset.  Four of it, 2.7 standard deviations of normal noise, are
    taken off.
    """
    rim = np.ones(grey.shape, bool)  # the outermost pixels
    rim[1:-1, 1:-1] = False
    relief = grey - _paper(grey, rim)
    noise = 4 * np.median(np.abs(relief[rim]))
    darkest, lightest = np.quantile(relief, [0.0005, 0.9995])
    depth = relief if lightest > -darkest else -relief
    most = max(lightest, -darkest)
    if most < max(_FAINTEST, 2 * noise):
        return np.zeros_like(relief)
    return np.clip((depth - noise) / (most - noise), 0, 1).astype(np.float32)


def _paper(grey: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """Return the paper's brightness at every pixel, told from the rim.

    Either it is the same everywhere, or it falls off evenly to one side, as in a photograph: whichever leaves
    half of the rim closer to it.
    """
    y, x = np.indices(grey.shape)
    planes = np.stack([np.ones(grey.shape), y / grey.shape[0], x / grey.shape[1]], axis=-1)
    slope = planes @ np.linalg.lstsq(planes[rim], grey[rim], rcond=None)[0]
    level = np.full(grey.shape, np.median(grey[rim]))
    return min(level, slope, key=lambda paper: float(np.median(np.abs(grey - paper)[rim])))


def _scaled(ink: np.ndarray, solid: np.ndarray) -> np.ndarray:
    """Return the box around the solid ink, scaled to 20 pixels along its longer side, its darkest pixel 1."""
    from PIL import Image

    rows, columns = (np.flatnonzero(solid.any(axis)) for axis in (1, 0))
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    scale = 20 / max(right - left, bottom - top)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    # Averaging over areas keeps a digit as it is that was normalised before; but it cannot enlarge.
    resampling = Image.Resampling.BOX if scale <= 1 else Image.Resampling.BICUBIC
    small = np.asarray(Image.fromarray(ink).resize(size, resampling, box=(left, top, right, bottom)))
    # A thin pen's strokes are narrower than a pixel by now, and grey.  MNIST's digits all reach black.
    return np.clip(small / small.max(), 0, 1)


def _solid(mask: np.ndarray) -> np.ndarray:
    """Keep of the marked pixels those with at least two others next to them: a speck of dust is no ink."""
    height, width = mask.shape
    padded = np.pad(mask, 1).astype(np.uint8)
    # Each pixel and the eight around it.
    block = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3))
    return mask & (block >= 3)


def _centred(box: np.ndarray) -> np.ndarray:
    """Return the box in 28×28 pixels, its centre of mass within half a pixel of (14, 14), as in MNIST.

    As in MNIST, too, the box moves by whole pixels; and it stays inside.
    """
    digit = np.zeros((28, 28), np.float32)
    top, left = (_offset(box.sum(axis)) for axis in (1, 0))
    digit[top : top + box.shape[0], left : left + box.shape[1]] = box
    return digit


def _offset(profile: np.ndarray) -> int:
    centre = float(profile @ np.arange(profile.size)) / float(profile.sum())
    return min(max(math.ceil(13.5 - centre), 0), 28 - profile.size)
