"""How many additions and multiplications an operation does, from its shapes.

Convolutions and matrix products count two for each multiply-add of their definition, whatever the algorithm: one that
does with fewer, such as Winograd's, may seem to run above the machine's limit.  They do one such product in forward and
one for each factor's gradient in backward; a bias does not count.  All other operations count one for each element of
their largest array, the output or an input, and in backward one for each gradient and element: enough to tell that
they wait for memory.
"""

from __future__ import annotations

import math
from functools import singledispatch

from ..ops.conv2d import Conv2d
from ..ops.conv_transpose2d import ConvTranspose2d
from ..ops.linear import Linear
from ..ops.matmul import MatMul
from ..tensor import Function
from .record import Phase

__all__ = ["flops", "product_flops"]

Shape = tuple[int, ...]


def flops(function: Function, phase: Phase, output_shape: Shape) -> int:
    """Count the additions and multiplications of one run of an operation that has been called.

    Parameters
    ----------
    function : Function
    phase : {'forward', 'backward'}
    output_shape : tuple of int

    Examples
    --------
    >>> from minicnn import tensor
    >>> x, w = tensor([[1.0, 2.0, 3.0]]), tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    >>> y = Linear()(x, w)
    >>> flops(y.creator, "forward", y.shape), flops(y.creator, "backward", y.shape)
    (12, 12)
    """
    product = product_flops(function, output_shape)
    if product is not None:
        return product if phase == "forward" else product * sum(function.needs[:2])
    output, inputs = math.prod(output_shape), [math.prod(shape) for shape in function.shapes]
    if phase == "forward":
        return max([output, *inputs])
    return sum(max(output, size) for size, need in zip(inputs, function.needs, strict=True) if need)


@singledispatch
def product_flops(function: Function, output_shape: Shape) -> int | None:
    """Count the FLOPs of the product of an operation's first two inputs; None if it computes none.

    An operation of one's own that multiplies matrices says so with ``@product_flops.register``.
    """
    return None


@product_flops.register
def _(function: Conv2d, output_shape: Shape) -> int:
    return 2 * math.prod(output_shape) * math.prod(function.shapes[1][1:])


@product_flops.register
def _(function: ConvTranspose2d, output_shape: Shape) -> int:
    return 2 * math.prod(function.shapes[0]) * math.prod(function.shapes[1][1:])


@product_flops.register
def _(function: Linear, output_shape: Shape) -> int:
    return 2 * math.prod(output_shape) * function.shapes[1][1]


@product_flops.register
def _(function: MatMul, output_shape: Shape) -> int:
    return 2 * math.prod(output_shape) * function.shapes[0][-1]
