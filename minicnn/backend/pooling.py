"""Pooling over NumPy arrays, a piece at a time, the pieces shared among threads.

The definitions stand in :mod:`minicnn.ops.max_pool2d` and :mod:`minicnn.ops.avg_pool2d`: R·S shifted views of the whole
image, one after the other.  Here the same is done faster, by four ideas:

Pieces.  The work is cut into some rows of one image or some whole images, small enough for what is done to a piece to
find it in a cache.  The problem alone decides the pieces, and no two write to the same memory.

Columns.  A view of every second column has no more than C numbers in a row: too little for NumPy's loops.  So a
piece's columns are first dealt out by their remainder modulo the stride, and surrounded with padding on the way::

    x    0 1 2 3 4 5 6    stride 2    columns[0]  0 2 4 6      sample 0 of the windows sees columns[0][0:3]: 0 2 4
                            ──▶       columns[1]  1 3 5        sample 1                 columns[1][0:3]: 1 3 5
                                                               sample 2                 columns[0][1:4]: 2 4 6

Then what a sample of all windows of a row sees is one run of Q·C numbers.  The backward pass adds up gradients in such
columns, and deals them back last.

Rows and columns apart.  The maximum of a window is that of its rows' maxima, and so is its sum: (R − 1) + (S − 1)
operations instead of R·S − 1, and windows that overlap share their rows.

Bytes.  Which sample won is kept as one byte.  NumPy's masked copies take 50 times as long as its arithmetic, and
bytes are four times as fast as floats; and a later winner's number is the larger one.  So of two numbers, one of them
multiplied by 0 or 1, the maximum is taken.

Workspace, a thread: about three times a piece's pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..geometry import Window2d
from .parallel import parallel_for
from .workspace import aligned, scratch

__all__ = ["MOST_SAMPLES", "avg_pool", "avg_pool_backward", "max_pool", "max_pool_backward"]

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


def inside(first: int, stride: int, size: int, count: int) -> tuple[slice, slice]:
    """Which of the `count` places first, first + stride, … lie on an axis of `size` pixels, and on which pixels."""
    start = max(0, -(first // stride))
    stop = max(start, min(count, (size - 1 - first) // stride + 1))
    pixel = first + start * stride
    return slice(start, stop), slice(pixel, pixel + (stop - start) * stride, stride)


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


def _deal(x: np.ndarray, window: Window2d, piece: Piece, q: int, fill: float) -> np.ndarray:
    """Return the padded rows that a piece's windows see, their columns dealt out."""
    images, rows = piece
    pixels = x[images].transpose(0, 2, 3, 1)
    count = (rows.stop - rows.start - 1) * window.stride[0] + window.extent[0]
    columns = scratch("pool columns", _columns_shape(len(pixels), count, q, x.shape[1], window), x.dtype)
    here, there = inside(rows.start * window.stride[0] - window.padding[0], 1, x.shape[2], count)
    columns[:, :, : here.start] = fill
    columns[:, :, here.stop :] = fill
    for remainder, column in enumerate(columns):
        across, along = inside(remainder - window.padding[2], window.stride[1], x.shape[3], column.shape[2])
        column[:, here, : across.start] = fill
        column[:, here, across.stop :] = fill
        column[:, here, across] = pixels[:, there, along]
    return columns


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

    def task(i: int) -> None:
        images, rows = pieces[i]
        if first is None or choice is None:
            _reduce(np.maximum, x, window, pieces[i], lowest, y[images, rows])
        else:
            columns = _deal(x, window, pieces[i], q, lowest)
            _first_maxima(columns, window, first[rows], y[images, rows], choice[images, rows])

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
        result[...] = fill
        for here, there in seen:
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


def _first_maxima(
    columns: np.ndarray, window: Window2d, first: np.ndarray, y: np.ndarray, choice: np.ndarray
) -> None:
    """Write the maxima of a piece's windows into y (n, P, Q, C), and which samples come first into `choice`.

    The first in row-major order is the first of the first row that has the maximum: of the columns only a larger
    one wins, and of the rows again.
    """
    p, q = y.shape[1:3]
    best = _seen(columns, 0, q, window)
    row_best = scratch("pool rows", best.shape, y.dtype)
    row_choice = scratch("pool row choice", best.shape, _BYTE)
    won = scratch("pool won", best.shape, _BYTE)
    row_choice[...] = 0
    for s in range(1, window.kernel[1]):
        seen = _seen(columns, s, q, window)
        np.greater(seen, best, out=won.view(_BOOL))
        np.maximum(row_choice, np.multiply(won, s, out=won), out=row_choice)
        best = np.maximum(best, seen, out=row_best)

    at = _samples(window, 0, p)
    rows, best = best, best[:, at[0]]
    won, number = scratch("pool won", y.shape, _BYTE), scratch("pool number", y.shape, _BYTE)
    choice[...] = row_choice[:, at[0]]
    if first.any():
        np.maximum(choice, first[:, :, None], out=choice)
    for r in range(1, window.kernel[0]):
        seen = rows[:, at[r]]
        np.greater(seen, best, out=won.view(_BOOL))
        np.add(row_choice[:, at[r]], r * window.kernel[1], out=number)
        np.maximum(choice, np.multiply(won, number, out=number), out=choice)
        best = np.maximum(best, seen, out=y)
    if window.kernel[0] == 1:
        y[...] = best
    if y.dtype.kind == "f" and y.size and np.isnan(y.max()):  # NaN is above all, but no comparison says so
        for i, (r, s) in enumerate(window.offsets()):
            seen = _seen(columns, s, q, window)[:, at[r]]
            np.copyto(choice, i, where=np.isnan(seen))


def max_pool_backward(
    g: np.ndarray, choice: np.ndarray, window: Window2d, shape: tuple[int, ...]
) -> np.ndarray:
    """Return ∂L/∂x, of this shape (N, C, H, W), from g = ∂L/∂y (N, C, P, Q).

    Each sample's share of g is g · [it won].  Where windows overlap the shares are added, in columns; where they do
    not, each is written to its pixels at once.
    """
    n, c, height, width = shape
    g, choice = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (g, choice))
    p, q = g.shape[1:3]
    dx = _images(n, height, width, c, g.dtype)
    pieces = cut(n, height, width * c * g.itemsize)
    apart = window.stride[0] >= window.extent[0] and window.stride[1] >= window.extent[1]
    tiles = _tiles(window, height, width)

    def task(i: int) -> None:
        images, rows = pieces[i]
        upstream, won, pixels = g[images], choice[images], dx[images, rows]
        columns = pixels if apart else _no_columns(pixels, window, q)
        if apart and not tiles:
            pixels[...] = 0
        for r, (here, there) in enumerate(_windows(window, rows, p)):
            share = scratch("pool share", upstream[:, here].shape, g.dtype)
            for s in range(window.kernel[1]):
                np.equal(won[:, here], r * window.kernel[1] + s, out=share)
                share *= upstream[:, here]
                if apart:
                    first = s * window.dilation[1] - window.padding[2]
                    across, along = inside(first, window.stride[1], width, q)
                    pixels[:, there, along] = share[:, :, across]
                else:
                    sums = _seen(columns, s, q, window)[:, there]
                    sums += share
        if not apart:
            _collect(columns, window, pixels)

    parallel_for(len(pieces), task)
    return dx.transpose(0, 3, 1, 2)


def _no_columns(pixels: np.ndarray, window: Window2d, q: int) -> np.ndarray:
    """Return the columns, all 0, in which the gradient of a piece's pixels (n, rows, W, C) is summed up."""
    n, rows, _, c = pixels.shape
    columns = scratch("pool columns", _columns_shape(n, rows, q, c, window), pixels.dtype)
    columns[...] = 0
    return columns


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
    g = np.ascontiguousarray(g.transpose(0, 2, 3, 1))
    p, q = g.shape[1:3]
    dx = _images(n, height, width, c, g.dtype)
    divisors = _divisors(divisor, p, q)
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
        columns = _no_columns(dx[images, rows], window, q)
        for s in range(window.kernel[1]):
            seen = _seen(columns, s, q, window)
            seen += sums
        _collect(columns, window, dx[images, rows])

    parallel_for(len(pieces), task)
    return dx.transpose(0, 3, 1, 2)


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
