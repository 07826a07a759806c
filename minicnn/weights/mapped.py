"""Files mapped into memory, and arrays over their bytes that cannot reach beyond them.

A mapped file is not read: its bytes come into memory when they are looked at, and an array over them takes none of its
own.  The mapping is private: writing to such an array copies the page written to, and the file never changes.

What a file says about itself (sizes, offsets, types) is believed only after it was compared with the bytes there are.
Whatever it gets wrong is a :class:`Refused`, whose text continues a sentence that begins with the file's name.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Sequence
from math import prod

import numpy as np

__all__ = ["Mapped", "Refused", "item_size", "map_file", "numbers", "shaped", "shown", "strided"]

_MOST_AXES = 32
_SHOWN = 60  # characters of a text from a file that an error repeats


class Refused(ValueError):
    """What is wrong with a file, as the rest of a sentence: "… is cut short"."""


class Mapped:
    """The bytes of a file.

    Attributes
    ----------
    bytes : array (size,), uint8
        Over the mapping, which lives as long as any array over it.
    stem : str
        The file's name without folder and suffix.
    """

    def __init__(self, stream: mmap.mmap, stem: str) -> None:
        self.bytes = np.frombuffer(stream, np.uint8)
        self.stem = stem

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.bytes)

    def text(self, start: int, length: int) -> bytes:
        """Return a copy of some bytes, fewer where the file ends."""
        return self.bytes[start : start + length].tobytes()


def map_file(path: str | os.PathLike[str]) -> Mapped:
    """Map a file into memory.

    Raises
    ------
    Refused
        If it is no file, or an empty one.
    OSError
        If it cannot be opened.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
        raise Refused("is a folder, weights are in a file" if os.path.isdir(path) else "is no regular file")
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise Refused("is no whole safetensors file, nor any other: it is empty")
        stream = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return Mapped(stream, os.path.splitext(os.path.basename(path))[0])


def item_size(kind: str) -> int:
    """Return the bytes of one number of a kind that :func:`numbers` takes."""
    return 2 if kind == "bf16" else np.dtype(kind).itemsize


def numbers(raw: np.ndarray, kind: str) -> np.ndarray:
    """Return bytes as the numbers they stand for.

    Parameters
    ----------
    raw : array (n,), uint8
        n a multiple of the item size.
    kind : str
        A NumPy dtype's text, or ``"bf16"``: NumPy has no such type, float32 holds all its values.

    Returns
    -------
    array (n / item size,)
        A view; a copy where the bytes are not aligned, or are bf16 or big-endian numbers, or truth values, which a file
        could spell by other bytes than 0 and 1.

    Examples
    --------
    >>> numbers(np.array([0x80, 0x3F], np.uint8), "bf16")
    array([1.], dtype=float32)
    """
    if kind == "bf16":  # the upper half of a float32
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    array = raw.view(kind)
    if array.dtype == bool:
        return raw != 0
    return array.astype(array.dtype.newbyteorder("="), copy=not array.flags.aligned)


def shaped(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return a flat array in a shape, row-major.

    Raises
    ------
    Refused
        If no array can have that shape, or not one of so many numbers.
    """
    if len(shape) <= _MOST_AXES and all(type(size) is int and size >= 0 for size in shape):
        try:
            return array.reshape(tuple(shape))
        except (ValueError, OverflowError):
            pass
    raise Refused(f"is damaged: {len(array)} numbers cannot have shape {shown(tuple(shape[:_MOST_AXES]))}")


def strided(array: np.ndarray, offset: int, shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """Return the view of a flat array that has a tensor's shape and strides.

    Parameters
    ----------
    array : array (n,)
    offset : int
        Of the first element.
    shape, strides : sequences of int
        Strides in elements.

    Raises
    ------
    Refused
        If the view would reach outside of the array.  It may repeat elements, by strides of 0, any number of times.

    Examples
    --------
    >>> strided(np.arange(6), 1, (2, 2), (3, 1))
    array([[1, 2],
           [4, 5]])
    """
    if len(shape) != len(strides) or len(shape) > _MOST_AXES:
        raise Refused(f"has a tensor with {len(shape)} sizes and {len(strides)} strides")
    if min((offset, *shape, *strides)) < 0:
        raise Refused("has a tensor with a negative offset, size or stride")
    count = prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if offset > len(array) or (count and last >= len(array)):
        raise Refused(f"has a tensor {shown(tuple(shape))} that reaches outside of its {len(array)} numbers")
    if not count:
        return shaped(array[:0], shape)
    # An axis of one element may have any stride, even one that no machine can count to.
    steps = [stride * array.itemsize * (size > 1) for size, stride in zip(shape, strides, strict=True)]
    return np.ndarray(shape, array.dtype, array.data, offset * array.itemsize, steps)


def shown(value: object) -> str:
    """Return a text from a file in one line of bounded length, with nothing in it that a terminal would obey.

    Examples
    --------
    >>> shown("a" + chr(27) + "[2Jb" + chr(10) + "c")
    'a�[2Jb c'
    """
    text = " ".join(str(value).split())
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return "".join(letter if letter.isprintable() else "�" for letter in text)
