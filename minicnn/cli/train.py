"""Train a network on real images, and leave checkpoint, metrics and pictures in a run folder.

The same seed gives the same weights to the last bit, whatever the number of threads; on a GPU other bits.  A run folder
is never overwritten: where runs/lenet5 exists already, runs/lenet5-001 is next.  Ctrl-C leaves the last finished epoch.

For example:
  minicnn train lenet5
  minicnn train lenet5 --variant paper --epochs 30 --seed 7
  minicnn train lenet5 --data fashion-mnist --out runs/clothes
  minicnn train lenet5 --device cuda
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from .arguments import add_device, add_model, build_model, number, whole_number

if TYPE_CHECKING:
    from ..data import Dataset
    from ..models import Classifier
    from ..training import Epoch, History, Recipe, RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)
    parser.add_argument(
        "--data",
        default="mnist5k",
        metavar="NAME",
        help="mnist5k (the default, 5,000 digits that come with minicnn), mnist, fashion-mnist, or a folder",
    )
    recipe = parser.add_argument_group("recipe", "By default, what training/recipes.py has for the network.")
    recipe.add_argument("--epochs", type=whole_number(1), metavar="N", help="passes over the images")
    recipe.add_argument("--batch-size", type=whole_number(1), metavar="N", help="images a step")
    recipe.add_argument("--lr", type=number, metavar="RATE", help="learning rate of the first epoch")
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="of everything drawn at random (default: 0)",
    )
    parser.add_argument(
        "--threads", type=whole_number(1), metavar="N", help="how many to use (default: one a CPU)"
    )
    add_device(parser)
    parser.add_argument("--out", metavar="FOLDER", help="the run folder to make (default: runs/MODEL)")
    parser.add_argument("--quiet", action="store_true", help="show no progress, only the outcome")


def run(arguments: argparse.Namespace) -> None:
    """Train, and print the outcome."""
    from .. import data, manual_seed, set_num_threads
    from ..training import RunFolder, prepare
    from ..training.trained import describe
    from .report import print_evaluation

    if arguments.threads:
        set_num_threads(arguments.threads)
    manual_seed(arguments.seed)
    train, test = data.load(arguments.data)
    _check_classes(arguments, train)
    model = build_model(arguments, num_classes=len(train.classes))
    model.to(arguments.device)
    prepare(model, train)  # images that do not fit are an error before there is a folder
    recipe = _recipe(arguments, model, train)
    about = describe(model, train, arguments.data)

    folder = RunFolder.create(arguments.out or f"runs/{arguments.model}")
    folder.write_settings({**about, "seed": arguments.seed, **asdict(recipe)})
    if not arguments.quiet:
        print(_headline(arguments, model, train, recipe))
    history = _fit(model, train, test, recipe, folder, about, arguments.quiet)
    print(f"trained in {history.seconds:.1f} s")
    if history.evaluation:
        print_evaluation(history.evaluation, test.classes)
    print(f"written to {folder.path}")
    _draw(folder, history, model, test.classes)


def _check_classes(arguments: argparse.Namespace, train: Dataset) -> None:
    count = len(train.classes)
    asked = dict(arguments.options).get("num_classes", count)
    if asked != count:
        raise ValueError(f"train: num_classes is that of the data, {count} of {train.name!r}; got {asked!r}")


def _recipe(arguments: argparse.Namespace, model: Classifier, train: Dataset) -> Recipe:
    """Return the network's recipe, with what the command line has to say otherwise."""
    from ..training import recipe_for

    asked = {name: getattr(arguments, name) for name in ("epochs", "batch_size", "lr")}
    given = {name: value for name, value in asked.items() if value is not None}
    return replace(recipe_for(model, train), **given)


def _headline(arguments: argparse.Namespace, model: Classifier, train: Dataset, recipe: Recipe) -> str:
    from ..training.trained import title

    return (
        f"training {title(model.config)} on {len(train):,} images of {arguments.data}: {recipe}, "
        f"seed {arguments.seed}"
    )


def _fit(
    model: Classifier,
    train: Dataset,
    test: Dataset,
    recipe: Recipe,
    folder: RunFolder,
    about: dict[str, Any],
    quiet: bool,
) -> History:
    """Train under the eyes of a progress bar, saving after each epoch."""
    from ..training import fit
    from ..training.progress import progress
    from ..training.recipes import augmentation

    optimizer, scheduler = recipe.new_optimizer(model)

    def after(epoch: Epoch) -> None:
        folder.record(epoch, model.state_dict(), {**about, "epoch": epoch.epoch})
        shown.on_epoch(epoch)

    try:
        with progress(recipe.epochs, quiet) as shown:
            return fit(
                model,
                train,
                test,
                epochs=recipe.epochs,
                batch_size=recipe.batch_size,
                optimizer=optimizer,
                scheduler=scheduler,
                max_norm=recipe.max_norm,
                augment=augmentation(train),
                on_batch=shown.on_batch,
                on_epoch=after,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {_left(folder)}") from None


def _left(folder: RunFolder) -> str:
    """Say what an interrupted run leaves."""
    from ..weights import read_metadata

    if not folder.checkpoint.exists():
        return "there is no checkpoint yet"
    return f"{folder.checkpoint} holds epoch {read_metadata(folder.checkpoint)['epoch']}"


def _draw(folder: RunFolder, history: History, model: Classifier, classes: Sequence[str]) -> None:
    """Draw the pictures, or say what it takes."""
    from ..training.pictures import write_pictures

    try:
        write_pictures(folder.path, history, model, classes)
    except ModuleNotFoundError:
        print('no pictures without matplotlib: pip install "minicnn[plot]"')
