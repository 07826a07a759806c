"""What is each property worth?  A sample of the mutants, against the checks of one property at a time.

The suite stops at the first check that fails; here every property has its say on every mutant.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

import record

from minicnn.testing import PROPERTIES
from minicnn.testing.mutants.campaign import sampled
from minicnn.testing.mutants.record import record as recorded_checks
from minicnn.testing.mutants.runner import run
from minicnn.testing.mutants.settings import Settings
from minicnn.testing.mutants.suite import load_suite
from minicnn.testing.mutants.target import Targets

ROOT = Path(__file__).parents[1]
OTHERS = "further tests"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=200, help="how many mutants")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    settings = Settings.of([], None)
    targets = Targets.of(settings.targets, settings.exclude)
    mutants = [m for m in targets.mutants if m.id not in settings.equivalents]
    mutants = sampled(mutants, arguments.sample, arguments.seed)
    jobs = len(os.sched_getaffinity(0))
    rows = recorded_checks(load_suite(settings.suite), targets, jobs)
    caught: dict[str, set[str]] = {}
    for name in (*PROPERTIES, OTHERS):
        start = time.perf_counter()
        outcomes = run(mutants, targets, [row for row in rows if property_of(row.check.name) == name], jobs)
        caught[name] = {outcome.mutant.id for outcome in outcomes if outcome.killer}
        print(name, len(caught[name]), f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    command = f"python benchmarks/mutants_by_property.py --sample {arguments.sample} --seed {arguments.seed}"
    record.write(
        "mutants_by_property", figures(caught, [row.check.name for row in rows], len(mutants)), command
    )


def property_of(check: str) -> str:
    """The property that a check of the suite is about, by its name."""
    last = check.rpartition(": ")[2]
    return last if last in PROPERTIES else OTHERS


def figures(caught: dict[str, set[str]], checks: list[str], mutants: int) -> dict:
    """For each property: its checks, the mutants it catches, and those that nothing else catches."""
    times = Counter(mutant for found in caught.values() for mutant in found)
    sizes = Counter(map(property_of, checks))
    return {
        "mutants": mutants,
        "caught": len(times),
        "properties": {
            name: {
                "checks": sizes[name],
                "caught": len(found),
                "alone": sum(times[mutant] == 1 for mutant in found),
            }
            for name, found in caught.items()
        },
    }


if __name__ == "__main__":
    main()
