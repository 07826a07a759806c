"""The algorithms by their names, and what each of them offers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, Protocol

from ..geometry import Window2d
from . import direct, fft, im2col, im2col_chunked, per_offset, toeplitz
from .problem import Direction, No, Problem
from .winograd import Winograd
from .work import Work

__all__ = ["ALGORITHMS", "Algorithm", "algorithms", "algorithms_of"]

Array = Any


class Algorithm(Protocol):
    """A module or an object with the three directions, on validated arrays of one device, and what each can do."""

    def supports(self, problem: Problem, direction: Direction) -> Literal[True] | No:
        """Whether it can compute this; if not, the reason."""
        ...

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
        """Write x ∗ w + b, or with `relu` its positive part, into `out`."""

    def backward_data(
        self, g: Array, w: Array, input_shape: tuple[int, ...], window: Window2d, groups: int
    ) -> Array:
        """Return ∂L/∂x."""
        ...

    def backward_weight(self, x: Array, g: Array, window: Window2d, groups: int) -> Array:
        """Return ∂L/∂w."""
        ...


class Counted(Algorithm, Protocol):
    """An algorithm of NumPy arrays, which says at what cost it computes."""

    def work(self, problem: Problem, direction: Direction) -> Work:
        """Return what it does for a problem that it supports."""
        ...


ALGORITHMS: dict[str, Counted] = {
    "direct": direct,
    "im2col": im2col,
    "im2col_chunked": im2col_chunked,
    "per_offset": per_offset,
    "toeplitz": toeplitz,
    "fft": fft,
    "winograd_2x2": Winograd(2, points=(0, 1, -1)),
    "winograd_4x4": Winograd(4, points=(0, Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))),
}


def algorithms(device: str = "cpu") -> list[str]:
    """Return the names of the algorithms, from the definition to the fast ones.

    Parameters
    ----------
    device : {'cpu', 'cuda'}
        Which kind of device they compute on; it need not be there.

    Raises
    ------
    ValueError
        If there is no such kind of device.

    Examples
    --------
    >>> algorithms()
    ['direct', 'im2col', 'im2col_chunked', 'per_offset', 'toeplitz', 'fft', 'winograd_2x2', 'winograd_4x4']
    >>> set(algorithms()) & set(algorithms("cuda")) == {"direct", "im2col", "winograd_2x2", "winograd_4x4"}
    True
    """
    return list(algorithms_of(device))


def algorithms_of(device: str) -> Mapping[str, Algorithm]:
    """Return the algorithms of a kind of device by their names, those of :func:`algorithms`."""
    kind = device.partition(":")[0]
    if kind == "cpu":
        return ALGORITHMS
    if kind != "cuda":
        raise ValueError(f"algorithms: device must be 'cpu' or 'cuda', got {device!r}")
    from . import cuda  # which takes a while, and most never need

    return cuda.ALGORITHMS
