"""Test a trained network: accuracy, loss, confusion matrix.

For example:
  minicnn eval                     the newest run in runs/, on the data it was trained for
  minicnn eval runs/lenet5-001
  minicnn eval some/checkpoint.safetensors --data mnist
"""

from __future__ import annotations

import argparse

from .arguments import add_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "checkpoint",
        nargs="?",
        metavar="RUN",
        help="a run folder or a checkpoint (default: the newest run in runs/)",
    )
    parser.add_argument(
        "--data", metavar="NAME", help="a data set or a folder (default: that of the training)"
    )
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print how the network does on the test images."""
    from ..data import load
    from ..training import evaluate, load_trained
    from ..training.run_folder import checkpoint_of, newest_run
    from ..training.trained import title
    from .report import print_evaluation

    path = checkpoint_of(arguments.checkpoint or newest_run())
    trained = load_trained(path)
    data = arguments.data or trained.data
    _, test = load(data)
    if test.classes != trained.classes:
        known, given = (", ".join(names) for names in (trained.classes, test.classes))
        raise ValueError(f"{path}: the network tells {known} apart; the classes of {data!r} are {given}")
    print(
        f"{path}: {title(trained.model.config)}, trained on {trained.data}; {len(test):,} test images of {data}"
    )
    print_evaluation(evaluate(trained.model.to(arguments.device), test), test.classes)
