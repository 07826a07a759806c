"""What an operation costs beside its arithmetic: forward plus backward along chains of 1,000 on a single number.

It all happens on one thread, whose own time is taken, so that what else the machine does counts little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import record

from minicnn import Tensor, tensor
from minicnn import functional as F

LENGTH = 1000  # operations
LIMIT_US = 15  # microseconds an operation may take

w = tensor([1.0001], requires_grad=True)
CHAINS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {  # a link, and the operations in it
    "x * 1.0001 + 0.5": (lambda x: x * 1.0001 + 0.5, 2),
    "relu(x)": (F.relu, 1),
    "relu(x * w + 0.5)": (lambda x: F.relu(x * w + 0.5), 3),
    "-x": (lambda x: -x, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    arguments = parser.parse_args()
    samples = {name: [] for name in CHAINS}
    for _ in range(arguments.rounds):
        for name, (link, operations) in CHAINS.items():
            samples[name].append(microseconds(link, operations))
    rows = [row(name, times) for name, times in samples.items()]
    for r in rows:
        median = r["median_us"]
        print(
            f"{r['chain']:20} forward {median['forward']:5.1f}, backward {median['backward']:5.1f}, "
            f"together {median['together']:5.1f} µs an operation"
        )
    worst = max(r["median_us"]["together"] for r in rows)
    print(f"at most {worst:.1f} of the {LIMIT_US} µs it may take")
    record.write(
        "engine_overhead",
        {"length": LENGTH, "limit_us": LIMIT_US, "worst_us": worst, "rows": rows},
        "python benchmarks/engine_overhead.py",
    )


def microseconds(link: Callable[[Tensor], Tensor], operations: int) -> tuple[float, float]:
    """Of forward and of backward, for each operation."""
    y = tensor([0.5], requires_grad=True)
    links = LENGTH // operations
    start = time.thread_time()
    for _ in range(links):
        y = link(y)
    middle = time.thread_time()
    y.backward()
    end = time.thread_time()
    return tuple(1e6 * seconds / (links * operations) for seconds in (middle - start, end - middle))


def row(name: str, times: list[tuple[float, float]]) -> dict[str, object]:
    phases = {
        "forward": [forward for forward, _ in times],
        "backward": [backward for _, backward in times],
        "together": [forward + backward for forward, backward in times],
    }
    return {
        "chain": name,
        "samples_us": {phase: [round(t, 2) for t in phases[phase]] for phase in ("forward", "backward")},
        "median_us": {phase: round(statistics.median(t), 2) for phase, t in phases.items()},
        "least_us": round(min(phases["together"]), 2),
    }


if __name__ == "__main__":
    main()
