"""List a network's layers: output shape, parameters, connections, multiply-adds, receptive field.

"sees" is the window of the image one output depends on, "every" how far apart two neighbours' windows are.

For example: minicnn summary lenet5 --variant paper
"""

from __future__ import annotations

import argparse
import sys

from .arguments import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    from ..study import summary
    from ..training.trained import build

    model, _ = build(arguments.model, arguments.variant, num_classes=10)
    found = summary(model)
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(found.table())
    else:
        print(found)
