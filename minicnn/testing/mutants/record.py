"""Which functions each check executes, and how long it takes: found out once, by running them all unchanged."""

from __future__ import annotations

import ast
import builtins
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import CodeType

from .fork import Died, in_children
from .generate import code_of, first_line
from .mutant import Place
from .sites import functions
from .suite import Check
from .target import Targets

__all__ = ["Recorded", "record"]

_EXECUTED = "__executed__"


@dataclass(frozen=True)
class Recorded:
    """A check, and what it did when nothing was mutated."""

    check: Check
    seconds: float
    executed: frozenset[Place]


def record(checks: Sequence[Check], targets: Targets, jobs: int) -> list[Recorded]:
    """Run all checks, in children, and note which of the targets' functions they execute; the quickest come first.

    Raises
    ------
    RuntimeError
        If a check fails: with nothing mutated, all must pass.
    """
    codes = {place: code for name in targets.sources for place, code in _noting(name, targets).items()}
    shares = [checks[i::jobs] for i in range(jobs)]
    found = []
    for i, rows in in_children([partial(_watch, share, targets, codes) for share in shares], jobs):
        if isinstance(rows, Died):
            raise RuntimeError(f"mutants: the checks, with nothing mutated, ended with status {rows.status}")
        found += [Recorded(check, *row) for check, row in zip(shares[i], rows, strict=True)]
    return sorted(found, key=lambda row: row.seconds)


def _noting(file: str, targets: Targets) -> dict[Place, CodeType]:
    """Return the code of a file's functions, changed to note that they are executed."""
    tree = ast.parse(targets.sources[file])
    nodes = {(file, name, first_line(function)): function for name, function, _ in functions(tree)}
    places = [place for place in nodes if place in targets.functions]
    for place in places:
        nodes[place].body[:0] = ast.parse(f"{_EXECUTED}.add({place!r})").body
    module = compile(ast.fix_missing_locations(tree), file, "exec")
    return {place: code_of(module, *place[1:]) for place in places}


def _watch(
    checks: Sequence[Check], targets: Targets, codes: dict[Place, CodeType]
) -> list[tuple[float, frozenset[Place]]]:
    executed: set[Place] = set()
    setattr(builtins, _EXECUTED, executed)  # where every module finds it; this process is a child
    with targets.running(codes):
        return [_watched(check, executed) for check in checks]


def _watched(check: Check, executed: set[Place]) -> tuple[float, frozenset[Place]]:
    executed.clear()
    start = time.perf_counter()
    try:
        check.run()
    except BaseException as error:
        raise RuntimeError(
            f"mutants: the check {check.name!r} fails with nothing mutated: {error}"
        ) from error
    return time.perf_counter() - start, frozenset(executed)
