"""Which algorithm computes a convolution: the one named, the one forced by :func:`use`, or the default."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np

from .. import backend
from ..geometry import Window2d
from . import direct, im2col, im2col_chunked, meta
from .problem import Direction, No, Problem
from .winograd import Winograd
from .work import Work

__all__ = ["Algorithm", "algorithms", "choose", "use"]


class Algorithm(Protocol):
    """What each algorithm offers, as a module or an object: the three directions, on validated NumPy arrays."""

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


_ALGORITHMS: dict[str, Algorithm] = {
    "direct": direct,
    "im2col": im2col,
    "im2col_chunked": im2col_chunked,
    "winograd_2x2": Winograd(2, points=(0, 1, -1)),
    "winograd_4x4": Winograd(4, points=(0, Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))),
}
_forced: ContextVar[str] = ContextVar("algorithm", default="auto")


def algorithms() -> list[str]:
    """Return the names of the algorithms, from the definition to the fast one.

    Examples
    --------
    >>> algorithms()
    ['direct', 'im2col', 'im2col_chunked']
    """
    return list(_ALGORITHMS)


def choose(name: str, array: Any) -> Algorithm:
    """Return the algorithm called `name`; for ``"auto"`` the one set by :func:`use`, else ``im2col_chunked``.

    Arrays on the meta device need none, and get :mod:`minicnn.conv.meta`, whatever the name.

    Raises
    ------
    ValueError
        If there is no algorithm of this name.
    """
    if name == "auto":
        name = _forced.get()
    if name != "auto":
        _known(name)
    if backend.of(array) is backend.meta:
        return meta
    return _ALGORITHMS["im2col_chunked" if name == "auto" else name]


@contextmanager
def use(algorithm: str) -> Iterator[None]:
    """Compute the convolutions inside the block with `algorithm`, where none is named explicitly.

    Examples
    --------
    >>> with use("direct"):
    ...     choose("auto", np.zeros(1)).__name__
    'minicnn.conv.direct'
    """
    token = _forced.set(algorithm if algorithm == "auto" else _known(algorithm))
    try:
        yield
    finally:
        _forced.reset(token)


def _known(name: str) -> str:
    if name not in _ALGORITHMS:
        near = difflib.get_close_matches(str(name), _ALGORITHMS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"conv2d: algorithm must be one of 'auto', {', '.join(map(repr, _ALGORITHMS))}, got {name!r}{hint}"
        )
    return name
