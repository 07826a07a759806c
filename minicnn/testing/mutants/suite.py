"""The checks that mutants are run against.

A suite is a function without arguments that returns pairs (name, check): a check is a function without arguments that
raises where something is wrong.  Small checks are best, each of one thing: the cheapest are tried first.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .target import import_file

__all__ = ["Check", "load_suite"]


class Check(NamedTuple):
    """A test by name."""

    name: str
    run: Callable[[], Any]


def load_suite(name: str) -> list[Check]:
    """Return the checks of a suite given as ``module:function`` or ``path/to/file.py:function``.

    Raises
    ------
    ValueError
        If there is no such function, or it gives no checks.
    """
    source, _, function = name.rpartition(":")
    if source.endswith(".py"):
        module = import_file(Path(source))
    elif source:
        if "" not in sys.path:
            sys.path.insert(0, "")
        module = importlib.import_module(source)
    else:
        raise ValueError(
            "mutants: --suite, or suite in [tool.minicnn.mutants] of pyproject.toml, must be MODULE:FUNCTION or "
            f"FILE.py:FUNCTION, got {name!r}"
        )
    if not callable(getattr(module, function, None)):
        raise ValueError(f"mutants: the suite {source} has no function {function!r}")
    checks = [Check(*check) for check in getattr(module, function)()]
    if not checks:
        raise ValueError(f"mutants: the suite {name} must have at least one check, got none")
    return checks
