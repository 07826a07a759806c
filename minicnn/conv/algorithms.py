"""The algorithms by their names, and what each of them offers."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, Protocol

import numpy as np

from ..geometry import Window2d
from . import direct, fft, im2col, im2col_chunked, per_offset, toeplitz
from .problem import Direction, No, Problem
from .winograd import Winograd
from .work import Work

__all__ = ["ALGORITHMS", "Algorithm", "algorithms"]


class Algorithm(Protocol):
    """A module or an object with the three directions, on validated NumPy arrays, and what each can do at what cost."""

    def supports(self, problem: Problem, direction: Direction) -> Literal[True] | No:
        """Whether it can compute this; if not, the reason."""
        ...

    def work(self, problem: Problem, direction: Direction) -> Work:
        """Return what it does for a problem that it supports."""
        ...

    def forward(
        self,
        x: np.ndarray,
        w: np.ndarray,
        b: np.ndarray | None,
        window: Window2d,
        groups: int,
        out: np.ndarray,
        relu: bool = False,
    ) -> None:
        """Write x ∗ w + b, or with `relu` its positive part, into `out`."""

    def backward_data(
        self, g: np.ndarray, w: np.ndarray, input_shape: tuple[int, ...], window: Window2d, groups: int
    ) -> np.ndarray:
        """Return ∂L/∂x."""
        ...

    def backward_weight(self, x: np.ndarray, g: np.ndarray, window: Window2d, groups: int) -> np.ndarray:
        """Return ∂L/∂w."""
        ...


ALGORITHMS: dict[str, Algorithm] = {
    "direct": direct,
    "im2col": im2col,
    "im2col_chunked": im2col_chunked,
    "per_offset": per_offset,
    "toeplitz": toeplitz,
    "fft": fft,
    "winograd_2x2": Winograd(2, points=(0, 1, -1)),
    "winograd_4x4": Winograd(4, points=(0, Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))),
}


def algorithms() -> list[str]:
    """Return the names of the algorithms, from the definition to the fast ones.

    Examples
    --------
    >>> algorithms()
    ['direct', 'im2col', 'im2col_chunked', 'per_offset', 'toeplitz', 'fft', 'winograd_2x2', 'winograd_4x4']
    """
    return list(ALGORITHMS)
