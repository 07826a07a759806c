"""How convolution by spectra (:mod:`minicnn.conv.fft`) is cut: into tiles, blocks of kernels and spans of tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .problem import Direction, Problem

__all__ = ["Axis", "Block", "Plan", "Tiles", "complex_type", "cut", "cut_into", "fast_length", "plan"]

LEAST_SIDE = 24  # pixels that a tile may see along an axis
RATIO = 2  # or this many times the kernel's extent
BLOCK_BYTES = 1 << 26  # the spectra of a block of kernels; and those of a span of tiles


class Axis(NamedTuple):
    """One axis of the results: `tiles` tiles of `each` results, or fewer at the end, transformed in `side` points."""

    tiles: int
    each: int
    side: int


class Tiles(NamedTuple):
    """All images cut into tiles, numbered image by image and row by row."""

    images: int
    vertical: Axis
    horizontal: Axis

    @property
    def total(self) -> int:
        """How many tiles there are."""
        return self.images * self.vertical.tiles * self.horizontal.tiles

    @property
    def sides(self) -> tuple[int, int]:
        """Points of a transform (L, L')."""
        return self.vertical.side, self.horizontal.side

    @property
    def frequencies(self) -> tuple[int, int]:
        """Numbers in a spectrum (L, L'/2 + 1)."""
        return self.vertical.side, self.horizontal.side // 2 + 1

    def seen(self, stride: tuple[int, int], extent: tuple[int, int]) -> tuple[int, int]:
        """Pixels that a tile's results see."""
        rows, columns = self.vertical.each, self.horizontal.each
        return (rows - 1) * stride[0] + extent[0], (columns - 1) * stride[1] + extent[1]

    def corner(self, tile: int) -> tuple[int, int, int]:
        """Return the image of a tile, and the row and column of its first result."""
        rest, j = divmod(tile, self.horizontal.tiles)
        image, i = divmod(rest, self.vertical.tiles)
        return image, i * self.vertical.each, j * self.horizontal.each

    def results(self, tile: int, channels: slice) -> tuple[int, slice, slice, slice]:
        """Index of a tile's results, of some channels, in the batch; at the edges they may be fewer."""
        image, i, j = self.corner(tile)
        return image, channels, slice(i, i + self.vertical.each), slice(j, j + self.horizontal.each)


class Block(NamedTuple):
    """Some kernels, the channels of the input that they see, and how many groups these are."""

    kernels: slice
    channels: slice
    groups: int


class Plan(NamedTuple):
    """How a problem is cut: into blocks of kernels, and each of them into spans of tiles."""

    tiles: Tiles
    blocks: list[Block]
    spans: list[slice]


def fast_length(n: int) -> int:
    """Return the least product of 2s, 3s and 5s that is at least `n`: the lengths of fast transforms.

    Examples
    --------
    >>> [fast_length(n) for n in (1, 7, 11, 31, 61, 97)]
    [1, 8, 12, 32, 64, 100]
    """
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def cut(results: int, stride: int, extent: int) -> Axis:
    """Cut the results of one axis into tiles as even as can be.

    Examples
    --------
    >>> cut(224, stride=1, extent=11)
    Axis(tiles=16, each=14, side=24)
    >>> cut(8, stride=1, extent=5)
    Axis(tiles=1, each=8, side=12)
    """
    room = max(LEAST_SIDE, RATIO * extent)
    tiles = max(1, -(-results // ((room - extent) // stride + 1)))
    each = max(1, -(-results // tiles))
    return Axis(tiles, each, fast_length((each - 1) * stride + extent))


def plan(problem: Problem, direction: Direction) -> Plan:
    """Cut a problem; for dx the tiles are tiles of dx, otherwise of y."""
    (n, _, height, width), (k, c, _, _) = problem.input_shape, problem.weight_shape
    window, groups = problem.window, problem.groups
    if direction == "backward_data":
        size, stride = (height, width), (1, 1)
    else:
        size, stride = problem.output_shape[2:], window.stride
    tiles = Tiles(n, *(cut(size[i], stride[i], window.extent[i]) for i in (0, 1)))
    spectrum = math.prod(tiles.frequencies) * complex_type(problem.dtype).itemsize  # of one spectrum
    blocks = list(_blocks(k // groups, c, groups, max(1, BLOCK_BYTES // (spectrum * c))))
    kernels, channels, _ = blocks[0]  # no other has more
    spectra = kernels.stop + channels.stop
    return Plan(tiles, blocks, cut_into(tiles.total, max(1, BLOCK_BYTES // (spectrum * spectra))))


def _blocks(k: int, c: int, groups: int, most: int) -> Iterator[Block]:
    """Cut `groups` groups of k kernels, which see c channels, into blocks of at most `most` kernels."""
    if most >= k:
        for some in cut_into(groups, most // k):
            kernels, channels = (slice(some.start * n, some.stop * n) for n in (k, c))
            yield Block(kernels, channels, some.stop - some.start)
    else:
        for group in range(groups):
            for some in cut_into(k, most):
                first = group * k
                kernels = slice(first + some.start, first + some.stop)
                yield Block(kernels, slice(group * c, (group + 1) * c), 1)


def cut_into(total: int, most: int) -> list[slice]:
    """Cut so many into slices of at most `most`.

    Examples
    --------
    >>> cut_into(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(i, min(i + most, total)) for i in range(0, total, most)]


def complex_type(dtype: np.dtype) -> np.dtype:
    """Return the type of a spectrum; half precision is transformed in single.

    Examples
    --------
    >>> complex_type(np.dtype("float32")), complex_type(np.dtype("float64"))
    (dtype('complex64'), dtype('complex128'))
    """
    return np.result_type(dtype, np.complex64)
