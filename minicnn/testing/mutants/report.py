"""What became of the mutants: numbers, a table, and each survivor's diff."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .runner import Outcome

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """The outcome of a run.

    Attributes
    ----------
    outcomes : tuple of Outcome
    checks : int
        How many the suite has.
    equivalents : dict
        Reasons by mutants' ids.
    stale : dict
        Entries of that list that are wrong, and why.
    seconds : float
    """

    outcomes: tuple[Outcome, ...]
    checks: int
    equivalents: dict[str, str]
    stale: dict[str, str]
    seconds: float

    @property
    def survivors(self) -> list[Outcome]:
        """Those no check killed, and that are not listed as equivalent."""
        return [row for row in self.outcomes if self.status(row) == "survived"]

    @property
    def ok(self) -> bool:
        """Whether nothing survived, and the list of equivalents is right."""
        return not self.survivors and not self.stale

    def status(self, outcome: Outcome) -> str:
        """Return ``"killed"``, ``"survived"`` or ``"equivalent"``."""
        if outcome.killer is not None:
            return "killed"
        return "equivalent" if outcome.mutant.id in self.equivalents else "survived"

    def as_dict(self) -> dict[str, Any]:
        """Return the figures in a form that ``json.dumps`` takes."""
        rows = self.outcomes
        return {
            "ok": self.ok,
            **self._counts(rows),
            "checks": self.checks,
            "seconds": round(self.seconds, 1),
            "by_file": self._grouped(lambda row: row.mutant.file),
            "by_operator": self._grouped(lambda row: row.mutant.operator),
            "killed_by": {how: sum(row.killer == how for row in rows) for how in ("time limit", "crash")},
            "survivors": [row.mutant.id for row in self.survivors],
            "stale": self.stale,
        }

    def _counts(self, rows: Iterable[Outcome]) -> dict[str, Any]:
        counts = Counter(map(self.status, rows))
        killed, survived, equivalent = (counts[s] for s in ("killed", "survived", "equivalent"))
        return {
            "mutants": killed + survived + equivalent,
            "killed": killed,
            "survived": survived,
            "equivalent": equivalent,
            "kill_rate": round(killed / max(killed + survived, 1), 4),
        }

    def _grouped(self, key: Callable[[Outcome], str]) -> dict[str, dict[str, Any]]:
        names = sorted({key(row) for row in self.outcomes})
        return {name: self._counts([row for row in self.outcomes if key(row) == name]) for name in names}

    def print(self, console: Console) -> None:
        """Print a line a file, then the survivors and what is wrong with the list of equivalents."""
        from rich.table import Table

        figures = self.as_dict()
        table = Table("file", *(heading for heading in _HEADINGS), box=None)
        for column in table.columns[1:]:
            column.justify = "right"
        for name, counts in figures["by_file"].items():
            table.add_row(name, *_cells(counts))
        table.add_section()
        files = len(figures["by_file"])
        table.add_row(f"{files} files, {self.checks:,} checks, {self.seconds:.0f} s", *_cells(figures))
        console.print(table)
        for row in self.survivors:
            console.print(f"\nsurvived {row.checks} checks: {row.mutant.id}", markup=False, highlight=False)
            console.print(row.mutant.diff(), markup=False, highlight=False)
        for name, why in self.stale.items():
            console.print(f"\nnot equivalent, {why}: {name}", markup=False, highlight=False)


_HEADINGS = ("mutants", "killed", "survived", "equivalent", "kill rate")


def _cells(counts: dict[str, Any]) -> list[str]:
    rate = f"{counts['kill_rate']:.1%}" if counts["mutants"] > counts["equivalent"] else "–"
    return [*(f"{counts[name]:,}" for name in _HEADINGS[:4]), rate]
