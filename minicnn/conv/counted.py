"""What algorithms that take chunks do for them, counted for :class:`minicnn.conv.work.Work`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..geometry import Window2d
from .chunks import Chunk
from .problem import Problem
from .work import Product

__all__ = ["images_and_rows", "products", "slab_bytes"]


def images_and_rows(chunk: Chunk) -> tuple[int, int]:
    """Return how many images a chunk has, and how many rows of each.

    Examples
    --------
    >>> images_and_rows(Chunk(slice(2, 4), slice(0, 7)))
    (2, 7)
    """
    return chunk.images.stop - chunk.images.start, chunk.rows.stop - chunk.rows.start


def slab_bytes(problem: Problem, window: Window2d, chunk: Chunk, columns: int) -> int:
    """Return the bytes that :func:`minicnn.conv.chunks.slab` copies for `columns` windows a row of a chunk.

    None, if they see no padding: in channels-last memory their pixels are a view.

    Examples
    --------
    >>> window = Window2d.of("conv2d", kernel_size=3, padding=1)
    >>> problem = Problem((1, 16, 8, 8), 32, window)
    >>> slab_bytes(problem, window, Chunk(slice(0, 1), slice(0, 4)), columns=8) == 6 * 10 * 16 * 4
    True
    >>> slab_bytes(problem, Window2d.of("conv2d", kernel_size=3), Chunk(slice(0, 1), slice(0, 4)), columns=6)
    0
    """
    _, c, height, width = problem.input_shape
    down, along = window.seen(0, chunk.rows), window.seen(1, slice(0, columns))
    if min(down.start, along.start) >= 0 and down.stop <= height and along.stop <= width:
        return 0
    images, _ = images_and_rows(chunk)
    return images * (down.stop - down.start) * (along.stop - along.start) * c * problem.dtype.itemsize


def products(shapes: Iterable[tuple[int, int, int]], times: int = 1) -> tuple[Product, ...]:
    """Return products of these (rows, inner, columns), each so many times, those of one shape together.

    Examples
    --------
    >>> products([(7, 3, 4), (7, 3, 4), (6, 3, 4)], times=2)
    (Product(count=4, rows=7, inner=3, columns=4), Product(count=2, rows=6, inner=3, columns=4))
    """
    return tuple(Product(times * count, *shape) for shape, count in Counter(shapes).items())
