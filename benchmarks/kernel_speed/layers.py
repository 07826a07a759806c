"""The different layers of the three networks the CUDA kernels are measured on, read off the networks themselves.

A layer that a network has several times, or several networks have, is one layer; how often each has it is kept, for
sums over a network.  Images are those of the papers, 224×224.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minicnn import models
from minicnn.backend import device
from minicnn.bench.network import Operation, describe
from minicnn.geometry import Window2d

NETWORKS: dict[str, dict[str, Any]] = {
    "vgg16": {"model": "vgg16"},
    "resnet50": {"model": "resnet50"},
    "googlenet": {"model": "googlenet", "variant": "paper"},
}
KINDS = ("conv2d", "max_pool2d", "avg_pool2d", "local_response_norm", "batch_norm", "dropout")
_WINDOW = ("kernel_size", "stride", "padding", "dilation")


@dataclass(frozen=True)
class Layer:
    """One layer for any number of images.

    Attributes
    ----------
    kind : str
        Its name in minicnn.functional, or "sgd": one step for all parameters of a network.
    shape : tuple of int
        Of one image's input, (H, W, C); of logits (classes,); of parameters (n,).
    kernels : int
        The output channels of a convolution, else 0.
    window : Window2d or None
    options : tuple of (name, value)
        What else the operation takes.
    """

    kind: str
    shape: tuple[int, ...]
    kernels: int = 0
    window: Window2d | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """A short description by which a record's rows are told apart: "3×3 64→128, 112×112"."""
        if len(self.shape) == 1:
            what = {"sgd": "parameters", "cross_entropy": "classes"}.get(self.kind, "numbers")
            return f"{self.shape[0]:,} {what}" + "".join(f", {k} = {v}" for k, v in self.options)
        height, width, channels = self.shape
        size = f"{height}×{width}"
        if self.window is None:
            return f"{channels}, {size}"
        (r, s), (stride, _) = self.window.kernel, self.window.stride
        window = (
            f"{r}×{s}" + (f"/{stride}" if stride > 1 else "") + (" ceil" if self.window.ceil_mode else "")
        )
        padding = self.window.padding[0]
        usual = r // 2 if self.kind == "conv2d" else 0
        return (
            window
            + (f" pad {padding}" if padding != usual else "")
            + (f" {channels}→{self.kernels}, {size}" if self.kernels else f" {channels}, {size}")
        )

    @property
    def outputs(self) -> tuple[int, int]:
        """(P, Q) of a window's layer."""
        assert self.window is not None
        return self.window.output_size(*self.shape[:2])

    @property
    def flops(self) -> int:
        """Of one image: two for each multiplication of a convolution; of the others one a number of the input."""
        if not self.kernels:
            return math.prod(self.shape)
        assert self.window is not None
        return 2 * math.prod(self.outputs) * self.kernels * self.shape[-1] * self.window.samples


def layers() -> dict[Layer, dict[str, int]]:
    """Return every different layer, and how often each network has it."""
    found: dict[Layer, dict[str, int]] = {}
    for name, config in NETWORKS.items():
        for layer in _layers_of(config):
            uses = found.setdefault(layer, {})
            uses[name] = uses.get(name, 0) + 1
    return found


def _layers_of(config: dict[str, Any]) -> Iterator[Layer]:
    network = describe(config, training=True)
    shapes = network.shapes()
    for op in network.operations:
        layer = _layer(op, shapes)
        if layer is not None:
            yield layer
    yield Layer("cross_entropy", shapes[network.outputs[0]])
    yield Layer("sgd", (_parameters(config),))


def _layer(op: Operation, shapes: dict[str, tuple[int, ...]]) -> Layer | None:
    channels, *size = shapes[op.inputs[0]]
    shape = (*size, channels)
    if op.kind == "adaptive_avg_pool2d" and op.shape[1:] == (1, 1):
        return Layer("avg_pool2d", shape, window=Window2d.of("avg_pool2d", tuple(size), tuple(size)))
    if op.kind not in KINDS:
        return None
    options = dict(op.options)
    window = None
    if "kernel_size" in options:
        sizes = {name: options.pop(name) for name in _WINDOW}
        window = Window2d.of(op.kind, **sizes, ceil_mode=options.pop("ceil_mode", False))
    if op.kind == "conv2d":
        assert options.pop("groups") == 1
    kernels = op.shape[0] if op.kind == "conv2d" else 0
    return Layer(op.kind, shape, kernels, window, tuple(options.items()))


def _parameters(config: dict[str, Any]) -> int:
    with device("meta"):
        return sum(parameter.size for parameter in models.get_model(**config).parameters())


def tiny(layer: Layer) -> Layer:
    """Return a layer of the same kind and window, small enough for the emulator: a few thousand multiplications."""
    if len(layer.shape) == 1:
        return Layer(layer.kind, (min(layer.shape[0], 37),), options=layer.options)
    height, width, channels = layer.shape
    if layer.window is None:
        height, width = min(height, 3), min(width, 5)
    else:
        top, bottom, left, right = layer.window.padding
        (r, s), (stride, _) = layer.window.extent, layer.window.stride
        height = min(height, r + 2 * stride - top - bottom)  # three windows by four
        width = min(width, s + 3 * stride - left - right)
    return Layer(
        layer.kind, (height, width, min(channels, 8)), min(layer.kernels, 8), layer.window, layer.options
    )
