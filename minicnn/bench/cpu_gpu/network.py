"""A network on all devices that take part, with the same weights, and its layers, each with the shape of its input."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ... import backend, manual_seed, models, nn
from ...tensor import Tensor, no_grad
from ..task import settle

__all__ = ["Copies", "Layer"]

_AFTER_BATCH = 2  # images in a run: a single one has no variance


@dataclass(frozen=True)
class Layer:
    """Layers that are alike and see inputs of one shape.

    Attributes
    ----------
    names : tuple of str
        Their dotted names in the network.
    kind : str
        Their class.
    input_shape, output_shape : tuple of int
        For one image.
    """

    names: tuple[str, ...]
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def title(self) -> str:
        """The first one's name, how many more there are, and their kind."""
        more = f" +{len(self.names) - 1}" if self.names[1:] else ""
        return f"{self.names[0]}{more} {self.kind}"


class Copies:
    """A network on the CPU, on ``"meta"`` where it is counted, and on a GPU if there is one.

    Parameters
    ----------
    config : mapping
        The arguments of :func:`~minicnn.models.get_model`.

    Raises
    ------
    ValueError
        If there is no such model, or it takes no such arguments.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        manual_seed(0)
        try:
            with backend.device("meta"):
                self._meta = models.get_model(**config)
            self._cpu = models.get_model(**config)
        except TypeError as error:
            raise ValueError(str(error)) from None
        noise = np.random.default_rng(0).standard_normal((_AFTER_BATCH, *self._cpu.input_shape), np.float32)
        with no_grad():
            settle(self._cpu, Tensor(noise))
        self.input_shape = self._cpu.input_shape

    def on(self, device: str) -> models.Classifier:
        """Return the network on a device: on the GPU a new copy with the weights that the CPU's now has."""
        if device == "meta":
            return self._meta
        if device == "cpu":
            return self._cpu
        return copy.deepcopy(self._cpu).to(device)

    def layers(self) -> list[Layer]:
        """Return the innermost modules that take one tensor and compute something, alike ones together.

        Read off a run on images without values, in the order of the calls.
        """
        found: dict[tuple[str, tuple[int, ...]], Layer] = {}

        def note(name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if len(args) != 1 or not isinstance(output, Tensor) or isinstance(module, _FREE):
                return
            alike = repr(module), args[0].shape[1:]
            names = found[alike].names if alike in found else ()
            if name not in names:
                found[alike] = Layer((*names, name), type(module).__name__, alike[1], output.shape[1:])

        meta = backend.get("meta")
        with ExitStack() as hooks, backend.device("meta"), no_grad():
            for name, module in self._meta.eval().named_modules():
                if next(module.children(), None) is None:
                    hooks.enter_context(module.register_forward_hook(partial(note, name)))
            self._meta(Tensor(meta.empty((1, *self.input_shape), np.float32)))
        return list(found.values())


_FREE = (nn.Flatten, nn.Identity, nn.Dropout)
"""Layers that in a forward pass hand on what they were given."""
