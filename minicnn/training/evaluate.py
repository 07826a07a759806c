"""How well a classifier does on data it has not been trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..data import DataLoader, Dataset
from ..data.transforms import Transform
from ..models import Classifier
from ..nn import Module
from ..tensor import Tensor, no_grad
from .beside import beside
from .prepare import prepare

__all__ = ["Evaluation", "evaluate", "evaluating", "loss_of", "scores_of"]

_NUMBERS = 1 << 20  # of the images of one batch: enough to keep the threads busy, little to keep in memory
_MOST_IMAGES = 250


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found.

    Attributes
    ----------
    loss : float
        Mean over the images.
    confusion : numpy.ndarray of shape (K, K), int64
        ``confusion[i, j]`` images of class i were taken for class j.

    Examples
    --------
    >>> found = Evaluation(loss=0.1, confusion=np.array([[9, 1], [0, 10]]))
    >>> found.images, found.accuracy
    (20, 0.95)
    """

    loss: float
    confusion: np.ndarray

    @property
    def images(self) -> int:
        """How many images were judged."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of the images whose class was found."""
        return float(np.trace(self.confusion) / self.images)


def evaluate(
    model: Module, dataset: Dataset, *, batch_size: int | None = None, transform: Transform | None = None
) -> Evaluation:
    """Judge a classifier on a data set.

    It is put into evaluation mode meanwhile.

    Parameters
    ----------
    model : Module
        A :class:`~minicnn.models.Classifier`, or any module that returns a score for each class (N, K).
    dataset : Dataset
    batch_size : int, optional
        Default: by the size of the images, 250 of MNIST's and fewer of larger ones.
    transform : callable, optional
        Default: what the model asks for, see :func:`~minicnn.training.prepare`.

    Raises
    ------
    ValueError
        If there are no images, they do not fit the model, or it knows fewer classes than they have.

    Examples
    --------
    >>> from minicnn import data, models
    >>> _, test = data.load("mnist5k")
    >>> evaluate(models.lenet5(), test.subset(slice(20))).images
    20
    """
    if not len(dataset):
        raise ValueError(f"evaluate: the data set must have images, {dataset!r} has none")
    transform = transform or prepare(model, dataset)
    batch_size = batch_size or _batch_size(model, dataset)
    count = len(dataset.classes)
    confusion = np.zeros((count, count), np.int64)
    total = 0.0
    with evaluating(model), no_grad():
        for images, labels in DataLoader(dataset, batch_size, transform=transform):
            output = model(beside(model, images))
            scores = scores_of(model)(output)
            if scores.shape != (len(labels), count):
                raise ValueError(
                    f"evaluate: the model must have a score for each of the {count} classes of {dataset.name!r}, "
                    f"it returns shape {scores.shape} for {len(labels)} images"
                )
            total += loss_of(model)(output, beside(model, labels)).item() * len(labels)
            np.add.at(confusion, (labels.numpy(), scores.argmax(1).numpy()), 1)
    return Evaluation(total / len(dataset), confusion)


def _batch_size(model: Module, dataset: Dataset) -> int:
    shape = model.input_shape if isinstance(model, Classifier) else dataset.images.shape[1:]
    return min(max(1, _NUMBERS // math.prod(shape)), _MOST_IMAGES)


def loss_of(model: Module) -> Callable[[Any, Tensor], Tensor]:
    """Return the model's own loss; cross entropy for one that is no Classifier."""
    return model.loss if isinstance(model, Classifier) else F.cross_entropy


def scores_of(model: Module) -> Callable[[Any], Tensor]:
    """Return what makes a score for each class (N, K) of the model's output."""
    return model.scores if isinstance(model, Classifier) else lambda output: output


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Hold a model in evaluation mode, and give each of its modules its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
