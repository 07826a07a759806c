"""Gradients against finite differences in float64, with a verdict one can rely on.

For a random cotangent v the scalar φ(x) = ⟨v, fn(x)⟩ (:mod:`~minicnn.testing.objective`) has the gradient
that backward returns.  Its component along a direction must be the limit of φ's differences there
(:mod:`~minicnn.testing.derivative`).  Which directions are tried, :mod:`~minicnn.testing.compare` says.

A kink leaves room for many values, and a wrong gradient could hide in it.  So where kinks were met,
everything is compared once more a little way off, where they are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..tensor import Tensor
from .compare import Comparison
from .directions import aside
from .leaves import borrowed, collected, generator
from .objective import Misconduct, Objective
from .report import GradcheckError, GradcheckReport, InputReport

__all__ = ["gradcheck"]

_STREAM = 20120  # any number: data drawn with the same seed must not come back as the cotangent


def gradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    parameters: Mapping[str, Tensor] | Iterable[Tensor] = (),
    eps: float = 1e-5,
    atol: float = 0.0,
    rtol: float = 1e-6,
    elements: int = 256,
    directions: int = 4,
    coordinates: int = 16,
    together: int = 0,
    seed: int = 0,
) -> GradcheckReport:
    """Hold the gradients of a function to finite differences in float64.

    Parameters
    ----------
    fn : callable
        Called as ``fn(*inputs)``; returns a Tensor or a (named) tuple, whose floating-point Tensors count.
    inputs : sequence, or one array or Tensor
        Every floating-point array or Tensor among them is checked, whether or not it requires a gradient:
        fn gets a float64 Tensor with its values.  Anything else (labels, a stride, None) reaches fn as it
        is.  What shall stay constant, let fn close over.
    parameters : mapping of str to Tensor, or iterable of Tensors
        Tensors that fn uses without being passed them, such as ``dict(model.named_parameters())``; checked
        like the inputs.  They hold float64 copies meanwhile, and afterwards their own arrays and gradients
        again.
    eps : float
        The first step, relative to the size of what moves.
    atol, rtol : float
        An analytic derivative a and a numeric one n agree if |a − n| ≤ atol + rtol·max(|a|, |n|).  By default
        atol is 0: all of a gradient may be small.
    elements : int
        An input of at most this many elements is checked along each of them; where that meets kinks, along
        directions as well, for at a tie each element alone may have any share of the gradient.
    directions, coordinates : int
        Random directions and random elements along which a bigger input is checked.
    together : int
        Random directions in which all inputs move at once: for a whole network, with ``directions=0``.
    seed : int
        Of the cotangent, the directions and the sample.

    Returns
    -------
    GradcheckReport

    Raises
    ------
    GradcheckError
        If a gradient is wrong, or fn is not deterministic, not finite, or changes its inputs.  Its message
        is the report, and so is its attribute ``report``.
    TypeError, ValueError
        If the arguments make no sense.

    Notes
    -----
    Two evaluations a derivative; where they do not confirm it, 32 more, over 16 step sizes.

    Examples
    --------
    >>> report = gradcheck(lambda x, w: x @ w, (np.ones((2, 3)), np.eye(3)))
    >>> [row.count for row in report.inputs]
    [6, 9]
    """
    comparison = Comparison(eps, atol, rtol, elements, directions, coordinates, together)
    rng = generator("gradcheck", _STREAM, seed)
    settings = f"seed {seed}, eps {eps:g}, atol {atol:g}, rtol {rtol:g}"
    arguments, leaves = collected("gradcheck", inputs, parameters)
    with borrowed(leaves.values()):
        try:
            rows = _compare(lambda: fn(*arguments), leaves, comparison, rng)
        except Misconduct as problem:
            raise GradcheckError(GradcheckReport((), settings, str(problem))) from None
    report = GradcheckReport(tuple(rows), settings)
    if not report.ok:
        raise GradcheckError(report)
    return report


def _compare(
    forward: Callable[[], Any],
    leaves: Mapping[str, Tensor],
    comparison: Comparison,
    rng: np.random.Generator,
) -> list[InputReport]:
    objective = Objective(forward, leaves, rng)
    rows = comparison.of(objective, rng)
    if all(row.ok for row in rows) and any(row.kinks for row in rows):
        objective.shift({name: aside(x, rng) for name, x in objective.point.items()})
        rows += [replace(row, name=f"{row.name}, aside") for row in comparison.of(objective, rng)]
    return rows
