"""A plugin for pytest: only tests on the device are run, and each one's end is noted at once.

What ended before a kernel broke the process is known all the same.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = [item for item in items if "cuda" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.passed and report.when != "call":  # what comes before a test and after it only if it went wrong
        return
    lines = report.longreprtext.strip().splitlines() if report.failed else []
    end = {"test": report.nodeid, "outcome": report.outcome, "why": lines[-1] if lines else ""}
    with Path(os.environ["ONLY_CUDA_LOG"]).open("a") as log:
        log.write(json.dumps(end) + "\n")
