"""minicnn itself, written as in its README."""

from __future__ import annotations

import numpy as np

import minicnn
from minicnn import backend, models, nn, no_grad, optim, tensor
from minicnn import functional as F
from minicnn.tensor import Tensor

from ..task import LEARNING_RATE, MOMENTUM, Task, channels_last, loss_of, without_dropout

__all__ = ["prepare", "versions"]


def versions() -> dict[str, str]:
    """Return what this peer consists of."""
    return {"minicnn": minicnn.__version__, "numpy": np.__version__}


def prepare(task: Task, device: str = "cpu", fused: bool = False) -> _Inference | _Training:
    """Load the network; `fused` lets :func:`minicnn.nn.fuse` go over it first."""
    minicnn.set_num_threads(task.threads)
    model = models.get_model(**task.config)
    model.load_state_dict(task.weights())
    model.to(device)
    images = Tensor(channels_last(task.images())).to(device)
    if fused:
        model = nn.fuse(model, training=task.training)
    if task.training:
        return _Training(model, images, tensor(task.labels()).to(device), task.probes())
    return _Inference(model.eval(), images)


class _Inference:
    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.images = model, images

    def step(self) -> None:
        scores = self._scores()
        backend.of(scores.data).synchronize(scores.data)

    def answer(self) -> dict[str, np.ndarray]:
        return {"scores": self._scores().numpy()}

    def _scores(self) -> Tensor:
        with no_grad():
            return self.model(self.images)


class _Training:
    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, probes: list[str]) -> None:
        self.model, self.images, self.labels, self.probes = model.train(), images, labels, probes
        self.optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def step(self) -> float:
        loss = self._backward()
        self.optimizer.step()
        return loss.item()

    def answer(self) -> dict[str, np.ndarray]:
        with without_dropout(self.model):
            loss = self._backward()
        parameters = dict(self.model.named_parameters())
        gradients = {name: parameters[name].grad for name in self.probes}
        return {"loss": loss.numpy()} | {
            name: np.array(backend.of(g).to_numpy(g)) for name, g in gradients.items()
        }

    def _backward(self) -> Tensor:
        self.optimizer.zero_grad()
        loss = loss_of(self.model(self.images), self.labels, F.cross_entropy)
        loss.backward()
        return loss
