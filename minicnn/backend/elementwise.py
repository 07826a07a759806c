"""Elementwise work in pieces that stay in the cache, shared among the threads.

An operation such as batch normalisation is a few elementwise steps, one after the other.  Done on whole arrays,
each step would carry them through main memory anew.  Here the arrays are cut into pieces, and all steps are done
on one piece before the next is begun: every array passes through main memory once, and scratch memory is as large
as a piece.

Pieces are as large as the cache allows, and a little larger.  Between two steps a thread needs Python's interpreter
lock; waiting for it takes as long as computing thousands of elements does, and the shorter the steps the more often
another thread holds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise, product

import numpy as np

from .parallel import parallel_for
from .workspace import empty_like

__all__ = ["by_channel", "concatenate", "in_pieces", "pieces", "run", "select"]

_PIECE = 1 << 18  # elements: two such float32 arrays fill 2 MB
_SHARED = 3 << 19  # elements of all arrays: less work than this is done before another thread has woken
_SHARES = 4  # pieces come in multiples of it, so that two threads, or four, have equal shares
_LINE = 1 << 13  # elements: NumPy's loops over shorter rows take up to twice as long

Arrays = Sequence[np.ndarray]


def in_pieces(step: Callable[..., object], *arrays: np.ndarray, whole: int | None = None) -> np.ndarray:
    """Call ``step(*pieces)`` on one piece of the arrays after the other, and return the last array.

    Parameters
    ----------
    step : callable
        Works elementwise, and writes into its last argument, which no other may overlap but be.
    *arrays : numpy.ndarray
        The last one, the result, decides the shape: (N, C, …), or any.  The others have it too, or have one value
        a channel, (C,); in a piece these broadcast against the rest.  A piece may have another number of axes.
    whole : int, optional
        An axis not to be cut, for `step` looks along it.  The pieces then have all axes, in their order.

    Examples
    --------
    >>> x, bias = np.ones((2, 3, 2)), np.array([1.0, 2.0, 3.0])
    >>> in_pieces(lambda x, b, out: np.add(x, b, out=out), x, bias, np.empty((2, 3, 2)))[0]
    array([[2., 2.],
           [3., 3.],
           [4., 4.]])
    """
    last = arrays[-1]
    if last.ndim < 3 and last.size * len(arrays) < _SHARED:  # one piece, whatever else they are
        step(*arrays)
        return last
    parts = pieces(arrays, whole)

    def task(i: int) -> None:
        step(*parts[i])

    run(len(parts), task)
    return last


def run(count: int, task: Callable[[int], None]) -> None:
    """Call ``task(0)`` … ``task(count - 1)``, shared among the threads; a single one without further ado."""
    if count == 1:
        task(0)
    else:
        parallel_for(count, task)


def pieces(arrays: Arrays, whole: int | None = None) -> list[Arrays]:
    """Cut arrays as :func:`in_pieces` does; shapes and layouts alone decide how.  Small ones are one piece."""
    last = arrays[-1]
    small = sum(a.size for a in arrays if a.ndim == last.ndim) < _SHARED
    if small and last.ndim < 3:
        return [arrays]
    order = sorted(range(last.ndim), key=lambda axis: (last.shape[axis] > 1, -abs(last.strides[axis])))
    if whole is None and _are_lines(arrays, order):
        in_order = [a.transpose(order) if a.ndim == last.ndim else a for a in arrays]
        return [in_order] if small else _lines(in_order)
    if small:
        return [[by_channel(a, last.ndim) for a in arrays]]
    views = [np.broadcast_to(by_channel(a, last.ndim), last.shape) for a in arrays[:-1]]
    boxes = _boxes(last.shape, [axis for axis in order if axis != whole])
    return [[*(view[box] for view in views), last[box]] for box in boxes]


def concatenate(arrays: Arrays, axis: int = 0) -> np.ndarray:
    """Join arrays as ``numpy.concatenate`` does, in the memory layout of the first.

    Examples
    --------
    >>> concatenate([np.zeros((2, 1)), np.ones((2, 2))], axis=1)
    array([[0., 1., 1.],
           [0., 1., 1.]])
    """
    first = arrays[0]
    edges = list(accumulate((a.shape[axis] for a in arrays), initial=0))
    out = empty_like(
        first, np.result_type(*arrays), (*first.shape[:axis], edges[-1], *first.shape[axis + 1 :])
    )
    if 2 * out.size < _SHARED:
        return np.concatenate(arrays, axis, out=out)
    slots = (out[(slice(None),) * axis + (slice(*edge),)] for edge in pairwise(edges))
    parts = [part for pair in zip(arrays, slots, strict=True) for part in pieces(pair)]

    def task(i: int) -> None:
        a, slot = parts[i]
        slot[...] = a

    run(len(parts), task)
    return out


def select(kept: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """Write x where `kept`, a boolean array, is true into `out`, and 0 elsewhere.

    ``numpy.where`` takes ten times as long where the processor cannot predict what is kept.  Here −1, whose bits
    are all ones, and 0 are ANDed with the bits of x.

    Examples
    --------
    >>> out = np.empty(3)
    >>> select(np.array([True, False, True]), np.array([1.0, np.inf, -np.inf]), out)
    >>> out
    array([  1.,   0., -inf])
    """
    if x.itemsize > 8:  # wider than any integer
        out[...] = np.where(kept, x, 0)
        return
    integer = np.dtype(f"i{x.itemsize}")
    bits = out.view(integer)
    bits[...] = kept
    np.negative(bits, out=bits)
    np.bitwise_and(bits, x.view(integer), out=bits)


def by_channel(array: np.ndarray, ndim: int) -> np.ndarray:
    """View one value a channel, (C,), so that it broadcasts against (N, C, …); other arrays stay as they are."""
    return array.reshape(-1, *(1,) * (ndim - 2)) if array.ndim < ndim else array


def _are_lines(arrays: Arrays, order: list[int]) -> bool:
    """Whether arrays are dense, all in this order of axes, and channels the fastest if any has one value a channel."""
    ndim = len(order)
    dense = all(a.transpose(order).flags.c_contiguous for a in arrays if a.ndim == ndim)
    return dense and (order[-1:] == [1] or all(a.ndim == ndim for a in arrays))


def _lines(arrays: Arrays) -> list[Arrays]:
    """Cut C-contiguous arrays as the row of numbers that they are in memory.

    Pieces are (lines, length), a line being many pixels; what is left after the last whole line is one more piece,
    of one shorter line.  Values a channel are repeated for every pixel of a line.
    """
    last = arrays[-1]
    values = [a.ndim < last.ndim for a in arrays]
    pixel = last.shape[-1] if any(values) else 1
    pixels = max(min(_LINE, last.size) // pixel, 1)
    lines, rest = divmod(last.size, pixels * pixel)
    flat = [np.tile(a, pixels) if one else a.reshape(-1) for a, one in zip(arrays, values, strict=True)]
    whole = [a if one else a[: a.size - rest].reshape(lines, -1) for a, one in zip(flat, values, strict=True)]
    parts: list[Arrays] = [
        [a if one else a[start:stop] for a, one in zip(whole, values, strict=True)]
        for start, stop in pairwise(_edges(lines, last.size))
    ]
    if rest:
        parts.append([a[:rest] if one else a[None, -rest:] for a, one in zip(flat, values, strict=True)])
    return parts


def _boxes(shape: tuple[int, ...], order: Sequence[int]) -> list[tuple[slice, ...]]:
    """Cut an array of this shape along some of its axes, the slowest first, and along no more than needed."""
    size = math.prod(shape)
    cuts = [[slice(None)] for _ in shape]
    for axis in order:
        edges = _edges(shape[axis], size)
        cuts[axis] = [slice(*edge) for edge in pairwise(edges)]
        size = -(-size // (len(edges) - 1))
        if size <= _PIECE:
            break
    return list(product(*cuts))


def _edges(length: int, size: int) -> list[int]:
    """Return where to cut an axis, of an array of `size` elements, as evenly as can be."""
    count = min(_SHARES * -(-size // (_SHARES * _PIECE)), length)
    return [length * i // count for i in range(count + 1)]
