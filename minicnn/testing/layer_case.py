"""A layer with an input that fits it, and values for its parameters at which a wrong gradient shows."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np

from .. import nn
from ..nn.parameter import new_parameter
from .case import literal
from .values import fill, fill_weight

__all__ = ["LayerCase", "with_values"]

Layer = TypeVar("Layer", bound=nn.Module)


class LayerCase(NamedTuple):
    """A layer and an input that fits it.

    Attributes
    ----------
    layer : Module
    x : array
    source : str
        Python that makes the layer, for the repr.

    Examples
    --------
    >>> LayerCase(nn.ReLU(), np.array([-0.5]), "nn.ReLU()")
    LayerCase(nn.ReLU(), np.array([-0.5]))
    """

    layer: nn.Module
    x: np.ndarray
    source: str = ""

    def __repr__(self) -> str:
        return f"LayerCase({self.source or repr(self.layer)}, {literal(self.x)})"


def with_values(layer: Layer, seed: int = 0, dtype: Any = np.float64) -> Layer:
    """Give a layer, or a network of layers, other parameters and buffers, drawn from a seed.

    All are different and none is 0; weights are divided by their fan-in, so that what comes out is no larger than
    what went in, and no sigmoid is saturated.  Running variances are positive.  At what layers start with, biases
    of 0 and batch norms that multiply by 1, a wrong gradient may look right.

    Parameters
    ----------
    layer : Module
        Changed: it gets new arrays, on the CPU.
    seed : int, at least 0
    dtype : dtype
        Of everything but counters.

    Returns
    -------
    Module
        The same layer.

    Examples
    --------
    >>> a, b = (with_values(nn.Linear(3, 2), seed=1) for _ in range(2))
    >>> bool((a.weight.data == b.weight.data).all()), a.weight.dtype
    (True, dtype('float64'))
    """
    parts = [*layer.named_parameters(), *layer.named_buffers()]
    for i, (name, part) in enumerate(parts):
        if np.dtype(part.dtype).kind != "f":  # a counter
            part.data = np.zeros(part.shape, part.dtype)
            continue
        part.data = new_parameter(part.shape, "cpu", dtype).data
        is_variance = name.endswith("running_var")
        part.data[...] = (
            fill(part.shape, "positive", seed + i) if is_variance else fill_weight(part.shape, seed + i)
        )
    return layer
