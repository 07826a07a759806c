"""Convolution by unfolding a piece at a time, the pieces shared among threads.

The mathematics is that of :mod:`minicnn.conv.im2col`.  But its columns, R·S times the input, are never there as a
whole: the output is cut into *chunks*, some rows of one image or some whole images, and a thread takes one all the way
from the input to the output, through scratch memory of its own::

    x ──▶ slab (the chunk's rows, padded) ──▶ columns ──▶ product with the kernels ──▶ + bias ──▶ y
          └──────── scratch memory of one thread ───────┘                              channels-last

For dx it is the input that is cut.  Sample (r, s) of all windows gets g · w[:, :, r, s], one product, which is added to
those of the chunk's pixels that this sample sees; no columns are needed.

The problem alone decides the chunks and the order in which anything is summed, so the result has the same bits for
any number of threads.

A product of few rows spends its time reading the kernels, so 512 rows at least make a chunk, however large its columns
are.  Where there are fewer pixels than kernels, all are one chunk: that is im2col, which lets the threads share the
kernels and not the pixels.

Cost: the FLOPs of im2col.  Workspace, a thread: a slab and the columns of one chunk, four megabytes or 512 rows (1,024
for dw); for dx, one megabyte or 512 rows and no columns.  For dw also one sum of dw's size a *lane*, at most 8.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ..backend.cpu import empty_images
from ..backend.parallel import parallel_for
from ..backend.small_products import are_small, multiply, operand
from ..backend.workspace import empty, scratch
from ..geometry import Window2d, inside
from . import chunks, im2col
from .chunks import Chunk
from .counted import images_and_rows, products, slab_bytes
from .im2col import are_pixels, by_group, kernel_matrix, windows
from .problem import Direction, Problem
from .result import channels_last
from .tail import finish
from .work import Pass, Work

__all__ = ["backward_data", "backward_weight", "forward", "supports", "work"]

CHUNK_BYTES = 1 << 22  # a chunk's columns: in the shorter calls of smaller chunks threads wait for Python
SAMPLE_BYTES = 1 << 20  # a chunk's products for dx, which are added to its pixels in the cache
PRODUCT_ROWS = 512  # but at least as many rows as make reading the kernels worthwhile
SUM_ROWS = 1024  # and in a product for dw, as make adding its result to a sum worthwhile
SHARED = 1 << 25  # multiply-adds that are worth a second thread,
COPIED = 32  # of which copying a number of the columns counts as so many
LANES = 8  # partial sums of dw, each the work of one task
LANE_BYTES = 1 << 26  # all lanes together


def supports(problem: Problem, direction: Direction) -> Literal[True]:
    """Whether this can compute a problem: any."""
    return True


def has_few_pixels(problem: Problem) -> bool:
    """Whether there are fewer pixels than kernels."""
    n, k, p, q = problem.output_shape
    return n * p * q < k // problem.groups


def cut(problem: Problem, direction: Direction) -> list[Chunk]:
    """Cut the pixels of the output, for dx those of the input, into chunks.

    A chunk fills the budget, or has so many rows as a product should where those are more; but it is at least one row
    of pixels.  Two threads are to have the same to do, so if there is enough of it the number is even.
    """
    (n, c, *size), (_, k, *out) = problem.input_shape, problem.output_shape
    samples, pixel = problem.window.samples, c * problem.dtype.itemsize
    if direction == "backward_data":
        height, width = size
        pixels = max(SAMPLE_BYTES // pixel, PRODUCT_ROWS) * math.prod(problem.window.stride)
    else:
        height, width = out
        least = SUM_ROWS if direction == "backward_weight" else PRODUCT_ROWS
        pixels = max(CHUNK_BYTES // (samples * pixel), least)
    numbers = n * math.prod(out) * samples * c  # in all columns
    enough = numbers * (k // problem.groups + COPIED) >= SHARED
    return chunks.cut(n, height, width, pixels, paired=enough)


def work(problem: Problem, direction: Direction) -> Work:
    """Return what it does for a problem whose arrays are in channels-last memory."""
    if has_few_pixels(problem):
        return im2col.work(problem, direction)
    if direction == "backward_data":
        return _work_for_images(problem)
    (_, c, _, width), (n, k, p, q) = problem.input_shape, problem.output_shape
    window, groups, size = problem.window, problem.groups, problem.dtype.itemsize
    inner, outer = window.samples * c // groups, k // groups
    pieces = cut(problem, direction)
    pixels = [math.prod(images_and_rows(chunk)) * q for chunk in pieces]
    slabs = [slab_bytes(problem, window, chunk, q) for chunk in pieces]
    columns = [0 if are_pixels(window, groups) else rows * inner * groups * size for rows in pixels]
    in_a_row = window.kernel[1] if groups == 1 and window.dilation[1] == 1 else 1
    copies = Pass(sum(slabs), width * c * size), Pass(sum(columns), in_a_row * c // groups * size)
    private = max(map(sum, zip(slabs, columns, strict=True)), default=0)
    if direction == "forward":
        return Work(
            products([(rows, inner, outer) for rows in pixels], times=groups),
            (*copies, Pass(n * p * q * k * size, k * size)),
            tasks=len(pieces),
            calls=10 * len(pieces),
            shared=are_small(inner, outer) * inner * k * size,
            private=private,
        )
    kernels = inner * k * size
    lanes = _lanes(len(pieces), kernels)
    added = len(pieces) - lanes + (lanes if lanes > 1 else 0)
    return Work(
        products([(outer, rows, inner) for rows in pixels], times=groups),
        (*copies, Pass(2 * added * kernels, kernels)),
        tasks=lanes,
        calls=10 * len(pieces),
        shared=kernels * lanes if lanes > 1 else 0,
        private=private + (len(pieces) > lanes) * kernels,
    )


def _work_for_images(problem: Problem) -> Work:
    (n, c, height, width), (_, k, p, q) = problem.input_shape, problem.output_shape
    window, groups, size = problem.window, problem.groups, problem.dtype.itemsize
    inner, outer = k // groups, c // groups
    pieces = cut(problem, "backward_data")
    rows = []  # of the products, chunk by chunk and r by r
    for chunk in pieces:
        images, here = images_and_rows(chunk)
        for r in range(window.kernel[0]):
            first = r * window.dilation[0] - window.padding[0] - chunk.rows.start
            seeing, _ = inside(first, window.stride[0], here, p)
            rows.append(q * (seeing.stop - seeing.start if images == 1 else images * p))
    run = outer * size * (q if groups == 1 and window.stride[1] == 1 else 1)
    return Work(
        products([(each, inner, outer) for each in rows], times=groups * window.kernel[1]),
        (
            Pass(2 * sum(rows) * window.kernel[1] * c * size, run),
            Pass(n * height * width * c * size, width * c * size),
        ),
        tasks=len(pieces),
        calls=4 * window.samples * len(pieces),
        shared=are_small(inner, outer) * window.samples * inner * c * size,
        private=max(rows, default=0) * c * size,
    )


def _columns(x: np.ndarray, window: Window2d, groups: int, chunk: Chunk) -> np.ndarray:
    """Return a chunk's columns (groups, rows, R·S·C/groups), valid until this thread's next call."""
    p = chunk.rows.stop - chunk.rows.start
    _, q = window.output_size(*x.shape[2:])
    slab = chunks.slab(x, chunk.images, window.seen(0, chunk.rows), window.seen(1, slice(0, q)))
    if are_pixels(window, groups):
        return slab.reshape(1, -1, slab.shape[3])
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
    problem = Problem(x.shape, len(w), window, groups, x.dtype)
    if has_few_pixels(problem):
        im2col.forward(x, w, b, window, groups, out, relu)
        return
    pieces = cut(problem, "forward")
    kernels = operand(kernel_matrix(w, groups).swapaxes(1, 2))
    bias = None if b is None else b.reshape(groups, 1, -1)

    with channels_last(out) as y:

        def task(i: int) -> None:
            rows = _pixel_rows(y, pieces[i], groups)
            multiply(_columns(x, window, groups, pieces[i]), kernels, out=rows)
            finish(rows, bias, relu)

        parallel_for(len(pieces), task)


def backward_data(
    g: np.ndarray, w: np.ndarray, input_shape: tuple[int, ...], window: Window2d, groups: int
) -> np.ndarray:
    """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q)."""
    problem = Problem(input_shape, len(w), window, groups, g.dtype)
    if has_few_pixels(problem):
        return im2col.backward_data(g, w, input_shape, window, groups)
    pieces = cut(problem, "backward_data")
    kernels = kernel_matrix(w, groups).reshape(groups, len(w) // groups, *window.kernel, w.shape[1])
    samples = operand(kernels.transpose(2, 3, 0, 1, 4))  # (R, S, groups, K/groups, C/groups)
    gradients = by_group(g.transpose(0, 2, 3, 1), groups)
    n, c, height, width = input_shape
    dx = empty_images(n, c, height, width, g.dtype)
    pixels = by_group(dx.transpose(0, 2, 3, 1), groups)

    def task(i: int) -> None:
        images, rows = pieces[i]
        _add_samples(gradients[:, images], samples, pixels[:, images, rows], window, rows.start)

    parallel_for(len(pieces), task)
    return dx


def _add_samples(g: np.ndarray, samples: np.ndarray, dx: np.ndarray, window: Window2d, first: int) -> None:
    """Write to rows of dx (groups, n, h, W, C), from number `first` on, what g (groups, n, P, Q, K) is worth there."""
    groups, n, p, q, k = g.shape
    height, width, c = dx.shape[2:]
    dx[...] = 0
    for r in range(window.kernel[0]):
        here, there = inside(r * window.dilation[0] - window.padding[0] - first, window.stride[0], height, p)
        rows = here if n == 1 else slice(0, p)  # of several images all, which are one matrix without a copy
        matrix = g[:, :, rows].reshape(groups, -1, k)
        product = scratch("conv sample", (groups, matrix.shape[1], c), dx.dtype)
        entries = product.reshape(groups, n, -1, q, c)[:, :, here.start - rows.start : here.stop - rows.start]
        for s in range(window.kernel[1]):
            across, along = inside(s * window.dilation[1] - window.padding[2], window.stride[1], width, q)
            multiply(matrix, samples[r, s], out=product)
            dx[:, :, there, along] += entries[:, :, :, across]


def backward_weight(x: np.ndarray, g: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return ∂L/∂w (K, C/groups, R, S) from g = ∂L/∂y (N, K, P, Q).

    The chunks are dealt to a fixed number of lanes; each lane sums its own, and the lanes are summed last, in order.
    """
    k = g.shape[1]
    problem = Problem(x.shape, k, window, groups, x.dtype)
    if has_few_pixels(problem):
        return im2col.backward_weight(x, g, window, groups)
    pieces = cut(problem, "backward_weight")
    shape = (groups, k // groups, window.samples * x.shape[1] // groups)
    lanes = _lanes(len(pieces), math.prod(shape) * x.itemsize)
    sums = empty((lanes, *shape), x.dtype)

    def task(lane: int) -> None:
        for i, chunk in enumerate(pieces[lane::lanes]):
            rows = _pixel_rows(g, chunk, groups).swapaxes(1, 2)
            product = scratch("conv kernels", shape, x.dtype) if i else sums[lane]
            np.matmul(rows, _columns(x, window, groups, chunk), out=product)
            if i:
                sums[lane] += product

    parallel_for(lanes, task)
    total = sums[0] if lanes == 1 else sums.sum(axis=0)
    return total.reshape(k, *window.kernel, -1).transpose(0, 3, 1, 2)


def _lanes(pieces: int, size: int) -> int:
    return max(1, min(LANES, pieces, LANE_BYTES // size))
