"""What the layers of a network are and cost, measured on the meta device: shapes only, no weights, no arithmetic.

The network is built and run, and every module, from the single layer to the whole, notes what went
in and what came out.  Its connections and multiply-adds are those of the layers inside it.  What runs in
training only, such as auxiliary heads, is measured in a second run, in training mode.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

from ... import backend, models, nn
from ...tensor import Tensor, no_grad
from ..cost import cost

__all__ = ["QUANTITIES", "Part", "configuration", "measure"]

Shape = tuple[int, ...]


@dataclass
class Part:
    """A layer, a group of layers or the whole network, as it took one image.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        (C, H, W) or (features,).
    parameters, weights : int
        Learned numbers, and those of them that are no biases: in parameters with two axes or more.
    connections, macs : int
        As :mod:`minicnn.study.cost` counts them.
    """

    input_shape: Shape = ()
    output_shape: Shape = ()
    parameters: int = 0
    weights: int = 0
    connections: int = 0
    macs: int = 0


QUANTITIES: dict[str, Callable[[Sequence[Part]], Any]] = {
    "input": lambda parts: parts[0].input_shape,
    "output": lambda parts: parts[-1].output_shape,
    "inputs": lambda parts: math.prod(parts[0].input_shape),
    "units": lambda parts: sum(math.prod(part.output_shape) for part in parts),
    "parameters": lambda parts: sum(part.parameters for part in parts),
    "weights": lambda parts: sum(part.weights for part in parts),
    "connections": lambda parts: sum(part.connections for part in parts),
    "MACs": lambda parts: sum(part.macs for part in parts),
}
"""What can be claimed of one part, or of several one after the other."""


def configuration(network: str) -> dict[str, Any]:
    """Return the arguments of :func:`~minicnn.models.get_model` that a claim's network stands for.

    Examples
    --------
    >>> configuration("resnet_cifar depth=20 shortcut=B")
    {'model': 'resnet_cifar', 'depth': 20, 'shortcut': 'B'}
    """
    name, *options = network.split()
    pairs = (option.split("=") for option in options)
    return {"model": name, **{key: _value(text) for key, text in pairs}}


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


@cache
def measure(network: str) -> dict[str, Part]:
    """Return all parts of a network by their dotted names; the whole is "".

    Parameters
    ----------
    network : str
        As :func:`configuration` reads it.

    Examples
    --------
    >>> parts = measure("lenet5 variant=paper")
    >>> parts["c3"].output_shape, parts["c3"].parameters, parts[""].connections
    ((16, 10, 10), 1516, 340908)
    """
    with backend.device("meta"), no_grad():
        model = models.get_model(**configuration(network))
        shape = 2, *model.input_shape  # two images, for a single one has no variance to train with
        images = Tensor(backend.get().zeros(shape, "float32"))
        parts = _run(model.eval(), images)
        if any(name not in parts for name, _ in model.named_modules()):
            parts = {**_run(model.train(), images), **parts}
    return parts


def _run(model: nn.Module, images: Tensor) -> dict[str, Part]:
    """Run a model and return the parts that ran."""
    parts: dict[str, Part] = {}
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_hook(_noting(name, parts)))
        model(images)
    return parts


def _noting(name: str, parts: dict[str, Part]) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
    """Make a hook that notes a module's calls, and adds what they cost to all it is inside of."""

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        first = output if isinstance(output, Tensor) else output[0]
        part = parts.setdefault(name, Part())
        part.input_shape, part.output_shape = args[0].shape[1:], first.shape[1:]
        part.parameters = sum(p.size for p in module.parameters())
        part.weights = sum(p.size for p in module.parameters() if p.ndim > 1)
        connections, macs = cost(module, part.input_shape, part.output_shape)
        for around in _around(name):
            outer = parts.setdefault(around, Part())
            outer.connections += connections
            outer.macs += macs

    return note


def _around(name: str) -> Iterator[str]:
    """Yield a module's name and those of all it is inside of: a.b.c, a.b, a and the whole, which has none.

    Examples
    --------
    >>> list(_around("layer1.0"))
    ['layer1.0', 'layer1', '']
    """
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""
