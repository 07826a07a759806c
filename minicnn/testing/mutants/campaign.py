"""A whole run: mutants made, checks recorded, each mutant tried."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence

from .equivalents import stale
from .mutant import Mutant
from .record import record
from .report import Report
from .runner import Outcome, run
from .settings import Settings
from .suite import load_suite
from .target import Targets

__all__ = ["campaign", "sampled"]


def campaign(
    settings: Settings,
    *,
    sample: int | None = None,
    seed: int = 0,
    jobs: int | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Report:
    """Run the mutants of the targets, or a sample of them, against the suite.

    Parameters
    ----------
    settings : Settings
    sample : int, optional
        How many mutants to draw; default all.
    seed : int
        Of the draw.
    jobs : int, optional
        Children at a time; default the CPUs this process may run on.
    progress : callable, optional
        Called with what is being done, and how many of how many mutants have been.

    Raises
    ------
    RuntimeError
        If a check fails with nothing mutated.
    """
    start = time.perf_counter()
    jobs = jobs or _cpus()
    progress("making mutants", 0, 1)
    checks = load_suite(settings.suite)
    targets = Targets.of(settings.targets, settings.exclude)
    mutants = sampled(targets.mutants, sample, seed)
    progress(f"recording {len(checks):,} checks", 0, len(mutants))
    recorded = record(checks, targets, jobs)
    outcomes: list[Outcome] = []
    for outcome in run(mutants, targets, recorded, jobs):
        outcomes.append(outcome)
        progress("killing mutants", len(outcomes), len(mutants))
    order = {mutant.id: i for i, mutant in enumerate(mutants)}
    outcomes.sort(key=lambda outcome: order[outcome.mutant.id])
    wrong = stale(settings.equivalents, targets.mutants, outcomes)
    return Report(tuple(outcomes), len(checks), settings.equivalents, wrong, time.perf_counter() - start)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sampled(mutants: Sequence[Mutant], count: int | None, seed: int) -> list[Mutant]:
    """Draw `count` of the mutants, in their order; None takes all."""
    if count is None or count >= len(mutants):
        return list(mutants)
    return [mutants[i] for i in sorted(random.Random(seed).sample(range(len(mutants)), count))]
