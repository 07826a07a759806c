"""List a network's layers: output shape, parameters, connections, multiply-adds, receptive field.

"sees" is the window of the image one output depends on, "every" how far apart two neighbours' windows are.

For example:
  minicnn summary lenet5 --variant paper
  minicnn summary resnet_cifar --set depth=110
"""

from __future__ import annotations

import argparse
import sys

from .arguments import add_model, build_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    from .. import device
    from ..study import summary

    with device("meta"):  # only shapes count: no weights are drawn, nothing is multiplied
        found = summary(build_model(arguments))
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(found.table())
    else:
        print(found)
