"""Cutting a batch of images into chunks, and taking the pixels of one, with zeros where it reaches beyond them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..backend.workspace import scratch

__all__ = ["Chunk", "cut", "even", "length", "slab", "split"]


class Chunk(NamedTuple):
    """Some rows of some images."""

    images: slice
    rows: slice


def cut(n: int, height: int, width: int, pixels: int, paired: bool = False) -> list[Chunk]:
    """Cut N images of height × width pixels into chunks of at most so many pixels, but of at least one row.

    A chunk is some whole images, or some rows of one: as even as can be.  With `paired` their number is even, if one
    cut more through the images, or else through each of them, can make it so.

    Examples
    --------
    >>> cut(1, 4, 10, pixels=25)
    [Chunk(images=slice(0, 1, None), rows=slice(0, 2, None)), Chunk(images=slice(0, 1, None), rows=slice(2, 4, None))]
    >>> len(cut(3, 4, 10, pixels=10)), len(cut(3, 4, 10, pixels=200)), len(cut(3, 4, 10, pixels=200, paired=True))
    (12, 1, 2)
    """
    rows = max(1, min(height, pixels // width))
    images = max(1, pixels // (height * width)) if rows == height else 1
    groups, bands = -(-n // images), -(-height // rows)
    if paired and groups * bands % 2:
        groups, bands = (groups + 1, bands) if groups < n else (groups, min(bands + 1, height))
    return [Chunk(some, few) for some in split(n, groups) for few in split(height, bands)]


def even(length: int, most: int) -> list[slice]:
    """Cut an axis into the fewest pieces of at most so many, as even as can be."""
    return split(length, -(-length // most))


def split(length: int, pieces: int) -> list[slice]:
    """Cut an axis into so many pieces, as even as can be."""
    return [slice(length * i // pieces, length * (i + 1) // pieces) for i in range(pieces)]


def length(some: slice) -> int:
    """Return how many a slice takes."""
    return some.stop - some.start


def slab(x: np.ndarray, images: slice, rows: slice, columns: slice) -> np.ndarray:
    """Return a rectangle of pixels of x (N, C, H, W), channels last: (n, rows, columns, C), to be read only.

    The rectangle may lie outside the images, partly or altogether: there it has zeros.  It is a view of x where it
    lies inside and x has its channels last in memory; else scratch memory, valid until this thread's next call.
    """
    c = x.shape[1]
    pixels = x[images].transpose(0, 2, 3, 1)
    inside = pixels[:, max(rows.start, 0) : max(rows.stop, 0), max(columns.start, 0) : max(columns.stop, 0)]
    size = rows.stop - rows.start, columns.stop - columns.start
    if inside.shape[1:3] == size and x.strides[1] == x.itemsize:
        return inside
    padded = scratch("conv slab", (len(pixels), *size, c), x.dtype)
    top, left = max(-rows.start, 0), max(-columns.start, 0)
    bottom, right = top + inside.shape[1], left + inside.shape[2]
    padded[:, :top] = padded[:, bottom:] = 0
    padded[:, top:bottom, :left] = padded[:, top:bottom, right:] = 0
    padded[:, top:bottom, left:right] = inside
    return padded
