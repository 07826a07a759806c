"""Convolution of 3×3 kernels by Winograd's minimal filtering, F(2×2, 3×3) and F(4×4, 3×3).

The output is cut into tiles of m×m pixels.  Each sees t×t pixels of the input, t = m + 2, and with the transforms of
:mod:`minicnn.conv.cook_toom` its sums need t² multiplications a channel instead of 9·m²::

    Y = Aᵀ [ Σ_c (G w_c Gᵀ) ⊙ (Bᵀ d_c B) ] A            2.25 times fewer for m = 2, 4 times for m = 4

Written with the Kronecker squares of the matrices, which act on a tile as on one vector, everything is a matrix
product, and for each of the t² positions the sum over channels is one too:

    U = (G⊗G) w           (t², K, C)      the kernels
    V = (Bᵀ⊗Bᵀ) d         (t², T, C)      the T tiles of the input, which overlap by two pixels
    M[i] = V[i] U[i]ᵀ     (t², T, K)      t² products
    Y = (Aᵀ⊗Aᵀ) M         (m², T, K)      the tiles of the output, to which bias and ReLU come

The input's gradient is the same convolution of g with the kernels turned by 180° and their channels exchanged, padded
by 2 − padding.  The kernels' gradient is the exact adjoint of the four lines in w:

    Z = (A⊗A) g   (t², T, K),     dU[i] = Z[i]ᵀ V[i]   (t², K, C),     dw = (Gᵀ⊗Gᵀ) dU

**Two orders of work.**  Where the transformed kernels stay in the second-level cache, a thread takes a chunk of the
tiles, half of them if they are few, through all stages.  Deeper layers (512 channels: 37 MB of U) take the stages one
after the other over many tiles, each shared among the threads, so that U passes through the cache once and not once a
chunk.  In both the calls of NumPy are few and long, for threads take turns at Python between them.

**Cost.**  2·t²·T·C·K FLOPs in the products, 2·t⁴·T·C + 2·m²·t²·T·K in the transforms of data and output, 18·t²·K·C for
the kernels; T = N·⌈P/m⌉·⌈Q/m⌉.  Workspace: U, and V and M of a chunk a thread or of one stage.

**Rounding.**  The transforms add and subtract numbers larger than their results.  With the points 0, ±5/8, ±3/2, ∞ for
m = 4 (found by trying: half the error of the usual 0, ±1, ±2) the matrix Bᵀ has the condition 8, in two dimensions 64:
so much the error of one rounding can grow.  In float32 the result is off by 6·10⁻⁷ of its deviation, root mean square,
with m = 2 by 2·10⁻⁷, which is im2col's error too.

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
from ..backend.parallel import parallel_for
from ..backend.small_products import column_products, multiply, multiply_columns, operand
from ..backend.workspace import empty, scratch
from ..geometry import Window2d
from .chunks import Chunk, cut, even, slab, split
from .cook_toom import cook_toom
from .counted import images_and_rows, products
from .im2col import product
from .problem import Direction, No, Problem
from .result import channels_last
from .tail import finish
from .work import Pass, Product, Work

__all__ = ["Winograd"]

CACHED_BYTES = 3 << 20  # of transformed kernels that stay in the second-level cache, beside a chunk
PIECE_BYTES = 1 << 22  # of a piece's pixels, read and written in one go
CHUNK_BYTES = 1 << 23  # V and M of a chunk: rather many tiles, for large products, than all in the cache
LEAST_TILES = 64  # of a chunk: with fewer, a product mostly reads U
STAGE_BYTES = 1 << 26  # V and M of a batch of tiles that goes through the stages together
CALLS = 4  # that the products of a stage are made in, at least
KERNEL_PIECES = 8  # at most, that the transform of the kernels is cut into
KERNEL_PIECE = 1 << 14  # and of how many kernels K·C at least
R = 3  # the kernel's side

Array = np.ndarray
Shape = tuple[int, ...]
Step = Callable[["_Tiles", Array], None]


class _Tiles(NamedTuple):
    """A piece: some rows of tiles of some images, and their place among the tiles that V and M hold."""

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
        read, made, shape = c, k, (n, k, p, q)
        if direction == "backward_data":
            read, made, shape = k, c, (n, c, height, width)
        size, t2, m2, weight = problem.dtype.itemsize, self.t**2, self.m**2, direction == "backward_weight"
        kernels = t2 * c * k * size
        chunked = kernels <= CACHED_BYTES and not weight
        budget = (CHUNK_BYTES, True) if chunked else (STAGE_BYTES, False)
        batches = self._batches(shape, read, made, size, *budget)
        sizes = [batch[-1].place.stop for batch in batches]
        pieces = [math.prod(piece.grid) for batch in batches for piece in batch]
        tiles, piece, batch = sum(pieces), max(pieces, default=0), max(sizes, default=0)
        at_positions = [(made, each, read) if weight else (each, read, made) for each in sizes]
        of_pieces = [
            shape
            for each in pieces
            for transform in (
                (t2, t2, each * read),
                (t2 if weight else m2, m2 if weight else t2, each * made),
            )
            for shape in column_products(*transform)
        ]
        copies = (
            Pass(t2 * tiles * read * size, read * size),
            Pass(3 * m2 * tiles * made * size, made * size),
        )
        of_kernels = (R * R, t2) if weight else (t2, R * R)
        # U is written, and dU added to by each batch after the first.
        sums = Pass((2 * max(len(batches) - 1, 0) if weight else 1) * kernels, c * size)
        buffers = t2 * batch * (c + k) * size
        shares = t2 if weight else 1 if chunked else len(self._shares())
        return Work(
            (*products(at_positions, t2), *products(of_pieces), Product(k, *of_kernels, c)),
            (*copies, sums),
            tasks=len(batches) * shares,
            calls=20 * len(pieces) + 2 * len(batches) * shares,
            shared=kernels + (0 if chunked else buffers),
            private=2 * t2 * piece * max(c, k) * size + (buffers if chunked else 0),
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
        kernels = operand(self._kernels(w).swapaxes(1, 2))  # (t², C, K)
        self._convolve(x, kernels, b, window.padding[0], window.padding[2], out, relu)

    def backward_data(
        self, g: Array, w: Array, input_shape: tuple[int, ...], window: Window2d, groups: int
    ) -> Array:
        """Return ∂L/∂x (N, C, H, W) from g = ∂L/∂y (N, K, P, Q)."""
        n, c, height, width = input_shape
        dx = empty_images(n, c, height, width, g.dtype)
        kernels = self._kernels(w, turned=True)  # (t², K, C)
        top, _, left, _ = window.padding
        self._convolve(g, kernels, None, R - 1 - top, R - 1 - left, dx, relu=False)
        return dx

    def backward_weight(self, x: Array, g: Array, window: Window2d, groups: int) -> Array:
        """Return ∂L/∂w (K, C, 3, 3) from g = ∂L/∂y (N, K, P, Q)."""
        n, k, c, positions = len(g), g.shape[1], x.shape[1], self.t**2
        top, _, left, _ = window.padding
        dkernels = (empty if n else np.zeros)((positions, k, c), x.dtype)
        for number, batch in enumerate(self._batches(g.shape, c, k, x.itemsize, STAGE_BYTES)):
            data, gradient = self._buffers(batch, c, k, x.dtype)

            def transform(i: int, batch=batch, data=data, gradient=gradient) -> None:
                self._transform(self._data, self.t, x, top, left, batch[i], data)
                self._transform(self._output.T, self.m, g, 0, 0, batch[i], gradient)

            def multiply(i: int, number=number, data=data, gradient=gradient) -> None:
                product = scratch("winograd sum", (k, c), x.dtype) if number else dkernels[i]
                np.matmul(gradient[i].T, data[i], out=product)
                if number:
                    dkernels[i] += product

            parallel_for(len(batch), transform)
            parallel_for(positions, multiply)
        dw = empty((k, R * R, c), x.dtype)
        self._each_kernel(self._filter.T, dkernels.swapaxes(0, 1), dw)
        return dw.reshape(k, R, R, c).transpose(0, 3, 1, 2)

    # The way from x to y

    def _convolve(
        self, x: Array, kernels: Array, b: Array | None, top: int, left: int, out: Array, relu: bool
    ) -> None:
        """Write the convolution of x with transformed kernels (t², C, K) into `out`."""
        order = self._chunk_by_chunk if kernels.nbytes <= CACHED_BYTES else self._stage_by_stage
        with channels_last(out) as y:
            order(
                y.shape,
                kernels,
                lambda tiles, data: self._transform(self._data, self.t, x, top, left, tiles, data),
                lambda tiles, products: self._write(products, b, relu, tiles, y),
            )

    def _chunk_by_chunk(self, shape: Shape, kernels: Array, read: Step, write: Step) -> None:
        """Let each thread take a chunk of tiles through all stages, piece by piece where pieces will do."""
        _, c, k = kernels.shape
        chunks = self._batches(shape, c, k, kernels.itemsize, CHUNK_BYTES, shared=True)

        def task(i: int) -> None:
            data, products = self._buffers(chunks[i], c, k, kernels.dtype)
            for tiles in chunks[i]:
                read(tiles, data)
            multiply(data, kernels, out=products)
            for tiles in chunks[i]:
                write(tiles, products)

        parallel_for(len(chunks), task)

    def _stage_by_stage(self, shape: Shape, kernels: Array, read: Step, write: Step) -> None:
        """Let the threads share each stage of many tiles, so that each transformed kernel is read once."""
        _, c, k = kernels.shape
        parts = self._shares()
        for batch in self._batches(shape, c, k, kernels.itemsize, STAGE_BYTES):
            data, products = self._buffers(batch, c, k, kernels.dtype)

            def multiply(i: int, data=data, products=products) -> None:
                product(data[parts[i]], kernels[parts[i]], out=products[parts[i]])

            parallel_for(len(batch), lambda i, batch=batch, data=data: read(batch[i], data))
            parallel_for(len(parts), multiply)
            parallel_for(len(batch), lambda i, batch=batch, products=products: write(batch[i], products))

    def _kernels(self, w: Array, turned: bool = False) -> Array:
        """Transform kernels (K, C, 3, 3), turned by 180° if so asked, to (t², K, C), in scratch memory."""
        k, c = w.shape[:2]
        matrix = self._filter[:, ::-1] if turned else self._filter
        kernels = scratch("winograd kernels", (self.t**2, k, c), w.dtype)
        self._each_kernel(matrix, w.transpose(0, 2, 3, 1).reshape(k, R * R, c), kernels.swapaxes(0, 1))
        return kernels

    def _each_kernel(self, matrix: Array, kernels: Array, out: Array) -> None:
        """Write the product of a matrix and each of the kernels (K, samples, C) to `out`."""
        k, _, c = kernels.shape
        matrix = np.ascontiguousarray(matrix, kernels.dtype)
        count = max(1, min(k * c // KERNEL_PIECE, k, KERNEL_PIECES))
        parts = split(k, count)

        def task(i: int) -> None:
            np.matmul(matrix, kernels[parts[i]], out=out[parts[i]])

        parallel_for(count, task)

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
        multiply_columns(
            matrix.astype(x.dtype), pixels.reshape(size * size, -1), out=_flat(out[:, tiles.place])
        )

    def _write(self, products: Array, b: Array | None, relu: bool, tiles: _Tiles, y: Array) -> None:
        """Write Aᵀ M A of the tiles, with bias and ReLU, to their pixels of y (N, K, P, Q), channels last."""
        m, (n, down, across), k = self.m, tiles.grid, y.shape[1]
        pixels = scratch("winograd tiles", (m, m, n, down, across, k), y.dtype)
        matrix = self._output.astype(y.dtype)
        multiply_columns(matrix, _flat(products[:, tiles.place]), out=pixels.reshape(m * m, -1))
        finish(pixels, b, relu)
        place = y.transpose(0, 2, 3, 1)[tiles.images, tiles.rows.start * m : tiles.rows.stop * m]
        whole = place.shape[1:3] == (down * m, across * m)
        image = place if whole else scratch("winograd image", (n, down * m, across * m, k), y.dtype)
        np.copyto(image.reshape(n, down, m, across, m, k), pixels.transpose(2, 3, 0, 4, 1, 5))
        if not whole:  # the last tiles reach beyond the image
            np.copyto(place, image[:, : place.shape[1], : place.shape[2]])

    # How the work is cut

    def _batches(
        self, shape: Shape, c: int, k: int, itemsize: int, budget: int, shared: bool = False
    ) -> list[list[_Tiles]]:
        """Cut the tiles of an output (N, K, P, Q) into batches, whose V and M fill the budget, and these into pieces.

        With `shared`, the threads are to share the batches: their number is even, if that leaves each tiles enough.
        """
        n, _, p, q = shape
        down, across = -(-p // self.m), -(-q // self.m)
        most = max(budget // (self.t**2 * (c + k) * itemsize), LEAST_TILES)
        piece = PIECE_BYTES // (self.t**2 * max(c, k) * itemsize)
        paired = shared and n * down * across >= 2 * LEAST_TILES
        return [self._pieces(batch, across, piece) for batch in cut(n, down, across, most, paired)]

    def _pieces(self, batch: Chunk, across: int, most: int) -> list[_Tiles]:
        """Cut a batch, some rows of tiles of some images, into pieces of at most so many tiles."""
        pieces: list[_Tiles] = []
        placed = 0
        for images, rows in cut(*images_and_rows(batch), across, most):
            tiles = _Tiles(
                _moved(images, batch.images.start), _moved(rows, batch.rows.start), across, slice(0)
            )
            count = math.prod(tiles.grid)
            pieces.append(tiles._replace(place=slice(placed, placed + count)))
            placed += count
        return pieces

    def _shares(self) -> list[slice]:
        """Return the positions of the products that are one call, for each call."""
        return even(self.t**2, self.t**2 // CALLS)

    def _buffers(self, batch: list[_Tiles], c: int, k: int, dtype: np.dtype) -> tuple[Array, Array]:
        """Return scratch memory for V and M of a batch."""
        tiles = batch[-1].place.stop
        data = scratch("winograd data", (self.t**2, tiles, c), dtype)
        return data, scratch("winograd products", (self.t**2, tiles, k), dtype)


def _moved(some: slice, by: int) -> slice:
    return slice(some.start + by, some.stop + by)


def _flat(tiles: Array) -> Array:
    """View (t², tiles, C), whose tiles are dense, as (t², tiles·C)."""
    return tiles.reshape(len(tiles), -1)
