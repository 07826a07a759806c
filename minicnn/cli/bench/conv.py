"""Run every convolution algorithm on a network's convolutions: time, workspace and error, measured and predicted.

An asterisk marks the algorithm that "auto" takes.  The prediction is the cost model's, with the rates of this machine
(--calibrate measures them anew).  The error is that of float32 against float64, relative to the result.

For example:
  minicnn bench conv --model vgg16
  minicnn bench conv --model lenet5 --batch 64 --direction backward_weight
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from ..arguments import add_options, build_model, whole_number

if TYPE_CHECKING:
    from rich.table import Table

    from ...bench.convolutions import Result
    from ...conv.problem import Direction, Problem

_DIRECTIONS: list[Direction] = ["forward", "backward_data", "backward_weight"]
_SLOW = ("direct",)  # plain Python loops would take hours


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--model", default="vgg16", metavar="MODEL", help="a network (default: vgg16)")
    add_options(parser)
    parser.add_argument(
        "--batch", type=whole_number(1), default=8, metavar="N", help="images at a time (default: 8)"
    )
    parser.add_argument(
        "--direction", choices=[*_DIRECTIONS, "all"], default="forward", help="(default: forward)"
    )
    parser.add_argument(
        "--algorithms", nargs="+", metavar="NAME", help="which to run (default: all but the plain loops)"
    )
    parser.add_argument(
        "--rounds",
        type=whole_number(1),
        default=5,
        metavar="N",
        help="of which the fastest counts (default: 5)",
    )
    parser.add_argument("--threads", type=whole_number(1), metavar="N", help="how many to use")
    parser.add_argument("--calibrate", action="store_true", help="measure this machine's rates anew first")


def run(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    from rich.console import Console

    from ... import conv, set_num_threads
    from ...bench.convolutions import measure, problems

    names = _algorithms(arguments.algorithms, conv.algorithms())
    if arguments.threads:
        set_num_threads(arguments.threads)
    if arguments.calibrate:
        conv.calibrate()
    console = Console()
    wanted: Direction | Literal["all"] = arguments.direction
    directions: list[Direction] = _DIRECTIONS if wanted == "all" else [wanted]
    results = []
    for problem, layers in problems(build_model(arguments), arguments.batch).items():
        for direction in directions:
            results.append(measure(problem, direction, names, arguments.rounds))
            console.print(_table(results[-1], layers))
    console.print(_verdict(results), soft_wrap=True)


def _algorithms(asked: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    for name in asked or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"bench conv: there is no algorithm {name!r}; {hint}")
    return [name for name in known if name not in _SLOW] if asked is None else list(asked)


def _table(result: Result, layers: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(
        title=_title(result, layers), title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    table.add_column("algorithm", no_wrap=True)
    for heading in ("ms", "predicted", "GFLOP/s", "MB", "predicted", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, one in sorted(result.runs.items(), key=lambda item: item[1].seconds):
        table.add_row(
            f"{name} *" if name == result.pick else name,
            f"{1e3 * one.seconds:.2f}",
            f"{1e3 * one.predicted_seconds:.2f}",
            f"{result.problem.flops / one.seconds / 1e9:.0f}",
            f"{one.workspace / 1e6:.2f}",
            f"{one.predicted_workspace / 1e6:.2f}",
            f"{one.error:.0e}",
        )
    for name, reason in result.refusals.items():
        table.caption = f"{table.caption or ''}{name}: {reason}\n"
    table.caption_justify = "left"
    return table


def _title(result: Result, layers: Sequence[str]) -> str:
    more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
    return f"{layers[0]}{more}, {result.direction}: {_described(result.problem)}"


def _described(problem: Problem) -> str:
    (n, c, height, width), (k, _, r, s) = problem.input_shape, problem.weight_shape
    unusual = {
        "stride": (problem.window.stride, (1, 1)),
        "dilation": (problem.window.dilation, (1, 1)),
        "groups": (problem.groups, 1),
    }
    rest = "".join(f", {name} {value}" for name, (value, usual) in unusual.items() if value != usual)
    return f"{n}×{c}×{height}×{width} → {k}, {r}×{s}{rest}"


def _verdict(results: Sequence[Result]) -> str:
    good = sum(result.loss <= 1.1 for result in results)
    worst = max(result.against_familiar for result in results)
    picked, best = (sum(_times(results, which)) for which in ("pick", "fastest"))
    return (
        f"auto is within 10 % of the fastest in {good} of {len(results)} cases; {1e3 * picked:.1f} ms in all, the "
        f"fastest together {1e3 * best:.1f} ms; against im2col_chunked {worst:.2f}× at worst"
    )


def _times(results: Sequence[Result], which: str) -> Iterator[float]:
    return (result.runs[getattr(result, which)].seconds for result in results)
