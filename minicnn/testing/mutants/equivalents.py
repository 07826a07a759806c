"""The list of mutants that no test can kill, each with the reason why.

A TOML file with a table a file and a line a mutant: the rest of its id, and why its results are the original's::

    ["mypackage/mean.py"]
    "mean flip a sign: 0 + x -> 0 - (-x) in return …" = "the same number"
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from .mutant import Mutant
from .runner import Outcome

__all__ = ["load_equivalents", "stale"]


def load_equivalents(path: Path) -> dict[str, str]:
    """Return the reasons by mutants' ids.

    Raises
    ------
    ValueError
        If an entry stands under no file, or has no reason.
    """
    found = {}
    for file, entries in tomllib.loads(path.read_text(encoding="utf-8")).items():
        if not isinstance(entries, dict):
            raise ValueError(f'mutants: {path}: {file!r} must stand in the table of a file, such as ["a.py"]')
        for change, reason in entries.items():
            if not isinstance(reason, str) or not reason.strip():
                raise ValueError(f"mutants: {path}: {change!r} must have a reason, got {reason!r}")
            found[f"{file}:{change}"] = reason
    return found


def stale(
    equivalents: dict[str, str], mutants: Sequence[Mutant], outcomes: Sequence[Outcome]
) -> dict[str, str]:
    """Return the entries of the list that are wrong, and what is wrong with each.

    Only entries of the files that the mutants are of are looked at.
    """
    files, known = {mutant.file for mutant in mutants}, {mutant.id for mutant in mutants}
    wrong = {
        name: "there is no such mutant"
        for name in equivalents
        if name.partition(":")[0] in files and name not in known
    }
    killed = {outcome.mutant.id: outcome.killer for outcome in outcomes if outcome.killer is not None}
    return wrong | {name: f"killed by {killed[name]}" for name in equivalents if name in killed}
