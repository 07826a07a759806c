"""A network as a list of operations that every framework has: one description, from which each peer builds its own.

The list is read off a run of the network, on arrays without values: an observer is told of each operation, and knows
by the arrays that go in and come out which one feeds which.  Parameters keep their dotted names, so one file of
weights does for all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .. import backend, models, nn
from ..geometry import Window2d
from ..observer import Observer, observing
from ..ops.adaptive_pool2d import AdaptiveAvgPool2d
from ..ops.arithmetic import Add
from ..ops.avg_pool2d import AvgPool2d
from ..ops.batch_norm import BatchNorm, BatchNormInference
from ..ops.cat import Cat
from ..ops.conv2d import Conv2d
from ..ops.dropout import Dropout
from ..ops.linear import Linear
from ..ops.local_response_norm import LocalResponseNorm
from ..ops.max_pool2d import MaxPool2d
from ..ops.relu import ReLU
from ..ops.shape import Flatten
from ..ops.sigmoid import Sigmoid
from ..ops.tanh import Tanh
from ..tensor import Function, Tensor, no_grad

__all__ = ["IMAGE", "Network", "Operation", "describe"]

IMAGE = "image"
"""The name of the network's input."""

_AFTER_BATCH = 2  # images in the run: a single one has no variance to train with


@dataclass(frozen=True)
class Operation:
    """One operation of a network.

    Attributes
    ----------
    kind : str
        Its name in :mod:`minicnn.functional`.
    inputs : tuple of str
        Names of values: :data:`IMAGE`, outputs of operations before, parameters.
    output : str
    shape : tuple of int
        Of the output for one image, (C, H, W) or (features,).
    options : dict
        Its arguments, by their names there; a window's padding is (top, bottom, left, right).
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """A network: operations in an order in which they can be computed.

    Attributes
    ----------
    input_shape : tuple of int
        Of one image.
    operations : tuple of Operation
    outputs : tuple of str
        The scores, then those of auxiliary heads.
    macs : int
        Multiply-adds of convolutions and dense layers for one image.
    """

    input_shape: tuple[int, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    macs: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape, for one image, of each value that is no parameter."""
        return {IMAGE: self.input_shape} | {op.output: op.shape for op in self.operations}

    def uses(self) -> dict[str, int]:
        """Return how many operations take each value; the network's outputs are taken once more."""
        counts = dict.fromkeys(self.outputs, 1)
        for op in self.operations:
            for name in op.inputs:
                counts[name] = counts.get(name, 0) + 1
        return counts

    def without_dropout(self) -> Network:
        """Return the network with every dropout a probability of 0, whose answer is the same each time."""
        return replace(
            self,
            operations=tuple(
                replace(op, options={"p": 0.0}) if op.kind == "dropout" else op for op in self.operations
            ),
        )

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Network:
        """Return what :meth:`to_json` wrote.

        Examples
        --------
        >>> network = describe({"model": "lenet5"}, training=False)
        >>> Network.from_json(network.to_json()) == network
        True
        """
        found = json.loads(text)
        operations = tuple(
            Operation(
                op["kind"],
                tuple(op["inputs"]),
                op["output"],
                tuple(op["shape"]),
                {name: _as_tuple(value) for name, value in op["options"].items()},
            )
            for op in found["operations"]
        )
        return cls(tuple(found["input_shape"]), operations, tuple(found["outputs"]), found["macs"])


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def exact_padding(op: Operation, input_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return padding (top, bottom, left, right) with which the windows just fit, ceil mode or not.

    Examples
    --------
    >>> window = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
    >>> exact_padding(Operation("max_pool2d", ("image",), "v0", (8, 3, 3), window), (8, 5, 6))
    (0, 1, 0, 0)
    """
    padding = []
    for axis in range(2):
        before, stride = op.options["padding"][2 * axis], op.options["stride"][axis]
        extent = op.options["dilation"][axis] * (op.options["kernel_size"][axis] - 1) + 1
        after = (op.shape[1 + axis] - 1) * stride + extent - input_shape[1 + axis] - before
        padding += [before, max(after, 0)]
    return tuple(padding)  # type: ignore[return-value]  (they are four)


def describe(config: Mapping[str, Any], training: bool) -> Network:
    """Describe a model.

    Parameters
    ----------
    config : mapping
        The arguments of :func:`~minicnn.models.get_model`.
    training : bool
        In training mode, with its dropouts and auxiliary heads, or in evaluation mode.

    Raises
    ------
    ValueError
        If there is no such model, or it has an operation that cannot be described.

    Examples
    --------
    >>> network = describe({"model": "lenet5"}, training=False)
    >>> [op.kind for op in network.operations][:4], network.macs
    (['conv2d', 'relu', 'max_pool2d', 'conv2d'], 416520)
    """
    with backend.device("meta"), no_grad():
        model = models.get_model(**config).train(training)
        images = Tensor(backend.get().zeros((_AFTER_BATCH, *model.input_shape), "float32"))
        tracer = _Tracer(model, images)
        with observing(tracer):
            output = model(images)
    outputs = output if isinstance(output, tuple) else (output,)
    names = tuple(tracer.names[id(y.data)] for y in outputs if y is not None)
    return Network(model.input_shape, tuple(tracer.operations), names, tracer.macs)


class _Tracer(Observer):
    """Writes down each operation of a run."""

    def __init__(self, model: models.Classifier, images: Tensor) -> None:
        self.model_name = model.config.get("model", type(model).__name__)
        self.modules = dict(model.named_modules())
        self.operations: list[Operation] = []
        self.macs = 0
        self.kept: list[Any] = [images.data]  # an array's id is its own only while it lives
        self.names = {id(p.data): name for name, p in model.named_parameters()} | {id(images.data): IMAGE}

    def forward(self, function: Function, run: Callable[..., Any], *arrays: Any) -> Any:
        """Run the operation and note it."""
        y = run(*arrays)
        kind, options = self._described(function)
        missing = [array.shape for array in arrays if id(array) not in self.names]
        if missing:
            raise ValueError(
                f"bench: {self.model_name} has a {kind} of {missing[0]} numbers that are neither learned nor computed"
            )
        inputs = tuple(self.names[id(array)] for array in arrays)
        if kind == "batch_norm":
            inputs, options = self._with_statistics(inputs, options)
        name = self._note(kind, inputs, y.shape[1:], options)
        if getattr(function, "relu", False):  # minicnn's own fusion: to others these are two
            name = self._note("relu", (name,), y.shape[1:], {})
        self.names[id(y)] = name
        self.kept.append(y)
        if kind in ("conv2d", "linear"):
            weight = arrays[1]
            self.macs += math.prod(y.shape[1:]) * weight.size // len(weight)
        return y

    def _note(
        self, kind: str, inputs: tuple[str, ...], shape: tuple[int, ...], options: Mapping[str, Any]
    ) -> str:
        """Write down an operation and return the name of its output."""
        name = f"v{len(self.operations)}"
        self.operations.append(Operation(kind, inputs, name, shape, options))
        return name

    def _described(self, function: Function) -> tuple[str, dict[str, Any]]:
        """Return what an operation is called, and its options."""
        described = _KINDS.get(type(function))
        found = described(function) if described else None
        if found is None:
            raise ValueError(
                f"bench: {self.model_name} has {function.name} in a form that has no counterpart in all frameworks"
            )
        return found

    def _with_statistics(
        self, inputs: tuple[str, ...], options: dict[str, Any]
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Add the running statistics, which the operation does not see: they stand beside its weight."""
        layer = inputs[1].rpartition(".")[0]
        module = self.modules[layer]
        if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None or module.momentum is None:
            raise ValueError(
                f"bench: {self.model_name} has a batch norm without running statistics, {layer!r}"
            )
        statistics = (f"{layer}.running_mean", f"{layer}.running_var")
        return (*inputs, *statistics), {**options, "momentum": module.momentum}


def _window(window: Window2d) -> dict[str, Any]:
    return {
        "kernel_size": window.kernel,
        "stride": window.stride,
        "padding": window.padding,
        "dilation": window.dilation,
    }


Described = tuple[str, dict[str, Any]] | None


def _conv2d(f: Any) -> Described:
    return "conv2d", _window(f.window) | {"groups": f.groups}


def _max_pool2d(f: Any) -> Described:
    return "max_pool2d", _window(f.window) | {"ceil_mode": f.window.ceil_mode}


def _avg_pool2d(f: Any) -> Described:
    if f.divisor_override is not None or f.window.ceil_mode:
        return None
    return "avg_pool2d", _window(f.window) | {"count_include_pad": f.count_include_pad}


def _local_response_norm(f: Any) -> Described:
    size = f.before + f.after + 1
    if f.before != f.after:  # frameworks differ in where an even window lies
        return None
    return "local_response_norm", {"size": size, "alpha": f.alpha * size, "beta": f.beta, "k": f.k}


def _dropout(f: Any) -> Described:
    return ("dropout", {"p": f.p}) if f.scale != 1 or f.p == 0 else None


def _cat(f: Any) -> Described:
    return ("cat", {}) if f.axis == 1 else None


def _flatten(f: Any) -> Described:
    return ("flatten", {}) if (f.start_dim, f.end_dim) == (1, -1) else None


_KINDS: dict[type[Function], Callable[[Any], Described]] = {
    Conv2d: _conv2d,
    Linear: lambda f: ("linear", {}),
    ReLU: lambda f: ("relu", {}),
    Sigmoid: lambda f: ("sigmoid", {}),
    Tanh: lambda f: ("tanh", {}),
    MaxPool2d: _max_pool2d,
    AvgPool2d: _avg_pool2d,
    AdaptiveAvgPool2d: lambda f: ("adaptive_avg_pool2d", {"output_size": tuple(f.size)}),
    LocalResponseNorm: _local_response_norm,
    BatchNorm: lambda f: ("batch_norm", {"eps": f.eps, "training": True}),
    BatchNormInference: lambda f: ("batch_norm", {"eps": f.eps, "training": False}),
    Dropout: _dropout,
    Add: lambda f: ("add", {}),
    Cat: _cat,
    Flatten: _flatten,
}
