"""The backend over NumPy.

Most of it *is* NumPy: the names imported below keep their meaning.  Added are the few things an operation needs that
NumPy does not have in this form: image batches in channels-last memory, a matrix product with the same bits for any
number of threads, and scatter-add.
"""

from __future__ import annotations

from math import prod as _prod
from typing import Any

import numpy as np
from numpy import (  # noqa: F401  (the seam: operations reach these names through the backend)
    abs,
    add,
    arange,
    argmax,
    asarray,
    broadcast,
    broadcast_to,
    clip,
    copyto,
    divide,
    divmod,
    exp,
    expand_dims,
    finfo,
    float32,
    from_dlpack,
    full,
    greater,
    inf,
    int64,
    isinf,
    isnan,
    log,
    maximum,
    may_share_memory,
    minimum,
    moveaxis,
    multiply,
    negative,
    power,
    put_along_axis,
    result_type,
    sqrt,
    square,
    subtract,
    swapaxes,
    take,
    take_along_axis,
    tanh,
    uint8,
    where,
    zeros,
    zeros_like,
)

from . import pooling  # noqa: F401  (part of the seam too: see ops.max_pool2d)
from .channel_sum import channel_moments, channel_sum, channel_sums  # noqa: F401  (part of the seam too)
from .elementwise import concatenate, in_pieces, select  # noqa: F401  (and these)
from .matmul import matmul  # noqa: F401  (and this)
from .workspace import empty, empty_like, scratch  # noqa: F401  (and these)

Generator = np.random.Generator
Array = np.ndarray
fused = None  # operations for which there is one kernel: none here, the operations' own formulation does


def is_array(value: Any) -> bool:
    """Whether `value` is an array (or array scalar) of this backend."""
    return isinstance(value, (np.ndarray, np.generic))


def device_of(array: Array) -> str:
    """Return the name of the device that holds `array`: here always ``"cpu"``."""
    return "cpu"


def place(array: Array) -> int:
    """Return which device of this kind holds `array`: there is one."""
    return 0


def is_here(array: Array) -> bool:
    """Whether an array of this backend is on the current device of its kind."""
    return True


def to_device(array: Any) -> Array:
    """Return `array` in this device's memory."""
    return np.asarray(array)


def synchronize(array: Array) -> None:
    """Wait until all work queued on the device of `array` is done: here it is."""


def number(value: Any, dtype: Any, beside: Array) -> Array:
    """Return a Python number as an array without axes, on the device of the array `beside`."""
    return np.asarray(value, dtype)


def to_numpy(array: Array) -> Array:
    """Return the values in host memory: here `array` itself."""
    return array


def is_float(dtype: Any) -> bool:
    """Whether `dtype` is a real floating-point type: the only kind that has gradients.

    bfloat16, of the library ml_dtypes, is one that NumPy knows nothing of.
    """
    dtype = np.dtype(dtype)
    return dtype.kind == "f" or dtype.name == "bfloat16"


def lowest(dtype: Any) -> float:
    """−∞, or for integers the least one: what any value is at least."""
    return -np.inf if is_float(dtype) else np.iinfo(dtype).min


def silent() -> Any:
    """Context in which NaN and ∞ arise without a warning: they are values, and show in the result."""
    return np.errstate(all="ignore")


def running(op: str, *arrays: Array) -> Any:
    """Context of an operation on these arrays: here that it is :func:`silent`."""
    return silent()


def new_generator(seed: int | None = None) -> Generator:
    """Return a random generator; the same seed gives the same stream."""
    return np.random.default_rng(seed)


def random_mask(generator: Generator, shape: tuple[int, ...], p: float) -> Array:
    """Return booleans, each False with probability `p` and independent of all others.

    As one compares decimal fractions: by the first digit, here to base 256, and only where that is p's own by the
    digits that follow.  So an element costs little more than one random byte, and p is met exactly.  The draws run
    over the pixels and for each over its channels, as images lie in memory.

    Examples
    --------
    >>> random_mask(new_generator(0), (2, 3), 0.5)
    array([[False,  True,  True],
           [ True,  True,  True]])
    """
    size = _prod(shape)
    digits = generator.integers(1 << 64, size=-(-size // 8), dtype=np.uint64).view(np.uint8)[:size]
    first = int(p * 256)
    kept = digits >= first
    if rest := p * 256 - first:
        ties = np.flatnonzero(digits == first)
        kept[ties] = generator.random(len(ties)) >= rest
    if len(shape) < 3:
        return kept.reshape(shape)
    return np.moveaxis(kept.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def empty_images(n: int, c: int, h: int, w: int, dtype: Any) -> Array:
    """Return an uninitialised batch, logical (N, C, H, W) over channels-last memory."""
    return empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def full_images(n: int, c: int, h: int, w: int, dtype: Any, value: float) -> Array:
    """Return a batch filled with `value`, logical (N, C, H, W) over channels-last memory."""
    return np.full((n, h, w, c), value, dtype).transpose(0, 3, 1, 2)


def add_at(array: Array, index: Any, values: Array) -> None:
    """``array[index] += values`` where an element the index names twice is added to twice."""
    np.add.at(array, index, values)
