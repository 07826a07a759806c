"""Convolution by the convolution theorem: a sum over the kernel's samples becomes one product a frequency.

Along one axis (the other is alike), let x be the padded pixels, and w a kernel with zeros between its samples
where it is dilated, E samples from the first to the last.  Taken round a circle of L points, a sum of shifted
products has the product of the spectra for its spectrum: put the inverse transforms in place of the factors,
and all but one of the terms cancel.  With F the discrete Fourier transform and * the complex conjugate::

    y[t]  = Σ_r x[t + r] · w[r]            F(y)  = Σ_c F(x) · F(w)*        correlations,
    dw[r] = Σ_t x[t + r] · g[t]            F(dw) = Σ_n F(x) · F(g)*
    dx[t] = Σ_r g[t − r] · w[r]            F(dx) = Σ_k F(g) · F(w)         a convolution

So each direction multiplies two of the three spectra and transforms the product back; the sums over channels,
or over images, make a matrix product of it at each frequency.  What is wanted must not see the circle close:
that is so for the results of a window that slides over L pixels without leaving them.

The results are cut into *tiles* of T×T, each transformed with the L×L pixels that it sees (overlap-save),
L = (T − 1)·stride + E rounded up to a product of 2s, 3s and 5s.  L is about twice E, or 24: with less, a tile
would see little but what its neighbours see too; with more, the spectra of the kernels, L² points of each, would
become large.  Where there is a stride, the sums are taken at every pixel and those between thrown away, or g has
zeros there.  The spectrum of real numbers is symmetric, and half of it enough: L·(L/2 + 1) frequencies.

Cost, with t tiles: 8·t·L·(L/2 + 1)·K·C/groups FLOPs in the complex products, whatever R and S; and
t·(C + K) + K·C/groups transforms of about 5·L²·log₂ L FLOPs, far slower ones.  So it pays for large kernels, 7×7
and more, where there are as many tiles as kernels.  Workspace: the spectra of some kernels, and those of some
tiles and their results, 64 MB of each, or of one each where that is more; and for each thread, planes of L×L of
128 channels.  Where the kernels do not fit in 64 MB, the images are transformed again for each part of them.

Error: a few ε of the *largest* sum in the tile (in float32 some 4·10⁻⁷ of it, as with im2col), not of each one:
next to very large values small ones drown, zeros are not exact, and a NaN fills its tile.

References
----------
M. Mathieu, M. Henaff, Y. LeCun, "Fast Training of Convolutional Networks through FFTs", 2014.
A. V. Oppenheim, R. W. Schafer, "Discrete-Time Signal Processing", 1989, chapter 8 (overlap-save).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from ..backend.parallel import parallel_for
from ..backend.workspace import scratch, unwritten
from ..geometry import Window2d
from .chunks import length
from .fft_tiles import Tiles, complex_type, cut_into, plan
from .im2col import by_group
from .problem import Direction, Problem
from .tail import finish
from .work import Pass, Product, Work

__all__ = ["backward_data", "backward_weight", "forward", "supports", "work"]

PLANES = 128  # transformed together: a run of channels

# Fills, or takes from, the planes (rows, columns, C) of a tile or kernel, given its number and the channels.
Visit = Callable[[np.ndarray, int, slice], None]


def supports(problem: Problem, direction: Direction) -> Literal[True]:
    """Everything has a spectrum."""
    return True


def work(problem: Problem, direction: Direction) -> Work:
    """Return what it does for a problem: two of the three spectra are made, and one is transformed back.

    A complex matrix product counts as the real one with twice the inner length and twice the columns, which has the
    same FLOPs.  A transform passes over its data once a stage, of four points each for the most part.
    """
    tiles, blocks, spans = plan(problem, direction)
    points, size = math.prod(tiles.frequencies), complex_type(problem.dtype).itemsize
    c, products, stages = problem.weight_shape[1], [], []
    for kernels, channels, groups in blocks:
        k, seen = length(kernels), length(channels)
        stages.append((k, c))
        for span in spans:
            rows = length(span)
            stages += [(rows, k), (rows, seen)]
            shape = {
                "forward": (rows, 2 * c, 2 * k // groups),
                "backward_data": (rows, 2 * k // groups, 2 * c),
                "backward_weight": (k // groups, 2 * rows, 2 * c),
            }
            products.append(Product(points * groups, *shape[direction]))
    pieces = [_pieces(*stage) for stage in stages]
    visits = sum(length(rows) for some in pieces for rows, _ in some)
    spectra = sum(math.prod(stage) for stage in stages)
    together = max(length(rows) * length(channels) for some in pieces for rows, channels in some)
    passes = max(1, round(math.log2(math.prod(tiles.sides)) / 2))
    most = [math.prod(stage) for stage in stages[:3]]  # of kernels, of a span's tiles, of its results
    private = together * (math.prod(tiles.sides) * size // 2 + points * size)
    if direction == "backward_weight":
        private += tiles.frequencies[1] * most[0] * size
    return Work(
        tuple(products),
        (
            Pass(passes * spectra * points * size, tiles.sides[1] * size // 2),
            Pass(spectra * points * size, min(c, PLANES) * size // 2),
        ),
        tasks=max(map(len, pieces)),
        calls=10 * sum(map(len, pieces)) + 4 * visits + tiles.sides[0] * len(products),
        shared=sum(most) * points * size,
        private=private,
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
    problem = Problem(x.shape, len(w), window, groups, x.dtype)
    tiles, blocks, spans = plan(problem, "forward")
    for kernels, channels, many in blocks:
        bias = None if b is None else b[kernels]
        block = _Block(tiles, window, many, spans)
        block.forward(x[:, channels], w[kernels], bias, out[:, kernels], relu)


def backward_data(
    g: np.ndarray, w: np.ndarray, input_shape: tuple[int, ...], window: Window2d, groups: int
) -> np.ndarray:
    """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q)."""
    n, c, height, width = input_shape
    dx = np.zeros((n, height, width, c), g.dtype).transpose(0, 3, 1, 2)
    problem = Problem((n, c, height, width), len(w), window, groups, g.dtype)
    tiles, blocks, spans = plan(problem, "backward_data")
    for kernels, channels, many in blocks:
        block = _Block(tiles, window, many, spans)
        block.backward_data(g[:, kernels], w[kernels], dx[:, channels])
    return dx


def backward_weight(x: np.ndarray, g: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
    """Return ∂L/∂w (K, C/groups, R, S) from g = ∂L/∂y (N, K, P, Q)."""
    problem = Problem(x.shape, g.shape[1], window, groups, x.dtype)
    dw = unwritten(np.empty(problem.weight_shape, x.dtype))
    tiles, blocks, spans = plan(problem, "backward_weight")
    for kernels, channels, many in blocks:
        block = _Block(tiles, window, many, spans)
        block.backward_weight(x[:, channels], g[:, kernels], dw[kernels])
    return dw


@dataclass(frozen=True)
class _Block:
    """The three directions for a block of kernels, the arrays cut to its channels."""

    tiles: Tiles
    window: Window2d
    groups: int
    spans: list[slice]

    def forward(
        self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, out: np.ndarray, relu: bool
    ) -> None:
        def take(plane: np.ndarray, tile: int, channels: slice) -> None:
            results = out[self.tiles.results(tile, channels)]
            pixels = _pick(plane, (0, 0), self.window.stride, results.shape[1:])
            finish(pixels, None if b is None else b[channels], relu)
            results[...] = pixels.transpose(2, 0, 1)

        kernels = self._kernels(w, conjugate=True).swapaxes(-1, -2)
        for span in self.spans:
            sums = self._room("fft y", span, len(w), x.dtype)
            _multiply(self._images(x, span), kernels, by_group(sums, self.groups))
            _restore(sums, self.tiles, span, take)

    def backward_data(self, g: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
        (top, _, left, _), extent = self.window.padding, self.window.extent
        last = extent[0] - 1, extent[1] - 1

        def fill(room: np.ndarray, tile: int, channels: slice) -> None:
            image, i, j = self.tiles.corner(tile)
            start = i + top - last[0], j + left - last[1]
            _place(room, g[image, channels], start, self.window.stride)

        def take(plane: np.ndarray, tile: int, channels: slice) -> None:
            results = dx[self.tiles.results(tile, channels)]
            results += _pick(plane, last, (1, 1), results.shape[1:]).transpose(2, 0, 1)

        kernels = self._kernels(w)
        for span in self.spans:
            gradients = self._room("fft y", span, len(w), g.dtype)
            _transform(gradients, self.tiles, span, self.tiles.seen((1, 1), extent), fill)
            sums = self._room("fft x", span, dx.shape[1], g.dtype)
            _multiply(by_group(gradients, self.groups), kernels, by_group(sums, self.groups))
            _restore(sums, self.tiles, span, take)

    def backward_weight(self, x: np.ndarray, g: np.ndarray, dw: np.ndarray) -> None:
        def fill(room: np.ndarray, tile: int, channels: slice) -> None:
            _place(room, g[self.tiles.results(tile, channels)], (0, 0), self.window.stride)

        def take(plane: np.ndarray, k: int, channels: slice) -> None:
            dw[k, channels] = _pick(plane, (0, 0), self.window.dilation, dw.shape[2:]).transpose(2, 0, 1)

        every = slice(0, len(dw))
        sums = self._room("fft w", every, dw.shape[1], dw.dtype)
        sums[...] = 0
        for span in self.spans:
            gradients = self._room("fft y", span, len(dw), g.dtype)
            size = self.tiles.seen(self.window.stride, (1, 1))
            _transform(gradients, self.tiles, span, size, fill, conjugate=True)
            left = by_group(gradients, self.groups).swapaxes(-1, -2)
            _multiply(left, self._images(x, span), self._kernels_by_group(sums), add=True)
        _restore(sums, self.tiles, every, take)

    def _images(self, x: np.ndarray, span: slice) -> np.ndarray:
        """Return the spectra of what some tiles of y see: (groups, L, L'/2 + 1, tiles, C/groups)."""
        (top, _, left, _), stride = self.window.padding, self.window.stride

        def fill(room: np.ndarray, tile: int, channels: slice) -> None:
            image, p, q = self.tiles.corner(tile)
            _place(room, x[image, channels], (p * stride[0] - top, q * stride[1] - left), (1, 1))

        spectra = self._room("fft x", span, x.shape[1], x.dtype)
        _transform(spectra, self.tiles, span, self.tiles.seen(stride, self.window.extent), fill)
        return by_group(spectra, self.groups)

    def _kernels(self, w: np.ndarray, conjugate: bool = False) -> np.ndarray:
        """Return the spectra of the kernels: (groups, L, L'/2 + 1, K/groups, C/groups)."""

        def fill(room: np.ndarray, k: int, channels: slice) -> None:
            _place(room, w[k, channels], (0, 0), self.window.dilation)

        every = slice(0, len(w))
        spectra = self._room("fft w", every, w.shape[1], w.dtype)
        _transform(spectra, self.tiles, every, self.window.extent, fill, conjugate)
        return self._kernels_by_group(spectra)

    def _kernels_by_group(self, spectra: np.ndarray) -> np.ndarray:
        *frequencies, k, c = spectra.shape
        return np.moveaxis(spectra.reshape(*frequencies, self.groups, k // self.groups, c), 2, 0)

    def _room(self, purpose: str, span: slice, channels: int, dtype: np.dtype) -> np.ndarray:
        return scratch(purpose, (*self.tiles.frequencies, length(span), channels), complex_type(dtype))


def _pieces(rows: int, channels: int) -> list[tuple[slice, slice]]:
    """Cut rows of channels into pieces of about PLANES planes: some rows, some channels."""
    return list(product(cut_into(rows, max(1, PLANES // channels)), cut_into(channels, PLANES)))


def _transform(
    spectra: np.ndarray,
    tiles: Tiles,
    span: slice,
    size: tuple[int, int],
    fill: Visit,
    conjugate: bool = False,
) -> None:
    """Write the spectra (L, L'/2 + 1, rows, C) of a span's planes of this size, which fill() copies into zeros."""
    pieces = _pieces(*spectra.shape[2:])

    def task(i: int) -> None:
        rows, channels = pieces[i]
        here = spectra[:, :, rows, channels]
        planes = scratch("fft planes", (*size, *here.shape[2:]), np.finfo(spectra.dtype).dtype)
        planes[...] = 0
        for j in range(planes.shape[2]):
            fill(planes[:, :, j], span.start + rows.start + j, channels)
        # Both go on with zeros to as many points as are wanted.  And they scale by 1/√L: unscaled, NumPy (2.4) would
        # transform single precision in double, several times slower.
        half = scratch("fft half-way", (size[0], *here.shape[1:]), spectra.dtype)
        np.fft.rfft(planes, tiles.sides[1], axis=1, norm="ortho", out=half)
        np.fft.fft(half, tiles.sides[0], axis=0, norm="ortho", out=here)
        if conjugate:
            np.conjugate(here, out=here)

    parallel_for(len(pieces), task)


def _restore(spectra: np.ndarray, tiles: Tiles, span: slice, take: Visit) -> None:
    """Transform the spectra (L, L'/2 + 1, rows, C) of a span back, and let take() see the planes (L, L', C)."""
    pieces = _pieces(*spectra.shape[2:])

    def task(i: int) -> None:
        rows, channels = pieces[i]
        here = spectra[:, :, rows, channels]
        half = scratch("fft half-way", here.shape, spectra.dtype)
        np.fft.ifft(here, axis=0, norm="ortho", out=half)
        planes = scratch("fft planes", (*tiles.sides, *here.shape[2:]), np.finfo(spectra.dtype).dtype)
        np.fft.irfft(half, tiles.sides[1], axis=1, norm="ortho", out=planes)
        # Of the three scaled transforms, two were to be unscaled and one scaled by 1/L.
        planes *= math.sqrt(math.prod(tiles.sides))
        for j in range(planes.shape[2]):
            take(planes[:, :, j], span.start + rows.start + j, channels)

    parallel_for(len(pieces), task)


def _multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray, add: bool = False) -> None:
    """Write, or add, the matrix product of each group at each frequency: (groups, L, L'/2 + 1, rows, columns)."""

    def task(i: int) -> None:
        if add:
            out[:, i] += np.matmul(a[:, i], b[:, i], out=scratch("fft product", out[:, i].shape, out.dtype))
        else:
            np.matmul(a[:, i], b[:, i], out=out[:, i])

    parallel_for(out.shape[1], task)


def _place(room: np.ndarray, planes: np.ndarray, start: tuple[int, int], step: tuple[int, int]) -> None:
    """Copy the pixels of planes (C, H, W) that lie in the room (L, L', C): pixel i is at i·step − start."""
    (rows, at_rows), (columns, at_columns) = (
        _overlap(start[i], step[i], planes.shape[1 + i], room.shape[i]) for i in (0, 1)
    )
    room[at_rows, at_columns] = planes[:, rows, columns].transpose(1, 2, 0)


def _overlap(start: int, step: int, size: int, room: int) -> tuple[slice, slice]:
    """Which of `size` pixels, `step` apart, lie in a room that starts at `start`, and where in it."""
    first = max(0, -(-start // step))
    stop = max(first, min(size, -(-(start + room) // step)))
    where = first * step - start
    return slice(first, stop), slice(where, where + (stop - first) * step, step)


def _pick(
    room: np.ndarray, first: tuple[int, int], step: tuple[int, int], size: tuple[int, ...]
) -> np.ndarray:
    """View `size` results (rows, columns, C) of a room (L, L', C), from the first on, `step` apart."""
    rows, columns = (slice(first[i], first[i] + size[i] * step[i], step[i]) for i in (0, 1))
    return room[rows, columns]
