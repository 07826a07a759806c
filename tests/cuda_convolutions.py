"""Tiny convolutions for the ladders of the three directions: every option, sizes around every tile, exact answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from minicnn.backend.ladder import conv2d
from minicnn.conv import im2col
from minicnn.geometry import Window2d

__all__ = [
    "AMPLIFYING",
    "BFLOAT16",
    "CASES",
    "Case",
    "answers",
    "case_of",
    "draw",
    "hold",
    "only",
    "to_tf32",
]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Case:
    """One convolution: x [N, H, W, C] with w [K, R, S, C/groups]."""

    name: str
    shape: tuple[int, int, int, int]
    kernels: int
    kernel: int | tuple[int, int] = 3
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def window(self) -> Window2d:
        return Window2d.of("case", self.kernel, self.stride, self.padding, self.dilation)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.kernels, *self.window.kernel, self.shape[3] // self.groups)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return (self.shape[0], *self.window.output_size(*self.shape[1:3]), self.kernels)


CASES = [
    Case("one_number", (1, 1, 1, 1), 1, kernel=1),
    Case("one_window", (1, 3, 3, 2), 3),
    Case("primes", (2, 7, 5, 3), 5, padding=1),
    Case("vectors", (1, 6, 5, 8), 12, padding=1),
    Case("vectors_of_four_only", (2, 4, 3, 4), 20, padding=1),
    Case("a_17_channels", (1, 5, 7, 17), 13, stride=2, padding=(0, 1, 2, 1)),
    Case("1x1_33_channels", (1, 5, 5, 33), 17, kernel=1),
    Case("1x1_stride_2", (2, 5, 7, 16), 24, kernel=1, stride=2),
    Case("1x1_padded", (1, 3, 4, 8), 5, kernel=1, stride=3, padding=(1, 2, 0, 1)),
    Case("5x5_dilated", (1, 9, 8, 4), 3, kernel=5, dilation=2, padding=(4, 3, 4, 2)),
    Case("1x7", (1, 3, 11, 5), 7, kernel=(1, 7), padding=(0, 0, 3, 3)),
    Case("3x3_dilated_unevenly", (1, 8, 7, 8), 8, dilation=(2, 3), padding=(0, 2, 3, 3)),
    Case("stride_3_and_2", (1, 8, 7, 8), 6, stride=(3, 2), padding=1),
    Case("stride_beyond_the_kernel", (2, 8, 7, 3), 4, kernel=2, stride=(3, 4)),
    Case("groups_of_vectors", (1, 6, 5, 16), 24, padding=1, groups=2),
    Case("groups_of_odd_sizes", (1, 4, 5, 15), 9, stride=2, padding=1, groups=3),
    Case("depthwise", (1, 5, 6, 6), 6, padding=1, groups=6),
    Case("padding_wider_than_the_image", (1, 2, 2, 3), 2, padding=(3, 2, 4, 1)),
    Case("tiles_exactly", (2, 8, 8, 16), 128, kernel=1),
    Case("tiles_and_one", (1, 1, 129, 4), 65, kernel=1),
    Case("tiles_but_one", (1, 1, 127, 4), 63, kernel=1),
    Case("stages_go_round", (1, 4, 5, 16), 17, padding=1),
    Case("no_images", (0, 4, 5, 4), 3),
]


def case_of(name: str) -> Case:
    """Return one case by its name."""
    return next(case for case in CASES if case.name == name)


AMPLIFYING = [case_of("groups_of_odd_sizes"), case_of("stages_go_round")]
"""Several tiles of the depth and of the product, parts of tiles, padding: a race or a late copy shows in them."""


@dataclass(frozen=True)
class Arrays:
    """Channels-last arrays of a case, in one dtype."""

    x: np.ndarray  # [N, H, W, C]
    w: np.ndarray  # [K, R, S, C/G]
    b: np.ndarray  # [K]
    g: np.ndarray  # [N, P, Q, K]


def draw(case: Case, dtype: Any = np.float32) -> Arrays:
    """Return numbers of a case, the same in every run."""
    rng = np.random.default_rng(7)
    shapes = case.shape, case.weight_shape, (case.kernels,), case.output_shape
    return Arrays(*(rng.normal(size=shape).astype(dtype) for shape in shapes))


@dataclass(frozen=True)
class Answers:
    """The three convolutions in double precision, channels-last, without bias."""

    y: np.ndarray
    dx: np.ndarray
    dw: np.ndarray


def answers(case: Case, x: np.ndarray, w: np.ndarray, g: np.ndarray) -> Answers:
    """Return the exact convolutions of these arrays."""
    x, w, g = (np.moveaxis(array.astype(np.float64), 3, 1) for array in (x, w, g))
    y = np.empty(np.moveaxis(np.empty(case.output_shape), 3, 1).shape)
    im2col.forward(x, w, None, case.window, case.groups, y)
    dx = im2col.backward_data(g, w, x.shape, case.window, case.groups)
    dw = im2col.backward_weight(x, g, case.window, case.groups)
    return Answers(*(np.moveaxis(array, 1, 3) for array in (y, dx, dw)))


def hold(found: np.ndarray, exact: np.ndarray, magnitude: np.ndarray, terms: int) -> None:
    """Demand what any order of a sum may give: one rounding of the sum of magnitudes a term, and one of the result.

    Sums of half precision are kept in float.
    """
    assert found.shape == exact.shape
    sums = np.float64 if found.dtype == np.float64 else np.float32
    stored = ml_dtypes.finfo(found.dtype)
    bound = (terms + 2) * np.finfo(sums).eps * magnitude + float(stored.eps) * np.abs(exact)
    bound += float(stored.smallest_subnormal)
    assert (np.abs(found.astype(np.float64) - exact) <= bound).all()


def to_tf32(array: np.ndarray) -> np.ndarray:
    """Round float32 numbers to the 10 bits of mantissa that TF32 has, halfway away from zero."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    scaled = np.abs(mantissa) * 2.0**11
    return np.ldexp(np.copysign(np.floor(scaled + 0.5), array), exponent - 11).astype(np.float32)


def only(monkeypatch: Any, instance: conv2d.Instance) -> None:
    """Let a kernel have this one instance, and indices of 64 bits be needed if that is made for them."""
    everything = conv2d.instances

    def instances(name: str) -> list[conv2d.Instance]:
        return [instance] if name == instance.kernel else everything(name)

    monkeypatch.setattr(conv2d, "instances", instances)
    monkeypatch.setattr(conv2d, "WIDE", -1 if instance.index == "long long" else conv2d.WIDE)
