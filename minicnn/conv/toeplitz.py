"""Convolution of small pictures with few channels: windows that give several output columns at once, and no columns.

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
wide.  The images are copied once, into *strips*: the pixels that the j-th block of every row sees, row below row.  In a
strip what a window sees is one run of R·S'·C numbers, for its rows are neighbours, and the next image's is a fixed
distance away.  So the columns X of a block in a row, one row for each image, are a view, and nothing is unfolded::

    strip of a block, of an image     row 0 │ row 1 │ row 2 │ row 3 …      S'·C numbers each
    X for row 0 of y                  ╰────── R = 3 ────────╯
    X for row 1 of y                          ╰────── R = 3 ────────╯              y = X · Tᵀ

dx is made in the same way.  The rows of g that see a row of the images are neighbours too, so with G the columns of g,
in strips B wide with R − 1 rows of zeros above and below, and the rows of the kernel turned round::

    dx = fold(G · T'),      T'[(r, b, k), (s', c)] = T[(b, k), (R − 1 − r, s', c)]

where only the blocks' shares along a row overlap, and are added.  (With a stride there are rows of zeros in between,
too.)  For dw the columns are copied, so that their products are long::

    dw = Σ over the blocks' b of (gᵀ · X) along the bands

because T depends linearly on w: each weight is copied to B places, so its gradient is the sum of theirs.

All that Python does is to make a few views; a task is two or three calls of NumPy, for at such sizes threads that take
turns at the interpreter's lock lose more than they win.

Cost: 2·N·K·P·Q·C·R·S' FLOPs, S'/S times those of im2col, in dx with H in place of P, for a copy of S'/B times the
images.  B is the divisor of Q at which the two together cost least, by :func:`block`.  As the rows of a product are
images, it takes some of them to be fast.  Workspace, a thread: the strips of one piece, half a megabyte, or for dw the
columns of one chunk, a megabyte and a half.  Shared: T; the images with their padding, if they have any; for dx the
blocks' shares, S'/B times dx; for dw one sum of T's size a lane, at most 8.  Groups and kernels whose rows are not
neighbours are left to the other algorithms.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..backend.cpu import empty_images
from ..backend.parallel import parallel_for
from ..backend.small_products import multiply_tall, tall_blocks, tall_products
from ..backend.workspace import scratch
from ..geometry import Window2d, inside
from .chunks import Chunk, cut, even, length, slab
from .counted import images_and_rows, products, slab_bytes
from .im2col import windows
from .problem import Direction, No, Problem
from .result import channels_last
from .tail import finish
from .work import Pass, Product, Work

__all__ = ["backward_data", "backward_weight", "block", "forward", "supports", "work"]

IMAGES = 32  # of a piece, at most: the rows of a product
STRIP_BYTES = 1 << 19  # of a piece: fewer blocks of its images, if need be
COLUMN_BYTES = 3 << 19  # of a chunk for dw
FOLD_BYTES = 1 << 21  # of the shares that one task adds up
LANES = 8  # partial sums of dw, each the work of one task
Piece = tuple[slice, slice]  # some images, and some blocks of each of their rows

# What the zeros are weighed against, in multiply-adds that take the same time (Intel Xeon, AVX-512, float32):
NARROW = 4  # to copy a number and to bring it to a product
RUN = 300  # to begin a run that is copied, and a row of a product


@lru_cache(maxsize=1 << 10)
def block(window: Window2d, channels: int, kernels: int, columns: int) -> int:
    """Return B, the outputs of a row that one product gives: the divisor of `columns` (Q) that costs least.

    Examples
    --------
    >>> window = Window2d.of("conv2d", kernel_size=5)
    >>> block(window, 1, 6, 28), block(window, 6, 16, 10), block(window, 64, 64, 56)
    (7, 2, 1)
    """

    def cost(b: int) -> float:
        run = ((b - 1) * window.stride[1] + window.extent[1]) * channels
        return (run * (b * kernels + NARROW) + RUN) / b

    return min((b for b in range(1, columns + 1) if columns % b == 0), key=cost)


def supports(problem: Problem, direction: Direction) -> Literal[True] | No:
    """Whether this can compute a problem; if not, the reason."""
    if problem.groups != 1:
        return No(f"groups must be 1, got {problem.groups}")
    if problem.window.dilation[0] != 1:
        return No(f"the kernel's rows must be neighbours, got dilation {problem.window.dilation}")
    return True


def work(problem: Problem, direction: Direction) -> Work:
    """Return what it does for a problem that it supports, whose arrays are in channels-last memory."""
    (_, c, _, _), (_, k, _, q) = problem.input_shape, problem.output_shape
    outputs = block(problem.window, c, k, q)
    wide = _widened(problem.window, outputs)
    count = {
        "forward": _work_for_y,
        "backward_data": _work_for_dx,
        "backward_weight": _work_for_dw,
    }
    return count[direction](problem, wide, outputs)


def _work_for_y(problem: Problem, wide: Window2d, outputs: int) -> Work:
    (_, c, _, _), (n, k, p, q), size = problem.input_shape, problem.output_shape, problem.dtype.itemsize
    run, blocks = wide.kernel[1] * c, q // outputs
    inner, outer, strip = wide.kernel[0] * run, outputs * k, _reach(wide, p, blocks)[0] * run * size
    pieces = _pieces(n, blocks, strip)
    slab = _slab(problem, wide, blocks)
    return Work(
        _stacks(pieces, p, inner, outer),
        (slab, Pass(n * blocks * strip, run * size), Pass(n * k * p * q * size, outer * size)),
        tasks=len(pieces),
        calls=8 + 3 * len(pieces),
        shared=slab.moved + 2 * inner * outer * size,
        private=_most(pieces) * strip,
    )


def _work_for_dx(problem: Problem, wide: Window2d, outputs: int) -> Work:
    (_, c, height, width), (n, k, p, q) = problem.input_shape, problem.output_shape
    size, blocks = problem.dtype.itemsize, q // outputs
    inner, run = wide.kernel[0] * outputs * k, wide.kernel[1] * c
    strip = (height + wide.kernel[0] - 1) * outputs * k * size
    pieces = _pieces(n, blocks, strip)
    shares = n * blocks * height * run * size
    return Work(
        _stacks(pieces, height, inner, run),
        (
            Pass(n * blocks * strip + n * k * p * q * size, outputs * k * size),
            Pass(shares + n * c * height * width * size, run * size),
        ),
        tasks=len(pieces),
        calls=8 + 3 * len(pieces) + blocks,
        shared=shares + 2 * inner * run * size,
        private=_most(pieces) * strip,
    )


def _work_for_dw(problem: Problem, wide: Window2d, outputs: int) -> Work:
    (_, c, _, _), (n, k, p, q), size = problem.input_shape, problem.output_shape, problem.dtype.itemsize
    inner, outer, blocks = wide.samples * c, outputs * k, q // outputs
    matrix = inner * outer * size
    chunks = _cut(n, p, blocks, inner * size)
    lanes = _lanes(chunks)
    rows = [math.prod(images_and_rows(chunk)) * blocks for chunk in chunks]
    slab, longest = _slab(problem, wide, blocks), max(rows, default=0)
    added = len(chunks) - lanes + 2 * lanes  # to a lane's sum; the lanes set to 0 and summed
    return Work(
        products(product for m in rows for product in tall_products(m, outer, inner)),
        (
            slab,
            Pass(sum(rows) * inner * size, wide.kernel[1] * c * size),
            Pass((added + sum(tall_blocks(m, outer, inner) for m in rows)) * matrix, matrix),
        ),
        tasks=lanes,
        calls=8 + 5 * len(chunks),
        shared=slab.moved + (lanes + 1) * matrix,  # the lanes, and their sum
        private=longest * inner * size
        + ((len(chunks) > lanes) + tall_blocks(longest, outer, inner)) * matrix,
    )


def _slab(problem: Problem, wide: Window2d, blocks: int) -> Pass:
    """Count the copying of the images with their padding, where they have any."""
    n, _, p, _ = problem.output_shape
    everything = Chunk(slice(0, n), slice(0, p))
    run = _reach(wide, p, blocks)[1] * problem.input_shape[1] * problem.dtype.itemsize
    return Pass(slab_bytes(problem, wide, everything, blocks), run)


def _reach(wide: Window2d, p: int, blocks: int) -> tuple[int, int]:
    """Return the size of the padded image that all windows together see."""
    return (p - 1) * wide.stride[0] + wide.extent[0], (blocks - 1) * wide.stride[1] + wide.extent[1]


def _stacks(pieces: list[Piece], rows: int, inner: int, columns: int) -> tuple[Product, ...]:
    """Count the products of each row of each block."""
    counts: Counter[int] = Counter()
    for images, few in pieces:
        counts[length(images)] += length(few) * rows
    return tuple(Product(count, n, inner, columns) for n, count in counts.items())


def _most(pieces: list[Piece]) -> int:
    """Return how many strips the largest piece has."""
    return max((length(images) * length(few) for images, few in pieces), default=0)


def _widened(window: Window2d, outputs: int) -> Window2d:
    """Return the window that sees what so many neighbours in a row see."""
    columns = (outputs - 1) * window.stride[1] + window.extent[1]
    stride_h, stride_w = window.stride
    return Window2d((window.kernel[0], columns), (stride_h, outputs * stride_w), window.padding)


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
    """Return T (B, K, R, S', C) of the kernels w (K, C, R, S), for blocks of so many outputs."""
    k, c, r, _ = w.shape
    t = np.zeros((outputs, k, r, _widened(window, outputs).kernel[1], c), w.dtype)
    _bands(t, window)[...] = w.transpose(0, 2, 3, 1)
    return t


def _pieces(n: int, blocks: int, strip_bytes: int) -> list[Piece]:
    """Cut N images into pieces: some blocks, `strip_bytes` of an image's strips each, of some images."""
    most = max(1, STRIP_BYTES // (min(n, IMAGES) * strip_bytes or 1))
    return [(images, few) for images in even(n, IMAGES) for few in even(blocks, most)]


def _by_block(y: np.ndarray, outputs: int) -> np.ndarray:
    """Return y (N, K, P, Q) as (N, P, blocks, B·K): a view if y is in channels-last memory."""
    n, k, p, q = y.shape
    return y.transpose(0, 2, 3, 1).reshape(n, p, q // outputs, outputs * k)


def _see(x: np.ndarray, wide: Window2d, rows: int, blocks: int) -> np.ndarray:
    """Return the padded pixels that all windows see, channels last."""
    return slab(x, slice(None), wide.seen(0, slice(0, rows)), wide.seen(1, slice(0, blocks)))


def _columns(strips: np.ndarray, kernel_rows: int, stride: int, rows: int) -> np.ndarray:
    """View strips (blocks, N, H', S', C) as what the windows of each row see: (blocks, rows, N, kernel_rows·S'·C)."""
    blocks, n, _, *run = strips.shape
    along_block, along_n, along_row, *_ = strips.strides
    return as_strided(
        strips,
        (blocks, rows, n, kernel_rows * math.prod(run)),
        (along_block, along_row * stride, along_n, strips.itemsize),
    )


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
    outputs = block(window, x.shape[1], k, q)
    wide, blocks = _widened(window, outputs), q // outputs
    matrix = np.ascontiguousarray(_toeplitz(w, window, outputs).reshape(outputs * k, -1).T)
    bias = None if b is None else np.tile(b, q).reshape(blocks, -1)

    pixels = _see(x, wide, p, blocks)  # (N, H', W', C)
    row = Window2d((1, wide.kernel[1]), (1, wide.stride[1]))
    seen = windows(pixels, row, pixels.shape[1], blocks)[:, :, :, 0].transpose(2, 0, 1, 3, 4)
    pieces = _pieces(n, blocks, seen[:1, :1].nbytes)

    with channels_last(out) as y:
        results = _by_block(y, outputs)

        def task(i: int) -> None:
            images, few = pieces[i]
            mine = results[images, :, few]
            strips = scratch("conv strips", seen[few, images].shape, x.dtype)
            np.copyto(strips, seen[few, images])
            columns = _columns(strips, wide.kernel[0], wide.stride[0], p)
            np.matmul(columns, matrix, out=mine.transpose(2, 1, 0, 3))
            finish(mine, None if bias is None else bias[few], relu)

        parallel_for(len(pieces), task)


def backward_data(
    g: np.ndarray, w: np.ndarray, input_shape: tuple[int, ...], window: Window2d, groups: int
) -> np.ndarray:
    """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q)."""
    n, c, height, width = input_shape
    _, k, p, q = g.shape
    outputs = block(window, c, k, q)
    wide, blocks = _widened(window, outputs), q // outputs
    kernel_rows, run = wide.kernel[0], wide.kernel[1] * c
    turned = _toeplitz(w, window, outputs)[:, :, ::-1].transpose(2, 0, 1, 3, 4)
    matrix = np.ascontiguousarray(turned).reshape(-1, run)

    upstream = _by_block(g, outputs).transpose(2, 0, 1, 3)
    rows = height + kernel_rows - 1
    here, there = inside(kernel_rows - 1 - window.padding[0], window.stride[0], rows, p)
    shares = scratch("conv shares", (blocks, n, height, run), g.dtype)
    pieces = _pieces(n, blocks, rows * outputs * k * g.itemsize)

    def task(i: int) -> None:
        images, few = pieces[i]
        mine = shares[few, images]
        strips = scratch("conv strips", (*mine.shape[:2], rows, outputs * k), g.dtype)
        strips[...] = 0
        strips[:, :, there] = upstream[few, images, here]
        np.matmul(_columns(strips, kernel_rows, 1, height), matrix, out=mine.swapaxes(1, 2))

    parallel_for(len(pieces), task)
    dx = empty_images(n, c, height, width, g.dtype)
    _fold(shares.reshape(blocks, n, height, wide.kernel[1], c), dx.transpose(0, 2, 3, 1), wide)
    return dx


def _fold(shares: np.ndarray, dx: np.ndarray, wide: Window2d) -> None:
    """Add the blocks' shares (blocks, N, H, S', C) up at the pixels (N, H, W, C) that they come from."""
    images = even(len(dx), max(1, FOLD_BYTES // (shares[:, :1].nbytes or 1)))
    seen = [wide.seen(1, slice(i, i + 1)) for i in range(len(shares))]

    def task(i: int) -> None:
        mine = dx[images[i]]
        mine[...] = 0
        for share, place in zip(shares[:, images[i]], seen, strict=True):  # in turn, for neighbours overlap
            start = max(place.start, 0)
            stop = max(min(place.stop, dx.shape[2]), start)
            mine[:, :, start:stop] += share[:, :, start - place.start : stop - place.start]

    parallel_for(len(images), task)


def backward_weight(x: np.ndarray, g: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return ∂L/∂w (K, C, R, S) from g = ∂L/∂y (N, K, P, Q).

    The chunks are dealt to a fixed number of lanes; each lane sums its own, and the lanes are summed last, in order.
    """
    (n, k, p, q), c = g.shape, x.shape[1]
    outputs = block(window, c, k, q)
    wide, blocks = _widened(window, outputs), q // outputs
    seen, gradients = windows(_see(x, wide, p, blocks), wide, p, blocks), _by_block(g, outputs)
    shape = outputs * k, wide.samples * c
    chunks = _cut(n, p, blocks, shape[1] * x.itemsize)
    lanes = _lanes(chunks)
    sums = np.zeros((lanes, *shape), x.dtype)

    def task(lane: int) -> None:
        for i, chunk in enumerate(chunks[lane::lanes]):
            columns = scratch("conv columns", seen[chunk].shape, x.dtype)
            np.copyto(columns, seen[chunk])
            product = scratch("conv kernels", shape, x.dtype) if i else sums[lane]
            multiply_tall(gradients[chunk].reshape(-1, shape[0]), columns.reshape(-1, shape[1]), out=product)
            if i:
                sums[lane] += product

    parallel_for(lanes, task)
    bands = _bands(sums.sum(axis=0).reshape(outputs, k, *wide.kernel, c), window)
    return bands.sum(axis=0).transpose(0, 3, 1, 2)


def _cut(n: int, p: int, blocks: int, row_bytes: int) -> list[Chunk]:
    """Cut N images of P rows of blocks, `row_bytes` of columns each, into chunks for dw; two threads share several."""
    several = n * p * blocks * row_bytes > COLUMN_BYTES
    return cut(n, p, blocks, COLUMN_BYTES // row_bytes, paired=several)


def _lanes(chunks: list[Chunk]) -> int:
    return max(1, min(LANES, len(chunks)))
