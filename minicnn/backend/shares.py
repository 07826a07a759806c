"""Where the gradient of a maximum goes if windows overlap: each pixel sums up its shares, in one call for all of them.

A pixel's share of a window's gradient g is g · [it won].  Along an axis, pixel h of the padded image is sample r of
window p if h = p·stride + r·dilation.  So the pixels with one remainder modulo the stride, h = remainder + u·stride,
are seen as the same samples, those with r·dilation ≡ remainder, and by window p = u − ⌊r·dilation / stride⌋.  For
three samples, stride 2::

    pixel        0  1  2  3  4  5  6        remainder 0: sample 0 of window u, and sample 2 of window u − 1
    window 0     0  1  2                    remainder 1: sample 1 of window u
    window 1           0  1  2
    window 2                 0  1  2

These steps back, u − 1 and so on, are strides of a view, so both factors are views (r, s, n, h, w, C): g, and who won,
one byte an element, a plane for each sample of the window.  The sum of their products over r and s is one call of
einsum, in which other threads run, and which keeps no product.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..geometry import Window2d
from .workspace import scratch

__all__ = ["Shares"]

_BYTE, _BOOL = np.dtype(np.uint8), np.dtype(np.bool_)


class Group(NamedTuple):
    """Along an axis, the pixels with one remainder modulo the stride, and as which samples they are seen."""

    pixels: slice
    size: int
    samples: range
    first: int  # of which window, counted in the room, the first pixel is the first of these samples
    back: int  # how many windows before is that of which it is the next


class Room:
    """Along an axis, the windows that see some pixels: `count` of them, from number `start` on.

    Numbers below 0, and beyond the last window, are places to be filled with zeros.
    """

    def __init__(self, window: Window2d, axis: int, pixels: slice) -> None:
        stride, dilation, before = window.stride[axis], window.dilation[axis], window.padding[2 * axis]
        first, stop = pixels.start + before, pixels.stop + before
        self.start = first // stride - (window.extent[axis] - 1) // stride
        self.count = (stop - 1) // stride - self.start + 1
        step = stride // gcd(stride, dilation)  # from a sample to the next with the same remainder
        self.groups = []
        for pixel in range(first, min(first + stride, stop)):
            samples = [r for r in range(window.kernel[axis]) if (pixel - r * dilation) % stride == 0]
            places = range(pixel, stop, stride)
            self.groups.append(
                Group(
                    slice(pixel - first, stop - first, stride),
                    len(places),
                    range(samples[0], samples[-1] + 1, step) if samples else range(0),
                    (pixel - samples[0] * dilation) // stride - self.start if samples else 0,
                    step * dilation // stride,
                )
            )

    def existing(self, windows: int) -> tuple[slice, slice]:
        """Return where in the room the windows are that exist, and which they are, if there are so many."""
        start = max(0, -self.start)
        stop = max(start, min(self.count, windows - self.start))
        return slice(start, stop), slice(start + self.start, stop + self.start)


class Shares:
    """The sums of shares for pieces of one shape: buffers, and views of them.

    Parameters
    ----------
    shape : tuple of (n, h, W, C)
        Of a piece: some rows of some images.
    strip : slice
        Which rows of the image they are.
    size : tuple of (P, Q)
        How many windows there are.
    window : Window2d
        Of no more than 256 samples.
    dtype : numpy.dtype
        Of the gradient.
    """

    def __init__(
        self, shape: tuple[int, ...], strip: slice, size: tuple[int, int], window: Window2d, dtype: np.dtype
    ) -> None:
        n, _, width, c = shape
        rows, columns = Room(window, 0, strip), Room(window, 1, slice(0, width))
        (below, from_below), (right, from_right) = rows.existing(size[0]), columns.existing(size[1])
        self.here, self.there = (slice(None), below, right), (slice(None), from_below, from_right)
        room = n, rows.count, columns.count, c
        self.g, self.choice = scratch("shares g", room, dtype), scratch("shares choice", room, _BYTE)
        self.g[...], self.choice[...] = 0, 0
        self.won = scratch("shares won", (*window.kernel, *room), _BOOL)
        self.numbers = np.arange(window.samples, dtype=_BYTE).reshape(*window.kernel, 1, 1, 1, 1)
        self.sums = [
            ((slice(None), down.pixels, across.pixels), self._factors(down, across))
            for down in rows.groups
            for across in columns.groups
        ]

    def _factors(self, down: Group, across: Group) -> tuple[np.ndarray, np.ndarray]:
        """View g and who won, for the pixels of two groups, by the samples as which they are seen."""
        n, _, _, c = self.g.shape
        shape = len(down.samples), len(across.samples), n, down.size, across.size, c
        room = (slice(None), slice(down.first, None), slice(across.first, None))
        g, won = self.g[room], self.won[_taken(down.samples), _taken(across.samples)][:, :, *room]
        *of_samples, _, h, w, _ = won.strides
        steps = of_samples[0] - down.back * h, of_samples[1] - across.back * w
        return (
            as_strided(g, shape, (-down.back * g.strides[1], -across.back * g.strides[2], *g.strides)),
            as_strided(won, shape, (*steps, *won.strides[2:])),
        )

    def write(self, g: np.ndarray, choice: np.ndarray, dx: np.ndarray) -> None:
        """Write into dx (n, h, W, C) the sums of the shares of g (n, P, Q, C), given which samples won."""
        self.g[self.here] = g[self.there]
        self.choice[self.here] = choice[self.there]
        np.equal(self.choice, self.numbers, out=self.won)
        for pixels, factors in self.sums:
            np.einsum("rsnhwc,rsnhwc->nhwc", *factors, out=dx[pixels])


def _taken(samples: range) -> slice:
    return slice(samples.start, samples.stop, samples.step)
