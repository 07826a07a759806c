"""Mutants against checks: each in a child of its own, until one check fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from .fork import Died, alarm, in_children
from .mutant import Mutant, Place
from .record import Recorded
from .target import Targets

__all__ = ["Outcome", "run"]

_LENIENCE = 20  # times what a check took unmutated
_LEAST_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant.

    Attributes
    ----------
    mutant : Mutant
    killer : str or None
        The check that failed, or ``"time limit"`` or ``"crash"``; None for a survivor.
    checks : int
        How many checks execute the mutated function.
    """

    mutant: Mutant
    killer: str | None
    checks: int


def run(
    mutants: Sequence[Mutant], targets: Targets, recorded: Sequence[Recorded], jobs: int
) -> Iterator[Outcome]:
    """Run each mutant against the checks that execute its function, in their order; yield the outcomes as they come.

    A check may take 20 times its usual time and 5 seconds; a child may use 8 GB of memory.
    """
    executing: dict[Place, list[Recorded]] = {}
    for row in recorded:
        for place in row.executed:
            executing.setdefault(place, []).append(row)
    chosen = [executing.get(mutant.place, []) for mutant in mutants]
    trials = [partial(_trial, *trial, targets) for trial in zip(mutants, chosen, strict=True)]
    for i, killer in in_children(trials, jobs):
        if isinstance(killer, Died):
            killer = "time limit" if killer.overdue else "crash"
        yield Outcome(mutants[i], killer, len(chosen[i]))


def _trial(mutant: Mutant, recorded: Sequence[Recorded], targets: Targets) -> str | None:
    """Return the name of the first check that fails."""
    with targets.running({mutant.place: mutant.code}):
        for row in recorded:
            alarm(_LENIENCE * row.seconds + _LEAST_SECONDS)
            try:
                row.check.run()
            except BaseException:  # pytest's failures are none of Exception's
                return row.check.name
    return None
