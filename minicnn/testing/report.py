"""What gradcheck found, as values to inspect and as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .derivative import Finding, Verdict

__all__ = ["GradcheckError", "GradcheckReport", "InputReport", "table"]


@dataclass(frozen=True)
class InputReport:
    """How one input's gradient compares.

    Attributes
    ----------
    name : str
    shape : tuple of int
    how : str
        What was compared: every element, or random directions and sampled elements.
    count : int
        Derivatives compared.
    worst : Finding or None
        The finding that decides: a failure where there is one, else the largest error.  None if nothing was
        compared.
    kinks, artefacts, faint : int
        Accepted at a kink, at another step size than the first, and for being as small as rounding.
    wrong : int
        Derivatives that disagree at the first step and are not explained.  When the worst of them is proved
        wrong, the others are counted without a sweep of their own.
    no_gradient : bool
        Whether backward left None.
    """

    name: str
    shape: tuple[int, ...]
    how: str
    count: int
    worst: Finding | None
    kinks: int = 0
    artefacts: int = 0
    faint: int = 0
    wrong: int = 0
    no_gradient: bool = False

    @property
    def verdict(self) -> Verdict:
        """The failure's if there is one, else that the gradient agrees, or is faint throughout."""
        if self.worst is not None and not self.ok:
            return self.worst.verdict
        return Verdict.FAINT if 0 < self.count == self.faint else Verdict.AGREES

    @property
    def ok(self) -> bool:
        """Whether every derivative compared is accepted."""
        return self.wrong == 0


@dataclass(frozen=True)
class GradcheckReport:
    """The outcome of a gradient check; ``str()`` of it is a table.

    Attributes
    ----------
    inputs : tuple of InputReport
        One an input and parameter; where kinks were met, the same again for a point a little aside.  Empty if
        fn misbehaved before anything could be compared.
    settings : str
        Seed, step and tolerances.
    problem : str or None
        What keeps fn from being checked at all.
    """

    inputs: tuple[InputReport, ...]
    settings: str
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Whether all gradients are right."""
        return self.problem is None and all(row.ok for row in self.inputs)

    def __str__(self) -> str:
        lines = [f"gradcheck: {self._headline()} ({self.settings})"]
        if self.inputs:
            lines += table([_HEADINGS, *(_cells(row) for row in self.inputs)])
        return "\n".join([*lines, *(note for row in self.inputs for note in _notes(row))])

    def _headline(self) -> str:
        if self.problem is not None:
            return self.problem
        bad = [row.name for row in self.inputs if not row.ok]
        return f"wrong gradient for {', '.join(bad)}" if bad else "all gradients agree with differences"


class GradcheckError(AssertionError):
    """A gradient is wrong, or the function cannot be checked; the message is the report.

    Attributes
    ----------
    report : GradcheckReport or NetworkReport
    """

    def __init__(self, report: Any) -> None:
        super().__init__(str(report))
        self.report = report


_HEADINGS = (
    "input", "shape", "checked", "worst at", "analytic", "numeric", "error", "kinks", "artefacts", "verdict",
)  # fmt: skip


def _cells(row: InputReport) -> tuple[str, ...]:
    worst = row.worst
    measured = ("–",) * 4
    if worst is not None:
        measured = (
            str(worst.at),
            "None" if row.no_gradient else f"{worst.analytic:.10g}",
            f"{worst.numeric:.10g}",
            f"{worst.error:.1e}",
        )
    return row.name, str(row.shape), row.how, *measured, str(row.kinks), str(row.artefacts), row.verdict.value


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table, its columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _notes(row: InputReport) -> list[str]:
    counted = {
        "wrong": row.wrong,
        "at a kink, between the one-sided derivatives: accepted": row.kinks,
        "right at another step size than the first: accepted": row.artefacts,
        "too faint against the outputs' rounding to be told from 0: accepted": row.faint,
    }
    notes = [f"{row.name}: {count} of {row.count} {what}" for what, count in counted.items() if count]
    if row.verdict is Verdict.UNRESOLVED:
        notes.append(f"{row.name}: differences converge at no step size; does fn jump, or leave float64?")
    return notes
