"""A picture file, as the red, green and blue a network looks at."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["decoded", "read_picture"]

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What photographs and scans come in.  Not all Pillow knows: for PostScript it would start another program."""


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture.

    It is turned upright as its camera noted; what is transparent lies on white; grey ones and those with a palette,
    in CMYK or with more than 8 bits a colour come out in the same form as all others.  Of an animation it is the
    first image.

    Parameters
    ----------
    path : str or path
        A BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file.

    Returns
    -------
    numpy.ndarray
        uint8 (3, H, W).

    Raises
    ------
    ValueError
        If there is no such file, or it is no picture or a broken or far too large one.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (4, 2), "orange").save(f"{folder}/orange.png")
    ...     picture = read_picture(f"{folder}/orange.png")
    >>> picture.shape, picture[:, 0, 0]
    ((3, 2, 4), array([255, 165,   0], dtype=uint8))
    """
    return decoded("read_picture", os.fspath(path), _rgb).transpose(2, 0, 1)  # channels-last in memory


def decoded(op: str, name: str, convert: Callable[[Any], np.ndarray]) -> np.ndarray:
    """Return what `convert` makes of the upright picture in a file; all that can go wrong is a ValueError."""
    from PIL import Image, ImageOps

    try:
        if os.path.exists(name) and not os.path.isfile(name):  # opening a pipe would wait for its writer
            raise ValueError("it is no regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(name, formats=_FORMATS) as file:
                return convert(ImageOps.exif_transpose(file))
    except FileNotFoundError:
        raise ValueError(f"{op}: there is no file {name!r}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise ValueError(f"{op}: {name!r} has more than the {limit} pixels allowed") from None
    except Exception as error:  # for a broken file a decoder may raise anything
        raise ValueError(f"{op}: {name!r} is no readable picture ({error})") from error


def _rgb(image: Any) -> np.ndarray:
    """Return red, green and blue, uint8 (H, W, 3)."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_bytes(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _bytes(image: Any) -> np.ndarray:
    """Return the grey levels of more than 8 bits as bytes.

    White is 1 for floats and 65,535 for whole numbers, or the largest value if that is more.
    """
    values = np.asarray(image.convert("F"))
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    white = max(1.0 if image.mode == "F" else 65535.0, float(values.max()))
    return np.rint(255 * np.clip(values / white, 0, 1)).astype(np.uint8)
