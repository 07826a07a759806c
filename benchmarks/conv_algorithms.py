"""Convolution algorithms in turns: one big im2col against the chunked one, in all three directions.

The first problem is the one the project holds itself to: (8, 64, 112, 112) → 128, 3×3, chunked at least 1.5 times as
fast as one big matrix.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import record

from minicnn import conv

PROBLEMS = {  # input (N, C, H, W), output channels, kernel, padding
    "VGG conv2_1": ((8, 64, 112, 112), 128, 3, 1),
    "VGG conv4_2": ((8, 512, 28, 28), 512, 3, 1),
    "ResNet 1×1": ((8, 256, 28, 28), 64, 1, 0),
    "LeNet C3": ((64, 6, 14, 14), 16, 5, 0),
}
ALGORITHMS = ("im2col", "im2col_chunked")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print(f"{'problem':14}{'direction':10}" + "".join(f"{a:>24}" for a in ALGORITHMS) + f"{'ratio':>8}")
    rows = []
    for name, (shape, k, size, padding) in PROBLEMS.items():
        for direction, calls, flops in directions(shape, k, size, padding):
            samples = record.in_turns({**calls, "sgemm": record.sgemm}, arguments.rounds)
            rows.append(row(name, direction, flops, samples))
            print_row(rows[-1])
    record.write("conv_algorithms", {"rows": rows}, "python benchmarks/conv_algorithms.py")


def directions(shape, k, size, padding):
    """Yield (direction, {algorithm: call}, FLOPs) for a problem in channels-last memory."""
    rng = np.random.default_rng(0)
    n, c, height, width = shape
    x = rng.normal(size=(n, height, width, c)).astype(np.float32).transpose(0, 3, 1, 2)
    w = rng.normal(size=(k, size, size, c)).astype(np.float32).transpose(0, 3, 1, 2)
    y = conv.conv2d(x, w, padding=padding)
    flops = 2 * y.size * c * size * size
    for direction, call in {
        "forward": lambda a: conv.conv2d(x, w, padding=padding, algorithm=a),
        "data": lambda a: conv.conv2d_backward_data(y, w, x.shape, padding=padding, algorithm=a),
        "weight": lambda a: conv.conv2d_backward_weight(x, y, size, padding=padding, algorithm=a),
    }.items():
        yield direction, {a: (lambda a=a, call=call: call(a)) for a in ALGORITHMS}, flops


def row(name, direction, flops, samples):
    medians = {a: statistics.median(s) for a, s in samples.items()}
    limit = record.SGEMM_GFLOP / medians.pop("sgemm")
    return {
        "problem": name,
        "direction": direction,
        "gflop": flops / 1e9,
        "samples_ms": {a: [round(t * 1e3, 3) for t in s] for a, s in samples.items()},
        "median_ms": {a: round(m * 1e3, 3) for a, m in medians.items()},
        "sgemm_gflops": round(limit, 1),
        "percent_of_sgemm": {a: round(100 * flops / m / 1e9 / limit) for a, m in medians.items()},
        "ratio": round(medians["im2col"] / medians["im2col_chunked"], 2),
    }


def print_row(row):
    cells = [f"{row['median_ms'][a]:.1f} ms ({row['percent_of_sgemm'][a]} %)" for a in ALGORITHMS]
    print(
        f"{row['problem']:14}{row['direction']:10}"
        + "".join(f"{c:>24}" for c in cells)
        + f"{row['ratio']:8.2f}"
    )


if __name__ == "__main__":
    main()
