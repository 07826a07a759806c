"""Hypothesis's profiles, without a clock: shared machines are slow at times, and a timed test tells nothing.

``minicnn``, the default
    Each run draws new cases; in CI they are the same every time, unless ``--hypothesis-seed`` asks for others.
``nightly``, by ``--hypothesis-profile=nightly``
    More than 50,000 cases over the table of operations, and as many times more everywhere else.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cuda_files import FILES
from hypothesis import HealthCheck, settings

from minicnn.backend import cuda_source, kernels

os.environ["MINICNN_RATES"] = "default"  # "auto" then chooses the same algorithms on every machine
os.environ["MINICNN_AUTOTUNE"] = "0"  # and on a GPU without timing, which the emulator would take long over

settings.register_profile(
    "minicnn",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", settings.get_profile("minicnn"), derandomize=False, max_examples=1100)
settings.load_profile("minicnn")

collect_ignore = ["mutation_suite.py"]  # for a process of its own: it loads a Hypothesis profile

GENERATED = pytest.StashKey[Counter[str]]()


@pytest.hookimpl(trylast=True)  # after Hypothesis's own, which loads the profile asked for
def pytest_configure(config: pytest.Config) -> None:
    """Let a seed count, which Hypothesis overlooks where it is to draw the same cases every time."""
    config.stash[GENERATED] = Counter()
    if config.getoption("hypothesis_seed", None) is not None:
        settings.register_profile("seeded", settings(), derandomize=False)
        settings.load_profile("seeded")


@pytest.fixture(scope="session")
def count_generated(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Return what to call with an operation's name for each case that was drawn and holds."""

    def count(operation: str) -> None:
        pytestconfig.stash[GENERATED][operation] += 1

    return count


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of the run's cotangents, from ``--gradcheck-seed``."""
    return pytestconfig.getoption("gradcheck_seed", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    cases = config.stash[GENERATED]
    if cases:
        terminalreporter.write_line(f"generated cases: {cases.total():,} over {len(cases)} operations")


@pytest.fixture
def cuda_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of two small CUDA files, taken for minicnn's own during the test."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(kernels, "folder", lambda: tmp_path)
    _forget_kernels()
    yield tmp_path
    _forget_kernels()


def _forget_kernels() -> None:
    cuda_source.sources.cache_clear()
    cuda_source.kernel.cache_clear()


@pytest.fixture
def cuda() -> Iterator[Any]:
    """The module ``cupy``, and devices to compute on: the tests' stand-in, or a GPU's with MINICNN_TEST_GPU=1."""
    if os.environ.get("MINICNN_TEST_GPU") == "1":
        yield pytest.importorskip(
            "cupy", reason="MINICNN_TEST_GPU=1 asks for a real GPU, and CuPy is not installed"
        )
        return
    import standin  # which loads the emulator, and few tests need it

    with standin.installed() as cupy:
        yield cupy
