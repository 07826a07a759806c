"""Convolution by unfolding a piece at a time, the pieces shared among threads.

The mathematics is that of :mod:`minicnn.conv.im2col`.  But its columns, R·S times the input, are never there as a
whole: the output is cut into *chunks*, some rows of one image or some whole images, so small that a chunk's columns
stay in the second-level cache between being written and being multiplied::

    x ──▶ slab (the chunk's rows, padded) ──▶ columns ──▶ product with the kernels ──▶ + bias ──▶ y
          └──────── scratch memory of one thread ───────┘                              channels-last

The problem alone decides the chunks and the order in which anything is summed, so the result has the same bits for
any number of threads.

A chunk of a deep layer (512 channels: 18 kB a row of columns) is larger than that, for a product of few rows spends
its time reading the kernels: at least 512 rows make one.

Cost: the FLOPs of im2col.  Workspace, a thread: a slab and the columns of one chunk, half a megabyte or 512 rows (1,024
for dw); for dx half a megabyte and no columns.  For dw also one sum of dw's size a *lane*, at most 8.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..backend.parallel import parallel_for
from ..backend.small_products import multiply, operand
from ..backend.workspace import scratch
from ..geometry import Window2d
from . import chunks
from .chunks import Chunk
from .im2col import by_group, kernel_matrix, windows
from .problem import Direction, Problem
from .result import channels_last
from .tail import finish
from .work import Pass, Product, Work

__all__ = ["backward_data", "backward_weight", "forward", "supports", "work"]

CHUNK_BYTES = 1 << 19  # a chunk's columns: half of a 1 MB second-level cache
PRODUCT_ROWS = 512  # but at least as many rows as make reading the kernels worthwhile
SUM_ROWS = 1024  # and in a product for dw, as make adding its result to a sum worthwhile
HALF = 128  # pixels that are enough to give a second thread something to do
LANES = 8  # partial sums of dw, each the work of one task
LANE_BYTES = 1 << 26  # all lanes together


def supports(problem: Problem, direction: Direction) -> Literal[True]:
    """Whether this can compute a problem: any."""
    return True


def work(problem: Problem, direction: Direction) -> Work:
    """Return what it does for a problem."""
    (n, c, height, width), (_, k, p, q) = problem.input_shape, problem.output_shape
    window, groups, size = problem.window, problem.groups, problem.dtype.itemsize
    (_, s), samples, pixels = window.kernel, window.samples, n * p * q
    if direction == "backward_data":
        count = len(cut(n, p, q, c * size, PRODUCT_ROWS)) or 1
        product = Product(count * groups * samples, pixels // count, k // groups, c // groups)
        added = Pass(2 * samples * pixels * c * size, c // groups * size)
        return Work(
            (product,),
            (added, Pass(n * c * height * width * size, width * c * size)),
            tasks=min(n, count),
            calls=4 * samples * count,
            shared=samples * k * c // groups * size,
            private=pixels // count * c * size,
        )
    least = SUM_ROWS if direction == "backward_weight" else PRODUCT_ROWS
    pieces = cut(n, p, q, samples * c * size, least)
    count = len(pieces) or 1
    unfolded = samples * pixels * c * size
    run = c // groups * size * (s if groups == 1 and window.dilation[1] == 1 else 1)
    copies = (
        (Pass(unfolded, run), Pass(n * c * height * width * size, width * c * size)) if samples > 1 else ()
    )
    private = (unfolded + n * c * height * width * size * 2) // count
    if direction == "forward":
        product = Product(count * groups, pixels // count, samples * c // groups, k // groups)
        return Work(
            (product,),
            (*copies, Pass(pixels * k * size, k * size)),
            tasks=count,
            calls=10 * count,
            private=private,
        )
    kernels = k * samples * c // groups * size
    lanes = _lanes(count, kernels)
    product = Product(count * groups, k // groups, pixels // count, samples * c // groups)
    return Work(
        (product,),
        (*copies, Pass(2 * count * kernels, kernels)),
        tasks=lanes,
        calls=10 * count,
        shared=lanes * kernels,
        private=private + kernels,
    )


def cut(n: int, p: int, q: int, pixel_bytes: int, least: int) -> list[Chunk]:
    """Cut N images of P×Q output pixels into chunks.

    A chunk's columns, `pixel_bytes` an output pixel, fill the budget, or `least` pixels where those are more; but a
    chunk is at least one row, and where all pixels would make one, they make two.
    """
    pixels, total = max(CHUNK_BYTES // pixel_bytes, least), n * p * q
    if pixels >= total >= 2 * HALF:
        pixels = -(-total // 2)
    return chunks.cut(n, p, q, pixels)


def _pixel_bytes(x_shape: tuple[int, ...], window: Window2d, dtype: np.dtype) -> int:
    return window.samples * x_shape[1] * dtype.itemsize


def _slab(x: np.ndarray, window: Window2d, chunk: Chunk) -> np.ndarray:
    """Return the padded pixels that a chunk's windows see, channels last: (n, H', W', C).

    It is a view of x where that needs no padding and has its channels last in memory already.
    """
    _, q = window.output_size(*x.shape[2:])
    rows, columns = chunk.rows, slice(0, q)
    return chunks.slab(x, chunk.images, window.seen(0, rows), window.seen(1, columns))


def _unfold(x: np.ndarray, window: Window2d, groups: int, chunk: Chunk) -> np.ndarray:
    """Return a chunk's columns (groups, rows, R·S·C/groups), valid until this thread's next call."""
    p = chunk.rows.stop - chunk.rows.start
    _, q = window.output_size(*x.shape[2:])
    slab = _slab(x, window, chunk)
    if groups == 1 and window.samples == 1 and slab.flags.c_contiguous and slab.shape[1:3] == (p, q):
        return slab.reshape(1, -1, slab.shape[3])  # a 1×1 convolution: the pixels are the columns
    seen = by_group(windows(slab, window, p, q), groups)
    columns = scratch("conv columns", seen.shape, x.dtype)
    np.copyto(columns, seen)
    return columns.reshape(groups, seen[0, ..., 0, 0, 0].size, -1)


def _pixel_rows(y: np.ndarray, chunk: Chunk, groups: int) -> np.ndarray:
    """Return a chunk of y (N, K, P, Q) as (groups, rows, K/groups): a view if y is in channels-last memory."""
    pixels = by_group(y[chunk.images, :, chunk.rows].transpose(0, 2, 3, 1), groups)
    return pixels.reshape(groups, pixels[0, ..., 0].size, -1)


def forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    window: Window2d,
    groups: int,
    out: np.ndarray,
    relu: bool = False,
) -> None:
    """Write the convolution of x (N, C, H, W) with w (K, C/groups, R, S), plus b (K,), into `out` (N, K, P, Q).

    With `relu`, its positive part.
    """
    n, _, p, q = out.shape
    kernels = operand(kernel_matrix(w, groups).swapaxes(1, 2))
    pieces = cut(n, p, q, _pixel_bytes(x.shape, window, x.dtype), PRODUCT_ROWS)

    with channels_last(out) as y:

        def task(i: int) -> None:
            rows = _pixel_rows(y, pieces[i], groups)
            multiply(_unfold(x, window, groups, pieces[i]), kernels, out=rows)
            finish(rows, None if b is None else b.reshape(groups, 1, -1), relu)

        parallel_for(len(pieces), task)


def backward_data(
    g: np.ndarray, w: np.ndarray, input_shape: tuple[int, ...], window: Window2d, groups: int
) -> np.ndarray:
    """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q).

    Folding needs no columns: sample (r, s) of all windows gets g · w[:, :, r, s], one product, which is added to the
    pixels that these samples see.  A task takes whole images, for the windows of neighbouring rows overlap in dx.
    """
    n, c, height, width = input_shape
    p, q = window.output_size(height, width)
    k = w.shape[0]
    samples = w.reshape(groups, k // groups, c // groups, *window.kernel).transpose(3, 4, 0, 1, 2)
    samples = np.ascontiguousarray(samples)  # (R, S, groups, K/groups, C/groups)
    dx = np.zeros((n, height, width, c), g.dtype).transpose(0, 3, 1, 2)
    by_images: dict[int, list[Chunk]] = {}
    for chunk in cut(n, p, q, c * g.itemsize, PRODUCT_ROWS):
        by_images.setdefault(chunk.images.start, []).append(chunk)
    tasks = list(by_images.values())

    def task(i: int) -> None:
        for chunk in tasks[i]:
            _add_samples(_pixel_rows(g, chunk, groups), samples, dx[chunk.images], window, chunk.rows)

    parallel_for(len(tasks), task)
    return dx


def _add_samples(g: np.ndarray, samples: np.ndarray, dx: np.ndarray, window: Window2d, rows: slice) -> None:
    """Add to dx what a chunk's g (groups, pixels, K/groups) is worth at each sample of the kernel."""
    n, c, height, width = dx.shape
    groups, p = len(g), rows.stop - rows.start
    _, q = window.output_size(height, width)
    pixels = by_group(dx.transpose(0, 2, 3, 1), groups)
    product = scratch("conv sample", (groups, n * p * q, c // groups), dx.dtype)
    entries = product.reshape(groups, n, p, q, c // groups)
    top = window.padding[0] - rows.start * window.stride[0]
    for r, s in window.offsets():
        multiply(g, samples[r, s], out=product)
        here, there = _inside(r * window.dilation[0] - top, window.stride[0], height, p)
        across, along = _inside(s * window.dilation[1] - window.padding[2], window.stride[1], width, q)
        pixels[:, :, there, along] += entries[:, :, here, across]


def _inside(first: int, stride: int, size: int, count: int) -> tuple[slice, slice]:
    """Which of `count` windows have their sample inside an axis, and where, if window 0's is at `first`."""
    start = max(0, -(first // stride))
    stop = max(start, min(count, (size - 1 - first) // stride + 1))
    where = first + start * stride
    return slice(start, stop), slice(
        where, where + (stop - start - 1) * stride + 1 if stop > start else where, stride
    )


def backward_weight(x: np.ndarray, g: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return ∂L/∂w (K, C/groups, R, S) from g = ∂L/∂y (N, K, P, Q).

    The chunks are dealt to a fixed number of lanes; each lane sums its own, and the lanes are summed last, in order.
    """
    n, k, p, q = g.shape
    pieces = cut(n, p, q, _pixel_bytes(x.shape, window, x.dtype), SUM_ROWS)
    shape = (groups, k // groups, window.samples * x.shape[1] // groups)
    size = k * shape[2] * x.itemsize
    lanes = _lanes(len(pieces), size)
    sums = np.zeros((lanes, *shape), x.dtype)

    def task(lane: int) -> None:
        for chunk in pieces[lane::lanes]:
            rows = _pixel_rows(g, chunk, groups).swapaxes(1, 2)
            product = scratch("conv kernels", shape, x.dtype)
            np.matmul(rows, _unfold(x, window, groups, chunk), out=product)
            sums[lane] += product

    parallel_for(lanes, task)
    return sums.sum(axis=0).reshape(k, *window.kernel, -1).transpose(0, 3, 1, 2)


def _lanes(pieces: int, size: int) -> int:
    return max(1, min(LANES, pieces, LANE_BYTES // size))
