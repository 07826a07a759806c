"""Max pooling."""

from __future__ import annotations

from typing import Any

from ..geometry import Window2d
from ..tensor import Function
from .window import inside, padded, surrounded

__all__ = ["MaxPool2d"]


class MaxPool2d(Function):
    """y[n, c, p, q] = max over the samples (r, s) of window (p, q).   dx: each g goes to the sample it came from.

    Where several samples tie, the first in row-major order is the one.  The padding is −∞, so it never wins.  Instead
    of scanning window by window, the R·S shifted views of the image are compared one after the other, each giving one
    sample to every window at once; which view won, ``choice``, is all that backward needs: one byte an output.
    (dx is made of products with 0 and 1: an infinite g shows as NaN.)  Where neither a gradient nor the indices are
    wanted, it is not looked for.

    On the CPU :mod:`minicnn.backend.pooling` computes the same, to the bit, by pieces, and on a GPU
    :mod:`minicnn.backend.gpu_pooling` by a kernel, whose ``choice`` are the winners' indices; `plain` asks for what is
    written here.

    Cost: R·S comparisons an output.  Kept for backward: ``choice``.
    """

    choice: Any  # an array, or None

    def __init__(self, window: Window2d, with_indices: bool = False, plain: bool = False):
        self.window, self.with_indices, self.plain = window, with_indices, plain

    def forward(self, x):
        be, window = self.be, self.window
        self.size = window.output_size(*x.shape[2:])
        few = be.pooling and window.samples <= be.pooling.MOST_SAMPLES
        self.plain = self.plain or not (few and be.pooling.takes(x, window))
        wanted = self.needs[0] or self.with_indices
        if be.fused and not self.plain:
            best, self.choice = be.pooling.max_pool(x, window, wanted)
            self.indices = self.choice
            return best
        first = self._first_inside(*x.shape[2:]) if wanted else None
        best, self.choice = (self._plain if self.plain else be.pooling.max_pool)(x, window, first)
        if self.with_indices:
            self.indices = self._indices(*x.shape[2:])
        return best

    def _plain(self, x, window, first):
        be, (p, q) = self.be, self.size
        room = surrounded(be, x, window, be.lowest(x.dtype))
        best = be.full_images(*x.shape[:2], p, q, x.dtype, be.lowest(x.dtype))
        choice = None
        if first is not None:
            choice = be.empty_like(best, dtype=be.uint8 if window.samples <= 256 else be.int64)
            choice[...] = first
        for i, (r, s) in enumerate(window.offsets()):
            seen = room[window.at(r, s, p, q)]
            if choice is not None:
                be.copyto(choice, i, where=seen > best)
            be.maximum(best, seen, out=best)
        # NaN is above all, but no comparison says so; on a GPU to look for one takes longer than to assume it.
        if choice is not None and be.is_float(x.dtype) and (be.fused or be.isnan(best).any()):
            for i, (r, s) in enumerate(window.offsets()):
                be.copyto(choice, i, where=be.isnan(room[window.at(r, s, p, q)]))
        return best, choice

    def backward(self, g):
        be, window, shape = self.be, self.window, self.shapes[0]
        if not self.plain:
            return be.pooling.max_pool_backward(g, self.choice, window, shape)
        p, q = self.size
        room = padded(be, shape, g.dtype, window, 0)
        for i, (r, s) in enumerate(window.offsets()):
            room[window.at(r, s, p, q)] += g * (self.choice == i)
        return inside(room, shape, window)

    def _first_inside(self, height: int, width: int):
        """Return the number of the first sample of each window (P, Q) that is a pixel and not padding."""
        if max(self.window.padding) == 0:
            return self.be.zeros(self.size, self.be.uint8)
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
