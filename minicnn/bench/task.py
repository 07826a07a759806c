"""What is to be computed: a model, a mode, a batch, and the folder with the weights and images that all peers share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import backend, manual_seed, models, nn, weights
from ..tensor import Tensor, no_grad
from .network import Network, describe

__all__ = [
    "AUXILIARY_WEIGHT",
    "LEARNING_RATE",
    "MODES",
    "MOMENTUM",
    "Task",
    "channels_last",
    "loss_of",
    "settle",
    "without_dropout",
    "write_files",
]

MODES = ("inference", "training")
LEARNING_RATE, MOMENTUM = 1e-4, 0.9
AUXILIARY_WEIGHT = 0.3
"""How much the cross entropy of an auxiliary head counts in the loss, beside 1 for that of the scores."""

_WEIGHTS, _IMAGES, _LABELS = "weights.safetensors", "images.npy", "labels.npy"
_PROBES = 6


@dataclass(frozen=True)
class Task:
    """One row of the benchmark, as a peer is told it.

    Inference is the scores of a batch in evaluation mode.  Training is one step on it: forward, cross entropy,
    backward and an update by SGD with momentum.

    Attributes
    ----------
    config : mapping
        The arguments of :func:`~minicnn.models.get_model`.
    mode : {'inference', 'training'}
    batch : int
        Images.
    threads : int
    folder : str
        Where :func:`write_files` has put the files.
    """

    config: Mapping[str, Any]
    mode: str
    batch: int
    threads: int
    folder: str

    @property
    def training(self) -> bool:
        """Whether this is a training step."""
        return self.mode == "training"

    def network(self) -> Network:
        """Return the network's description in this mode."""
        return Network.from_json(Path(self.folder, f"{self.mode}.json").read_text())

    def weights(self) -> dict[str, np.ndarray]:
        """Return parameters and running statistics by their dotted names."""
        return {name: np.array(array) for name, array in weights.load(Path(self.folder, _WEIGHTS)).items()}

    def images(self) -> np.ndarray:
        """Return the images (N, C, H, W), float32, in row-major memory."""
        return np.load(Path(self.folder, _IMAGES))[: self.batch]

    def labels(self) -> np.ndarray:
        """Return the images' classes (N,), int64."""
        return np.load(Path(self.folder, _LABELS))[: self.batch]

    def probes(self) -> list[str]:
        """Return the names of some parameters, from the first to the last, whose gradients are compared."""
        shapes = self.network().shapes()
        names = [name for op in self.network().operations for name in op.inputs if name not in shapes]
        names = [name for name in names if not name.rpartition(".")[2].startswith("running_")]
        return sorted({names[i * (len(names) - 1) // (_PROBES - 1)] for i in range(_PROBES)})

    def to_json(self) -> dict[str, Any]:
        """Return everything in a form that ``json.dumps`` takes."""
        return json.loads(json.dumps(asdict(self)))


def write_files(folder: str, config: Mapping[str, Any], most_images: int) -> dict[str, Network]:
    """Draw weights and images, write them to a folder with the network's descriptions, and return these by mode.

    The running statistics of batch normalisations become those of the images: with fresh ones the values in a deep
    network would grow or shrink layer by layer, some of them to numbers so small that processors stumble.

    Raises
    ------
    ValueError
        If there is no such model, it takes no such arguments, or has operations that not all frameworks have.
    """
    try:
        networks = {mode: describe(config, training=mode == "training") for mode in MODES}
    except TypeError as error:
        raise ValueError(str(error)) from None
    for mode, network in networks.items():
        Path(folder, f"{mode}.json").write_text(network.to_json())
    manual_seed(0)
    model = models.get_model(**config)
    rng = np.random.default_rng(0)
    pixels = rng.random((most_images, *model.input_shape), dtype=np.float32)
    mean, std = (np.array(value, np.float32).reshape(1, -1, 1, 1) for value in (model.mean, model.std))
    images = (pixels - mean) / std
    with no_grad():
        settle(model, Tensor(images))
    network = networks["inference"]
    (classes,) = network.shapes()[network.outputs[0]]
    weights.save(Path(folder, _WEIGHTS), model.state_dict())
    np.save(Path(folder, _IMAGES), images)
    np.save(Path(folder, _LABELS), rng.integers(0, classes, most_images))
    return networks


def loss_of(output: Any, labels: Any, cross_entropy: Callable[[Any, Any], Any]) -> Any:
    """Return the loss of the scores and, in part, of the auxiliary heads; of tensors of any library."""
    scores, *heads = output if isinstance(output, tuple) else (output,)
    parts = (AUXILIARY_WEIGHT * cross_entropy(head, labels) for head in heads)
    return sum(parts, cross_entropy(scores, labels))


def settle(model: nn.Module, images: Tensor) -> None:
    """Replace all running statistics by those of the images: fresh ones let values grow or shrink layer by layer."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        model.train()(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """Let dropouts pass everything on inside the block: their answer is then the same each time."""
    dropouts = [part for part in module.modules() if isinstance(part, nn.Dropout)]
    before = [dropout.p for dropout in dropouts]
    for dropout in dropouts:
        dropout.p = 0.0
    try:
        yield
    finally:
        for dropout, p in zip(dropouts, before, strict=True):
            dropout.p = p


def channels_last(images: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) whose channels lie beside each other in memory."""
    room = backend.get("cpu").empty_images(*images.shape, images.dtype)
    room[...] = images
    return room
