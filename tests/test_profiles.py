"""The seeds of a run: in CI the drawn cases stay the same, until a seed asks for others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DRAWS = """
from hypothesis import given, settings, strategies as st

drawn = []

@given(st.integers(0, 2**32))
def test_draws(n):
    drawn.append(n)

def test_tells(count_generated, seed):
    count_generated("add")
    print("drawn", len(drawn), hash(tuple(drawn)), "seed", seed, settings().derandomize)
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text("utf-8"), "utf-8")
    (tmp_path / "test_draws.py").write_text(DRAWS, "utf-8")

    def pytest_prints(*options: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *options],
            cwd=tmp_path,
            env={**os.environ, "CI": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(Path(__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout

    return pytest_prints


def drawn(output: str) -> str:
    return next(line for line in output.splitlines() if "drawn" in line)


def test_a_seed_changes_what_ci_draws(run):
    as_ever, again = run(), run()
    assert "generated cases: 1 over 1 operations" in as_ever
    assert drawn(as_ever) == drawn(again)
    assert drawn(as_ever).endswith("True")
    seeded = [drawn(run(f"--hypothesis-seed={n}")) for n in (1, 2)]
    assert len({drawn(as_ever), *seeded}) == 3
