"""minicnn's network, written as in its README, on the GPU or the CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import numpy as np

import minicnn
from minicnn import Tensor, no_grad, optim, tensor
from minicnn import functional as F
from minicnn.bench.task import LEARNING_RATE, MOMENTUM, channels_last, loss_of, without_dropout

from .subjects import Subject

AUTOCAST = {"tf32": "tf32", "bf16": "bfloat16"}


def arithmetic(unit: str) -> AbstractContextManager[Any]:
    """Return the block in which products are made of these numbers."""
    return minicnn.autocast(AUTOCAST[unit]) if unit in AUTOCAST else nullcontext()


class Minicnn:
    """A network that is loaded and ready.

    Parameters
    ----------
    subject : Subject
    mode : {'training', 'inference'}
    batch : int
    device : str
    """

    def __init__(self, subject: Subject, mode: str, batch: int, device: str = "cuda") -> None:
        self.device, self.training = device, mode == "training"
        self.model = deepcopy(subject.model).train(self.training).to(device)
        self.optimizer = optim.SGD(self.model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
        self.probes = subject.probes()
        self.load(subject.images[:batch], subject.labels[:batch])

    def load(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Take these images and labels from the host."""
        self.images = Tensor(channels_last(images)).to(self.device)
        self.labels = tensor(labels).to(self.device)

    def step(self, unit: str) -> None:
        """Queue a step; nobody waits for its result."""
        if self.training:
            self._backward(unit)
            self.optimizer.step()
        else:
            self._scores(unit)

    def answer(self, unit: str) -> dict[str, np.ndarray]:
        """Return what is compared: scores, or the loss without dropout and the gradients of the probes."""
        if not self.training:
            return {"scores": self._scores(unit).numpy()}
        with without_dropout(self.model):
            loss = self._backward(unit)
        parameters = dict(self.model.named_parameters())
        gradients = {name: Tensor(parameters[name].grad).numpy() for name in self.probes}
        return {"loss": loss.numpy()} | gradients

    def _scores(self, unit: str) -> Tensor:
        with no_grad(), arithmetic(unit):
            return self.model(self.images)

    def _backward(self, unit: str) -> Tensor:
        self.optimizer.zero_grad()
        with arithmetic(unit):
            loss = loss_of(self.model(self.images), self.labels, F.cross_entropy)
        loss.backward()
        return loss
