"""Convolution of small pictures with few channels: im2col with windows that give several output columns at once.

On LeNet's layers im2col spends its time copying: a window's row is 5 pixels of one channel, 20 bytes, and the product
that follows is 6 columns wide.  Both mend if a window is made wider than the kernel, to serve B neighbouring outputs of
a row, a *block*.  In channels-last memory the S' = (B − 1)·stride + extent pixels that they see in an image row are
one run of S'·C numbers, and so are their B·K results, and a kernel row acts from one on the other as a banded matrix,
the same along each diagonal of blocks: a block Toeplitz matrix.  For B = 3, S = 2, stride 1::

                      pixel 0   1   2   3
    y[q + 0, k]   ⎡  w[k, 0] w[k, 1]                 ⎤
    y[q + 1, k] = ⎢          w[k, 0] w[k, 1]         ⎥ · x[q … q + 3]      T[(b, k), (s', c)] = w[k, c, s]
    y[q + 2, k]   ⎣                  w[k, 0] w[k, 1] ⎦                         at s' = b·stride + s·dilation

So toeplitz is im2col of another convolution, with B·K kernels (R, S') that are mostly zeros and the stride B times as
wide.  With X the columns of that one, a row for each block, and T the matrix of its kernels (B·K, R·S'·C)::

    y = X · Tᵀ,      dx = fold(g · T),      dw = Σ over the blocks' b of (gᵀ · X) along the bands

the last because T depends linearly on w: each weight is copied to B places, so its gradient is the sum of theirs.

Cost: 2·N·K·P·Q·C·R·S' FLOPs, S'/S times those of im2col, for copies B·S/S' times fewer, in longer runs.  B is the
divisor of Q at which the two together cost least, by :func:`block`.  Workspace, a thread: a slab of pixels and the
columns of one chunk, a quarter of a megabyte; for dx instead of the slab some whole images with their padding.
Shared: T; for dw one sum of T's size a lane, at most 8.  Groups are left to the other algorithms.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..backend.parallel import parallel_for
from ..backend.small_products import are_small, multiply, operand
from ..backend.workspace import scratch
from ..geometry import Window2d
from .chunks import Chunk, cut, slab
from .counted import images_and_rows, products, slab_bytes
from .im2col import windows
from .problem import Direction, No, Problem
from .result import channels_last
from .tail import finish
from .work import Pass, Work

__all__ = ["backward_data", "backward_weight", "block", "forward", "supports", "work"]

CHUNK_BYTES = 1 << 18  # a chunk's columns: a small layer makes enough of them for all threads
ROWS = 256  # but at least as many blocks as make reading the kernels worthwhile
LANES = 8  # partial sums of dw, each the work of one task
# What the zeros are weighed against, in multiply-adds that take the same time (Intel Xeon, AVX-512, float32):
NARROW = 30  # to copy a number and to bring it to a product
RUN = {
    "forward": 512,
    "backward_data": 3072,
    "backward_weight": 512,
}  # to begin a run that is copied, or added


def block(window: Window2d, channels: int, kernels: int, columns: int, direction: Direction) -> int:
    """Return B, the outputs of a row that one product gives: the divisor of `columns` (Q) that costs least.

    Examples
    --------
    >>> window = Window2d.of("conv2d", kernel_size=5)
    >>> block(window, 1, 6, 28, "forward"), block(window, 6, 16, 10, "forward"), block(window, 64, 64, 56, "forward")
    (14, 5, 1)
    """

    def cost(b: int) -> float:
        run = ((b - 1) * window.stride[1] + window.extent[1]) * channels
        return (run * (b * kernels + NARROW) + RUN[direction]) / b

    return min((b for b in range(1, columns + 1) if columns % b == 0), key=cost)


def supports(problem: Problem, direction: Direction) -> Literal[True] | No:
    """Whether this can compute a problem; if not, the reason."""
    if problem.groups != 1:
        return No(f"groups must be 1, got {problem.groups}")
    return True


def work(problem: Problem, direction: Direction) -> Work:
    """Return what it does for a problem that it supports, whose arrays are in channels-last memory."""
    (_, c, _, _), (n, k, p, q) = problem.input_shape, problem.output_shape
    itemsize, outputs = problem.dtype.itemsize, block(problem.window, c, k, q, direction)
    wide, blocks = _widened(problem.window, outputs), q // outputs
    inner, outer, run = wide.samples * c, outputs * k, wide.kernel[1] * c * itemsize
    matrix = outer * inner * itemsize
    pieces = _cut(n, p, blocks, inner * itemsize)
    rows = [math.prod(images_and_rows(chunk)) * blocks for chunk in pieces]
    columns = [m * inner * itemsize for m in rows]
    if direction == "backward_data":
        height, width = _reach(wide, p, blocks)
        rooms = [images_and_rows(chunk)[0] * height * width * c * itemsize for chunk in pieces]
        return Work(
            products((m, outer, inner) for m in rows),
            (Pass(2 * sum(columns), run), Pass(2 * sum(rooms), width * c * itemsize)),
            tasks=len(_by_images(pieces)),
            calls=len(pieces) * (6 + wide.kernel[0] * blocks),
            shared=matrix,
            private=max(columns, default=0) + max(rooms, default=0),
        )
    slabs = [slab_bytes(problem, wide, chunk, blocks) for chunk in pieces]
    passes = Pass(sum(columns), run), Pass(sum(slabs), _reach(wide, 1, blocks)[1] * c * itemsize)
    private = max(columns, default=0) + max(slabs, default=0)
    if direction == "forward":
        return Work(
            products((m, inner, outer) for m in rows),
            (*passes, Pass(n * k * p * q * itemsize, outer * itemsize)),
            tasks=len(pieces),
            calls=8 * len(pieces),
            shared=matrix
            * (2 if are_small(inner, outer) else 1),  # turned for the products, where that helps
            private=private,
        )
    lanes = _lanes(pieces)
    return Work(
        products((outer, m, inner) for m in rows),
        (*passes, Pass((len(pieces) + 2 * lanes) * matrix, matrix)),
        tasks=lanes,
        calls=8 * len(pieces),
        shared=(lanes + 1) * matrix,  # the lanes, and their sum
        private=private + matrix,
    )


def _widened(window: Window2d, outputs: int) -> Window2d:
    """Return the window that sees what so many neighbours in a row see."""
    (stride_h, stride_w), (dilation_h, _) = window.stride, window.dilation
    columns = (outputs - 1) * stride_w + window.extent[1]
    return Window2d(
        (window.kernel[0], columns), (stride_h, outputs * stride_w), window.padding, (dilation_h, 1)
    )


def _bands(t: np.ndarray, window: Window2d) -> np.ndarray:
    """View T (B, K, R, S', C) as its bands (B, K, R, S, C): the places that weights are copied to."""
    b, k, r, _, c = t.shape
    along_b, along_k, along_r, along_s, along_c = t.strides
    return as_strided(
        t,
        (b, k, r, window.kernel[1], c),
        (along_b + window.stride[1] * along_s, along_k, along_r, window.dilation[1] * along_s, along_c),
    )


def _toeplitz(w: np.ndarray, window: Window2d, outputs: int) -> np.ndarray:
    """Return T (B·K, R·S'·C) of the kernels w (K, C, R, S), for blocks of so many outputs."""
    k, c, r, _ = w.shape
    t = np.zeros((outputs, k, r, _widened(window, outputs).kernel[1], c), w.dtype)
    _bands(t, window)[...] = w.transpose(0, 2, 3, 1)
    return t.reshape(outputs * k, -1)


def _cut(n: int, p: int, blocks: int, row_bytes: int) -> list[Chunk]:
    return cut(n, p, blocks, max(CHUNK_BYTES // row_bytes, ROWS))


def _lanes(pieces: list[Chunk]) -> int:
    return max(1, min(LANES, len(pieces)))


def _unfold(x: np.ndarray, wide: Window2d, chunk: Chunk, blocks: int) -> np.ndarray:
    """Return a chunk's columns (rows, R·S'·C), valid until this thread's next call."""
    pixels = slab(x, chunk.images, wide.seen(0, chunk.rows), wide.seen(1, slice(0, blocks)))
    seen = windows(pixels, wide, chunk.rows.stop - chunk.rows.start, blocks)
    columns = scratch("conv columns", seen.shape, x.dtype)
    np.copyto(columns, seen)
    return columns.reshape(-1, wide.samples * x.shape[1])


def _by_block(y: np.ndarray, chunk: Chunk, outputs: int) -> np.ndarray:
    """Return a chunk of y (N, K, P, Q) as (rows, B·K): a view if y is in channels-last memory."""
    return y[chunk.images, :, chunk.rows].transpose(0, 2, 3, 1).reshape(-1, outputs * y.shape[1])


def forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    window: Window2d,
    groups: int,
    out: np.ndarray,
    relu: bool = False,
) -> None:
    """Write the convolution of x (N, C, H, W) with w (K, C, R, S), plus b (K,), into `out` (N, K, P, Q).

    With `relu`, its positive part.
    """
    n, k, p, q = out.shape
    outputs = block(window, x.shape[1], k, q, "forward")
    wide, blocks = _widened(window, outputs), q // outputs
    kernels = _toeplitz(w, window, outputs)
    columns = operand(kernels.T)
    bias = None if b is None else np.tile(b, outputs)
    pieces = _cut(n, p, blocks, kernels[0].nbytes)

    with channels_last(out) as y:

        def task(i: int) -> None:
            rows = _by_block(y, pieces[i], outputs)
            multiply(_unfold(x, wide, pieces[i], blocks), columns, out=rows)
            finish(rows, bias, relu)

        parallel_for(len(pieces), task)


def backward_data(
    g: np.ndarray, w: np.ndarray, input_shape: tuple[int, ...], window: Window2d, groups: int
) -> np.ndarray:
    """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q).

    A task takes whole images, for the windows of neighbouring rows overlap in dx.
    """
    n, c, height, width = input_shape
    _, k, p, q = g.shape
    outputs = block(window, c, k, q, "backward_data")
    wide, blocks = _widened(window, outputs), q // outputs
    kernels = _toeplitz(w, window, outputs)
    dx = np.zeros((n, height, width, c), g.dtype)
    tasks = _by_images(_cut(n, p, blocks, kernels[0].nbytes))

    def task(i: int) -> None:
        mine = dx[tasks[i][0].images]
        room = scratch("conv room", (len(mine), *_reach(wide, p, blocks), c), dx.dtype)
        room[...] = 0
        for chunk in tasks[i]:
            rows = _by_block(g, chunk, outputs)
            columns = scratch("conv columns", (len(rows), kernels.shape[1]), dx.dtype)
            multiply(rows, kernels, out=columns)
            _fold(columns, room, wide, chunk)
        inside = room[:, wide.padding[0] :, wide.padding[2] :][:, :height, :width]
        mine[:, : inside.shape[1], : inside.shape[2]] = inside

    parallel_for(len(tasks), task)
    return dx.transpose(0, 3, 1, 2)


def _by_images(pieces: list[Chunk]) -> list[list[Chunk]]:
    return [list(chunks) for _, chunks in groupby(pieces, key=lambda chunk: chunk.images.start)]


def _reach(wide: Window2d, p: int, blocks: int) -> tuple[int, int]:
    """Return the size of the padded image that all windows together see."""
    return (p - 1) * wide.stride[0] + wide.extent[0], (blocks - 1) * wide.stride[1] + wide.extent[1]


def _fold(columns: np.ndarray, room: np.ndarray, wide: Window2d, chunk: Chunk) -> None:
    """Add a chunk's columns (rows, R·S'·C) to the pixels of `room` (n, H', W', C) that they come from."""
    n, _, _, c = room.shape
    rows, (kernel_rows, seen) = chunk.rows.stop - chunk.rows.start, wide.kernel
    entries = columns.reshape(n, rows, -1, kernel_rows, seen, c)
    stride_h, stride_w = wide.stride
    for r in range(kernel_rows):
        first = chunk.rows.start * stride_h + r * wide.dilation[0]
        pixels = room[:, first : first + (rows - 1) * stride_h + 1 : stride_h]
        for i in range(entries.shape[2]):  # one block after the other, for neighbours overlap
            pixels[:, :, i * stride_w : i * stride_w + seen] += entries[:, :, i, r]


def backward_weight(x: np.ndarray, g: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return ∂L/∂w (K, C, R, S) from g = ∂L/∂y (N, K, P, Q).

    The chunks are dealt to a fixed number of lanes; each lane sums its own, and the lanes are summed last, in order.
    """
    (n, k, p, q), c = g.shape, x.shape[1]
    outputs = block(window, c, k, q, "backward_weight")
    wide, blocks = _widened(window, outputs), q // outputs
    shape = outputs * k, wide.samples * c
    pieces = _cut(n, p, blocks, shape[1] * x.itemsize)
    lanes = _lanes(pieces)
    sums = np.zeros((lanes, *shape), x.dtype)

    def task(lane: int) -> None:
        for chunk in pieces[lane::lanes]:
            product = scratch("conv kernels", shape, x.dtype)
            columns = _unfold(x, wide, chunk, blocks)
            sums[lane] += np.matmul(_by_block(g, chunk, outputs).T, columns, out=product)

    parallel_for(lanes, task)
    bands = _bands(sums.sum(axis=0).reshape(outputs, k, *wide.kernel, c), window)
    return bands.sum(axis=0).transpose(0, 3, 1, 2)
