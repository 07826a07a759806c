"""What an entry of the table of operations is, and what is known of an operation by its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minicnn.testing import Case, Operation
from minicnn.testing.values import fill

Positions = Sequence[int] | Callable[[Case], Sequence[int]]


@dataclass(frozen=True)
class Entry:
    """An operation, and the arguments to try it with: fixed ones, and a strategy that draws others.

    The other attributes are those of :class:`minicnn.testing.Operation`; what depends on the arguments is a
    function of the case.
    """

    call: Callable[..., Any]
    definition: Callable[..., Any]
    examples: dict[str, Case]
    cases: st.SearchStrategy[Case]
    linear: Positions = ()
    itemwise: Positions = ()
    condition: Callable[[Case], float] = lambda case: 1.0
    keeps_dtype: bool = True

    def operation(self, case: Case, seed: int = 0) -> Operation:
        """Return the operation with what is known of it for these arguments."""
        linear, itemwise = (of(case) if callable(of) else of for of in (self.linear, self.itemwise))
        given = range(len(case.inputs))
        return Operation(
            self.call,
            self.definition,
            linear=tuple(i for i in linear if i in given),
            itemwise=tuple(itemwise),
            condition=self.condition(case),
            keeps_dtype=self.keeps_dtype,
            seed=seed,
        )


def of(*shapes: tuple[int, ...], values: str = "distinct", **options: Any) -> Case:
    """Return a case with inputs of these shapes."""
    return Case(tuple(fill(shape, values, seed) for seed, shape in enumerate(shapes)), options)


# Which inputs have items that do not touch each other


def items_of_images(case: Case) -> tuple[int, ...]:
    return (0,) if case.inputs[0].ndim == 4 else ()


def items_of_elements(case: Case) -> tuple[int, ...]:
    """Of all inputs that run along the output's first axis, if it has one."""
    shape = np.broadcast_shapes(*(a.shape for a in case.inputs))
    along = (a.ndim == len(shape) > 0 and a.shape[0] == shape[0] for a in case.inputs)
    return tuple(i for i, has in enumerate(along) if has)


def items_unless(*names: str) -> Callable[[Case], tuple[int, ...]]:
    """Of all inputs, unless one of these options names the first axis, or all axes."""

    def items(case: Case) -> tuple[int, ...]:
        ndim = case.inputs[0].ndim
        for name in names:
            dims = case.options.get(name)
            dims = range(ndim) if dims in (None, ()) else dims if isinstance(dims, tuple) else (dims,)
            if not ndim or 0 in (dim % ndim for dim in dims):
                return ()
        return tuple(i for i, a in enumerate(case.inputs) if a.ndim == ndim)  # cat takes empty vectors along

    return items


def items_of_product(case: Case) -> tuple[int, ...]:
    a, b = (x.ndim for x in case.inputs)
    if b <= 2:
        return (0,) if a >= 2 else ()
    return (0, 1) if a == b and len(case.inputs[0]) == len(case.inputs[1]) else ()


def items_of_differences(case: Case) -> tuple[int, ...]:
    return items_of_elements(case) if case.options.get("reduction") == "none" else ()


def items_of_probabilities(case: Case) -> tuple[int, ...]:
    """Of logits and probabilities.  (Class numbers are no input, and so stay together.)"""
    own_losses = case.options.get("reduction") == "none" and case.inputs[0].ndim > 1
    return (0, 1) if own_losses and len(case.inputs) == 2 else ()


# How much an operation may multiply a relative error of its inputs


def small_deviations(case: Case) -> float:
    """For batch norm: x − μ is as wrong as x, and is divided by the deviation σ, once in y and once more in dx.

    That is |x|/σ of the output for y, and times |w|/σ for dx; over a batch of m values √m of it.
    """
    x, w = (*case.inputs, np.ones(1))[:2]
    values = np.moveaxis(x, 1, 0).reshape(x.shape[1], x.size // x.shape[1])
    var = case.options["var"] if "var" in case.options else values.var(axis=1)
    scale = 1 / np.sqrt(var + case.options["eps"])
    once, twice = np.abs(values).max(axis=1, initial=0) * scale, np.abs(w) * scale
    return float((np.maximum(once, 1) * np.maximum(twice, 1)).max() * max(values.shape[1], 1) ** 0.5)
