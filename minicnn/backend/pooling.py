"""Pooling over NumPy arrays, a piece at a time, the pieces shared among threads.

The definitions stand in :mod:`minicnn.ops.max_pool2d` and :mod:`minicnn.ops.avg_pool2d`: R·S shifted views of the whole
image, one after the other.  Here the same is done faster, by five ideas:

Pieces.  The work is cut into some rows of one image or some whole images, small enough for what is done to a piece to
find it in a cache.  The problem alone decides the pieces, and no two write to the same memory.

Columns.  A view of every second column has no more than C numbers in a row: too little for NumPy's loops.  So a
piece's columns are first dealt out by their remainder modulo the stride, and surrounded with padding on the way::

    x    0 1 2 3 4 5 6    stride 2    columns[0]  0 2 4 6      sample 0 of the windows sees columns[0][0:3]: 0 2 4
                            ──▶       columns[1]  1 3 5        sample 1                 columns[1][0:3]: 1 3 5
                                                               sample 2                 columns[0][1:4]: 2 4 6

Then what a sample of all windows of a row sees is one run of Q·C numbers.  The backward pass of an average adds up
gradients in such columns, and deals them back last.

Rows and columns apart.  The maximum of a window is that of its rows' maxima, and so is its sum: (R − 1) + (S − 1)
operations instead of R·S − 1, and windows that overlap share their rows.

Bytes.  Which sample won is kept as one byte.  NumPy's masked copies take 50 times as long as its arithmetic, and
bytes are four times as fast as floats; and a later winner's number is the larger one.  So of two numbers, one of them
multiplied by 0 or 1, the maximum is taken.

Few calls, and little between them.  NumPy lets other threads run inside a call; between calls a thread needs Python's
interpreter, and when another has it waits for some 10 µs, or 50 if it fell asleep.  So what only depends on the shape
of a piece, buffers and views of them, is made once a thread; and :mod:`minicnn.backend.shares` is one call of einsum.

Workspace, a thread: about three times a piece's pixels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..geometry import Window2d, inside
from .parallel import parallel_for
from .shares import Shares
from .workspace import aligned, scratch

__all__ = ["MOST_SAMPLES", "avg_pool", "avg_pool_backward", "max_pool", "max_pool_backward", "takes"]

MOST_SAMPLES = 256  # of a window, for their numbers to fit into a byte
# Of a piece's pixels.  Half of it would suit the second-level cache better, but between calls of NumPy only one thread
# runs: calls of less than some 10 µs make two threads slower than one.
PIECE_BYTES = 1 << 21

_BYTE = np.dtype(np.uint8)
_BOOL = np.dtype(np.bool_)


class Piece(NamedTuple):
    """Some rows of some images."""

    images: slice
    rows: slice


def cut(n: int, rows: int, row_bytes: int) -> list[Piece]:
    """Cut N images of so many rows into pieces within the budget, but of one row at least, as even as can be."""
    budget = max(1, PIECE_BYTES // max(row_bytes, 1))
    if budget < rows:
        strips = _edges(rows, -(-rows // budget))
        return [Piece(slice(i, i + 1), strip) for i in range(n) for strip in strips]
    count = -(-n // (budget // max(rows, 1)))
    if 1 < count < n:
        count += count % 2  # three pieces would keep one of two threads waiting
    return [Piece(images, slice(0, rows)) for images in _edges(n, count)]


def _edges(size: int, count: int) -> list[slice]:
    """Cut an axis into so many parts."""
    return [slice(size * i // count, size * (i + 1) // count) for i in range(count)]


def _images(n: int, height: int, width: int, c: int, dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised batch (N, H, W, C)."""
    return aligned(n * height * width * c * dtype.itemsize).view(dtype).reshape(n, height, width, c)


def _columns_shape(n: int, rows: int, q: int, c: int, window: Window2d) -> tuple[int, ...]:
    """Return the shape of a piece's columns, dealt out: (stride, n, rows, columns, C)."""
    stride = window.stride[1]
    return stride, n, rows, q + (window.extent[1] - 1) // stride, c


def _seen(columns: np.ndarray, s: int, q: int, window: Window2d) -> np.ndarray:
    """View what sample s of the Q windows of each row sees: (n, rows, Q, C)."""
    first, remainder = divmod(s * window.dilation[1], window.stride[1])
    return columns[remainder, :, :, first : first + q]


def _new_columns(
    n: int, rows: int, q: int, c: int, window: Window2d, dtype: np.dtype, fill: float
) -> np.ndarray:
    """Return columns full of one value, in scratch memory."""
    columns = scratch("pool columns", _columns_shape(n, rows, q, c, window), dtype)
    columns[...] = fill
    return columns


def _deal(x: np.ndarray, window: Window2d, piece: Piece, columns: np.ndarray, fill: float) -> None:
    """Deal the rows that a piece's windows see out into columns, whose padding left and right is filled already."""
    images, rows = piece
    pixels = x[images].transpose(0, 2, 3, 1)
    count = columns.shape[2]
    here, there = inside(rows.start * window.stride[0] - window.padding[0], 1, x.shape[2], count)
    if here != slice(0, count):
        columns[:, :, : here.start] = fill
        columns[:, :, here.stop :] = fill
    for remainder, column in enumerate(columns):
        across, along = inside(remainder - window.padding[2], window.stride[1], x.shape[3], column.shape[2])
        column[:, here, across] = pixels[:, there, along]


def takes(x: np.ndarray, window: Window2d) -> bool:
    """Whether images like x can be pooled here: all can."""
    return True


def max_pool(
    x: np.ndarray, window: Window2d, first: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the maxima (N, C, P, Q) of x (N, C, H, W), and which samples they are.

    Parameters
    ----------
    x : ndarray
    window : Window2d
        Of no more than 256 samples.
    first : ndarray (P, Q), optional
        The number of each window's first sample that is a pixel and not padding.  If it is None nobody wants to know
        which samples won, and they are not looked for.

    Returns
    -------
    y : ndarray
    choice : ndarray (N, C, P, Q) of uint8, or None
    """
    n, c, height, width = x.shape
    p, q = window.output_size(height, width)
    y = _images(n, p, q, c, x.dtype)
    choice = None if first is None else _images(n, p, q, c, _BYTE)
    first = None if first is None else first.astype(_BYTE)
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    pieces = cut(n, p, window.stride[0] * width * c * x.itemsize)
    kept = _Kept()

    def task(i: int) -> None:
        images, rows = pieces[i]
        if first is None or choice is None:
            _reduce(np.maximum, x, window, pieces[i], lowest, y[images, rows])
        else:
            best = y[images, rows]
            search = kept.get(best.shape, partial(_Search, best.shape, window, x.dtype, lowest))
            _deal(x, window, pieces[i], search.columns, lowest)
            search(first[rows], best, choice[images, rows])

    parallel_for(len(pieces), task)
    return y.transpose(0, 3, 1, 2), None if choice is None else choice.transpose(0, 3, 1, 2)


def _reduce(
    operation: np.ufunc, x: np.ndarray, window: Window2d, piece: Piece, fill: float, y: np.ndarray
) -> None:
    """Write into y (n, P, Q, C) what an operation, such as np.maximum, makes of the samples of a piece's windows.

    The rows come first, whole as they are in memory, and the columns after.
    """
    images, rows = piece
    pixels = x[images].transpose(0, 2, 3, 1)
    p, q, c = y.shape[1:]
    left, right = window.padding[2], window.padding[2] + x.shape[3]
    needed = (q - 1) * window.stride[1] + window.extent[1]
    across = scratch("pool rows", (len(y), p, max(right, needed), c), x.dtype)
    across[:, :, :left] = fill
    across[:, :, right:] = fill

    first = rows.start * window.stride[0] - window.padding[0]
    starts = [first + r * window.dilation[0] for r in range(window.kernel[0])]
    seen = [inside(start, window.stride[0], x.shape[2], p) for start in starts]
    result = across[:, :, left:right]
    if all(here == slice(0, p) for here, _ in seen):
        _accumulate(operation, [pixels[:, there] for _, there in seen], result)
    else:
        (here, there), *others = seen
        result[:, : here.start] = fill
        result[:, here.stop :] = fill
        result[:, here] = pixels[:, there]
        for here, there in others:
            operation(result[:, here], pixels[:, there], out=result[:, here])
    _accumulate(operation, [across[:, :, at] for at in _samples(window, 1, q)], y)


def _tiles(window: Window2d, height: int, width: int) -> bool:
    """Whether the windows lie side by side and cover the image: each pixel is seen by one."""
    counts = window.output_size(height, width)
    by_axis = zip(counts, window.stride, window.kernel, strict=True)
    side_by_side = all(count == 1 or stride == kernel for count, stride, kernel in by_axis)
    return side_by_side and window.dilation == (1, 1) and window.reach(height, width) == (0, 0, 0, 0)


def _samples(window: Window2d, axis: int, count: int) -> list[slice]:
    """Where along an axis each sample of `count` windows is, if the first window is at its start."""
    stride, dilation = window.stride[axis], window.dilation[axis]
    starts = (i * dilation for i in range(window.kernel[axis]))
    return [slice(start, start + (count - 1) * stride + 1, stride) for start in starts]


def _accumulate(operation: np.ufunc, samples: list[np.ndarray], out: np.ndarray) -> None:
    """Write into `out` what the operation makes of all the samples."""
    result, *others = samples
    if not others:
        out[...] = result
    for seen in others:
        result = operation(result, seen, out=out)


class _Kept(threading.local):
    """What a thread made for a piece, as long as the next one needs the same."""

    key: Any = None
    value: Any = None

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what was made for this key, if that was the last; else make it."""
        if self.key != key:
            self.key, self.value = key, make()
        return self.value


class _Search:
    """The search for the first maxima of pieces of one shape (n, P, Q, C): its buffers, and views of them.

    The first maximum in row-major order is the first of the first row that has it: of the columns only a larger one
    wins, and of the rows again.
    """

    def __init__(self, shape: tuple[int, ...], window: Window2d, dtype: np.dtype, lowest: float) -> None:
        n, p, q, c = shape
        self.window, self.lowest = window, lowest
        rows = n, (p - 1) * window.stride[0] + window.extent[0], q, c
        self.columns = _new_columns(*rows, window, dtype, lowest)
        self.seen = [_seen(self.columns, s, q, window) for s in range(window.kernel[1])]
        self.best, self.column = scratch("pool rows", rows, dtype), scratch("pool row choice", rows, _BYTE)
        self.won, self.number = scratch("pool won", rows, _BYTE), scratch("pool number", shape, _BYTE)
        self.at = _samples(window, 0, p)

    def __call__(self, first: np.ndarray, y: np.ndarray, choice: np.ndarray) -> None:
        """Write the maxima of the windows over the columns into y, and which samples come first into `choice`.

        In `first` (P, Q) are the first samples that are no padding.
        """
        self._within_rows()
        self._among_rows(y, choice)
        if y.size and not y.min() > self.lowest:  # some window saw nothing above the lowest value, or saw NaN
            np.maximum(choice, first[:, :, None], out=choice)
            self._put_nan(choice)

    def _within_rows(self) -> None:
        """Find the first maximum of each row of each window, and its column."""
        best, *others = self.seen
        if not others:
            self.best[...], self.column[...] = best, 0
        for s, seen in enumerate(others, 1):
            won = self.column if s == 1 else self.won
            np.greater(seen, best, out=won.view(_BOOL))
            if s > 1:
                np.multiply(won, s, out=won)
                np.maximum(self.column, won, out=self.column)
            best = np.maximum(best, seen, out=self.best)

    def _among_rows(self, y: np.ndarray, choice: np.ndarray) -> None:
        """Find the first maximum of each window's rows."""
        number, won = self.number, self.won[:, : y.shape[1]]
        (best, chosen), *others = [(self.best[:, at], self.column[:, at]) for at in self.at]
        if not others:
            y[...], choice[...] = best, chosen
        for r, (seen, column) in enumerate(others, 1):
            np.greater(seen, best, out=won.view(_BOOL))
            np.add(column, r * self.window.kernel[1], out=number)
            np.multiply(number, won, out=number)
            chosen = np.maximum(chosen, number, out=choice)
            best = np.maximum(best, seen, out=y)

    def _put_nan(self, choice: np.ndarray) -> None:
        """Choose each window's last NaN: it is above all, but no comparison says so."""
        for i, (r, s) in enumerate(self.window.offsets()):
            np.copyto(choice, i, where=np.isnan(self.seen[s][:, self.at[r]]))


def max_pool_backward(
    g: np.ndarray, choice: np.ndarray, window: Window2d, shape: tuple[int, ...]
) -> np.ndarray:
    """Return ∂L/∂x, of this shape (N, C, H, W), from g = ∂L/∂y (N, C, P, Q).

    Each sample's share of g is g · [it won].  Where windows overlap each pixel sums up its shares; where they do not,
    each share is written to its pixel.
    """
    n, c, height, width = shape
    g, choice = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (g, choice))
    dx = _images(n, height, width, c, g.dtype)
    if window.stride[0] >= window.extent[0] and window.stride[1] >= window.extent[1]:
        _give_shares(g, choice, window, dx)
    else:
        _sum_shares(g, choice, window, dx)
    return dx.transpose(0, 3, 1, 2)


def _give_shares(g: np.ndarray, choice: np.ndarray, window: Window2d, dx: np.ndarray) -> None:
    """Write each share into its pixel of dx (N, H, W, C), where no pixel is seen by two windows."""
    (n, height, width, c), (p, q) = dx.shape, g.shape[1:3]
    pieces = cut(n, height, width * c * g.itemsize)
    tiles = _tiles(window, height, width)

    def task(i: int) -> None:
        images, rows = pieces[i]
        pixels = dx[images, rows]
        if not tiles:
            pixels[...] = 0
        for r, (here, there) in enumerate(_windows(window, rows, p)):
            upstream, won = g[images, here], choice[images, here]
            share = scratch("pool share", upstream.shape, g.dtype)
            for s in range(window.kernel[1]):
                first = s * window.dilation[1] - window.padding[2]
                across, along = inside(first, window.stride[1], width, q)
                np.equal(won, r * window.kernel[1] + s, out=share)
                np.multiply(share[:, :, across], upstream[:, :, across], out=pixels[:, there, along])

    parallel_for(len(pieces), task)


def _sum_shares(g: np.ndarray, choice: np.ndarray, window: Window2d, dx: np.ndarray) -> None:
    """Write into each pixel of dx (N, H, W, C) the sum of its shares."""
    n, height, width, c = dx.shape
    won = -(-window.samples // (window.stride[0] * window.stride[1]))  # bytes a pixel
    pieces = cut(n, height, width * c * max(g.itemsize, won))
    kept = _Kept()

    def task(i: int) -> None:
        images, rows = pieces[i]
        pixels = dx[images, rows]
        make = partial(Shares, pixels.shape, rows, g.shape[1:3], window, g.dtype)
        kept.get((len(pixels), rows), make).write(g[images], choice[images], pixels)

    parallel_for(len(pieces), task)


def _windows(window: Window2d, rows: slice, p: int) -> list[tuple[slice, slice]]:
    """For each sample r along the columns: which of P windows have it in these rows of the image, and in which."""
    count = rows.stop - rows.start
    first = -window.padding[0] - rows.start
    return [
        inside(first + r * window.dilation[0], window.stride[0], count, p) for r in range(window.kernel[0])
    ]


def _collect(columns: np.ndarray, window: Window2d, dx: np.ndarray) -> None:
    """Write the columns into those of dx (n, rows, W, C) from which they were dealt; what no window sees is 0."""
    for remainder, column in enumerate(columns):
        first = remainder - window.padding[2]
        across, along = inside(first, window.stride[1], dx.shape[2], column.shape[2])
        dx[:, :, along] = column[:, :, across]
        dx[:, :, along.stop :: window.stride[1]] = 0


def avg_pool(x: np.ndarray, window: Window2d, divisor: np.ndarray) -> np.ndarray:
    """Return the sums (N, C, P, Q) of the windows over x (N, C, H, W), divided by `divisor` (P, Q) or one number."""
    n, c, height, width = x.shape
    p, q = window.output_size(height, width)
    y = _images(n, p, q, c, x.dtype)
    divisors = _divisors(divisor, p, q)
    pieces = cut(n, p, window.stride[0] * width * c * x.itemsize)
    whole = window.kernel == (height, width) and _tiles(window, height, width)

    def task(i: int) -> None:
        images, rows = pieces[i]
        sums = y[images, rows]
        if whole:
            pixels = x[images].transpose(0, 2, 3, 1).reshape(len(sums), height * width, c)
            np.matmul(np.ones((1, height * width), x.dtype), pixels, out=sums[:, 0])
        else:
            _reduce(np.add, x, window, pieces[i], 0, sums)
        sums /= divisors[rows]

    parallel_for(len(pieces), task)
    return y.transpose(0, 3, 1, 2)


def avg_pool_backward(
    g: np.ndarray, divisor: np.ndarray, window: Window2d, shape: tuple[int, ...]
) -> np.ndarray:
    """Return ∂L/∂x, of this shape (N, C, H, W), from g = ∂L/∂y (N, C, P, Q).

    As in the forward pass the rows come first: a window's share goes to each of its rows, and what a row got from all
    its windows to the columns.
    """
    n, c, height, width = shape
    p, q = g.shape[2:]
    divisors = _divisors(divisor, p, q)
    mirrored = _mirrored(window)
    if mirrored and (divisors == divisors[0, 0]).all():
        return avg_pool(g, mirrored, divisors[0, 0, 0])
    g = np.ascontiguousarray(g.transpose(0, 2, 3, 1))
    dx = _images(n, height, width, c, g.dtype)
    if _tiles(window, height, width):
        _spread(g, divisors, dx.reshape(n, p, window.kernel[0], q, window.kernel[1], c))
        return dx.transpose(0, 3, 1, 2)
    pieces = cut(n, height, width * c * g.itemsize)

    def task(i: int) -> None:
        images, rows = pieces[i]
        places = _windows(window, rows, p)
        start, stop = min(here.start for here, _ in places), max(here.stop for here, _ in places)
        upstream = g[images, start:stop]
        share = scratch("pool share", upstream.shape, g.dtype)
        np.divide(upstream, divisors[start:stop], out=share)
        sums = scratch("pool rows", (len(upstream), rows.stop - rows.start, q, c), g.dtype)
        sums[...] = 0
        for here, there in places:
            sums[:, there] += share[:, here.start - start : here.stop - start]
        columns = _new_columns(len(upstream), rows.stop - rows.start, q, c, window, g.dtype, 0)
        for s in range(window.kernel[1]):
            seen = _seen(columns, s, q, window)
            seen += sums
        _collect(columns, window, dx[images, rows])

    parallel_for(len(pieces), task)
    return dx.transpose(0, 3, 1, 2)


def _mirrored(window: Window2d) -> Window2d | None:
    """Return the window that has the pixels' view: which windows see a pixel.  None if that is no window."""
    top, bottom, left, right = window.padding
    below, across = (extent - 1 for extent in window.extent)
    padding = below - top, below - bottom, across - left, across - right
    if window.stride != (1, 1) or min(padding) < 0:
        return None
    return Window2d(window.kernel, window.stride, padding, window.dilation, op=window.op)


def _spread(g: np.ndarray, divisors: np.ndarray, tiles: np.ndarray) -> None:
    """Write g / divisors (N, P, Q, C) into each pixel of `tiles` (N, P, R, Q, S, C)."""
    n, p = g.shape[:2]
    pieces = cut(n, p, tiles[:1, :1].nbytes)

    def task(i: int) -> None:
        images, rows = pieces[i]
        tiles[images, rows] = (g[images, rows] / divisors[rows])[:, :, None, :, None]

    parallel_for(len(pieces), task)


def _divisors(divisor: np.ndarray, p: int, q: int) -> np.ndarray:
    """Return the divisors as (P, Q, 1), or (P, 1, 1) where all are the same."""
    divisors = np.broadcast_to(divisor, (p, q))[:, :, None]
    return divisors[:, :1] if (divisors == divisors[0, 0]).all() else divisors
