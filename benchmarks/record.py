"""What every benchmark shares: taking turns, the machine's limit, and the record."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import minicnn
from minicnn.backend.matmul import matmul

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


SGEMM_SIZE = 2048
SGEMM_GFLOP = 2 * SGEMM_SIZE**3 / 1e9


def sgemm() -> np.ndarray:
    """A single-precision matrix product on all our threads: the machine's limit, to be measured in turns too."""
    a = np.ones((SGEMM_SIZE, SGEMM_SIZE), np.float32)
    return matmul(a, a)


def write(name: str, results: Any, command: str) -> Path:
    """Write a record to results/`name`.json, replacing an older one."""
    record = {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "machine": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "threads": minicnn.get_num_threads(),
        },
        "versions": {
            "minicnn": minicnn.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(path)
    print(f"written to {path.relative_to(Path(__file__).parents[1])}", file=sys.stderr)
    return path


def _commit() -> str:
    """The commit measured; marked where the tree had changes on top of it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", "../minicnn"], capture_output=True, text=True, check=True
    )
    return head.stdout.strip() + ("+" if changed.stdout else "")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
