"""Say what is in a picture, with probabilities: an object with ImageNet's networks, a digit with MNIST's.

With --model and --weights, the network has the weights of a file, such as one of torchvision's (.pth, .safetensors).
Without, it is one of `minicnn train`.

A photograph may have any size.  It is resized, its middle cut out and normalised as the network's paper says; --crops
10 and 144 show more parts of it to the network and average what it says of each, as AlexNet's and GoogLeNet's authors
did.  For a network trained on digits there must be one digit in the picture and nothing else, dark ink on light paper
or light on dark; it is prepared as MNIST's digits were.

For example:
  minicnn predict --model resnet50 --weights resnet50.pth cat.jpg dog.jpg
  minicnn predict my_digit.png
  minicnn predict --checkpoint runs/lenet5-001 scans/*.jpg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .arguments import add_device, add_options, model_config

if TYPE_CHECKING:
    import numpy as np

    from ..training import Trained

_DIGITS_SHOWN, _SHOWN = 3, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files")
    parser.add_argument(
        "--checkpoint",
        metavar="RUN",
        help="a run folder or a checkpoint (default: the newest run in runs/)",
    )
    parser.add_argument("--model", metavar="MODEL", help="a network, such as resnet50; needs --weights")
    parser.add_argument("--weights", metavar="FILE", help="the file with its weights; needs --model")
    add_options(parser)
    parser.add_argument(
        "--crops",
        type=int,
        choices=(1, 10, 144),
        default=1,
        help="how many parts of a photograph to look at (default: 1)",
    )
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print a line for each digit, a block for each photograph."""
    trained = _trained(arguments)
    trained.model.to(arguments.device)
    if trained.model.input_shape[0] == 1:
        _digits(trained, arguments.images, arguments.crops)
    else:
        _photographs(trained, arguments.images, arguments.crops)


def _trained(arguments: argparse.Namespace) -> Trained:
    """Return the network the command line means."""
    from ..training import load_pretrained, load_trained
    from ..training.run_folder import checkpoint_of, newest_run

    if arguments.model is None:
        for name in ("weights", "variant", "options"):
            if getattr(arguments, name):
                raise ValueError(f"predict: --{'set' if name == 'options' else name} needs --model as well")
        return load_trained(checkpoint_of(arguments.checkpoint or newest_run()))
    if arguments.weights is None:
        raise ValueError("predict: --model needs --weights as well, the file with the network's weights")
    if arguments.checkpoint is not None:
        raise ValueError("predict: --checkpoint names its network itself, it goes without --model")
    config = model_config(arguments)
    return load_pretrained(config.pop("model"), arguments.weights, **config)


def _digits(trained: Trained, paths: Sequence[str], crops: int) -> None:
    import numpy as np

    from ..data import Dataset, read_digit
    from ..training import predict_crops, prepare

    if crops != 1:
        raise ValueError(f"predict: --crops is for photographs, the network is for digits; got {crops}")
    pictures = np.stack([read_digit(path)[None] for path in paths])
    images = Dataset(pictures, np.zeros(len(pictures), np.int64), trained.classes, "the pictures")
    found = predict_crops(trained.model, prepare(trained.model, images)(pictures))
    for path, row in zip(paths, found, strict=True):
        best = _likeliest(row, _DIGITS_SHOWN)
        print(f"{path}: " + ", ".join(f"{trained.classes[i]} ({row[i]:.1%})" for i in best))


def _photographs(trained: Trained, paths: Sequence[str], crops: int) -> None:
    from ..data import read_picture
    from ..training import predict_crops, prepare_picture

    prepared = prepare_picture(trained.model, crops)
    for path in paths:
        (row,) = predict_crops(trained.model, prepared(read_picture(path)[None]), crops)
        print(f"{path}:")
        for i in _likeliest(row, _SHOWN):
            print(f"  {row[i]:6.1%}  {trained.classes[i]}")


def _likeliest(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Return the classes with the largest probabilities, the likeliest first."""
    import numpy as np

    return np.argsort(-probabilities, kind="stable")[:count]
