"""The property suite with many seeds, or once with very many cases: does it always pass, and how long does it take?

Without arguments the profile of every test run, and of CI, runs with 20 seeds, which draw other cases and cotangents
each; with --nightly the profile of that name runs once.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

import record

ROOT = Path(__file__).parents[1]
SUITE = ["tests/test_ops.py", "tests/test_ops_edges.py", "tests/test_strategies.py", "tests/test_hvp.py"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds to run with")
    parser.add_argument("--nightly", action="store_true", help="the nightly profile instead, once")
    arguments = parser.parse_args()
    if arguments.nightly:
        runs = [run("nightly", seed=1)]
        record.write("property_suite_nightly", runs[0], "python benchmarks/property_suite.py --nightly")
    else:
        runs = [run("minicnn", seed) for seed in range(1, arguments.seeds + 1)]
        record.write("property_suite", {"runs": runs}, "python benchmarks/property_suite.py")
    return max(figures["failed"] for figures in runs) > 0


def run(profile: str, seed: int) -> dict[str, float]:
    """Run the suite in a process of its own; return what pytest counted."""
    options = ["-q", "-p", "no:cacheprovider", "-p", "minicnn.testing.plugin"]
    seeds = [f"--hypothesis-profile={profile}", f"--hypothesis-seed={seed}", f"--gradcheck-seed={seed}"]
    command = [sys.executable, "-m", "pytest", *options, *seeds, *SUITE]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr)
    figures = {
        "seed": seed,
        "passed": _count(r"(\d+) passed", done.stdout),
        "failed": _count(r"(\d+) (?:failed|errors?)", done.stdout) or int(done.returncode != 0),
        "generated_cases": _count(r"generated cases: ([\d,]+)", done.stdout),
        "seconds": round(seconds, 1),
    }
    print(figures, file=sys.stderr, flush=True)
    return figures


def _count(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1].replace(",", "")) if found else 0


if __name__ == "__main__":
    sys.exit(main())
