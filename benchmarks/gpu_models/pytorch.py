"""PyTorch's network: eager, convolutions by cuDNN, which measures its algorithms and takes the fastest."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from minicnn.bench.peers.pytorch import torch_module  # as `minicnn bench peers` has it
from minicnn.bench.task import LEARNING_RATE, MOMENTUM, loss_of

from .subjects import Subject


class Pytorch:
    """A network that is loaded and ready; the methods are those of own.Minicnn.

    Parameters
    ----------
    torch : module
    subject : Subject
    mode : {'training', 'inference'}
    batch : int
    channels_last : bool
        Or in PyTorch's own order of memory.
    device : str
    """

    def __init__(
        self,
        torch: Any,
        subject: Subject,
        mode: str,
        batch: int,
        channels_last: bool = False,
        device: str = "cuda",
    ) -> None:
        self.torch, self.device, self.training = torch, device, mode == "training"
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        tensors = {name: self._tensor(array) for name, array in subject.weights.items()}
        learned = {name for name, t in tensors.items() if ".running_" not in name and t.is_floating_point()}
        if self.training:
            tensors |= {name: torch.nn.Parameter(tensors[name]) for name in learned}
        network = subject.descriptions[mode]
        self.module = torch_module(network, tensors).train(self.training)
        self.sure = torch_module(network.without_dropout(), tensors).train(self.training)
        self.parameters = {name: tensors[name] for name in learned}
        if self.training:
            self.optimizer = torch.optim.SGD(
                self.parameters.values(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True
            )
        self.probes = subject.probes()
        self.load(subject.images[:batch], subject.labels[:batch])

    def load(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images = self._tensor(images)
        self.labels = self.torch.from_numpy(labels).to(self.device)

    def step(self, unit: str) -> None:
        if self.training:
            self._backward(self.module, unit)
            self.optimizer.step()
        else:
            self._scores(unit)

    def answer(self, unit: str) -> dict[str, np.ndarray]:
        if not self.training:
            return {"scores": self._scores(unit).float().cpu().numpy()}
        loss = self._backward(self.sure, unit).detach()
        tensors = {"loss": loss} | {name: self.parameters[name].grad for name in self.probes}
        return {name: t.float().contiguous().cpu().numpy() for name, t in tensors.items()}

    def _tensor(self, array: np.ndarray) -> Any:
        """Return a copy on the device, images and kernels in this layout."""
        tensor = self.torch.tensor(array).to(self.device)
        return tensor.contiguous(memory_format=self.layout) if tensor.ndim == 4 else tensor

    def _arithmetic(self, unit: str) -> AbstractContextManager[Any]:
        backends = self.torch.backends
        backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = unit == "tf32"
        if unit == "bf16":
            return self.torch.autocast(self.device, dtype=self.torch.bfloat16)
        return nullcontext()

    def _scores(self, unit: str) -> Any:
        with self.torch.inference_mode(), self._arithmetic(unit):
            return self.module(self.images)[0]

    def _backward(self, module: Any, unit: str) -> Any:
        self.optimizer.zero_grad()
        with self._arithmetic(unit):
            loss = loss_of(module(self.images), self.labels, self.torch.nn.functional.cross_entropy)
        loss.backward()
        return loss
