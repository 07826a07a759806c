"""What a layer costs for one image: connections, as LeCun counts them, and multiply-adds.

A unit of the output has a connection to each input it looks at, and one to its bias; layers that only squash,
normalise or rearrange have none.  Multiply-adds (MACs) are those of convolutions and dense layers: one a
weight and place, biases left out.  Padding counts as input in both.

A layer of one's own counts if it has a method ``layer_cost(input_shape, output_shape)`` that returns both
numbers, the shapes being those of one image, without the batch.  A layer of no known kind costs nothing.
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any, NamedTuple

from .. import nn
from ..geometry import pair
from ..ops.adaptive_pool2d import cells

__all__ = ["Cost", "cost"]

Shape = tuple[int, ...]


class Cost(NamedTuple):
    """Counts for one image."""

    connections: int = 0
    macs: int = 0


@singledispatch
def cost(layer: Any, input_shape: Shape, output_shape: Shape) -> Cost:
    """Count a layer's connections and multiply-adds.

    Parameters
    ----------
    layer : Module
    input_shape, output_shape : tuple of int
        Of one image: (C, H, W), or (features,).

    Examples
    --------
    >>> cost(nn.Linear(120, 84), (120,), (84,))
    Cost(connections=10164, macs=10080)
    """
    own = getattr(layer, "layer_cost", None)
    return Cost(*own(input_shape, output_shape)) if own else Cost()


@cost.register
def _(layer: nn.Conv2d, input_shape: Shape, output_shape: Shape) -> Cost:
    return _weighted(layer, math.prod(output_shape[-2:]), output_shape)


@cost.register
def _(layer: nn.ConvTranspose2d, input_shape: Shape, output_shape: Shape) -> Cost:
    return _weighted(layer, math.prod(input_shape[-2:]), output_shape)


@cost.register
def _(layer: nn.Linear, input_shape: Shape, output_shape: Shape) -> Cost:
    return _weighted(layer, math.prod(output_shape[:-1]), output_shape)


def _weighted(layer: Any, places: int, output_shape: Shape) -> Cost:
    """Count each weight once a place, and each unit's bias."""
    macs = places * layer.weight.size
    return Cost(macs if layer.bias is None else macs + math.prod(output_shape), macs)


@cost.register
def _(layer: nn.MaxPool2d | nn.AvgPool2d, input_shape: Shape, output_shape: Shape) -> Cost:
    rows, columns = pair("cost", "kernel_size", layer.kernel_size, least=1)
    return Cost(math.prod(output_shape) * rows * columns)


@cost.register
def _(layer: nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d, input_shape: Shape, output_shape: Shape) -> Cost:
    rows, columns = (
        sum(cell.stop - cell.start for cell in cells(size, count))
        for size, count in zip(input_shape[-2:], output_shape[-2:], strict=True)
    )
    return Cost(math.prod(output_shape[:-2]) * rows * columns)
