"""Set every published figure of the networks beside the same figure recomputed from the network as built.

Sizes, parameters, multiply-adds (MACs) and connections are compared, with the verdict equal, rounds, the paper
contradicts itself, or deviates; a reason is given for the last two.  "counted" figures are an independent
implementation's, not a paper's.  Nothing is allocated or trained.  A figure unexplained makes the exit status 1.

For example:
  minicnn ledger                 all of them
  minicnn ledger googlenet
  minicnn ledger resnet50 --json
"""

from __future__ import annotations

import argparse
import json
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a network, such as lenet5 (default: all)")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the rows, and return 1 if one is unexplained."""
    from ..study.ledger import entries
    from ..study.ledger.report import lines, renderables

    found = entries(arguments.model)
    if arguments.json:
        print(json.dumps([entry.as_dict() for entry in found], indent=1, ensure_ascii=False))
    elif not found:
        print(f"no paper here prints a figure of {arguments.model}")
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(*renderables(found), sep="\n")
    else:
        print(*lines(found), sep="\n")
    return 0 if all(entry.settled for entry in found) else 1
