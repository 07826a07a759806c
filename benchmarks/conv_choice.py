"""How good "auto" is: every different convolution of all models, every algorithm, the pick against the fastest.

Each problem's algorithms take turns.  Where the pick is not within 10 % of the fastest, or slower than im2col_chunked,
the problem is measured once more, for on a shared machine one long pause looks like a bad choice; the better of the
two verdicts stands, and the record says how many were measured again.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import asdict

import record

import minicnn
from minicnn import conv, models
from minicnn.bench.convolutions import Result, measure, problems
from minicnn.conv.problem import DIRECTIONS
from minicnn.conv.rates import rates

BATCH = 8
LEFT_OUT = {"direct"}  # loops
DEPTHS = {"resnet_cifar": {"depth": 110}, "preact_resnet_cifar": {"depth": 164}}
GOOD, EVEN = 1.10, 1.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=int, help="so many of the problems only, drawn at random")
    parser.add_argument("--models", nargs="+", default=models.list_models())
    arguments = parser.parse_args()
    conv.calibrate()
    names = [name for name in conv.algorithms() if name not in LEFT_OUT]
    found = {}
    for model in arguments.models:
        with minicnn.device("meta"):
            network = models.get_model(model, **DEPTHS.get(model, {}))
            found |= dict.fromkeys(problems(network, BATCH), model)
    chosen = list(found)
    if arguments.sample:
        chosen = random.Random(0).sample(chosen, min(arguments.sample, len(chosen)))
    rows, again = [], 0
    for problem in chosen:
        for direction in DIRECTIONS:
            result = measure(problem, direction, names, arguments.rounds, errors=False)
            if not good(result):
                again += 1
                result = min(
                    result, measure(problem, direction, names, 2 * arguments.rounds, errors=False), key=lost
                )
            rows.append(row(found[problem], result))
    results = summary(rows) | {
        "problems": len(found),
        "measured_again": again,
        "rates": rates()._asdict(),
        "rows": rows,
    }
    print({name: value for name, value in results.items() if name != "rows"})
    sample = f" --sample {arguments.sample}" if arguments.sample else ""
    record.write("conv_choice", results, f"python benchmarks/conv_choice.py{sample}")


def good(result: Result) -> bool:
    return result.loss <= GOOD and result.against_familiar <= EVEN


def lost(result: Result) -> float:
    return max(result.loss / GOOD, result.against_familiar / EVEN)


def row(model: str, result: Result) -> dict:
    problem = result.problem
    return {
        "model": model,
        "input": problem.input_shape,
        "weight": problem.weight_shape,
        **{k: v for k, v in asdict(problem.window).items() if k in ("stride", "padding", "dilation")},
        "groups": problem.groups,
        "direction": result.direction,
        "pick": result.pick,
        "fastest": result.fastest,
        "loss": round(result.loss, 3),
        "against_im2col_chunked": round(result.against_familiar, 3),
        "ms": {name: round(1e3 * run.seconds, 3) for name, run in result.runs.items()},
        "predicted_ms": {name: round(1e3 * run.predicted_seconds, 3) for name, run in result.runs.items()},
    }


def summary(rows: list[dict]) -> dict:
    """Counts over all problems and directions, and the time that the picks lose in all."""
    picked, fastest, familiar = (
        sum(r["ms"][name(r)] for r in rows)
        for name in (lambda r: r["pick"], lambda r: r["fastest"], lambda r: "im2col_chunked")
    )
    return {
        "cases": len(rows),
        "within_10_percent": sum(r["loss"] <= GOOD for r in rows),
        "slower_than_im2col_chunked_by_5_percent": sum(r["against_im2col_chunked"] > EVEN for r in rows),
        "worst_against_im2col_chunked": max(r["against_im2col_chunked"] for r in rows),
        "picked_ms": round(picked, 1),
        "fastest_ms": round(fastest, 1),
        "im2col_chunked_ms": round(familiar, 1),
    }


if __name__ == "__main__":
    main()
