"""What `minicnn ledger` takes for all models: seconds and peak memory, each time in a fresh process."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time

import record

RUNS = 5
PROGRAM = """
import sys
from minicnn.cli import main
status = main(["ledger"])
print(open("/proc/self/status").read(), file=sys.stderr)
sys.exit(status)
"""


def measured() -> tuple[float, float, str]:
    """Seconds from start to end, the highest resident memory in MB, and the last line printed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert peak, "this system does not tell a process's peak memory"
    return seconds, int(peak[1]) * 1024 / 1e6, done.stdout.splitlines()[-1]


def main() -> None:
    seconds, megabytes, totals = zip(*(measured() for _ in range(RUNS)), strict=True)
    results = {
        "seconds": seconds,
        "median_s": statistics.median(seconds),
        "peak_mb": megabytes,
        "most_mb": max(megabytes),
        "totals": totals[0],
    }
    print(f"{results['median_s']:.1f} s, {results['most_mb']:.0f} MB; {totals[0]}")
    record.write("ledger", results, "python benchmarks/ledger.py")


if __name__ == "__main__":
    main()
