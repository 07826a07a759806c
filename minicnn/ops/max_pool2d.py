"""Max pooling."""

from __future__ import annotations

from ..geometry import Window2d
from ..tensor import Function
from .window import inside, padded, surrounded

__all__ = ["MaxPool2d"]


class MaxPool2d(Function):
    """y[n, c, p, q] = max over the samples (r, s) of window (p, q).   dx: each g goes to the sample it came from.

    Where several samples tie, the first in row-major order is the one.  The padding is −∞, so it never wins.  Instead
    of scanning window by window, the R·S shifted views of the image are compared one after the other, each giving one
    sample to every window at once; which view won, ``choice``, is all that backward needs: one byte an output.
    (dx is made of products with 0 and 1: an infinite g shows as NaN.)

    Cost: R·S comparisons an output.
    """

    def __init__(self, window: Window2d, with_indices: bool = False):
        self.window, self.with_indices = window, with_indices

    def forward(self, x):
        be, window = self.be, self.window
        self.size = p, q = window.output_size(*x.shape[2:])
        room = surrounded(be, x, window, be.lowest(x.dtype))
        best = be.full_images(*x.shape[:2], p, q, x.dtype, be.lowest(x.dtype))
        small = be.uint8 if window.samples <= 256 else be.int64
        self.choice = be.empty_like(best, dtype=small)
        self.choice[...] = self._first_inside(*x.shape[2:])
        for i, (r, s) in enumerate(window.offsets()):
            seen = room[window.at(r, s, p, q)]
            be.copyto(self.choice, i, where=seen > best)
            be.maximum(best, seen, out=best)
        if be.isnan(best).any():  # NaN is above all, but no comparison says so
            for i, (r, s) in enumerate(window.offsets()):
                be.copyto(self.choice, i, where=be.isnan(room[window.at(r, s, p, q)]))
        if self.with_indices:
            self.indices = self._indices(*x.shape[2:])
        return best

    def backward(self, g):
        be, window = self.be, self.window
        shape, (p, q) = self.shapes[0], self.size
        room = padded(be, shape, g.dtype, window, 0)
        for i, (r, s) in enumerate(window.offsets()):
            room[window.at(r, s, p, q)] += g * (self.choice == i)
        return inside(room, shape, window)

    def _first_inside(self, height: int, width: int):
        """Return the number of the first sample of each window (P, Q) that is a pixel and not padding."""
        rows, columns = self._firsts(0, height), self._firsts(1, width)
        return rows[:, None] * self.window.kernel[1] + columns

    def _firsts(self, axis: int, size: int):
        """Along one axis: the first sample r ≥ 0 of each window with p·stride + r·dilation − before ≥ 0."""
        be, window = self.be, self.window
        start = self._starts(axis)
        first = -(be.minimum(start, 0) // window.dilation[axis])
        # A wide dilation may step over a narrow image: then no sample is a pixel, and the first must do.
        return be.where(
            start + first * window.dilation[axis] < size, be.minimum(first, window.kernel[axis] - 1), 0
        )

    def _starts(self, axis: int):
        window = self.window
        return self.be.arange(self.size[axis]) * window.stride[axis] - window.padding[2 * axis]

    def _indices(self, height: int, width: int):
        """Return each maximum's place h·W + w in its image; −1 where the window saw no pixel."""
        be, window = self.be, self.window
        r, s = be.divmod(self.choice.astype(be.int64), window.kernel[1])
        h = self._starts(0)[:, None] + r * window.dilation[0]
        w = self._starts(1) + s * window.dilation[1]
        is_pixel = (h >= 0) & (h < height) & (w >= 0) & (w < width)
        return be.where(is_pixel, h * width + w, -1)
