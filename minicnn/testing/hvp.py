"""Second derivatives from first ones: products of the Hessian with a vector, by differences of the gradient.

Along x + t·v the gradient that backward returns is a vector g(t), and

    D(t) = (g(t) − g(−t)) / 2t  →  Hv,        H = ∂²φ/∂x∂x,

with an error of t²·g‴/6 where g is smooth.  A Richardson step takes it away, R(t) = (16·D(t/4) − D(t)) / 15.  Steps are
taken from long to short: three neighbouring R, which span a factor of 64 in t, differ by what is left of the error, and
the trio that differs least gives the limit.  (:mod:`~minicnn.testing.derivative` does the same for numbers.)  The sweep
ends as soon as a limit is known well enough; only differences decide that, whatever they are to be compared with.

A gradient that jumps, as a ReLU's does at 0, has no such limit: there D(t) grows like 1/t.  If the jump is a little way
off, the steps short enough not to reach it converge.

Cost: eight gradients a product where φ is smooth, 24 where the last step is needed.

References
----------
B. A. Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 6(1), 1994: the difference, and the
exact derivative that can take its place where backward itself is differentiable, as it is not here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..tensor import Tensor
from .directions import root_mean_square
from .leaves import borrowed, collected
from .objective import Direction, Misconduct, Move, Objective
from .report import GradcheckError

__all__ = ["HessianProduct", "difference", "extrapolated", "hvp", "not_finite", "reach"]

_STEPS = 4.0 ** -np.arange(3, 15)
"""From 0.016 to 3.7e-9, relative to what moves."""

_ENOUGH = 1e-9
"""No shorter step is tried once the limit's error is at most this part of it."""

_ROUNDING = 4 * 2.0**-52
"""What each gradient is off by at the least, relative to itself."""


class HessianProduct(NamedTuple):
    """What :func:`hvp` returns.

    Attributes
    ----------
    products : tuple of arrays
        Hv, one array a vector, of its shape.
    error : float
        How far Hv may be off, all products together, as a Euclidean length.
    """

    products: tuple[np.ndarray, ...]
    error: float


def hvp(
    fn: Callable[..., Any],
    inputs: Any,
    vectors: Any,
    *,
    parameters: Mapping[str, Tensor] | Iterable[Tensor] = (),
) -> HessianProduct:
    """Multiply the Hessian of a function by a vector, without ever making the Hessian.

    Parameters
    ----------
    fn : callable
        Called as ``fn(*inputs)``; returns a Tensor of one number.
    inputs : sequence, or one array or Tensor
        As :func:`~minicnn.testing.gradcheck` takes them: the floating-point ones are what fn is differentiated by.
    vectors : sequence of arrays, or one array
        v: one array for each floating-point input and then each parameter, of its shape; None stands for zeros.
    parameters : mapping of str to Tensor, or iterable of Tensors
        Tensors that fn uses without being passed them.

    Returns
    -------
    HessianProduct
        Its ``products`` are in the order of the vectors.  Where the gradient jumps, ``error`` is as large as they are.

    Raises
    ------
    GradcheckError
        If fn is not deterministic, not finite, or changes its inputs.
    TypeError, ValueError
        If the arguments make no sense, or fn returns more than one number.

    Notes
    -----
    Ten gradients for a smooth function, 26 at the most.

    Examples
    --------
    x₀²·x₁ has the Hessian [[2x₁, 2x₀], [2x₀, 0]].

    >>> hv, error = hvp(lambda x: x[0] ** 2 * x[1], np.array([3.0, 5.0]), np.array([1.0, 0.0]))
    >>> np.round(hv[0], 9)
    array([10.,  6.])
    >>> bool(error < 1e-9)
    True
    """
    arguments, leaves = collected("hvp", inputs, parameters)
    moves = _moves(vectors, leaves)
    with borrowed(leaves.values()):
        try:
            objective = Objective(lambda: fn(*arguments), leaves, np.random.default_rng(0), "hvp")
        except Misconduct as problem:
            raise GradcheckError(f"hvp: {problem}") from None
        if objective.outputs.size != 1:
            raise ValueError(f"hvp: fn must return one number, got {objective.outputs.size}")
        objective.cotangent[...] = 1
        here = objective.gradients_at((), 0.0)
        if problem := not_finite(here):
            raise GradcheckError(f"hvp: {problem}")
        row, error = extrapolated(
            lambda t: _joined(difference(objective, moves, t)),
            scale=reach(objective, moves),
            magnitude=float(np.linalg.norm(_joined(here))),
        )
    pieces = np.split(row, np.cumsum([leaf.size for leaf in leaves.values()])[:-1])
    shaped = (piece.reshape(leaf.shape) for piece, leaf in zip(pieces, leaves.values(), strict=True))
    return HessianProduct(tuple(shaped), error)


def not_finite(gradients: Mapping[str, np.ndarray]) -> str | None:
    """Return the sentence that says which gradient is not finite, if one is not."""
    bad = [name for name, gradient in gradients.items() if not np.isfinite(gradient).all()]
    return f"backward's gradient of {bad[0]} must be finite, it has NaN or infinite elements" if bad else None


def difference(objective: Objective, direction: Direction, t: float) -> dict[str, np.ndarray]:
    """Return D(t), the gradient's central difference over the distance t along a direction, leaf by leaf."""
    behind, ahead = (objective.gradients_at(direction, s) for s in (-t, t))
    return {name: (ahead[name] - behind[name]) / (2 * t) for name in ahead}


def reach(objective: Objective, direction: Direction) -> float:
    """Return the t at which the first element has moved by as much as its tensor is large."""
    lengths = [(move, float(np.abs(move.values).max(initial=0.0))) for move in direction]
    return min(
        (root_mean_square(objective.point[m.name]) / length for m, length in lengths if length), default=1.0
    )


@np.errstate(all="ignore")  # where a step left φ's domain: NaN, which is no limit
def extrapolated(
    differences: Callable[[float], np.ndarray], scale: float, magnitude: float
) -> tuple[np.ndarray, float]:
    """Return the limit of D(t) for t → 0, and how far it may be off.

    Parameters
    ----------
    differences : callable
        D, a number or an array for each t.
    scale : float
        The unit of the steps.
    magnitude : float
        The size of what the differences are taken of: rounding is relative to it.

    Examples
    --------
    >>> value, error = extrapolated(lambda t: (np.exp(t) - np.exp(-t)) / (2 * t), scale=1.0, magnitude=1.0)
    >>> bool(abs(value - 1) <= error < 1e-9)
    True
    """
    refined: deque[np.ndarray] = deque(maxlen=3)
    here = differences(scale * _STEPS[0])
    limit, error = np.full_like(here, np.nan), np.inf
    for t in scale * _STEPS[1:]:
        before, here = here, differences(t)
        refined.append((16 * here - before) / 15)
        if len(refined) == 3:
            a, b, c = refined
            spread = max(np.linalg.norm(a - b), np.linalg.norm(b - c), np.linalg.norm(a - c))
            off = float(spread + _ROUNDING * magnitude / t)
            if off < error:
                limit, error = b, off
            if error <= _ENOUGH * float(np.linalg.norm(limit)):
                break
    return limit, error


def _moves(vectors: Any, leaves: Mapping[str, Tensor]) -> Direction:
    listed = [vectors] if isinstance(vectors, Tensor | np.ndarray) else vectors
    if not isinstance(listed, Sequence):
        raise TypeError(f"hvp: vectors must be a sequence, or one array, got {type(vectors).__name__}")
    if len(listed) != len(leaves):
        raise ValueError(f"hvp: there must be a vector for each of {', '.join(leaves)}, got {len(listed)}")
    moves = []
    for (name, leaf), vector in zip(leaves.items(), listed, strict=True):
        if vector is None:
            continue
        values = np.asarray(vector.data if isinstance(vector, Tensor) else vector)
        if values.dtype.kind not in "fiu":
            raise TypeError(f"hvp: the vector for {name} must be of real numbers, got {values.dtype}")
        if values.shape != leaf.shape:
            raise ValueError(
                f"hvp: the vector for {name} must have its shape {leaf.shape}, got {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"hvp: the vector for {name} must be finite, it has NaN or infinite elements")
        moves.append(Move(name, ..., values.astype(np.float64)))
    return tuple(moves)


def _joined(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays.values()])
