"""Is what backward returns the gradient of anything?  Then its Jacobian is symmetric.

Let g(x) be the vector that backward returns at x.  A vector field is the gradient of some function, in a region without
holes, **if and only if** its Jacobian is symmetric: ∂gᵢ/∂xⱼ = ∂²φ/∂xᵢ∂xⱼ = ∂gⱼ/∂xᵢ, and the other way round by
Poincaré's lemma.  So for any two vectors

    ⟨u, Hv⟩ = ⟨v, Hu⟩

where Hv is the change of backward's own g along v (:mod:`~minicnn.testing.hvp`).  The values of the forward pass are
never looked at: backward is held to itself, and so a first-order check and this one do not fail for the same reasons.

What it sees: terms dropped or computed from wrong arrays, windows not mirrored, gradients that belong to another
parameter.  A whole layer's gradient scaled by 1.01 shows as well where there are parameters *behind* it: theirs is not
scaled, and the block of H between the two is then asymmetric.

What it cannot see is a wrong gradient that is the gradient of something else: all of g scaled by a constant, a constant
added, an elementwise function alone (its Jacobian is diagonal, whatever is on the diagonal), or a linear one alone
(H = 0).  Therefore it comes beside :func:`~minicnn.testing.gradcheck` and does not replace it.

At a kink the gradient jumps and has no derivative.  A kink a little way off is no harm: a step that does not reach it
decides.  One exactly at x has the verdict "unresolved", a failure, for nothing could be proved there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tensor import Tensor
from .derivative import Tolerance, Verdict
from .directions import random_directions
from .hvp import difference, extrapolated, not_finite, reach
from .leaves import borrowed, collected, generator
from .objective import Direction, Misconduct, Objective
from .report import GradcheckError, table

__all__ = ["PairReport", "SymmetryReport", "check_symmetry"]

_KNOWN = 1e-4
"""A product is known when its error is at most this part of it …"""

_NOTHING = 1e-6
"""… plus this part of φ's terms: u and v are as large as x, so that H's part is a change which φ hardly shows."""

_STREAM = 31416  # any number: what is drawn here must not come back where the caller draws with the same seed


@dataclass(frozen=True)
class PairReport:
    """How ⟨u, Hv⟩ and ⟨v, Hu⟩ compare.

    Attributes
    ----------
    name : str
        "pair 1" and so on, where everything moves; "a × b" for the block of H between two tensors.
    uhv, vhu : float
    error : float
        How far each may be off.
    verdict : Verdict
        AGREES; FAINT where both are as good as 0; MISMATCH; UNRESOLVED where the gradient's differences converge to
        nothing.
    """

    name: str
    uhv: float
    vhu: float
    error: float
    verdict: Verdict

    @property
    def asymmetry(self) -> float:
        """|⟨u, Hv⟩ − ⟨v, Hu⟩|, relative to the larger of them."""
        largest = max(abs(self.uhv), abs(self.vhu))
        return abs(self.uhv - self.vhu) / largest if largest else 0.0


@dataclass(frozen=True)
class SymmetryReport:
    """The outcome of :func:`check_symmetry`; ``str()`` of it is a table.

    Attributes
    ----------
    pairs : tuple of PairReport
        One a pair of random vectors; then, if they disagree, the asymmetric blocks of several tensors, the worst first.
    settings : str
    problem : str or None
        What keeps fn from being checked at all.
    """

    pairs: tuple[PairReport, ...]
    settings: str
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Whether all pairs agree."""
        return self.problem is None and all(pair.verdict.ok for pair in self.pairs)

    def __str__(self) -> str:
        lines = [f"check_symmetry: {self._headline()} ({self.settings})"]
        if self.pairs:
            lines += table([_HEADINGS, *map(_cells, self.pairs)])
        return "\n".join(lines)

    def _headline(self) -> str:
        if self.problem is not None:
            return self.problem
        verdicts = {pair.verdict for pair in self.pairs}
        if Verdict.MISMATCH in verdicts:
            return "what backward returns is no gradient, its Jacobian is not symmetric"
        if Verdict.UNRESOLVED in verdicts:
            return "the gradient's differences converge at no step size; does it jump here, at a kink of fn?"
        return "the gradient's Jacobian is symmetric"


def check_symmetry(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    parameters: Mapping[str, Tensor] | Iterable[Tensor] = (),
    pairs: int = 2,
    rtol: float = 1e-6,
    seed: int = 0,
) -> SymmetryReport:
    """Hold the Jacobian of the gradient that backward returns to being symmetric, as any gradient's is.

    Parameters
    ----------
    fn : callable
        Called as ``fn(*inputs)``; returns a Tensor or a tuple of them, of which a random cotangent makes one number.
    inputs : sequence, or one array or Tensor
        As :func:`~minicnn.testing.gradcheck` takes them.
    parameters : mapping of str to Tensor, or iterable of Tensors
        Tensors that fn uses without being passed them.  The more tensors, the more is seen.
    pairs : int
        How many pairs of random vectors u and v over all inputs and parameters.
    rtol : float
        The two products a and b agree if |a − b| ≤ rtol·max(|a|, |b|) + the errors of the differences.
    seed : int
        Of the cotangent and the vectors.

    Returns
    -------
    SymmetryReport

    Raises
    ------
    GradcheckError
        If the Jacobian is not symmetric, or the gradient has no derivative there, or fn is not deterministic, not
        finite, or changes its inputs.  Its message is the report, and so is its attribute ``report``.
    TypeError, ValueError
        If the arguments make no sense.

    Notes
    -----
    Sixteen gradients a pair where fn is smooth.  To name the asymmetric blocks, another sixteen a tensor.

    Examples
    --------
    >>> from minicnn import functional as F
    >>> x, w = np.random.default_rng(0).normal(size=(2, 3, 3))
    >>> report = check_symmetry(lambda x, w: F.softmax(x @ w, 1), (x, w))
    >>> [pair.verdict.value for pair in report.pairs]
    ['agrees', 'agrees']
    """
    if not isinstance(pairs, int) or pairs < 1:
        raise ValueError(f"check_symmetry: pairs must be an int of at least 1, got {pairs}")
    if not 0 <= rtol < 1:
        raise ValueError(f"check_symmetry: rtol must be at least 0 and below 1, got {rtol}")
    rng = generator("check_symmetry", _STREAM, seed)
    settings = f"seed {seed}, rtol {rtol:g}"
    arguments, leaves = collected("check_symmetry", inputs, parameters)
    with borrowed(leaves.values()):
        try:
            objective = Objective(lambda: fn(*arguments), leaves, rng, "check_symmetry")
            rows = _Symmetry(objective, rtol).rows(pairs, rng)
        except Misconduct as problem:
            raise GradcheckError(SymmetryReport((), settings, str(problem))) from None
    report = SymmetryReport(tuple(rows), settings)
    if not report.ok:
        raise GradcheckError(report)
    return report


class _Symmetry:
    """Products with the Hessian of one objective, compared."""

    def __init__(self, objective: Objective, rtol: float) -> None:
        self.objective, self.tolerance = objective, Tolerance(0.0, rtol)
        self.gradients = objective.gradients_at((), 0.0)
        if problem := not_finite(self.gradients):
            raise Misconduct(problem)
        if not all(_same(objective.gradients[name], again) for name, again in self.gradients.items()):
            raise Misconduct("backward must be deterministic, two runs on the same input differ")
        self.terms = float(np.abs(objective.cotangent * objective.outputs).sum())

    def rows(self, pairs: int, rng: np.random.Generator) -> list[PairReport]:
        drawn = random_directions(self.objective.point, self.objective.leaves, 2 * pairs, rng)
        directions = list(drawn.values())
        rows = []
        for i in range(pairs):
            u, v = directions[2 * i : 2 * i + 2]
            rows.append(self._pair(f"pair {i + 1}", self._product(u, v), self._product(v, u)))
            if rows[-1].verdict is Verdict.MISMATCH:
                return rows + (self._blocks(u, v) if len(u) > 1 else [])
        return rows

    def _blocks(self, u: Direction, v: Direction) -> list[PairReport]:
        """Compare block by block, and return those that disagree."""
        uhv = [self._products(u, (move,)) for move in v]
        vhu = [self._products(v, (move,)) for move in u]
        names = [move.name for move in u]
        found = [
            self._pair(f"{names[i]} × {names[j]}", (uhv[j][0][i], uhv[j][1]), (vhu[i][0][j], vhu[i][1]))
            for i in range(len(names))
            for j in range(i, len(names))
        ]
        wrong = [pair for pair in found if pair.verdict is Verdict.MISMATCH]
        return sorted(wrong, key=lambda pair: pair.asymmetry, reverse=True)

    def _pair(self, name: str, uhv: tuple[float, float], vhu: tuple[float, float]) -> PairReport:
        a, b, error = float(uhv[0]), float(vhu[0]), max(uhv[1], vhu[1])
        largest, nothing = max(abs(a), abs(b)), _NOTHING * self.terms
        if not error <= _KNOWN * largest + nothing:
            verdict = Verdict.UNRESOLVED
        elif not self.tolerance.covers(a, b, 2 * error):
            verdict = Verdict.MISMATCH
        else:
            verdict = Verdict.FAINT if error > _KNOWN * largest else Verdict.AGREES
        return PairReport(name, a, b, error, verdict)

    def _product(self, left: Direction, right: Direction) -> tuple[float, float]:
        """Return ⟨left, H·right⟩ and how far it may be off."""
        value, error = self._limit(lambda t: self._dots(left, right, t).sum(), left, right)
        return float(value), error

    def _products(self, left: Direction, right: Direction) -> tuple[np.ndarray, float]:
        """Return ⟨left, H·right⟩ tensor by tensor of the left one, and how far they may be off."""
        return self._limit(lambda t: self._dots(left, right, t), left, right)

    def _limit(
        self, differences: Callable[[float], np.ndarray], left: Direction, right: Direction
    ) -> tuple[np.ndarray, float]:
        magnitude = sum(float(np.abs(move.values * self.gradients[move.name]).sum()) for move in left)
        return extrapolated(differences, reach(self.objective, right), magnitude + self.terms)

    def _dots(self, left: Direction, right: Direction, t: float) -> np.ndarray:
        changes = difference(self.objective, right, t)
        return np.array([np.vdot(move.values, changes[move.name]) for move in left])


def _same(gradient: np.ndarray | None, again: np.ndarray) -> bool:
    return not again.any() if gradient is None else np.array_equal(gradient, again)


_HEADINGS = ("vectors", "⟨u, Hv⟩", "⟨v, Hu⟩", "rel. difference", "known to", "verdict")


def _cells(pair: PairReport) -> tuple[str, ...]:
    return (
        pair.name,
        f"{pair.uhv:.10g}",
        f"{pair.vhu:.10g}",
        f"{pair.asymmetry:.1e}",
        f"{pair.error:.1e}",
        pair.verdict.value,
    )
