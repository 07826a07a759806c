"""Average pooling."""

from __future__ import annotations

from ..geometry import Window2d
from ..tensor import Function
from .window import inside, padded, surrounded

__all__ = ["AvgPool2d"]


class AvgPool2d(Function):
    """y[n, c, p, q] = (1 / d[p, q]) Σ over the samples of window (p, q).   dx: each g / d to every sample.

    The divisor d is the number of samples in the window: those in the image and the declared padding, or with
    `count_include_pad` false those in the image alone; what a ceil-mode window sees beyond the padding never counts.
    `divisor_override` replaces it.

    On the CPU :mod:`minicnn.backend.pooling` computes the same by pieces, rows before columns, and so rounds
    differently; on a GPU :mod:`minicnn.backend.gpu_pooling` by a kernel, which finds the divisors itself.  `plain` asks
    for what is written here.

    Kept for backward: the divisors, one number or P·Q.
    """

    def __init__(
        self,
        window: Window2d,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        plain: bool = False,
    ):
        self.window, self.count_include_pad, self.divisor_override = (
            window,
            count_include_pad,
            divisor_override,
        )
        self.plain = plain

    def forward(self, x):
        be, window = self.be, self.window
        self.size = p, q = window.output_size(*x.shape[2:])
        self.plain = self.plain or not (be.pooling and be.pooling.takes(x, window))
        if be.fused and not self.plain:
            self.divisor = be.pooling.Divisor(self.count_include_pad, self.divisor_override)
        else:
            self.divisor = self._divisor(*x.shape[2:]).astype(x.dtype)
        if not self.plain:
            return be.pooling.avg_pool(x, window, self.divisor)
        room = surrounded(be, x, window, 0)
        total = be.full_images(*x.shape[:2], p, q, x.dtype, 0)
        for r, s in window.offsets():
            total += room[window.at(r, s, p, q)]
        total /= self.divisor
        return total

    def backward(self, g):
        be, window, shape, (p, q) = self.be, self.window, self.shapes[0], self.size
        if not self.plain:
            return be.pooling.avg_pool_backward(g, self.divisor, window, shape)
        share = g / self.divisor
        room = padded(be, shape, g.dtype, window, 0)
        for r, s in window.offsets():
            room[window.at(r, s, p, q)] += share
        return inside(room, shape, window)

    def _divisor(self, height: int, width: int):
        be = self.be
        if self.divisor_override is not None:
            return be.asarray(self.divisor_override)
        if max(self.window.reach(height, width)) <= 0:  # nobody sees any padding
            return be.asarray(self.window.samples)
        top, bottom, left, right = self.window.padding if self.count_include_pad else (0, 0, 0, 0)
        rows = self._counted(0, -top, height + bottom)
        columns = self._counted(1, -left, width + right)
        return rows[:, None] * columns

    def _counted(self, axis: int, first: int, end: int):
        """Return how many samples of each window lie in [first, end) along one axis."""
        be, window = self.be, self.window
        start = be.arange(self.size[axis]) * window.stride[axis] - window.padding[2 * axis]
        return be.minimum(start + window.kernel[axis], end) - be.maximum(start, first)
