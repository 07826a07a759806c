"""Backward's gradients beside differences, input by input.

A small input is checked along each of its elements.  A big one is checked along random directions, in which
every element has a part, and along a few elements alone.

How sure is a direction?  Let one element in n have a derivative that is off by the part ρ of the others'
size.  Along a normal direction the derivative is then off by ρ·|ξ|/(√n·|ξ′|) of itself, ξ and ξ′ normal,
and this stays below a tolerance r with probability (2/π)·arctan(r·√n/ρ).  For n = 10⁶, ρ = 1 % and r = 10⁻⁶
that is 6 %, and in four directions 1.6·10⁻⁵.  (A few elements alone hardly ever meet it: they are there for
what a direction has at a kink, where it proves little, and to name an element.)

Most derivatives agree at the first step.  Those that do not are suspects, and swept, the worst first; the
first one proved wrong settles the matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .derivative import Finding, Tolerance, Verdict, glance, judge
from .directions import (
    Directions,
    all_elements,
    along_element,
    along_part,
    every_element,
    random_directions,
    random_elements,
)
from .objective import Direction, DirectionLine, Move, Objective
from .report import InputReport

__all__ = ["Comparison"]


@dataclass(frozen=True)
class Comparison:
    """How to compare: :func:`~minicnn.testing.gradcheck`'s arguments of these names."""

    eps: float
    atol: float
    rtol: float
    elements: int
    directions: int
    coordinates: int
    together: int

    def __post_init__(self) -> None:
        if not 0 < self.eps < 1:
            raise ValueError(f"gradcheck: eps must be above 0 and below 1, got {self.eps}")
        if not 0 <= self.atol < np.inf:
            raise ValueError(f"gradcheck: atol must be at least 0 and finite, got {self.atol}")
        if not 0 <= self.rtol < 1:
            raise ValueError(f"gradcheck: rtol must be at least 0 and below 1, got {self.rtol}")
        for name in ("elements", "directions", "coordinates", "together"):
            if getattr(self, name) < 0:
                raise ValueError(f"gradcheck: {name} must be at least 0, got {getattr(self, name)}")
        if self.directions + self.coordinates + self.together == 0:
            raise ValueError("gradcheck: directions, coordinates and together must not all be 0")

    def of(self, objective: Objective, rng: np.random.Generator) -> list[InputReport]:
        """Compare the gradient of every leaf."""
        rows = [self._leaf(objective, name, rng) for name in objective.leaves]
        if self.together:
            directions = random_directions(objective.point, objective.leaves, self.together, rng)
            findings, proof = self._findings(objective, directions)
            rows.append(_row("together", (), f"{self.together} directions", findings, proof))
        return rows

    def _leaf(self, objective: Objective, name: str, rng: np.random.Generator) -> InputReport:
        point, shape = objective.point, objective.point[name].shape
        if point[name].size <= self.elements:
            directions = every_element(point, name)
            how = f"all {len(directions)} elements"
        else:
            directions = random_directions(point, [name], self.directions, rng)
            directions |= random_elements(point, name, self.coordinates, rng)
            how = f"{self.directions} directions, {len(directions) - self.directions} elements"
        findings, proof = self._findings(objective, directions)
        if proof is None and any(f.verdict is Verdict.KINK for f in findings) and point[name].size > 1:
            # At a tie each element alone may have any share of the gradient; all of them together may not.
            directions = all_elements(point, name)
            directions |= random_directions(point, [name], self.directions, rng)
            joint, proof = self._findings(objective, directions)
            findings += joint if proof else []
        if proof is not None and isinstance(proof.at, str):
            proof = self._located(objective, *directions[proof.at]) or proof
        return _row(name, shape, how, findings, proof, objective.gradients[name] is None)

    def _findings(self, objective: Objective, directions: Directions) -> tuple[list[Finding], Finding | None]:
        """Compare along all directions; also return the proof that the gradient is wrong, if there is one."""
        found = {at: self._glance(objective, at, direction) for at, direction in directions.items()}
        suspects = sorted((f for f in found.values() if not f.verdict.ok), key=_badness, reverse=True)
        for at in (suspect.at for suspect in suspects):
            found[at] = self._judge(objective, found[at], directions[at])
            if not found[at].verdict.ok:
                return list(found.values()), found[at]
        return list(found.values()), None

    def _glance(self, objective: Objective, at: object, direction: Direction) -> Finding:
        return glance(at, DirectionLine(objective, direction), self.eps, Tolerance(self.atol, self.rtol))

    def _judge(self, objective: Objective, suspect: Finding, direction: Direction) -> Finding:
        return judge(suspect, DirectionLine(objective, direction), Tolerance(self.atol, self.rtol))

    def _located(self, objective: Objective, move: Move) -> Finding | None:
        """Find a wrong element: halve a direction that disagrees, and keep the half that disagrees more."""

        def disagreement(elements: np.ndarray) -> float:
            part = along_part(move, elements)
            return _badness(self._glance(objective, "part", (part,))) * float(np.linalg.norm(part.values))

        support = np.arange(move.values.size)
        while support.size > 1:
            support = max(np.array_split(support, 2), key=disagreement)
        at = tuple(int(i) for i in np.unravel_index(support[0], move.values.shape))
        direction = along_element(objective.point, move.name, at)
        finding = self._judge(objective, self._glance(objective, at, direction), direction)
        return None if finding.verdict.ok else finding


def _row(
    name: str,
    shape: tuple[int, ...],
    how: str,
    findings: list[Finding],
    proof: Finding | None,
    no_gradient: bool = False,
) -> InputReport:
    verdicts = [finding.verdict for finding in findings]
    return InputReport(
        name,
        shape,
        how,
        count=len(findings),
        worst=proof or max(findings, key=_badness, default=None),
        kinks=verdicts.count(Verdict.KINK),
        artefacts=verdicts.count(Verdict.ARTEFACT),
        faint=verdicts.count(Verdict.FAINT),
        wrong=sum(not verdict.ok for verdict in verdicts),
        no_gradient=no_gradient,
    )


def _badness(finding: Finding) -> float:
    """Return the error, and infinity for NaN: for sorting."""
    return np.inf if np.isnan(finding.error) else finding.error
