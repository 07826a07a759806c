"""What a benchmark leaves: where and with what it was measured, and every sample, in a form that JSON takes."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..backend.machine import cpu_name
from ..backend.parallel import get_num_threads
from .turns import Measured, Row

__all__ = ["record", "record_of", "rows_as_dicts"]

_SOURCE = Path(__file__).parents[1]


def record(rows: Sequence[Row], command: str, threads: int) -> dict[str, Any]:
    """Return the record of a run of the benchmark.

    Parameters
    ----------
    rows : sequence of Row
    command : str
        That was given.
    threads : int
        That every peer had.
    """
    versions: dict[str, str] = {}
    for row in rows:
        for measured in row.peers:
            versions |= measured.versions
    return record_of({"rows": rows_as_dicts(rows)}, command, threads, versions)


def record_of(
    results: Any, command: str, threads: int | None = None, versions: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the results of any measurement with all that belongs to them: command, day, commit, machine, versions.

    Examples
    --------
    >>> list(record_of({"answer": 42}, "python answer.py"))
    ['command', 'date', 'commit', 'machine', 'versions', 'results']
    """
    from .. import __version__

    own = {"minicnn": __version__, "python": platform.python_version(), "numpy": np.__version__}
    return {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": {
            "cpu": cpu_name(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "threads": threads or get_num_threads(),
        },
        "versions": {**own, **(versions or {})},
        "results": results,
    }


def rows_as_dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows with every sample, in milliseconds, and what follows from them."""
    return [
        {
            "model": row.model,
            "mode": row.mode,
            "batch": row.batch,
            "gflop": row.gflop,
            "sgemm_gflops": _rounded(row.limit_gflops) if row.limit.samples else None,
            "sgemm_samples_ms": _milliseconds(row.limit.samples),
            "peers": {measured.peer: _peer(row, measured) for measured in row.peers},
        }
        for row in rows
    ]


def _peer(row: Row, measured: Measured) -> dict[str, Any]:
    if not measured.samples:
        return {"void": measured.void}
    gflops = row.gflop / measured.median
    return {
        "samples_ms": _milliseconds(measured.samples),
        "median_ms": _rounded(measured.median * 1e3),
        "quartiles_ms": _milliseconds(measured.quartiles),
        "peak_mb": _rounded(measured.bytes / 1e6),
        "gflops": _rounded(gflops),
        "percent_of_sgemm": round(100 * gflops / row.limit_gflops) if row.limit.samples else None,
        "error": _rounded(measured.error),
    }


def _milliseconds(samples: Sequence[float]) -> list[float]:
    return [_rounded(sample * 1e3) for sample in samples]


def _rounded(value: float) -> float:
    """Return a number with four digits that count: no timing has more."""
    return float(f"{value:.4g}")


def _commit() -> str | None:
    """Return the commit measured, marked where the sources had changes on top of it; None where there is no git."""
    git = ["git", "-C", str(_SOURCE)]
    try:
        head, changed = (
            subprocess.run([*git, *command], capture_output=True, text=True, check=True).stdout.strip()
            for command in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--", "."))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")
