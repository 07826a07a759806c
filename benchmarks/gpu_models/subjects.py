"""A network with the weights, images and labels that everyone computes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from minicnn import manual_seed, models, no_grad
from minicnn.bench import MODELS, Network, describe
from minicnn.bench.task import settle
from minicnn.tensor import Tensor

MOST = 128  # images
FOR_STATISTICS = 8  # images that running statistics are taken from
PROBES = 6  # parameters whose gradients are compared
LARGEST_PROBE = 1 << 22  # numbers that each of them has at most


@dataclass(frozen=True)
class Subject:
    """What everyone computes with.

    Attributes
    ----------
    descriptions : dict of Network
        By mode.
    model : Classifier
        On the CPU, and never trained.
    images : array (N, C, H, W)
    labels : array (N,)
    """

    descriptions: Mapping[str, Network]
    model: models.Classifier
    images: np.ndarray
    labels: np.ndarray

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Parameters and running statistics by their dotted names."""
        return self.model.state_dict()

    def gflop(self, mode: str, batch: int) -> float:
        """Return the work of a step: two for a multiply-add; a training step counts as three forward passes."""
        return 2 * (3 if mode == "training" else 1) * batch * self.descriptions[mode].macs / 1e9

    def probes(self) -> list[str]:
        """Return some weights, from the first to the last, whose gradients are compared."""
        parameters = self.model.named_parameters()
        names = [name for name, p in parameters if p.ndim > 1 and p.size <= LARGEST_PROBE]
        return list(dict.fromkeys(names[i * (len(names) - 1) // (PROBES - 1)] for i in range(PROBES)))


@cache
def subject(name: str) -> Subject:
    """Return the subject of a network, always the same; it is kept, for its rows do not follow one another."""
    config = {"model": name, **MODELS.get(name, {})}
    manual_seed(0)
    model = models.get_model(**config)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((MOST, *model.input_shape), dtype=np.float32)
    with no_grad():
        settle(model, Tensor(images[:FOR_STATISTICS]))
    descriptions = {mode: describe(config, training=mode == "training") for mode in ("training", "inference")}
    inference = descriptions["inference"]
    (classes,) = inference.shapes()[inference.outputs[0]]
    return Subject(descriptions, model, images, rng.integers(0, classes, MOST))
