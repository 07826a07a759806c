"""Programs that the suite runs: each in a session of its own, which ends when its time is over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LEAST = 5  # seconds that a program is worth starting for
NO_TIME = "not measured: no time left"


@dataclass(frozen=True)
class Command:
    """A program, and what its row in the record is made from.

    Attributes
    ----------
    row : dict
        What its row begins with.
    arguments : tuple of str
    read : callable
        Makes the rest of the row from the status and all that was printed.
    environment : dict
        Beside this process's.
    """

    row: Mapping[str, Any]
    arguments: tuple[str, ...]
    read: Callable[[int, str], dict[str, Any]]
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, end: float, clock: Callable[[], float] = time.monotonic) -> dict[str, Any]:
        """Return its row; the program is ended, with all it has started, when the clock says so."""
        left = end - clock()
        if left < LEAST:
            return {**self.row, "status": NO_TIME}
        start = clock()
        with tempfile.TemporaryFile() as output:
            status = _status(self.arguments, {**os.environ, **PATHS, **self.environment}, output, left)
            output.seek(0)
            said = output.read().decode(errors="replace")
        why = {"status": f"took longer than {left:.0f} s"} if status is None else {}
        found = self.read(-1 if status is None else status, said)
        return {**self.row, **found, **why, "seconds": round(clock() - start, 1)}


PATHS = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "benchmarks"), *filter(None, sys.path)))}
"""For programs of Python: this checkout's minicnn, installed or not."""


def _status(
    arguments: tuple[str, ...], environment: Mapping[str, str], output: Any, limit: float
) -> int | None:
    """Run a program and return its status; None if it had to be ended."""
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_all(
    commands: Collection[Command], end: float, at_once: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[dict[str, Any]]:
    """Yield the rows of commands as they end, so many of which run at a time."""
    with ThreadPoolExecutor(at_once) as pool:
        for done in as_completed([pool.submit(command.run, end, clock) for command in commands]):
            yield done.result()


def last_line(said: str) -> str:
    lines = said.strip().splitlines()
    return lines[-1].strip() if lines else ""
