"""Show where the time of a training step goes, or with --inference of a forward pass: layer by layer, a table.

Each time is the median of the rounds.  A layer has the time of its own operations, forward and backward; MB is what
these read and write, and the limit a large matrix product on the same threads.  The rest is what is no operation: the
optimizer's step, the engine, Python.

For example:
  minicnn bench profile lenet5 --batch 64
  minicnn bench profile resnet18 --by operation --flame resnet18.svg
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import add_model, build_model, whole_number

if TYPE_CHECKING:
    from ...models import Classifier
    from ...profiler import Profile

_LEARNING_RATE, _MOMENTUM = 1e-4, 0.9
_PRODUCTS = 3  # matrix products for the limit, before the rounds and after


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)
    parser.add_argument(
        "--batch", type=whole_number(1), default=8, metavar="N", help="images at a time (default: 8)"
    )
    parser.add_argument("--inference", action="store_true", help="a forward pass in evaluation mode")
    parser.add_argument(
        "--rounds",
        type=whole_number(1),
        default=5,
        metavar="N",
        help="steps measured, after one that is not (default: 5)",
    )
    parser.add_argument(
        "--by", choices=["layer", "operation"], default="layer", help="what has a row (default: layer)"
    )
    parser.add_argument(
        "--flame", type=Path, metavar="FILE", help="draw the time as nested bars, an SVG file"
    )
    parser.add_argument(
        "--threads", type=whole_number(1), metavar="N", help="how many to use (default: one a CPU)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure, print the table and draw the picture."""
    from ... import manual_seed, set_num_threads

    _check_flame(arguments.flame)
    if arguments.threads:
        set_num_threads(arguments.threads)
    manual_seed(0)
    step = (_Inference if arguments.inference else _Training)(build_model(arguments), arguments.batch)
    found = _measure(step, arguments.rounds)
    _print(found, arguments, step)
    if arguments.flame:
        found.flame(arguments.flame)
        print(f"written to {arguments.flame}")


def _check_flame(path: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    if path is not None and path.is_dir():
        raise ValueError(f"profile: --flame must name a file, {str(path)!r} is a folder")
    if path is not None and not path.resolve().parent.is_dir():
        raise ValueError(
            f"profile: --flame names a file in {str(path.parent)!r}, and there is no such folder"
        )


class _Inference:
    """A forward pass in evaluation mode, on images of noise."""

    told = "forward pass"

    def __init__(self, model: Classifier, batch: int) -> None:
        from ...tensor import tensor

        self.model = model.eval()
        self.draw = np.random.default_rng(0)
        self.images = tensor(self.draw.random((batch, *model.input_shape), np.float32))

    def __call__(self) -> Any:
        from ...tensor import no_grad

        with no_grad():
            return self.model(self.images)


class _Training(_Inference):
    """A training step, the labels drawn at random."""

    told = "training step"

    def __init__(self, model: Classifier, batch: int) -> None:
        from ...optim import SGD
        from ...tensor import tensor

        super().__init__(model, batch)
        classes = model.scores(super().__call__()).shape[1]
        self.labels = tensor(self.draw.integers(classes, size=batch))
        self.optimizer = SGD(model.train().parameters(), lr=_LEARNING_RATE, momentum=_MOMENTUM)
        self.updates: list[float] = []  # seconds of each

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        self.model.loss(self.model(self.images), self.labels).backward()
        began = time.perf_counter()
        self.optimizer.step()
        self.updates.append(time.perf_counter() - began)


def _measure(step: Callable[[], Any], rounds: int) -> Profile:
    """Return the median of the rounds; the limit is that of before and after."""
    from ...profiler import median, profile
    from ...profiler.limit import sgemm_rate

    rates = [sgemm_rate() for _ in range(_PRODUCTS)]
    step()
    profiles = []
    for _ in range(rounds):
        with profile() as found:
            step()
        profiles.append(found)
    rates += [sgemm_rate() for _ in range(_PRODUCTS)]
    typical = median(profiles)
    typical.limit = max(rates)
    return typical


def _print(found: Profile, arguments: argparse.Namespace, step: _Inference) -> None:
    images = "1 image" if arguments.batch == 1 else f"{arguments.batch} images"
    print(f"{arguments.model}, a {step.told} of {images}, median of {arguments.rounds}")
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(found.table(arguments.by))
    else:
        print(found.text(arguments.by))
    if isinstance(step, _Training):
        update = statistics.median(step.updates[-arguments.rounds :])
        print(f"the optimizer's step, part of the rest: {1e3 * update:.2f} ms")
