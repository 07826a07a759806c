"""Say which digit is in a picture: the three likeliest, with their probabilities.

A picture may have any size, and dark ink on light paper or light on dark; there must be one digit in it and nothing
else.  It is prepared as MNIST's digits were.

For example:
  minicnn predict my_digit.png
  minicnn predict --checkpoint runs/lenet5-001 scans/*.jpg
"""

from __future__ import annotations

import argparse

_SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files")
    parser.add_argument(
        "--checkpoint",
        metavar="RUN",
        help="a run folder or a checkpoint (default: the newest run in runs/)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print a line a picture."""
    import numpy as np

    from .. import functional as F
    from .. import no_grad
    from ..data import Dataset, read_digit
    from ..tensor import Tensor
    from ..training import load_trained, prepare
    from ..training.run_folder import checkpoint_of, newest_run

    trained = load_trained(checkpoint_of(arguments.checkpoint or newest_run()))
    pictures = np.stack([read_digit(path)[None] for path in arguments.images])
    images = Dataset(pictures, np.zeros(len(pictures), np.int64), trained.classes, "the pictures")
    with no_grad():
        x = Tensor(prepare(trained.model, images)(pictures))
        probabilities = F.softmax(trained.model.scores(trained.model(x)), 1).numpy()
    for path, row in zip(arguments.images, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:_SHOWN]
        print(f"{path}: " + ", ".join(f"{trained.classes[i]} ({row[i]:.1%})" for i in best))
