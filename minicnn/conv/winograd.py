"""Convolution of 3×3 kernels by Winograd's minimal filtering, F(2×2, 3×3) and F(4×4, 3×3).

The output is cut into tiles of m×m pixels.  Each sees t×t pixels of the input, t = m + 2, and with the transforms of
:mod:`minicnn.conv.cook_toom` its sums need t² multiplications a channel instead of 9·m²::

    Y = Aᵀ [ Σ_c (G w_c Gᵀ) ⊙ (Bᵀ d_c B) ] A            2.25 times fewer for m = 2, 4 times for m = 4

Written with the Kronecker squares of the matrices, which act on a tile as on one vector, everything is a matrix product,
and for each of the t² positions the sum over channels is one too:

    U = (G⊗G) w           (t², K, C)      the kernels
    V = (Bᵀ⊗Bᵀ) d         (t², T, C)      the T tiles of the input, which overlap by two pixels
    M[i] = V[i] U[i]ᵀ     (t², T, K)      t² products
    Y = (Aᵀ⊗Aᵀ) M         (m², T, K)      the tiles of the output, to which bias and ReLU come

The input's gradient is the same convolution of g with the kernels turned by 180° and their channels exchanged, padded
by 2 − padding.  The kernels' gradient is the exact adjoint of the four lines in w:

    Z = (A⊗A) g   (t², T, K),     dU[i] = Z[i]ᵀ V[i]   (t², K, C),     dw = (Gᵀ⊗Gᵀ) dU

**Two orders of work.**  Where the transformed kernels stay in the second-level cache, a thread takes some tiles through
all stages and V and M never leave the cache.  Deeper layers (512 channels: 37 MB of U) take the stages one after the
other over many tiles, each shared among the threads, so that U passes through the cache once and not once a chunk.

**Cost.**  2·t²·T·C·K FLOPs in the products, 2·t⁴·T·C + 2·m²·t²·T·K in the transforms of data and output, 18·t²·K·C for
the kernels; T = N·⌈P/m⌉·⌈Q/m⌉.  Workspace: U, and V and M of a chunk a thread or of one stage.

**Rounding.**  The transforms add and subtract numbers larger than their results.  With the points 0, ±5/8, ±3/2, ∞ for
m = 4 (found by trying: half the error of the usual 0, ±1, ±2) the matrix Bᵀ has the condition 8, twice in two
dimensions: 64 roundings instead of one, relative to the largest terms.  In float32 that is an error of about 10⁻⁶ of the
result's deviation (2·10⁻⁷ for m = 2).  It is smaller than the square root of the number of terms makes it look, for
the sum over channels is shorter by the factor that the transforms add.

References
----------
A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..backend.cpu import empty_images
from ..backend.matmul import matmul
from ..backend.parallel import parallel_for
from ..backend.workspace import scratch, unwritten
from ..geometry import Window2d
from .chunks import cut, slab
from .cook_toom import cook_toom
from .problem import Direction, No, Problem
from .tail import finish
from .work import Pass, Product, Work

__all__ = ["Winograd"]

CACHED_BYTES = 3 << 20  # of transformed kernels that stay in the second-level cache, beside a chunk
CHUNK_BYTES = (
    1 << 23
)  # V and M of a chunk together: rather many tiles, for large products, than all in the cache
STAGE_BYTES = 1 << 26  # V and M of a stage together
LEAST_TILES = 64  # of a chunk: with fewer, a product mostly reads U
CHUNKS = 16  # a problem is cut into so many for the threads to share, if they get tiles enough
KERNEL_PIECES = 8  # at most, that the transform of the kernels is cut into
PIECE_SIZE = 1 << 14  # and of how many kernels K·C at least
R = 3  # the kernel's side

Array = np.ndarray
Shape = tuple[int, ...]
Step = Callable[["_Tiles", Array], None]


class _Tiles(NamedTuple):
    """Some rows of tiles of some images, and where they are among the tiles of their stage."""

    images: slice
    rows: slice
    across: int
    place: slice

    @property
    def grid(self) -> tuple[int, int, int]:
        """Images, rows, columns."""
        return self.images.stop - self.images.start, self.rows.stop - self.rows.start, self.across


class Winograd:
    """The algorithm for tiles of m×m output pixels.

    Parameters
    ----------
    m : int
    points : sequence of int or Fraction
        The m + 1 finite points that :func:`~minicnn.conv.cook_toom.cook_toom` interpolates at.
    """

    def __init__(self, m: int, points: Sequence[int | Fraction]) -> None:
        self.m, self.t = m, m + R - 1
        self._output, self._filter, self._data = (np.kron(one, one) for one in cook_toom(m, R, points))

    def supports(self, problem: Problem, direction: Direction) -> Literal[True] | No:
        """Whether this can compute a problem; if not, the reason."""
        window = problem.window
        if window.kernel != (R, R):
            return No(f"the kernel must be {R}×{R}, got {window.kernel[0]}×{window.kernel[1]}")
        if window.stride != (1, 1):
            return No(f"the stride must be 1, got {window.stride}")
        if window.dilation != (1, 1):
            return No(f"the dilation must be 1, got {window.dilation}")
        if problem.groups != 1:
            return No(f"groups must be 1, got {problem.groups}")
        if problem.dtype.itemsize < 4:
            return No(
                f"the dtype must be float32 or float64 for the transforms' rounding, got {problem.dtype}"
            )
        return True

    def work(self, problem: Problem, direction: Direction) -> Work:
        """Return what it does for a problem that it supports."""
        (n, c, height, width), (_, k, p, q) = problem.input_shape, problem.output_shape
        seen, made, shape = (
            (k, c, (n, c, height, width)) if direction == "backward_data" else (c, k, (n, k, p, q))
        )
        size, t2, m2 = problem.dtype.itemsize, self.t**2, self.m**2
        pieces = self._cut(shape, (c + k) * size)
        tiles, most = (
            sum(math.prod(piece.grid) for piece in pieces),
            max(math.prod(piece.grid) for piece in pieces),
        )
        count, kernels = len(pieces), t2 * c * k * size
        cached = direction != "backward_weight" and kernels <= CACHED_BYTES
        stages = 1 if cached else len(self._stages(shape, (c + k) * size))
        in_flight = most if cached else min(tiles, max(STAGE_BYTES // (t2 * (c + k) * size), most))
        buffers = t2 * in_flight * (c + k) * size
        slab = self.t**2 * most * max(c, k) * size  # the pixels of a chunk, and its tiles: of either no more
        transforms = (
            Product(count, t2, t2, tiles * seen // count),
            Product(count, m2, t2, tiles * made // count),
        )
        copies = Pass(t2 * tiles * seen * size, seen * size), Pass(m2 * tiles * made * size, made * size)
        if direction == "backward_weight":
            products = (Product(t2 * stages, k, tiles // stages, c), Product(1, R * R, t2, k * c))
            extra = Pass(2 * stages * kernels, k * c * size)
        else:
            products = (
                Product(
                    t2 * (count if cached else stages), tiles // (count if cached else stages), seen, made
                ),
                Product(1, t2, R * R, k * c),
            )
            extra = Pass(m2 * tiles * made * size + kernels, made * size)
        return Work(
            (*products, *transforms),
            (*copies, extra),
            tasks=count,
            calls=20 * count + t2 * stages,
            shared=kernels + (0 if cached else buffers),
            private=2 * slab + (buffers if cached else 0),
        )

    def forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        window: Window2d,
        groups: int,
        out: Array,
        relu: bool = False,
    ) -> None:
        """Write the convolution of x (N, C, H, W) with w (K, C, 3, 3), plus b (K,), into `out` (N, K, P, Q).

        With `relu`, its positive part.
        """
        kernels = self._kernels(w).swapaxes(1, 2)  # (t², C, K)
        self._convolve(x, kernels, b, window.padding[0], window.padding[2], out, relu)

    def backward_data(
        self, g: Array, w: Array, input_shape: tuple[int, ...], window: Window2d, groups: int
    ) -> Array:
        """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q)."""
        n, c, height, width = input_shape
        dx = empty_images(n, c, height, width, g.dtype)
        turned = self._kernels(w[:, :, ::-1, ::-1])  # (t², K, C)
        top, _, left, _ = window.padding
        self._convolve(g, turned, None, R - 1 - top, R - 1 - left, dx, relu=False)
        return dx

    def backward_weight(self, x: Array, g: Array, window: Window2d, groups: int) -> Array:
        """Return ∂L/∂w (K, C, 3, 3) from g = ∂L/∂y (N, K, P, Q)."""
        k, c, positions = g.shape[1], x.shape[1], self.t**2
        top, _, left, _ = window.padding
        dkernels = np.zeros((positions, k, c), x.dtype)
        for stage in self._stages(g.shape, (k + c) * x.itemsize):
            data, gradient = self._buffers(stage[-1].place.stop, c, k, x.dtype)

            def transform(i: int, stage=stage, data=data, gradient=gradient) -> None:
                self._transform(self._data, self.t, x, top, left, stage[i], data)
                self._transform(self._output.T, self.m, g, 0, 0, stage[i], gradient)

            def multiply(i: int, data=data, gradient=gradient) -> None:
                product = scratch("winograd sum", (k, c), x.dtype)
                np.matmul(gradient[i].T, data[i], out=product)
                dkernels[i] += product

            parallel_for(len(stage), transform)
            parallel_for(positions, multiply)
        dw = matmul(self._filter.T.astype(x.dtype), dkernels.reshape(positions, k * c))
        return dw.reshape(R, R, k, c).transpose(2, 3, 0, 1)

    # The way from x to y

    def _convolve(
        self, x: Array, kernels: Array, b: Array | None, top: int, left: int, out: Array, relu: bool
    ) -> None:
        """Write the convolution of x with transformed kernels (t², C, K) into `out`."""
        c, k = kernels.shape[1:]
        y = out if _is_channels_last(out) else empty_images(*out.shape, out.dtype)
        order = self._chunk_by_chunk if kernels.nbytes <= CACHED_BYTES else self._stage_by_stage
        order(
            y.shape,
            kernels,
            lambda tiles, data: self._transform(self._data, self.t, x, top, left, tiles, data),
            lambda tiles, products: self._write(products, b, relu, tiles, y),
        )
        if y is not out:
            out[...] = y

    def _chunk_by_chunk(self, shape: Shape, kernels: Array, read: Step, write: Step) -> None:
        """Take each chunk of tiles through all stages, while it is in the cache."""
        _, c, k = kernels.shape
        pieces = self._cut(shape, (c + k) * kernels.itemsize)

        def task(i: int) -> None:
            tiles = pieces[i]._replace(place=slice(0, math.prod(pieces[i].grid)))
            data, products = self._buffers(tiles.place.stop, c, k, kernels.dtype)
            read(tiles, data)
            np.matmul(data, kernels, out=products)
            write(tiles, products)

        parallel_for(len(pieces), task)

    def _stage_by_stage(self, shape: Shape, kernels: Array, read: Step, write: Step) -> None:
        """Take many tiles through one stage after the other, so that each transformed kernel is read once."""
        positions, c, k = kernels.shape
        for stage in self._stages(shape, (c + k) * kernels.itemsize):
            data, products = self._buffers(stage[-1].place.stop, c, k, kernels.dtype)
            parallel_for(len(stage), lambda i, stage=stage, data=data: read(stage[i], data))
            parallel_for(
                positions,
                lambda i, data=data, products=products: np.matmul(data[i], kernels[i], out=products[i]),
            )
            parallel_for(len(stage), lambda i, stage=stage, products=products: write(stage[i], products))

    def _kernels(self, w: Array) -> Array:
        """Transform kernels (K, C, 3, 3) to (t², K, C)."""
        k, c = w.shape[:2]
        samples = w.transpose(2, 3, 0, 1)
        kernels = unwritten(np.empty((self.t**2, k, c), w.dtype))
        matrix = self._filter.astype(w.dtype)
        count = max(1, min(k * c // PIECE_SIZE, k, KERNEL_PIECES))
        edges = [k * i // count for i in range(count + 1)]

        def task(i: int) -> None:
            some = slice(edges[i], edges[i + 1])
            np.matmul(matrix, samples[:, :, some].reshape(R * R, -1), out=_flat(kernels[:, some]))

        parallel_for(count, task)
        return kernels

    def _transform(
        self, matrix: Array, size: int, x: Array, top: int, left: int, tiles: _Tiles, out: Array
    ) -> None:
        """Write matrix · (the size×size pixels of each tile) to the tiles' places in `out` (t², …, C).

        Tile (i, j) begins at pixel (i·m − top, j·m − left) of x.
        """
        m, (n, down, across), c = self.m, tiles.grid, x.shape[1]
        rows = slice(tiles.rows.start * m - top, (tiles.rows.stop - 1) * m - top + size)
        columns = slice(-left, (across - 1) * m - left + size)
        seen = slab(x, tiles.images, rows, columns)
        along_n, along_h, along_w, along_c = seen.strides
        shape = size, size, n, down, across, c
        strides = along_h, along_w, along_n, along_h * m, along_w * m, along_c
        pixels = scratch("winograd tiles", shape, x.dtype)
        np.copyto(pixels, as_strided(seen, shape, strides, writeable=False))
        np.matmul(matrix.astype(x.dtype), pixels.reshape(size * size, -1), out=_flat(out[:, tiles.place]))

    def _write(self, products: Array, b: Array | None, relu: bool, tiles: _Tiles, y: Array) -> None:
        """Write Aᵀ M A of the tiles, with bias and ReLU, to their pixels of y (N, K, P, Q), channels last."""
        m, (n, down, across), k = self.m, tiles.grid, y.shape[1]
        pixels = scratch("winograd tiles", (m, m, n, down, across, k), y.dtype)
        matrix = self._output.astype(y.dtype)
        np.matmul(matrix, _flat(products[:, tiles.place]), out=pixels.reshape(m * m, -1))
        finish(pixels, b, relu)
        place = y.transpose(0, 2, 3, 1)[tiles.images, tiles.rows.start * m : tiles.rows.stop * m]
        whole = place.shape[1:3] == (down * m, across * m)
        image = place if whole else scratch("winograd image", (n, down * m, across * m, k), y.dtype)
        np.copyto(image.reshape(n, down, m, across, m, k), pixels.transpose(2, 3, 0, 4, 1, 5))
        if not whole:  # the last tiles reach beyond the image
            np.copyto(place, image[:, : place.shape[1], : place.shape[2]])

    # How the work is cut

    def _cut(self, shape: Shape, pixel_bytes: int) -> list[_Tiles]:
        """Cut the tiles of an output (N, K, P, Q) into chunks, by the bytes that V and M have a pixel."""
        n, _, p, q = shape
        down, across = -(-p // self.m), -(-q // self.m)
        share = n * down * across // CHUNKS
        most = max(min(CHUNK_BYTES // (self.t**2 * pixel_bytes), share), LEAST_TILES)
        pieces, placed = [], 0
        for images, rows in cut(n, down, across, most):
            count = (images.stop - images.start) * (rows.stop - rows.start) * across
            pieces.append(_Tiles(images, rows, across, slice(placed, placed + count)))
            placed += count
        return pieces

    def _stages(self, shape: Shape, pixel_bytes: int) -> list[list[_Tiles]]:
        """Cut the tiles of an output into stages, and these into chunks, placed within their stage."""
        stages: list[list[_Tiles]] = []
        most = max(STAGE_BYTES // (self.t**2 * pixel_bytes), 1)
        for tiles in self._cut(shape, pixel_bytes):
            count = math.prod(tiles.grid)
            placed = stages[-1][-1].place.stop if stages else most
            if placed + count > most:
                stages.append([])
                placed = 0
            stages[-1].append(tiles._replace(place=slice(placed, placed + count)))
        return stages

    def _buffers(self, tiles: int, c: int, k: int, dtype: np.dtype) -> tuple[Array, Array]:
        """Return scratch memory for V and M of so many tiles."""
        data = scratch("winograd data", (self.t**2, tiles, c), dtype)
        return data, scratch("winograd products", (self.t**2, tiles, k), dtype)


def _flat(tiles: Array) -> Array:
    """View (t², tiles, C), whose tiles are dense, as (t², tiles·C)."""
    return tiles.reshape(len(tiles), -1)


def _is_channels_last(y: Array) -> bool:
    return y.transpose(0, 2, 3, 1).flags.c_contiguous
