"""Hold the gradients of a network's parameters to finite differences in float64.

The loss of a few random images is differentiated, in training mode, at the network's own size or, with --slim,
with its channels divided.  A wrong gradient makes the exit status 1.  --all goes through every network there is, a
line each: that takes about 40 minutes on two cores, and 6 GB.

For example:
  minicnn gradcheck lenet5 --variant paper
  minicnn gradcheck resnet_cifar --set depth=20 --slim 4
  minicnn gradcheck --all --json gradients.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import replacing
from .arguments import add_options, model_config, whole_number

if TYPE_CHECKING:
    from ..testing import NetworkReport

_FEWEST_GROUPS = 8  # directions the tensors of one of so many networks are dealt out to,
_MOST_TENSORS = 128  # and in the deepest no more than so many to one
_SMALL = {"lenet5"}  # and in part of layers all its own: it is checked as it is
_LINE = "{:<40} {:>7} {:>10} {:>11} {:>7} {:>13} {:>7}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a network, such as lenet5 or resnet50")
    add_options(parser)
    parser.add_argument("--all", action="store_true", help="every network in every variant")
    parser.add_argument(
        "--slim", type=whole_number(1), metavar="N", help="divide the numbers of channels by N"
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="of weights and images")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures; networks FILE has already are skipped"
    )


def run(arguments: argparse.Namespace) -> int:
    """Check one network and print the report, or all of them and print a line each."""
    if arguments.all == (arguments.model is not None):
        raise ValueError("gradcheck: name a network, or say --all")
    if arguments.all:
        return _run_all(arguments)
    config = model_config(arguments)
    report = _check(config, arguments.slim or 1, arguments.seed)
    print(report)
    if arguments.json:
        _write(arguments.json, {config["model"]: report.as_dict()})
    return 0 if report.ok else 1


def _run_all(arguments: argparse.Namespace) -> int:
    from ..testing.architectures import ARCHITECTURES, architecture_name

    divisor, seed, path = arguments.slim or 1, arguments.seed, arguments.json
    configs = [{"model": model, **options} for model, forms in ARCHITECTURES.items() for options in forms]
    done = json.loads(path.read_text()) if path and path.exists() else {}
    print(_LINE.format("network", "tensors", "directions", "worst error", "sees", "kinks crossed", "seconds"))
    for config in configs:
        name = architecture_name(config["model"], {k: v for k, v in config.items() if k != "model"})
        if name not in done:
            report = _check(config, 1 if config["model"] in _SMALL else divisor, seed, _few_groups)
            done[name] = report.as_dict()
            if path:
                _write(path, done)
            if not report.ok:
                print(report)
        print(_line(name, done[name]), flush=True)
    return _summarise(done)


def _few_groups(tensors: int) -> int:
    return max(_FEWEST_GROUPS, -(-tensors // _MOST_TENSORS))


def _check(
    config: dict[str, Any], divisor: int, seed: int, groups: Callable[[int], int] | None = None
) -> NetworkReport:
    """Build the network, check it, and return the report, whatever it says.

    `groups` says how many directions so many tensors are dealt out to, if not as by default.
    """
    from .. import device, manual_seed
    from ..models import get_model
    from ..testing import GradcheckError, check_network, slim
    from ..testing.network import enough_images

    manual_seed(seed)
    try:
        with device("meta"):
            model = get_model(**config)
    except TypeError as error:
        raise ValueError(str(error)) from None
    images = enough_images(model)
    if divisor == 1 and config["model"] in _SMALL:
        model = get_model(**config).to("float64")
    else:
        slim(model, divisor, dtype="float64")
    try:
        how = {"groups": groups(len(list(model.parameters())))} if groups else {}
        return check_network(model, images=images, seed=seed, **how)
    except GradcheckError as error:
        return error.report


def _line(name: str, figures: dict[str, Any]) -> str:
    return _LINE.format(
        name,
        f"{figures['tensors']:,}",
        figures["directions"],
        f"{figures['worst_relative_error']:.1e}" if figures["ok"] else "WRONG",
        f"{figures['least_error_seen_in_every_tensor']:.0e}",
        f"{figures['kinks_crossed_by_the_step']:,}",
        f"{figures['seconds']:.0f}",
    )


def _summarise(done: dict[str, Any]) -> int:
    """Print what came of all, and return the exit status."""
    wrong = [name for name, figures in done.items() if not figures["ok"]]
    tensors, directions, seconds = (
        sum(figures[what] for figures in done.values()) for what in ("tensors", "directions", "seconds")
    )
    worst = max(figures["worst_relative_error"] for figures in done.values())
    print(
        f"{len(done)} networks, {tensors:,} tensors, {directions:,} directions in {seconds / 60:.0f} min: "
        + (f"wrong gradients in {', '.join(wrong)}" if wrong else f"all agree, to {worst:.1e} at worst")
    )
    return 1 if wrong else 0


def _write(path: Path, figures: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n")
