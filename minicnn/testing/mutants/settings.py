"""What is mutated and how it is checked: from the command line, or from ``pyproject.toml``.

In the folder where the command is given::

    [tool.minicnn.mutants]
    targets = ["mypackage/layers", "mypackage/windows.py"]    # files and folders
    suite = "tests/mutation_suite.py:checks"                  # or module:function
    equivalents = "tests/equivalent_mutants.toml"             # optional
    exclude = ["cost", "describe"]                            # optional: functions and methods to leave alone
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .equivalents import load_equivalents

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What to mutate, the suite to run, which mutants nothing can kill, with the reasons, and what to leave alone."""

    targets: tuple[Path, ...]
    suite: str
    equivalents: dict[str, str]
    exclude: frozenset[str] = frozenset()

    @classmethod
    def of(cls, targets: list[str], suite: str | None, folder: Path = Path()) -> Settings:
        """Return the settings given, and for those that are not, the ones of the folder's ``pyproject.toml``.

        Raises
        ------
        ValueError
            If neither names targets.
        """
        table = _table(folder / "pyproject.toml")
        paths = [Path(t) for t in targets] or [folder / t for t in table.get("targets", [])]
        if not paths:
            raise ValueError(
                "mutants: name targets, or put targets into [tool.minicnn.mutants] of pyproject.toml; got none"
            )
        suite = suite or str(table.get("suite", ""))
        listed = table.get("equivalents")
        equivalents = load_equivalents(folder / listed) if listed else {}
        return cls(tuple(paths), suite, equivalents, frozenset(table.get("exclude", [])))


def _table(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("minicnn", {})
    return table.get("mutants", {})
