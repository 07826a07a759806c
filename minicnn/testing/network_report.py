"""What the check of a whole network found, as values and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .derivative import Finding
from .report import table

__all__ = ["DirectionReport", "NetworkReport"]


@dataclass(frozen=True)
class DirectionReport:
    """How the derivative along one direction compares.

    Attributes
    ----------
    name : str
        "together 1" and so on, or the first of the tensors that move.
    tensors : int
        How many move.
    elements : int
        How many of their elements.
    finding : Finding
    seen : float
        The least relative error of any one tensor's part that would have been seen; the largest of these.  0
        in a direction in which all move together.
    faint : tuple of str
        Tensors that contribute less than what is tolerated, and are left out of `seen`: that their derivative
        is as small as backward says is checked, but no more.
    """

    name: str
    tensors: int
    elements: int
    finding: Finding
    seen: float = 0.0
    faint: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """|analytic − numeric|, relative to the larger of them."""
        largest = max(abs(self.finding.analytic), abs(self.finding.numeric))
        return self.finding.error / largest if largest else 0.0


@dataclass(frozen=True)
class NetworkReport:
    """The outcome of :func:`~minicnn.testing.check_network`; ``str()`` of it is a table.

    Attributes
    ----------
    model : str
    images, tensors, parameters : int
        Of the batch; how many parameter tensors there are, and numbers in them.
    loss : float
    rows : tuple of DirectionReport
    kinks : int
        ReLU inputs and max-pool outputs in one evaluation.
    crossed : int
        Those that the first direction's step takes to another side.
    plain_error : float
        The relative error of the first direction's difference if the kinks are not held.
    seconds : float
    settings : str
    wrong : tuple of str
        The tensors found wrong, or the directions where it is none alone.
    problem : str or None
        What keeps the network from being checked at all.
    """

    model: str
    images: int
    tensors: int
    parameters: int
    settings: str
    loss: float = 0.0
    rows: tuple[DirectionReport, ...] = ()
    kinks: int = 0
    crossed: int = 0
    plain_error: float = 0.0
    seconds: float = 0.0
    wrong: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Whether all gradients are right."""
        return self.problem is None and not self.wrong

    @property
    def worst(self) -> float:
        """The largest relative error of the directions whose derivative is not faint."""
        return max((row.error for row in self.rows if row.finding.verdict.value != "faint"), default=0.0)

    @property
    def seen(self) -> float:
        """The relative error of any tensor's part that would have been seen, faint ones excepted."""
        return max((row.seen for row in self.rows), default=0.0)

    @property
    def faint(self) -> tuple[str, ...]:
        """The tensors whose derivative is as good as 0."""
        return tuple(name for row in self.rows for name in row.faint)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures in a form that ``json.dumps`` takes."""
        verdicts = [row.finding.verdict.value for row in self.rows]
        return {
            "ok": self.ok,
            "images": self.images,
            "tensors": self.tensors,
            "parameters": self.parameters,
            "loss": self.loss,
            "directions": len(self.rows),
            "worst_relative_error": self.worst,
            "verdicts": {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
            "least_error_seen_in_every_tensor": self.seen,
            "faint_tensors": len(self.faint),
            "kinks": self.kinks,
            "kinks_crossed_by_the_step": self.crossed,
            "relative_error_with_kinks_not_held": self.plain_error,
            "seconds": round(self.seconds, 1),
            "settings": self.settings,
            **({"problem": self.problem} if self.problem else {}),
            **({"wrong": list(self.wrong)} if self.wrong else {}),
        }

    def __str__(self) -> str:
        lines = [f"gradcheck: {self._headline()} ({self.settings})"]
        if self.rows:
            lines += table([_HEADINGS, *map(_cells, self.rows)])
            lines += [
                f"{self.model}: {self.images} images, {self.tensors:,} tensors of {self.parameters:,} "
                f"parameters, {self.seconds:.1f} s",
                f"kinks: {self.crossed:,} of {self.kinks:,} are crossed by the first direction's step; were they "
                f"not held, the difference would be off by {self.plain_error:.1e}",
            ]
        if self.faint:
            lines.append(f"no larger than what is tolerated, as they should be: {', '.join(self.faint)}")
        return "\n".join(lines)

    def _headline(self) -> str:
        if self.problem is not None:
            return self.problem
        return (
            f"wrong gradient for {', '.join(self.wrong)}"
            if self.wrong
            else "all gradients agree with differences"
        )


_HEADINGS = ("direction", "tensors", "elements", "analytic", "numeric", "rel. error", "sees", "verdict")


def _cells(row: DirectionReport) -> tuple[str, ...]:
    finding = row.finding
    return (
        row.name,
        f"{row.tensors:,}",
        f"{row.elements:,}",
        f"{finding.analytic:.10g}",
        f"{finding.numeric:.10g}",
        f"{row.error:.1e}",
        f"{row.seen:.0e}" if row.seen else "–",
        finding.verdict.value,
    )
