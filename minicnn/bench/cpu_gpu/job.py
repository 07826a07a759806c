"""What is computed: a network's or a layer's forward pass or training step, on whatever device the module is.

On the CPU and on the GPU a job is timed.  On the device ``"meta"``, where arrays have no values, its operations are
counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import backend, nn, optim
from ...models import Classifier
from ...profiler import profile
from ...tensor import Tensor, no_grad
from ..task import LEARNING_RATE, MOMENTUM, without_dropout
from .roofline import Work

__all__ = ["Inference", "Job", "LayerTraining", "Placed", "Training", "operations"]


class Job(ABC):
    """A computation on tensors.

    Attributes
    ----------
    module : Module
        Its device is that of the computation.
    """

    module: Any

    @abstractmethod
    def __call__(self, *inputs: Tensor) -> Mapping[str, Tensor]:
        """Compute once, and return by name what is fetched and compared between devices."""

    def update(self) -> Sequence[Work]:
        """Return the work that is none of the operations which a profile sees."""
        return ()


class Inference(Job):
    """A network's or a layer's forward pass in evaluation mode, on a batch of inputs."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval()

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the output."""
        with no_grad():
            return {"scores": self.module(*inputs)}


class Training(Job):
    """A step of SGD with momentum, on a batch of images and their labels."""

    def __init__(self, module: Classifier) -> None:
        self.module = module.train()
        self.optimizer = optim.SGD(module.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the loss."""
        images, labels = inputs
        self.optimizer.zero_grad()
        loss = self.module.loss(self.module(images), labels)
        loss.backward()
        if loss.device != "meta":
            self.optimizer.step()
        return {"loss": loss.detach()}

    def update(self) -> Sequence[Work]:
        """Return the optimizer's: p, g and v are read, p and v written, with two multiply-adds an element."""
        return [Work(4 * p.size, 5 * p.data.nbytes) for p in self.module.parameters()]


class LayerTraining(Job):
    """A layer's forward and backward pass, on a batch of inputs and the gradient of its output."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.train()

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the output and the gradient of the input."""
        x, g = inputs
        self.module.zero_grad()
        leaf = Tensor(x.data, requires_grad=True)
        y = self.module(leaf)
        y.backward(g)
        return {"scores": y.detach(), "gradient": Tensor(leaf.grad)}


class Placed:
    """A job on a device, with its inputs there and in host memory.

    Parameters
    ----------
    job : Job
        Whose module is on that device.
    inputs : sequence of NumPy arrays
    device : str
    """

    def __init__(self, job: Job, inputs: Sequence[np.ndarray], device: str) -> None:
        self.job, self.device = job, device
        self.here = [Tensor(array) for array in inputs]
        self.there = [x.to(device) for x in self.here]

    def resident(self) -> None:
        """Compute, the inputs being there, and wait until it is done."""
        self.job(*self.there)
        array = self.there[0].data
        backend.of(array).synchronize(array)

    def transferred(self) -> None:
        """Send the inputs, compute, fetch the results."""
        for result in self.job(*(x.to(self.device) for x in self.here)).values():
            result.numpy()

    def answer(self) -> dict[str, np.ndarray]:
        """Compute once without dropout, and return the results in host memory."""
        with without_dropout(self.job.module):
            return {name: np.array(y.numpy()) for name, y in self.job(*self.there).items()}


def operations(job: Job, inputs: Sequence[np.ndarray]) -> tuple[list[Work], list[int]]:
    """Return the work of each operation of a job whose module is on ``"meta"``, and the bytes of each result.

    What is a view cannot be told without values, so it is counted as if it were copied.
    """
    tensors = [Tensor(backend.to_device(array, "meta")) for array in inputs]
    with backend.device("meta"), profile() as found:
        results = job(*tensors)
    works = [Work(record.flops, record.bytes) for record in found.records]
    return [*works, *job.update()], [y.data.nbytes for y in results.values()]
