"""What every benchmark shares: taking turns, the machine's limit, and the record."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minicnn.atomic import replacing
from minicnn.bench.recording import record_of
from minicnn.profiler.limit import GFLOP as SGEMM_GFLOP
from minicnn.profiler.limit import sgemm

__all__ = ["RESULTS", "SGEMM_GFLOP", "in_turns", "sgemm", "write", "write_rows"]

RESULTS = Path(__file__).parent / "results"


def in_turns(candidates: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each candidate in each round, one after the other so that drift hits all alike."""
    for call in candidates.values():
        call()
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            samples[name].append(time.perf_counter() - start)
    return samples


def write(name: str, results: Any, command: str) -> Path:
    """Write a record to results/`name`.json, replacing an older one."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record_of(results, command), indent=1) + "\n")
    print(f"written to {path.relative_to(Path(__file__).parents[1])}", file=sys.stderr)
    return path


def write_rows(path: Path, results: Mapping[str, Any], command: str, versions: Mapping[str, str]) -> None:
    """Write a record whose lists of rows have a line a row, replacing an older one; its folder is made."""
    rows = {name: found for name, found in results.items() if isinstance(found, list) and found}
    record = record_of({**results, **{name: name for name in rows}}, command, versions=versions)
    text = json.dumps(record, indent=1)
    for name, found in rows.items():
        lines = ",\n".join(json.dumps(row) for row in found)
        text = text.replace(f'"{name}": "{name}"', f'"{name}": [\n{lines}\n]')
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n")
