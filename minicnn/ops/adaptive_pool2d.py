"""Adaptive pooling: a fixed number of output pixels from any input size.

Output pixel p of P averages, or takes the maximum of, the input pixels from ⌊p·H/P⌋ up to ⌈(p + 1)·H/P⌉ − 1 (PyTorch's
rule): cells that cover the input, and overlap by a pixel where P does not divide H.  A cell is a rectangle, so both
reductions are done along the rows first and along the columns after.
"""

from __future__ import annotations

from ..tensor import Function

__all__ = ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d"]


def cells(size: int, count: int) -> list[slice]:
    """Cut an axis of `size` pixels into `count` cells.

    >>> cells(5, 2)
    [slice(0, 3, None), slice(2, 5, None)]
    """
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


class AdaptiveAvgPool2d(Function):
    """y[n, c, p, q] = mean of cell (p, q).   dx: each g / (cell's pixels) to every pixel of its cell."""

    def __init__(self, size: tuple[int, int]):
        self.size = size

    def forward(self, x):
        n, c, height, width = x.shape
        p, q = self.size
        self.rows, self.columns = cells(height, p), cells(width, q)
        narrow = self.be.empty_images(n, c, height, q, x.dtype)
        for i, cell in enumerate(self.columns):
            narrow[..., i] = x[..., cell].mean(axis=3)
        y = self.be.empty_images(n, c, p, q, x.dtype)
        for i, cell in enumerate(self.rows):
            y[:, :, i] = narrow[:, :, cell].mean(axis=2)
        return y

    def backward(self, g):
        n, c, height, width = self.shapes[0]
        narrow = self.be.full_images(n, c, height, g.shape[3], g.dtype, 0)
        for i, cell in enumerate(self.rows):
            narrow[:, :, cell] += g[:, :, i : i + 1] / (cell.stop - cell.start)
        dx = self.be.full_images(n, c, height, width, g.dtype, 0)
        for i, cell in enumerate(self.columns):
            dx[..., cell] += narrow[..., i : i + 1] / (cell.stop - cell.start)
        return dx


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
