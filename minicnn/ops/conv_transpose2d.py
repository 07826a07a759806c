"""Transposed convolution."""

from __future__ import annotations

from typing import Any

from ..backend.precision import allow_tf32, tf32
from ..conv.check import check_dtypes, check_groups
from ..conv.choice import choose
from ..conv.problem import Problem
from ..geometry import Window2d
from ..tensor import Function

__all__ = ["ConvTranspose2d"]


class ConvTranspose2d(Function):
    """The adjoint of a convolution: what is Conv2d's backward to its input is forward here, and the other way round.

    With A the convolution by w (C_in, C_out/groups, R, S) that maps images of the *output's* size to images of the
    input's, y = Aᵀ x + b; so dx = A g, and dw is A's weight gradient with x and g in each other's place.

    The output has (H − 1)·stride − top − bottom + extent + output_padding rows.  `output_padding` adds rows at the end,
    of which a convolution with stride above 1 would drop as many: it tells the sizes that A maps to H apart.
    """

    x: Any  # kept where w needs a gradient
    w: Any  # kept where x needs one

    def __init__(self, window: Window2d, output_padding: tuple[int, int], groups: int):
        self.given, self.output_padding, self.groups = window, output_padding, groups
        top, bottom, left, right = window.padding
        below, beside = output_padding
        padding = top, bottom - below, left, right - beside  # A's windows end where they would without it
        self.window = Window2d(window.kernel, window.stride, padding, window.dilation, op=window.op)

    def forward(self, x, w, b=None):
        self.output_shape = self._check(x, w, b)
        self.tf32 = tf32()
        self.problem = Problem(self.output_shape, x.shape[1], self.window, self.groups, x.dtype)
        y = self._algorithm("backward_data", x).backward_data(
            x, w, self.output_shape, self.window, self.groups
        )
        if b is not None:
            self.be.in_pieces(lambda b, y: self.be.add(y, b, out=y), b, y)
        self.x = x if self.needs[1] else None
        self.w = w if self.needs[0] else None
        return y

    def backward(self, g):
        dx = dw = db = None
        with allow_tf32(self.tf32):
            if self.needs[0]:
                dx = self.be.empty_images(*self.shapes[0], g.dtype)
                self._algorithm("forward", g).forward(g, self.w, None, self.window, self.groups, dx)
            if self.needs[1]:
                dw = self._algorithm("backward_weight", g).backward_weight(
                    g, self.x, self.window, self.groups
                )
        if self.needs[2:] == (True,):
            db = self.be.channel_sum(g)
        return (dx, dw, db)[: len(self.shapes)]

    def _algorithm(self, direction, array):
        return choose("auto", self.problem, direction, array)

    def _check(self, x, w, b) -> tuple[int, int, int, int]:
        op, groups = "conv_transpose2d", self.groups
        shapes = f"input {x.shape}, weight {w.shape}"
        check_dtypes(op, input=x, weight=w, bias=b)
        check_groups(op, groups)
        if min(w.shape[:2]) < 1:
            raise ValueError(f"{op}: there must be at least one channel on each side; {shapes}")
        if x.shape[1] != w.shape[0]:
            raise ValueError(f"{op}: input has {x.shape[1]} channels, weight expects {w.shape[0]}; {shapes}")
        if w.shape[0] % groups:
            raise ValueError(
                f"{op}: the {w.shape[0]} input channels must be divisible by groups={groups}; {shapes}"
            )
        channels = w.shape[1] * groups
        if b is not None and b.shape != (channels,):
            raise ValueError(
                f"{op}: bias must have shape ({channels},), one an output channel, got {b.shape}"
            )
        return (x.shape[0], channels, *self._output_size(*x.shape[2:]))

    def _output_size(self, height: int, width: int) -> tuple[int, int]:
        (sh, sw), (eh, ew), (top, bottom, left, right) = (
            self.window.stride,
            self.window.extent,
            self.window.padding,
        )
        size = (height - 1) * sh + eh - top - bottom, (width - 1) * sw + ew - left - right
        if height < 1 or width < 1 or min(size) < 1:
            raise ValueError(
                f"conv_transpose2d: the output must have at least one pixel; input {height}×{width}, stride "
                f"{self.given.stride}, padding {self.given.padding}, dilation {self.given.dilation} and "
                f"output_padding {self.output_padding} give {size[0]}×{size[1]}"
            )
        return size
