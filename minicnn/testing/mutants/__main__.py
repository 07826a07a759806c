"""Mutate a package's functions, one change at a time, and see whether its tests notice.

A mutant that every check passes is a hole in the tests.  What to mutate and what not, the suite of checks and the list
of equivalent mutants stand in [tool.minicnn.mutants] of pyproject.toml, or are named here.  Exit status 1: a mutant
survived, or the list of equivalents is wrong.

For example:
  python -m minicnn.testing.mutants
  python -m minicnn.testing.mutants minicnn/ops/relu.py --list
  python -m minicnn.testing.mutants --sample 50 --seed 3
  python -m minicnn.testing.mutants mylayers.py --suite tests/mylayers_suite.py:checks
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ...atomic import replacing
from .campaign import campaign, sampled
from .mutant import Mutant
from .settings import Settings
from .target import Targets


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        settings = Settings.of(arguments.targets, arguments.suite)
        if arguments.list or arguments.show:
            targets = Targets.of(settings.targets, settings.exclude)
            mutants = sampled(targets.mutants, arguments.sample, arguments.seed)
            return _show(mutants, arguments.show) if arguments.show else _list(mutants)
        return _run(settings, arguments)
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    first, *rest = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m minicnn.testing.mutants",
        description=first,
        epilog="\n\n".join(rest),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("targets", nargs="*", metavar="TARGET", help="a Python file, or a folder with some")
    add(
        "--suite",
        metavar="SUITE",
        help="module:function or file.py:function that returns (name, check) pairs",
    )
    add("--sample", type=int, metavar="N", help="take N mutants at random")
    add("--seed", type=int, default=0, metavar="N", help="of the sample")
    add("--jobs", type=int, metavar="N", help="mutants tried at a time; default: one a CPU")
    add("--list", action="store_true", help="print the mutants' ids and stop")
    add("--show", metavar="ID", help="print the diffs of the mutants whose id contains ID and stop")
    add("--json", type=Path, metavar="FILE", help="write the figures")
    return parser


def _list(mutants: Sequence[Mutant]) -> int:
    for mutant in mutants:
        print(mutant.id)
    return 0


def _show(mutants: Sequence[Mutant], text: str) -> int:
    chosen = [mutant for mutant in mutants if text in mutant.id]
    for mutant in chosen:
        print(f"{mutant.id}\n{mutant.diff()}\n")
    if not chosen:
        raise ValueError(f"mutants: no mutant's id contains {text!r}; --list prints them")
    return 0


def _run(settings: Settings, arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    if not hasattr(os, "fork"):
        raise ValueError("mutants: each mutant runs in a forked process, which this system does not offer")
    console = Console(width=None if sys.stdout.isatty() else 120)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        report = campaign(
            settings,
            sample=arguments.sample,
            seed=arguments.seed,
            jobs=arguments.jobs,
            progress=lambda what, done, of: bar.update(task, description=what, completed=done, total=of),
        )
    report.print(console)
    if arguments.json:
        with replacing(arguments.json) as temporary:
            temporary.write_text(json.dumps(report.as_dict(), indent=1) + "\n")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
