"""Adaptive pooling: a fixed number of output pixels from any input size.

Output pixel p of P averages, or takes the maximum of, the input pixels from ⌊p·H/P⌋ up to ⌈(p + 1)·H/P⌉ − 1 (PyTorch's
rule): cells that cover the input, and overlap by a pixel where P does not divide H.  A cell is a rectangle, so both
reductions are done along the rows first and along the columns after.
"""

from __future__ import annotations

from ..geometry import Window2d
from ..tensor import Function

__all__ = ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d"]


def cells(size: int, count: int) -> list[slice]:
    """Cut an axis of `size` pixels into `count` cells.

    >>> cells(5, 2)
    [slice(0, 3, None), slice(2, 5, None)]
    """
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


class AdaptiveAvgPool2d(Function):
    """y[n, c, p, q] = mean of cell (p, q).   dx: each g / (cell's pixels) to every pixel of its cell.

    Where P divides H and Q divides W, the cells are the windows of an average pooling, and it is computed as
    :class:`~minicnn.ops.avg_pool2d.AvgPool2d` is; `plain` asks for what is written here, the means of rows and columns
    of any cells.
    """

    def __init__(self, size: tuple[int, int], plain: bool = False):
        self.size, self.plain = size, plain

    def forward(self, x):
        be, (n, c, height, width), (p, q) = self.be, x.shape, self.size
        if (p, q) == (height, width):  # a pixel a cell
            return x[:]
        pixels = height // p, width // q
        even = height % p == 0 and width % q == 0
        self.cell = Window2d(pixels, stride=pixels)
        self.plain = self.plain or not (even and be.pooling and be.pooling.takes(x, self.cell))
        if not self.plain:
            return be.pooling.avg_pool(x, self.cell, self._divisor(x.dtype))
        self.rows, self.columns = cells(height, p), cells(width, q)
        low = be.empty_images(n, c, p, width, x.dtype)
        for i, cell in enumerate(self.rows):
            low[:, :, i] = x[:, :, cell].mean(axis=2)
        y = be.empty_images(n, c, p, q, x.dtype)
        for i, cell in enumerate(self.columns):
            y[..., i] = low[..., cell].mean(axis=3)
        return y

    def backward(self, g):
        be, shape = self.be, self.shapes[0]
        if g.shape == shape:
            return g
        if not self.plain:
            return be.pooling.avg_pool_backward(g, self._divisor(g.dtype), self.cell, shape)
        n, c, height, width = shape
        low = be.full_images(n, c, g.shape[2], width, g.dtype, 0)
        for i, cell in enumerate(self.columns):
            low[..., cell] += g[..., i : i + 1] / (cell.stop - cell.start)
        dx = be.full_images(n, c, height, width, g.dtype, 0)
        for i, cell in enumerate(self.rows):
            dx[:, :, cell] += low[:, :, i : i + 1] / (cell.stop - cell.start)
        return dx

    def _divisor(self, dtype):
        """Return how many pixels a cell has, where all have as many; on a GPU that they are to be counted."""
        be = self.be
        return be.pooling.Divisor() if be.fused else be.asarray(self.cell.samples, dtype=dtype)


class AdaptiveMaxPool2d(Function):
    """y[n, c, p, q] = max of cell (p, q).   dx: each g goes to the pixel it came from.

    Ties go to the first pixel in row-major order: each row of a cell gives its first maximum, and the first row wins.
    ``indices`` are the places h·W + w.
    """

    def __init__(self, size: tuple[int, int]):
        self.size = size

    def forward(self, x):
        n, c, height, width = x.shape
        p, q = self.size
        narrow = self.be.empty_images(n, c, height, q, x.dtype)
        columns = self.be.empty_images(n, c, height, q, self.be.int64)
        for i, cell in enumerate(cells(width, q)):
            narrow[..., i], columns[..., i] = self._largest(x[..., cell], axis=3, start=cell.start)
        y = self.be.empty_images(n, c, p, q, x.dtype)
        rows = self.be.empty_images(n, c, p, q, self.be.int64)
        for i, cell in enumerate(cells(height, p)):
            y[:, :, i], rows[:, :, i] = self._largest(narrow[:, :, cell], axis=2, start=cell.start)
        self.indices = rows * width + self.be.take_along_axis(columns, rows, 2)
        return y

    def _largest(self, x, axis, start):
        at = self.be.expand_dims(self.be.argmax(x, axis=axis), axis)
        return self.be.take_along_axis(x, at, axis).squeeze(axis), at.squeeze(axis) + start

    def backward(self, g):
        n, c, height, width = self.shapes[0]
        dx = self.be.zeros((n * c, height * width), g.dtype)
        images, cells = self.be.arange(n * c)[:, None], g.shape[2] * g.shape[3]
        self.be.add_at(dx, (images, self.indices.reshape(n * c, cells)), g.reshape(n * c, cells))
        return dx.reshape(self.shapes[0])
