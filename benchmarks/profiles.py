"""Where a training step's time goes, operation by operation: why the rows of the benchmark come out as they do.

The median of several steps, each under :func:`minicnn.profile`; the limit is that of a matrix product on the same
threads.
"""

from __future__ import annotations

import argparse

import numpy as np
import record

from minicnn import manual_seed, models, optim, tensor
from minicnn.profiler import median, profile
from minicnn.profiler.limit import sgemm_rate

MODELS = {"lenet5": 64, "alexnet": 8, "vgg16": 8, "nin": 8, "googlenet": 8, "resnet18": 8, "resnet50": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = []
    for name, batch in MODELS.items():
        limit = max(sgemm_rate() for _ in range(3))
        rows += rows_of(name, batch, arguments.rounds, limit)
    record.write("profiles", {"rows": rows}, "python benchmarks/profiles.py")


def rows_of(name: str, batch: int, rounds: int, limit: float) -> list[dict]:
    manual_seed(0)
    model = models.get_model(name).train()
    draw = np.random.default_rng(0)
    images = tensor(draw.random((batch, *model.input_shape), np.float32))
    labels = tensor(draw.integers(model.scores(model(images)).shape[1], size=batch))
    optimizer = optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    profiles = []
    for i in range(rounds + 1):
        with profile() as found:
            optimizer.zero_grad()
            model.loss(model(images), labels).backward()
            optimizer.step()
        profiles += [found] if i else []
    typical = median(profiles)
    print(f"{name}: {1e3 * typical.seconds:.1f} ms, of them {1e3 * typical.rest:.1f} outside operations")
    shown = []
    for r in typical.by_operation():
        seconds, flops = r.both.seconds, r.both.flops
        shown.append(
            {
                "operation": r.name,
                "ms": round(1e3 * seconds, 2),
                "percent": round(100 * seconds / typical.seconds, 1),
                "percent_of_sgemm": round(100 * flops / seconds / 1e9 / limit) if seconds else 0,
            }
        )
    return [
        {
            "model": name,
            "batch": batch,
            "ms": round(1e3 * typical.seconds, 1),
            "rest_ms": round(1e3 * typical.rest, 1),
            "operations": shown,
        }
    ]


if __name__ == "__main__":
    main()
