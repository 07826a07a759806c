"""The tests on the real device: every file that has some is run by a pytest of its own."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .commands import ROOT, Command, last_line

NEEDS = ("pytest", "hypothesis")
ENDS = ("passed", "failed", "skipped")
"""How a test can end, by pytest's words."""
_ON_THE_DEVICE = re.compile(
    r"""^\s*(pytestmark\ =\ \[?|@)?pytest\.mark\.usefixtures\([^)]*"cuda"  # or a fixture that uses it:
      | ^\s*def\ \w+\([^)]*\bcuda\b""",
    re.MULTILINE | re.VERBOSE,
)
_NOTHING_SELECTED = 5  # pytest's status
_MOST = 20  # failures that a row has


def missing() -> list[str]:
    """Return which of the packages that the tests need are not installed."""
    return [name for name in NEEDS if find_spec(name) is None]


def files(folder: Path = ROOT / "tests") -> list[Path]:
    """Return the files with tests on the device."""
    return [path for path in sorted(folder.glob("test_*.py")) if _ON_THE_DEVICE.search(path.read_text())]


def commands(folder: Path) -> Iterator[Command]:
    """Yield pytest for each file; how each test ended is noted in the folder."""
    for path in files():
        log = Path(folder, path.stem)
        arguments = (
            *(sys.executable, "-m", "pytest", str(path), "-q", "--tb=line", f"--basetemp={log}.tmp"),
            *("-p", "minicnn.testing.plugin", "-p", "gpu_models.only_cuda", "-p", "no:cacheprovider"),
            *("-o", "filterwarnings=default", "-o", "addopts="),
        )
        environment = {"MINICNN_TEST_GPU": "1", "ONLY_CUDA_LOG": str(log), "CI": "1"}
        yield Command({"file": path.name}, arguments, partial(_read, log), environment)


def _read(log: Path, status: int, said: str) -> dict[str, Any]:
    """Return the counts of a run, and what failed; how far it came even if it was ended."""
    ends = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    counts = Counter(end["outcome"] for end in ends)
    right = status in (0, _NOTHING_SELECTED)
    failures = [f"{end['test']}: {end['why']}" for end in ends if end["outcome"] == "failed"]
    return {
        **{end: counts[end] for end in ENDS},
        "status": "passed" if right else f"pytest's status {status}: {last_line(said)}",
        "failures": failures[:_MOST],
    }
