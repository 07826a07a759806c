"""PyTorch: the network as a ``torch.fx`` module, which is plain generated Python without anything between the calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from ..network import IMAGE, Network, Operation
from ..task import LEARNING_RATE, MOMENTUM, Task, loss_of

__all__ = ["prepare", "torch_module", "versions"]

_OVERWRITABLE = {"conv2d", "linear", "batch_norm", "add"}  # their backward does not need their output


def versions() -> dict[str, str]:
    """Return what this peer consists of."""
    return {"torch": import_module("torch").__version__}


def prepare(task: Task, channels_last: bool = False, compiled: bool = False) -> _Inference | _Training:
    """Load the network: eager, in PyTorch's own order of memory, unless said otherwise."""
    torch = import_module("torch")
    torch.set_num_threads(task.threads)
    tensors = {name: torch.from_numpy(array) for name, array in task.weights().items()}
    images = torch.from_numpy(task.images().copy())
    if channels_last:
        tensors = {
            name: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for name, t in tensors.items()
        }
        images = images.to(memory_format=torch.channels_last)
    wrap = torch.compile if compiled else lambda module: module
    network = task.network()
    if not task.training:
        return _Inference(wrap(torch_module(network, tensors).eval()), images)
    learned = {
        name: t if ".running_" in name or not t.is_floating_point() else torch.nn.Parameter(t)
        for name, t in tensors.items()
    }
    module = torch_module(network, learned).train()
    has_dropout = network != network.without_dropout()
    sure = torch_module(network.without_dropout(), learned).train() if has_dropout else module
    wrapped = wrap(module)
    return _Training(
        wrapped, wrap(sure) if has_dropout else wrapped, module, images, task.labels(), task.probes()
    )


class _Inference:
    def __init__(self, module: Any, images: Any) -> None:
        self.torch, self.module, self.images = import_module("torch"), module, images

    def step(self) -> None:
        with self.torch.inference_mode():
            self.module(self.images)

    def answer(self) -> dict[str, np.ndarray]:
        with self.torch.inference_mode():
            return {"scores": self.module(self.images)[0].numpy()}


class _Training:
    def __init__(
        self,
        module: Callable[..., Any],
        without_dropout: Callable[..., Any],
        parameters: Any,
        images: Any,
        labels: np.ndarray,
        probes: list[str],
    ) -> None:
        torch = import_module("torch")
        self.module, self.without_dropout, self.images, self.probes = module, without_dropout, images, probes
        self.labels = torch.from_numpy(labels.copy())
        self.cross_entropy = torch.nn.functional.cross_entropy
        self.parameters = dict(parameters.named_parameters())
        self.optimizer = torch.optim.SGD(self.parameters.values(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def step(self) -> float:
        loss = self._backward(self.module)
        self.optimizer.step()
        return loss.item()

    def answer(self) -> dict[str, np.ndarray]:
        loss = self._backward(self.without_dropout)
        gradients = {name: self.parameters[name].grad.contiguous().numpy() for name in self.probes}
        return {"loss": loss.detach().numpy()} | gradients

    def _backward(self, module: Callable[..., Any]) -> Any:
        self.optimizer.zero_grad()
        loss = loss_of(module(self.images), self.labels, self.cross_entropy)
        loss.backward()
        return loss


def torch_module(network: Network, tensors: Mapping[str, Any]) -> Any:
    """Return the network as a ``torch.fx.GraphModule`` over these tensors, its outputs a tuple."""
    fx = import_module("torch.fx")
    graph = fx.Graph()
    values = {IMAGE: graph.placeholder(IMAGE)}
    made_by, uses = {op.output: op.kind for op in network.operations}, network.uses()
    for op in network.operations:
        for name in op.inputs:
            if name not in values:
                values[name] = graph.get_attr(name)
        source = op.inputs[0]
        alone = uses[source] == 1 and made_by.get(source) in _OVERWRITABLE
        function, arguments, options = _call(op, [values[name] for name in op.inputs], in_place=alone)
        values[op.output] = graph.call_function(function, arguments, options)
    graph.output(tuple(values[name] for name in network.outputs))
    return fx.GraphModule(dict(tensors), graph)


def _call(op: Operation, inputs: list[Any], in_place: bool) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return PyTorch's function for an operation, its arguments, and its options."""
    torch = import_module("torch")
    functional, options = torch.nn.functional, dict(op.options)
    if "padding" in options:
        options["padding"] = _symmetric(op)
    match op.kind:
        case "cat":
            return torch.cat, (inputs, 1), {}
        case "flatten":
            return torch.flatten, (*inputs, 1), {}
        case "relu":
            return (torch.relu_ if in_place else torch.relu), tuple(inputs), {}
        case "add" | "sigmoid" | "tanh":
            return getattr(torch, op.kind), tuple(inputs), {}
        case "batch_norm":
            x, weight, bias, mean, var = inputs
            return functional.batch_norm, (x, mean, var, weight, bias), options
        case "conv2d":
            del options["kernel_size"]
        case "avg_pool2d":
            del options["dilation"]
    return getattr(functional, op.kind), tuple(inputs), options


def _symmetric(op: Operation) -> tuple[int, int]:
    top, bottom, left, right = op.options["padding"]
    if (top, left) != (bottom, right):
        raise ValueError(f"PyTorch's {op.kind} pads alike on both sides, got {op.options['padding']}")
    return top, left
