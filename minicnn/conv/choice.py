"""Which algorithm computes a convolution: the one named, one preferred by :func:`use`, or the model's fastest."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from .. import backend
from . import meta
from .algorithms import ALGORITHMS, Algorithm
from .model import Rates, expected
from .problem import Direction, Problem
from .rates import rates

__all__ = ["choose", "fastest", "use"]

FAMILIAR = "im2col_chunked"  # the algorithm that can do anything,
GAIN = 0.93  # and that another must beat by more than the model is wrong

_preferred: ContextVar[tuple[str, ...]] = ContextVar("algorithms", default=("auto",))


def choose(name: str, problem: Problem, direction: Direction, array: Any) -> Algorithm:
    """Return the algorithm called `name`; for ``"auto"`` the one set by :func:`use`, else the fastest.

    Arrays on the meta device need none, and get :mod:`minicnn.conv.meta`, whatever the name.

    Parameters
    ----------
    name : str
    problem : Problem
    direction : {'forward', 'backward_data', 'backward_weight'}
    array : array
        One of those to be computed on.

    Raises
    ------
    ValueError
        If there is no algorithm of this name, or it cannot do this.
    """
    op = "conv2d" if direction == "forward" else f"conv2d_{direction}"
    names = _preferred.get() if name == "auto" else (_known(name, op),)
    able = _first_able(names, problem, direction, op)
    if backend.of(array) is backend.meta:
        return meta  # type: ignore[return-value]  (its cost is nobody's question)
    return ALGORITHMS[fastest(problem, direction) if able == "auto" else able]


@contextmanager
def use(*algorithms: str) -> Iterator[None]:
    """Compute the convolutions inside the block with this algorithm, where none is named explicitly.

    Parameters
    ----------
    *algorithms : str
        Of several, the first that can do the case at hand; ``"auto"`` can do any, and is the fastest.

    Raises
    ------
    ValueError
        If there is no algorithm of such a name; inside the block, if a convolution is none that they can do.

    Examples
    --------
    >>> import numpy as np
    >>> from minicnn import conv
    >>> with use("winograd_2x2", "direct"):
    ...     conv.conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)))
    array([[[[4.]]]])
    """
    token = _preferred.set(
        tuple(name if name == "auto" else _known(name, "use") for name in algorithms) or ("auto",)
    )
    try:
        yield
    finally:
        _preferred.reset(token)


def fastest(problem: Problem, direction: Direction) -> str:
    """Return the name of the algorithm that takes the least time, by the model of :mod:`minicnn.conv.model`.

    Examples
    --------
    >>> from minicnn.geometry import Window2d
    >>> fastest(Problem((8, 256, 56, 56), 256, Window2d.of("conv2d", 3, padding=1)), "forward")
    'winograd_4x4'
    """
    return _fastest(problem, direction, rates())


@lru_cache(maxsize=1 << 12)
def _fastest(problem: Problem, direction: Direction, rates: Rates) -> str:
    works = {
        name: a.work(problem, direction) for name, a in ALGORITHMS.items() if a.supports(problem, direction)
    }
    times = {
        name: expected(name, direction, work, rates)
        for name, work in works.items()
        if name == FAMILIAR or work != works[FAMILIAR]  # one may leave a problem to another
    }
    best = min(times, key=lambda name: times[name])
    return best if times[best] < GAIN * times[FAMILIAR] else FAMILIAR


def _first_able(names: tuple[str, ...], problem: Problem, direction: Direction, op: str) -> str:
    reasons = {}
    for name in names:
        answer = name == "auto" or ALGORITHMS[name].supports(problem, direction)
        if answer:
            return name
        reasons[name] = answer.reason
    listed = "; ".join(f"{name!r} cannot do this: {reason}" for name, reason in reasons.items())
    raise ValueError(f"{op}: {listed}; input {problem.input_shape}, weight {problem.weight_shape}")


def _known(name: str, op: str) -> str:
    if not isinstance(name, str) or name not in ALGORITHMS:
        near = difflib.get_close_matches(str(name), ALGORITHMS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        known = ", ".join(map(repr, ALGORITHMS))
        raise ValueError(f"{op}: algorithm must be one of 'auto', {known}, got {name!r}{hint}")
    return name
