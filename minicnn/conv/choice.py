"""Which algorithm computes a convolution: the one named, one preferred by :func:`use`, or the model's fastest."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from .. import backend
from ..backend.precision import tf32
from . import meta, tuned
from .algorithms import ALGORITHMS, Algorithm, algorithms_of
from .model import Rates, expected
from .problem import Direction, No, Problem
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
        If the array's device has no algorithm of this name, or it cannot do this.
    TypeError
        If the dtype is bfloat16 and the array is NumPy's.
    """
    names = _preferred.get() if name == "auto" else (_known(name, _op(direction)),)
    be = backend.of(array)
    if be is backend.cpu:
        return _on_cpu(names, problem, direction)
    if be is backend.meta:
        if not set(names).isdisjoint(("auto", *ALGORITHMS)):
            _first_able(names, "cpu", problem, direction)
        return meta  # type: ignore[return-value]  (what it supports is nobody's question)
    from ..backend.cupy_device import launcher

    return _on_gpu(names, problem, direction, tf32(), launcher(), tuned.settings())


def _on_cpu(names: tuple[str, ...], problem: Problem, direction: Direction) -> Algorithm:
    if problem.dtype.kind != "f":
        raise TypeError(
            f"{_op(direction)}: {problem.dtype} is for GPUs, on the CPU convert it to float32 first"
        )
    able = _first_able(names, "cpu", problem, direction)
    return ALGORITHMS[fastest(problem, direction) if able == "auto" else able]


@lru_cache(maxsize=1 << 12)  # to ask anew at each call would take longer than many a kernel
def _on_gpu(names: tuple[str, ...], problem: Problem, direction: Direction, *circumstances: Any) -> Algorithm:
    """Return the algorithm for arrays of the current GPU.

    `circumstances` are what the answer depends on beside: what may be rounded, the GPU, the settings.
    """
    from . import cuda_timing

    able = _first_able(names, "cuda", problem, direction)
    if able == "auto":
        fastest = cuda_timing.fastest(problem, direction)
        if isinstance(fastest, No):
            shapes = f"input {problem.input_shape}, weight {problem.weight_shape}"
            raise ValueError(f"{_op(direction)}: no algorithm can do this: {fastest.reason}; {shapes}")
        able = _first_able((fastest,), "cuda", problem, direction)  # one that is pinned may not be
    return algorithms_of("cuda")[able]


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


def _op(direction: Direction) -> str:
    return "conv2d" if direction == "forward" else f"conv2d_{direction}"


def _first_able(names: tuple[str, ...], device: str, problem: Problem, direction: Direction) -> str:
    """Return the first of the names, of those that a kind of device has, that can compute a problem."""
    there, reasons = algorithms_of(device), {}
    for name in names:
        if name == "auto":
            return name
        if name in there:
            answer = there[name].supports(problem, direction)
            if answer:
                return name
            reasons[name] = answer.reason
    if not reasons:
        raise ValueError(
            f"{_op(direction)}: on {device!r} the algorithms are {', '.join(map(repr, ('auto', *there)))}, got "
            f"{' and '.join(map(repr, names))}"
        )
    listed = "; ".join(f"{name!r} cannot do this: {reason}" for name, reason in reasons.items())
    raise ValueError(
        f"{_op(direction)}: {listed}; input {problem.input_shape}, weight {problem.weight_shape}"
    )


def _known(name: str, op: str) -> str:
    """Return a name if it is that of an algorithm on some device."""
    if isinstance(name, str) and (name in ALGORITHMS or name in algorithms_of("cuda")):
        return name
    near = difflib.get_close_matches(str(name), [*ALGORITHMS, *algorithms_of("cuda")], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    known = ", ".join(map(repr, ALGORITHMS))
    raise ValueError(f"{op}: algorithm must be one of 'auto', {known}, got {name!r}{hint}")
