"""Convolution as a sum of matrix products, one an offset of the kernel, without columns.

With X_rs (pixels, C) the pixels that sample (r, s) of each window sees, and W_rs = w[:, :, r, s] (K, C)::

    y = Σ_{r,s} X_rs · W_rsᵀ,      dw[:, :, r, s] = gᵀ · X_rs,      dx = Σ_{r,s} (g · W_rs, back at those pixels)

No X_rs is copied: each is a *shift* of the same matrix.  Lay the padded pixels of a chunk (H'×W' an image) one after
the other, as rows of a matrix, and let a window begin at every one of them.  Then sample (r, s) of window i is row
i + (r·W' + s)·dilation, so X_rs is this matrix from row (r·W' + s)·dilation on::

    row    0   1   2   3 │ 4   5   6   7 │ 8 …       H'×W' = 3×4, kernel 2×2: sample (1, 1) of window i is row i + 5
    window a   b   c   · │ d   e   f   · │ · …       windows that begin at a · hang over the edge and are dropped

With a stride, the pixels of the same row and column modulo the stride, a *phase*, are an image of their own, in which
the windows are neighbours again; each sample lies in one of them.  A 1×1 kernel has one sample, nothing to add and
nothing that hangs over: its convolution is one product of the pixels as they are.

The problem alone decides the chunks and the order in which anything is summed, so the result has the same bits for
any number of threads.

Cost: the FLOPs of im2col times H'·W'/(P·Q), for the windows that are dropped.  In im2col's place of copying R·S·C
numbers an output pixel it adds R·S − 1 times K numbers, for dw it does neither.  Workspace, a thread: the padded chunk,
for y two sums of the chunk's size, for dw the chunk's g and one offset's dw.  Shared: the kernels in the order (R, S);
for dw one sum of dw's size a lane, at most 8.  dx of larger kernels than 1×1 is im2col_chunked's, which is of this kind
already: g has no edges to hang over, and the products are added at the pixels themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from ..backend.cpu import empty_images
from ..backend.parallel import parallel_for
from ..backend.small_products import are_small, multiply, operand
from ..backend.workspace import scratch
from ..geometry import Window2d
from . import im2col_chunked
from .chunks import Chunk, cut, slab, split
from .counted import images_and_rows, products, slab_bytes
from .im2col import by_group
from .problem import Direction, Problem
from .result import channels_last
from .tail import finish
from .work import Pass, Work

__all__ = ["backward_data", "backward_weight", "forward", "supports", "work"]

ROWS = 4096  # pixels of a chunk: products of fewer rows spend their time reading the kernels
SHARED = 1 << 24  # multiply-adds that are worth a second thread: if all pixels make one chunk, it is halved
FEWEST_ROWS = 256  # where so many pixels are left,
NARROWEST = 64  # and else the kernels are, where so many are left
LANES = 8  # partial sums of dw, each the work of one task
LANE_BYTES = 1 << 26  # all lanes together


class _Grid(NamedTuple):
    """Where the windows of a chunk begin, P×Q in each of N images; and the images, padded, one phase of them."""

    window: Window2d
    n: int
    p: int
    q: int

    @property
    def rows(self) -> int:
        return self.p + (self.window.extent[0] - 1) // self.window.stride[0]

    @property
    def columns(self) -> int:
        return self.q + (self.window.extent[1] - 1) // self.window.stride[1]

    def shape(self, channels: int) -> tuple[int, int, int, int]:
        return self.n, self.rows, self.columns, channels

    @property
    def reach(self) -> int:
        """Rows of the matrix from the first window to the last, those in between that are dropped counted too."""
        return ((self.n - 1) * self.rows + self.p - 1) * self.columns + self.q

    @property
    def drops_none(self) -> bool:
        return self.reach == self.n * self.p * self.q

    def place(self, r: int, s: int) -> tuple[tuple[int, int], int]:
        """Return the phase that sample (r, s) is in, and there the row that the first window's is."""
        (stride_h, stride_w), (dilation_h, dilation_w) = self.window.stride, self.window.dilation
        down, i = divmod(r * dilation_h, stride_h)
        along, j = divmod(s * dilation_w, stride_w)
        return (i, j), down * self.columns + along

    def phases(self) -> list[tuple[int, int]]:
        """Return the phases that samples are in."""
        return sorted({self.place(r, s)[0] for r, s in self.window.offsets()})


def supports(problem: Problem, direction: Direction) -> Literal[True]:
    """Whether this can compute a problem: any."""
    return True


def work(problem: Problem, direction: Direction) -> Work:
    """Return what it does for a problem whose arrays are in channels-last memory."""
    if direction == "backward_weight":
        return _work_for_kernels(problem)
    if direction == "backward_data" and not _is_pointwise(problem.window):
        return im2col_chunked.work(problem, direction)
    return _work_for_images(problem, backward=direction == "backward_data")


def _work_for_images(problem: Problem, backward: bool) -> Work:
    groups, size, samples = problem.groups, problem.dtype.itemsize, problem.window.samples
    (_, c, _, _), (n, k, p, q) = problem.input_shape, problem.output_shape
    inner, outer = (k // groups, c // groups) if backward else (c // groups, k // groups)
    pieces, blocks = _cut(n, p, q, outer, samples * groups * inner)
    laid_out, rooms, private = _layout(problem, pieces, blocks)
    grids = [_Grid(problem.window, *images_and_rows(chunk), q) for chunk in pieces]
    pixel = groups * _widest(blocks) * size
    sums = max((grid.reach for grid in grids), default=0) * pixel
    several = samples > 1
    copied = several or (not backward and are_small(inner, outer))
    return Work(
        products(
            [(grid.reach, inner, block.stop - block.start) for grid in grids for block in blocks],
            times=groups * samples,
        ),
        (
            laid_out,
            Pass(samples * sum(grid.reach for grid in grids) * groups * outer * size, sums),
            Pass(any(rooms) * n * p * q * groups * outer * size, q * pixel),
        ),
        tasks=len(pieces) * len(blocks),
        calls=len(pieces) * len(blocks) * (8 + 4 * samples),
        shared=copied * samples * groups * inner * outer * size,
        private=private + several * sums,
    )


def _work_for_kernels(problem: Problem) -> Work:
    groups, size, samples = problem.groups, problem.dtype.itemsize, problem.window.samples
    (_, c, _, _), (n, k, p, q) = problem.input_shape, problem.output_shape
    pieces, blocks = _cut(n, p, q, k // groups, samples * c)
    kernels = samples * k * c // groups * size
    lanes = _lanes(len(pieces), kernels)
    grids = [_Grid(problem.window, *images_and_rows(chunk), q) for chunk in pieces]
    laid_out, rooms, private = _layout(problem, pieces, blocks)
    added = len(pieces) - lanes + (lanes if lanes > 1 else 0)
    return Work(
        products(
            [(block.stop - block.start, grid.reach, c // groups) for grid in grids for block in blocks],
            times=groups * samples,
        ),
        (
            laid_out,
            Pass(len(blocks) * sum(rooms), q * _widest(blocks) * size),
            Pass(added * kernels, c // groups * size),
        ),
        tasks=lanes * len(blocks),
        calls=len(pieces) * len(blocks) * (8 + 4 * samples),
        shared=kernels * lanes if lanes > 1 else 0,
        private=private + (len(pieces) > lanes) * _widest(blocks) * c * size,
    )


def _widest(blocks: list[slice]) -> int:
    return max(block.stop - block.start for block in blocks)


def _layout(problem: Problem, pieces: list[Chunk], blocks: list[slice]) -> tuple[Pass, list[int], int]:
    """Count what is laid out row by row: the copying of x, the bytes of each chunk's results, those of both at most."""
    window, size, (_, c, _, width) = problem.window, problem.dtype.itemsize, problem.input_shape
    q = problem.output_shape[3]
    copied, rooms = [], []
    for chunk in pieces:
        grid = _Grid(window, *images_and_rows(chunk), q)
        phases = 0 if window.stride == (1, 1) else len(grid.phases())
        copied.append(slab_bytes(problem, window, chunk, q) + phases * math.prod(grid.shape(c)) * size)
        results = math.prod(grid.shape(problem.groups * _widest(blocks))) * size
        rooms.append(0 if grid.drops_none else results)
    run = (width if window.stride[1] == 1 else 1) * c * size
    return (
        Pass(len(blocks) * sum(copied), run),
        rooms,
        max(map(sum, zip(copied, rooms, strict=True)), default=0),
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
    """Write the convolution of x (N, C, H, W) with w (K, C/groups, R, S), plus b (K,), into `out` (N, K, P, Q).

    With `relu`, its positive part.
    """
    kernels = w.reshape(groups, len(w) // groups, -1, *window.kernel).transpose(3, 4, 0, 2, 1)
    if not are_small(*kernels.shape[-2:]):
        kernels = np.ascontiguousarray(kernels.swapaxes(-1, -2)).swapaxes(-1, -2)
    with channels_last(out) as y:
        _convolve(x, operand(kernels), b, window, y, relu)


def backward_data(
    g: np.ndarray, w: np.ndarray, input_shape: tuple[int, ...], window: Window2d, groups: int
) -> np.ndarray:
    """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q)."""
    if not _is_pointwise(window):
        return im2col_chunked.backward_data(g, w, input_shape, window, groups)
    n, c, height, width = input_shape
    dx = empty_images(n, c, height, width, g.dtype)
    kernels = np.ascontiguousarray(w.reshape(1, 1, groups, len(w) // groups, -1))
    _convolve(g, kernels, None, window, dx, relu=False)
    return dx


def backward_weight(x: np.ndarray, g: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return ∂L/∂w (K, C/groups, R, S) from g = ∂L/∂y (N, K, P, Q).

    Where windows are dropped, g is 0.  The chunks are dealt to a fixed number of lanes; each lane sums its own, and
    the lanes are summed last, in order.
    """
    n, k, p, q = g.shape
    c = x.shape[1] // groups
    pieces, blocks = _cut(n, p, q, k // groups, window.samples * x.shape[1])
    lanes = _lanes(len(pieces), window.samples * k * c * x.itemsize)
    sums = np.zeros((lanes, groups, k // groups, *window.kernel, c), x.dtype)

    def task(i: int) -> None:
        lane, block = i // len(blocks), blocks[i % len(blocks)]
        for j, chunk in enumerate(pieces[lane::lanes]):
            grid = _Grid(window, *images_and_rows(chunk), q)
            _add_kernels(x, g, chunk, block, grid, sums[lane, :, block], first=j == 0)

    parallel_for(lanes * len(blocks), task)
    total = sums[0] if lanes == 1 else sums.sum(axis=0)
    return total.reshape(k, *window.kernel, c).transpose(0, 3, 1, 2)


def _is_pointwise(window: Window2d) -> bool:
    """Whether output pixel (p, q) sees pixel (p, q) and nothing else."""
    return window.kernel == window.stride == (1, 1) and not any(window.padding)


def _cut(n: int, p: int, q: int, kernels: int, terms: int) -> tuple[list[Chunk], list[slice]]:
    """Cut N images of P×Q output pixels into chunks of about the same size, and a group's kernels into blocks.

    Of all groups together, `terms` are multiplied and added for a kernel of each at one pixel.
    """
    pixels = n * p * q
    shared = pixels * terms * kernels >= SHARED
    halves = 2 if shared and pixels >= 2 * FEWEST_ROWS else 1
    count = max(-(-pixels // ROWS), halves)
    chunks = cut(n, p, q, -(-pixels // count), paired=shared and pixels > ROWS)
    blocks = 2 if shared and len(chunks) == 1 and kernels >= 2 * NARROWEST else 1
    return chunks, split(kernels, blocks)


def _lanes(chunks: int, kernel_bytes: int) -> int:
    return max(1, min(LANES, chunks, LANE_BYTES // kernel_bytes))


def _phases(x: np.ndarray, chunk: Chunk, grid: _Grid, groups: int) -> dict[tuple[int, int], np.ndarray]:
    """Return the padded pixels of a chunk, phase by phase: (groups, pixels, C/groups) each.

    With stride 1 there is one phase: a view of x, if that needs no padding and has its channels last in memory.
    """
    c, window = x.shape[1], grid.window
    pixels = slab(x, chunk.images, window.seen(0, chunk.rows), window.seen(1, slice(0, grid.q)))
    if window.stride == (1, 1):
        return {(0, 0): by_group(pixels.reshape(-1, c), groups)}
    phases = grid.phases()
    room = scratch("conv phases", (len(phases), *grid.shape(c)), x.dtype)
    for phase, (i, j) in zip(room, phases, strict=True):
        _into_corner(pixels[:, i :: window.stride[0], j :: window.stride[1]], phase)
    return {phase: by_group(a.reshape(-1, c), groups) for phase, a in zip(phases, room, strict=True)}


def _shifts(x: np.ndarray, chunk: Chunk, grid: _Grid, groups: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (r, s, X_rs) for each sample, X_rs as (groups, rows, C/groups)."""
    phases = _phases(x, chunk, grid, groups)
    for r, s in grid.window.offsets():
        phase, start = grid.place(r, s)
        yield r, s, phases[phase][:, start : start + grid.reach]


def _into_corner(pixels: np.ndarray, room: np.ndarray) -> None:
    """Copy pixels (…, h, w, C) to where the rows and columns of `room` begin, and 0 to the rest of them."""
    h, w = pixels.shape[-3:-1]
    room[..., :h, :w, :] = pixels
    room[..., :h, w:, :] = 0
    room[..., h:, :, :] = 0


def _convolve(
    x: np.ndarray, kernels: np.ndarray, b: np.ndarray | None, window: Window2d, y: np.ndarray, relu: bool
) -> None:
    """Convolve x (N, C, H, W) with kernels (R, S, groups, C/groups, K/groups).

    The result goes into y (N, K, P, Q), which is in channels-last memory.
    """
    n, _, p, q = y.shape
    groups, inner, outer = kernels.shape[2:]
    pieces, blocks = _cut(n, p, q, outer, window.samples * groups * inner)

    def task(i: int) -> None:
        chunk, block = pieces[i // len(blocks)], blocks[i % len(blocks)]
        grid = _Grid(window, *images_and_rows(chunk), q)
        results = _results(y, chunk, groups, block)
        room = results if grid.drops_none else _room(grid, results)
        sums = _rows(room, grid)
        for r, s, seen in _shifts(x, chunk, grid, groups):
            if r == s == 0:
                multiply(seen, kernels[r, s, ..., block], out=sums)
            else:
                product = scratch("conv product", sums.shape, sums.dtype)
                multiply(seen, kernels[r, s, ..., block], out=product)
                sums += product
        finish(sums, None if b is None else b.reshape(groups, 1, -1)[..., block], relu)
        if room is not results:
            results[...] = room[:, :, : grid.p, : grid.q]

    parallel_for(len(pieces) * len(blocks), task)


def _results(y: np.ndarray, chunk: Chunk, groups: int, block: slice) -> np.ndarray:
    """View a chunk of y (N, K, P, Q), a block of each group's kernels, as (groups, n, p, q, kernels)."""
    return by_group(y[chunk.images, :, chunk.rows].transpose(0, 2, 3, 1), groups)[..., block]


def _room(grid: _Grid, results: np.ndarray) -> np.ndarray:
    """Return scratch memory for `results` and for those of the windows that are dropped."""
    return scratch("conv sums", (len(results), *grid.shape(results.shape[-1])), results.dtype)


def _rows(pixels: np.ndarray, grid: _Grid) -> np.ndarray:
    """Lay pixels (groups, n, rows, columns, C) one after the other, from the first window to the last."""
    groups, *_, c = pixels.shape
    return pixels.reshape(groups, -1, c)[:, : grid.reach]


def _add_kernels(
    x: np.ndarray, g: np.ndarray, chunk: Chunk, block: slice, grid: _Grid, dw: np.ndarray, first: bool
) -> None:
    """Add gᵀ · X_rs of a chunk to dw (groups, K/groups, R, S, C/groups) of a block of each group's kernels.

    The first chunk's is written, not added.
    """
    groups = len(dw)
    gradients = _results(g, chunk, groups, block)
    if not grid.drops_none:
        room = _room(grid, gradients)
        _into_corner(gradients, room)
        gradients = room
    columns = _rows(gradients, grid).swapaxes(1, 2)
    for r, s, seen in _shifts(x, chunk, grid, groups):
        if first:
            np.matmul(columns, seen, out=dw[:, :, r, s])
        else:
            product = scratch("conv kernels", dw[:, :, r, s].shape, dw.dtype)
            dw[:, :, r, s] += np.matmul(columns, seen, out=product)
