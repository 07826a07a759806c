"""Measure minicnn against other frameworks, as far as they are installed.

The same networks with the same weights on the same images, each framework in a process of its own, and the processes
take turns.  Answers are compared before any time is taken: who gives another answer than the rest has no time.
Training is a step of SGD with momentum on one batch.  The columns: median and quartiles of a step in milliseconds; the
most memory in it beyond weights and images; GFLOP/s, and what part of a large matrix product's they are; the speed as
a factor to the faster of PyTorch's two layouts.

For example:
  minicnn bench peers lenet5 resnet18
  minicnn bench peers vgg16 --mode inference --batch 8 --peers minicnn pytorch onnxruntime
  minicnn bench peers --output benchmark.json
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...atomic import replacing
from ..arguments import add_device, number, whole_number

if TYPE_CHECKING:
    from ...bench import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: the eight classic ones")
    parser.add_argument("--mode", choices=["inference", "training"], help="default: both")
    parser.add_argument(
        "--batch",
        type=whole_number(1),
        nargs="+",
        default=[],
        metavar="N",
        help="images at a time (default: 1 and 8, in training 8, LeNet 64)",
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        metavar="NAME",
        help="who takes part; list names them, all takes all (default: those that need not compile for minutes)",
    )
    add_device(parser)
    parser.add_argument(
        "--threads", type=whole_number(1), metavar="N", help="of every peer (default: one a CPU)"
    )
    parser.add_argument(
        "--rounds",
        type=whole_number(1),
        metavar="N",
        help="samples of each (default: 5 to 15, as --budget says)",
    )
    parser.add_argument(
        "--budget",
        type=number,
        default=30.0,
        metavar="SECONDS",
        help="that the samples of a row may take; a peer too slow for it is left out",
    )
    parser.add_argument(
        "--patience",
        type=number,
        default=240.0,
        metavar="SECONDS",
        help="that a peer may take to get ready, compiling included, before it is given up",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a record with every sample (JSON)")


def run(arguments: argparse.Namespace) -> int:
    """Measure row after row and print each; return 1 if a peer gave a wrong answer or failed."""
    from rich.console import Console

    from ...bench import record, table
    from ...bench import run as rows_of
    from ...bench.benchmark import choose, installed
    from ...bench.peers import PEERS
    from ...models import list_models

    if arguments.peers == ["list"]:
        print("\n".join(PEERS))
        return 0
    if arguments.output and not arguments.output.parent.is_dir():
        raise ValueError(f"bench: --output names a folder that does not exist, {arguments.output.parent}")
    settings = _settings(arguments)
    choose("model", settings.models, list_models())
    peers, missing = installed(settings)
    if missing:
        what = " and ".join(missing)
        print(f"not installed: {what}; pip install 'minicnn[bench]' brings them", file=sys.stderr)
    if not peers:
        raise ValueError("bench: none of these peers is installed")
    console, notes = Console(), Console(stderr=True)
    rows = []
    with notes.status("", refresh_per_second=1) as status:  # it is drawn while peers are measured
        for row in rows_of(settings, peers, status.update):
            rows.append(row)
            console.print(table(row))
            if arguments.output:  # after each: what was measured is not lost with the rest
                _write(arguments.output, record(rows, _command(arguments), settings.threads))
    return 1 if any(measured.failed for row in rows for measured in row.peers) else 0


def _settings(arguments: argparse.Namespace) -> Settings:
    from ...bench import MODELS, PEERS, Settings, Timing
    from ...bench.task import MODES

    named = tuple(PEERS) if arguments.peers == ["all"] else arguments.peers
    peers = {"peers": named} if named else {}
    threads = {} if arguments.threads is None else {"threads": arguments.threads}
    return Settings(
        models=arguments.models or tuple(MODELS),
        modes=(arguments.mode,) if arguments.mode else MODES,
        batches=arguments.batch,
        **peers,
        device=arguments.device,
        timing=Timing(arguments.budget, arguments.rounds, arguments.patience),
        **threads,
    )


def _write(path: Path, record: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def _command(arguments: argparse.Namespace) -> str:
    """Return the command that measures this again."""
    given = {
        "mode": [arguments.mode],
        "batch": arguments.batch,
        "peers": arguments.peers or [],
        "device": [arguments.device if arguments.device != "cpu" else None],
        "threads": [arguments.threads],
        "rounds": [arguments.rounds],
    }
    words = ["minicnn", "bench", "peers", *arguments.models]
    for name, values in given.items():
        values = [str(value) for value in values if value is not None]
        words += [f"--{name}", *values] if values else []
    return shlex.join(words)
