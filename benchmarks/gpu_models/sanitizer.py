"""compute-sanitizer over small cases of every kernel: stray accesses, and races in shared memory."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from kernel_speed.operations import OPERATIONS

from .commands import Command, last_line

TOOLS = {
    "memcheck": re.compile(r"ERROR SUMMARY: (\d+) error"),
    "racecheck": re.compile(r"RACECHECK SUMMARY: (\d+) hazard"),
}
FOUND = 86  # the status by which it says that it found something
STEP = "a training step"
_MOST = 10  # lines of a report that a row has


def find(folders: Iterable[Path] | None = None) -> str | None:
    """Return compute-sanitizer: of the path, of CUDA_HOME, or of any toolkit in its usual place."""
    if folders is None:
        home = os.environ.get("CUDA_HOME")
        usual = sorted(Path("/usr/local").glob("cuda*"), reverse=True)
        folders = [Path(folder) for folder in filter(None, (home, *usual))]
    places = [str(place) for folder in folders for place in (folder / "bin", folder / "compute-sanitizer")]
    return shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path=os.pathsep.join(places)
    )


def commands(tool: str) -> Iterator[Command]:
    """Yield the runs: memcheck of every operation and a training step, then racecheck of every operation."""
    for check in TOOLS:
        for name in (*OPERATIONS, *([STEP] if check == "memcheck" else [])):
            arguments = (tool, "--tool", check, "--error-exitcode", str(FOUND), sys.executable)
            program = str(Path(__file__).with_name("sanitized.py"))
            row = {"check": check, "operation": name}
            yield Command(row, (*arguments, program, name), partial(_read, check))


def _read(check: str, status: int, said: str) -> dict[str, Any]:
    summary = TOOLS[check].search(said)
    reported = [
        line.removeprefix("=========").strip() for line in said.splitlines() if line.startswith("=====")
    ]
    if summary is None:
        return {"status": f"no summary, status {status}: {last_line(said)}", "report": reported[:_MOST]}
    found = int(summary[1])
    if found:
        return {"status": f"{found} found", "report": reported[:_MOST]}
    return {"status": "clean" if status == 0 else f"clean, but status {status}: {last_line(said)}"}
