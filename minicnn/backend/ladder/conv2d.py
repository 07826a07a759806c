"""What the three convolutions share on a device: their sizes, and the choice of a kernel's instance for a problem.

A kernel of the ladder is a template, and its comment in the ``.cu`` file lists the instances there are: with other
numbers of elements a load (``kVector``), kernel sizes known to the compiler (``kKernel``) and tiles of the product
(``kTileM`` × ``kTileN``).  :func:`chosen` finds those that a problem allows and takes the one that a simple count calls
the fastest, so the list in the ``.cu`` file is the only one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ...geometry import Window2d
from ..cuda_source import kernel
from ..launch import ELEMENTS, Device
from . import arguments
from . import window as windows
from .arguments import ceil_div

__all__ = ["Instance", "Product", "chosen", "problem"]

Array = Any

MOST = 2**31 - 2**10  # what the kernels count with ints, the last tile's end included
WIDE = MOST  # elements of an array from which places in it need 64 bits
FEW = 8  # columns of a product, fewer than which would leave most of every tile empty
PIPELINED = 256  # bytes of the depth in all stages of Pipeline in implicit_gemm.cuh
OUTPUTS = 64  # a thread's, in kernels whose tile is kTileM × kTileN
ROUNDING = ("v7",)  # versions that make TF32 of float inputs: taken only where they are asked for


@dataclass(frozen=True)
class Product:
    """The product D = A·B that a convolution is, for one group.

    Attributes
    ----------
    rows, columns, depth : int
        Of D, and the terms of each sum.
    vector : int
        A power of two that divides the lengths of what is contiguous in A and in B.
    along_depth : tuple of two bools
        Whether A and B are contiguous along the depth.
    """

    rows: int
    columns: int
    depth: int
    vector: int
    along_depth: tuple[bool, bool] = (True, True)


@dataclass(frozen=True)
class Instance:
    """One instance of a kernel template.

    Attributes
    ----------
    kernel : str
        The kernel's name.
    element, index : str
        What ``T`` and ``Index`` are.
    template : mapping of str to int
        All other template parameters.
    """

    kernel: str
    element: str
    index: str
    template: Mapping[str, int]

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of D that a block computes."""
        side = 16 * self.template.get("kSide", 1)
        return self.template.get("kTileM", side), self.template.get("kTileN", side)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return math.prod(self.tile) // OUTPUTS if "kTileM" in self.template else 256

    def tiles(self, product: Product) -> int:
        """Return the blocks that compute a product."""
        return ceil_div(product.rows, self.tile[0]) * ceil_div(product.columns, self.tile[1])

    def shared(self, product: Product, itemsize: int) -> int:
        """Return the bytes of dynamic shared memory: ``Pipeline::kBytes`` of implicit_gemm.cuh."""
        if "kTileM" not in self.template:
            return 0
        depth = self.template["kDepth"]
        lines = sum(
            rows * (depth * itemsize + 16) if along_depth else depth * (rows + 8) * itemsize
            for rows, along_depth in zip(self.tile, product.along_depth, strict=True)
        )
        return PIPELINED // (depth * itemsize) * lines

    def start(self, on: Any, product: Product, grid: tuple[int, ...], *arguments: Any) -> None:
        """Start it for a product; the first argument is an array of its elements."""
        on.launch(
            self.kernel,
            grid,
            (self.threads,),
            *arguments,
            shared=self.shared(product, arguments[0].dtype.itemsize),
            Index=self.index,
            **self.template,
        )


def problem(
    op: str, window: Window2d, input_shape: tuple[int, ...], weight_shape: tuple[int, ...], groups: int
) -> dict[str, int]:
    """Return the struct ``Conv2d`` of a convolution, checked.

    Parameters
    ----------
    op : str
        The operation, for the error messages.
    window : Window2d
    input_shape : (N, H, W, C)
    weight_shape : (K, R, S, C/groups)
    groups : int

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or are too large for a kernel to count with ints.

    Examples
    --------
    >>> problem("test", Window2d.of("test", 3, padding=1), (2, 8, 8, 4), (6, 3, 3, 2), groups=2)["Q"]
    8
    """
    shapes = f"input {tuple(input_shape)}, weight {tuple(weight_shape)}, groups {groups}"
    if len(input_shape) != 4 or len(weight_shape) != 4:
        raise ValueError(f"{op}: input must be [N, H, W, C] and weight [K, R, S, C/groups], got {shapes}")
    (n, height, width, channels), (kernels, *size, weight_channels) = input_shape, weight_shape
    if n < 0 or min(height, width, channels, kernels, groups) < 1:
        raise ValueError(f"{op}: every size must be at least 1, or 0 for the batch, got {shapes}")
    if channels % groups or kernels % groups or weight_channels * groups != channels:
        raise ValueError(f"{op}: groups must divide the channels and the kernels, got {shapes}")
    if tuple(size) != window.kernel:
        raise ValueError(f"{op}: the window's kernel must be the weight's, got {window.kernel}; {shapes}")
    p, q = window.output_size(height, width)
    (top, bottom, left, right), extent = window.padding, window.extent
    padded = max(height + top + bottom, extent[0]) * max(width + left + right, extent[1]) * channels
    counted = {
        "windows": n * p * q,
        "elements of a padded image": padded,
        "elements of an output image": p * q * kernels,
        "elements of a kernel": math.prod(size) * max(weight_channels, kernels // groups),
    }
    for what, count in counted.items():
        if count > MOST:
            raise ValueError(f"{op}: there must be at most {MOST} {what}, got {count}; {shapes}")
    return windows.conv2d(window, tuple(input_shape), groups, kernels)


def chosen(
    device: Device,
    op: str,
    version: str | None,
    kernels: Mapping[str, str],
    product: Product,
    window: Window2d,
    arrays: Collection[Array],
    places: int = 0,
) -> tuple[str, Instance]:
    """Return the version asked for, or the last that can do the case without rounding, and its kernel's instance.

    Parameters
    ----------
    device : Device
    op : str
        The operation, for the error messages.
    version : str or None
    kernels : mapping of str to str
        Versions, from the naive one to the fastest, and the kernel of each.
    product : Product
    window : Window2d
    arrays : collection of arrays
        All of the operation; the first one's dtype is the kernel's ``T``.
    places : int
        How many numbers a thread's own may be counted to, where that is more than an array has elements.

    Raises
    ------
    ValueError
        If there is no such version, or it cannot do the case, or none can.
    """
    size = max(places, *(math.prod(array.shape) for array in arrays))
    dtype = next(iter(arrays)).dtype.name
    fit, unfit = {}, {}
    for name, of in kernels.items():
        instance = fastest(of, dtype, product, window, size > WIDE, device)
        (fit if isinstance(instance, Instance) else unfit)[name] = instance
    usual = [name for name in kernels if name not in ROUNDING]
    if version is None and not any(name in fit for name in usual):
        raise ValueError(f"{op}: no version can do this: {'; '.join(map(': '.join, unfit.items()))}")
    version = arguments.chosen(op, version, usual if version is None else kernels, unfit)
    return version, fit[version]


def fastest(
    name: str, dtype: str, product: Product, window: Window2d, wide: bool, device: Device
) -> Instance | str:
    """Return the instance of a kernel for a product, or why there is none.

    Parameters
    ----------
    name : str
        The kernel's.
    dtype : str
        Of the arrays.
    product : Product
    window : Window2d
    wide : bool
        Whether an index may need 64 bits.
    device : Device
        A product of fewer tiles than its multiprocessors leaves some without work.
    """
    least = kernel(name).needs
    if device.capability < least:
        return f"needs compute capability {least / 10}, the device has {device.capability / 10}"
    made = [instance for instance in instances(name) if ELEMENTS[instance.element] == dtype]
    if not made:
        return f"is not made for {dtype}"
    index = "long long" if wide else "int"
    fitting = [
        instance
        for instance in made
        if instance.index == index
        and product.vector % instance.template.get("kVector", 1) == 0
        and instance.template.get("kKernel", 0) in known_kernels(window)
    ]
    if not fitting:
        return f"is not made for {index} indices with vectors of at most {product.vector}"
    return min(fitting, key=lambda instance: _time(instance, product, device.multiprocessors))


@cache
def instances(name: str) -> list[Instance]:
    """Return what the comment above a kernel lists."""
    found = kernel(name)
    names = [name for _, name in found.template]
    return [_instance(name, dict(zip(names, text.split(", "), strict=True))) for text in found.instances]


def _instance(name: str, values: dict[str, str]) -> Instance:
    element, index = values.pop("T"), values.pop("Index")
    return Instance(name, element, index, {key: int(value) for key, value in values.items()})


def known_kernels(window: Window2d) -> Collection[int]:
    """Return the values of ``kKernel`` that may stand for a window's kernel.

    Examples
    --------
    >>> known_kernels(Window2d.of("test", 1)), known_kernels(Window2d.of("test", 1, padding=1))
    ((0, 1), (0,))
    """
    if window.kernel == (3, 3):
        return 0, 3
    return (0, 1) if window.kernel == (1, 1) and not any(window.padding) else (0,)


def _time(instance: Instance, product: Product, multiprocessors: int) -> float:
    """Return what a product takes with an instance, in a unit of no meaning: counted, not measured.

    The outputs that its tiles compute, on as many multiprocessors as there are, each output with what it loads beside
    its arithmetic: shares of the tile's rows and columns, and more than that with loads of one element, or a kernel
    size that must be divided by.
    """
    rows, columns = instance.tile
    outputs = max(instance.tiles(product), multiprocessors) * rows * columns
    loads = 16 * (1 / rows + 1 / columns) * (4 if instance.template.get("kVector") == 1 else 1)
    return outputs * (1 + loads) * (1.05 if instance.template.get("kKernel") == 0 else 1)
