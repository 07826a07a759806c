"""Sums over everything but the channels: biases' gradients, batch statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from math import gcd

import numpy as np

from .elementwise import pieces, run
from .workspace import scratch, unwritten

__all__ = ["channel_moments", "channel_sum", "channel_sums"]

_BLOCK = 256  # rows of one sum: few enough to round little
_ROW = 128  # numbers of a row, of some pixels: over shorter ones a product with ones is slow
_RATIO = 64  # of a mean's square to the variance: up to it, no more than six bits are lost


def channel_sum(x: np.ndarray) -> np.ndarray:
    """Sum x (N, C, …) over all axes but the second, to (C,).

    Over channels-last memory the sum is a tree: blocks of 256 pixels become one row each, by a product with a row of
    ones at memory speed, and so on with the rows.  Its rounding error grows with 256 · log₂₅₆ of the number of pixels,
    where a running sum's grows with the number itself; the bits are the same for any number of threads.

    Examples
    --------
    >>> channel_sum(np.ones((2, 3, 4, 4)))
    array([32., 32., 32.])
    """
    if not np.moveaxis(x, 1, -1).flags.c_contiguous or not x.size:
        return x.sum(axis=(0, *range(2, x.ndim)))
    return channel_sums(lambda x: (x,), x)[0]


def channel_sums(terms: Callable[..., Iterable[np.ndarray]], *arrays: np.ndarray) -> list[np.ndarray]:
    """Sum what ``terms(*pieces)`` returns or yields over all axes but the second, each to (C,).

    Like ``[channel_sum(t) for t in terms(*arrays)]``, but the terms are computed one cache-full at a time.

    Parameters
    ----------
    terms : callable
        Works elementwise, and gives arrays as large as the last piece.  One that it yields is summed before it goes on,
        and may then be overwritten.
    *arrays : numpy.ndarray
        As :func:`~minicnn.backend.elementwise.in_pieces` takes them: (N, C, …) or, but for the last one, (C,).

    Examples
    --------
    >>> x, mean = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([2.0, 2.0])
    >>> channel_sums(lambda mean, x: (x, (x - mean) ** 2), mean, x)
    [array([4., 4.]), array([2., 0.])]
    """
    channels = arrays[-1].shape[1]
    pixel = _ones(channels, arrays[-1].dtype)[0]  # beside one, arrays are cut at whole pixels only
    parts = pieces([pixel, *(_rows(a) for a in arrays)])
    found: list[list[np.ndarray]] = [[] for _ in parts]

    def task(i: int) -> None:
        _, *arrays = parts[i]
        found[i] = [_sums_of_pixels(term, channels) for term in terms(*arrays)]

    run(len(parts), task)
    return [_sum(np.concatenate(sums)) for sums in zip(*found, strict=True)]


def channel_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of x (N, C, …) over all axes but the second, (C,) each.

    One pass over x gives both: of m values

        μ = Σ x / m,    σ² = Σ x² / m − μ².

    The difference loses the digits by which μ² exceeds σ².  Where it is more than 64 times as much, in any channel, the
    variance is made again from the deviations, Σ (x − μ)² / m: features of a network hardly ever need it.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for Computing the Sample Variance", The American Statistician
    37, 1983.

    Examples
    --------
    >>> channel_moments(np.array([[1.0, 5.0], [3.0, 5.0]]))
    (array([2., 5.]), array([1., 0.]))
    """
    rows = _rows(x)
    squares, total = channel_sums(_powers, rows)
    mean = total / len(rows)
    var = squares / len(rows) - mean * mean
    if not (mean * mean <= _RATIO * var).all():
        (squares,) = channel_sums(_squared_deviations, mean, rows)
        var = squares / len(rows)
    return mean, var


def _powers(x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield x² and then x, which is in the cache by now."""
    yield np.square(x, out=scratch("square", x.shape, x.dtype))
    yield x


def _squared_deviations(mean: np.ndarray, x: np.ndarray) -> Iterator[np.ndarray]:
    deviation = np.subtract(x, mean, out=scratch("square", x.shape, x.dtype))
    yield np.square(deviation, out=deviation)


def _rows(x: np.ndarray) -> np.ndarray:
    """Return x (N, C, …) as (pixels, C), a view if it is in channels-last memory; and any (C,) as it is."""
    return x if x.ndim == 1 else np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def _sum(rows: np.ndarray) -> np.ndarray:
    """Sum rows (M, C) to one, (C,)."""
    while len(rows) > 1:
        rows = _sums_of_blocks(rows)
    return rows[0]


def _sums_of_pixels(rows: np.ndarray, channels: int) -> np.ndarray:
    """Sum pixels (M, C), or rows of many pixels each, to a few sums (m, C)."""
    joined = gcd(rows.size // channels, 1 << max(_ROW // channels, 1).bit_length() - 1)
    sums = _sums_of_blocks(rows.reshape(-1, joined * channels))
    return _sums_of_blocks(sums.reshape(-1, channels))


def _sums_of_blocks(rows: np.ndarray) -> np.ndarray:
    """Sum each block of rows (M, C) to one: (⌈M/256⌉, C)."""
    whole, rest = divmod(len(rows), _BLOCK)
    ones = _ones(_BLOCK, rows.dtype)
    if not whole:
        return np.matmul(ones[:, :rest], rows)
    sums = unwritten(np.empty((whole + (rest > 0), rows.shape[1]), rows.dtype))
    np.matmul(ones, rows[: whole * _BLOCK].reshape(whole, _BLOCK, -1), out=sums[:whole, None])
    if rest:
        np.matmul(ones[0, :rest], rows[-rest:], out=sums[whole])
    return sums


@cache
def _ones(count: int, dtype: np.dtype) -> np.ndarray:
    return np.ones((1, count), dtype)
