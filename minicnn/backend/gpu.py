"""The backend over CuPy: the names of :mod:`minicnn.backend.cpu`, on a GPU.

Most of it *is* CuPy.  What CuPy has not, or has too slowly, comes from the project's own kernels: convolutions through
:mod:`minicnn.conv.cuda`, pooling through :mod:`~minicnn.backend.gpu_pooling`, whole operations through
:mod:`~minicnn.backend.gpu_fused`.  Everything is queued on CuPy's current stream and takes its memory from CuPy's
current pool.  Nothing waits for the GPU, and no value comes back to the host, but where a function says so.

Images are logical (N, C, H, W) over channels-last memory, as on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cupy  # pyright: ignore[reportMissingImports]  (an extra)
import numpy as np
from cupy import (  # noqa: F401  # pyright: ignore[reportMissingImports]  (the seam, as in cpu.py)
    abs,
    add,
    arange,
    argmax,
    broadcast,
    broadcast_to,
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
    zeros,
    zeros_like,
)

from . import gpu_fused as fused
from . import gpu_pooling as pooling  # noqa: F401  (part of the seam)
from .cpu import Generator, is_float, lowest, new_generator, silent  # noqa: F401  (as they are there)
from .gpu_matmul import matmul  # noqa: F401  (part of the seam)
from .ladder.arguments import sums_dtype

if TYPE_CHECKING:
    Array = Any
else:
    Array = cupy.ndarray


# Where arrays are


def count() -> int:
    """Return how many GPUs there are."""
    return cupy.cuda.runtime.getDeviceCount()


def current(number: int) -> Any:
    """Return the context in which a GPU is CuPy's current one."""
    return cupy.cuda.Device(number)


def is_array(value: Any) -> bool:
    """Whether `value` is an array of this backend."""
    return isinstance(value, cupy.ndarray)


def place(array: Array) -> int:
    """Return the number of the GPU whose memory holds `array`."""
    return array.device.id


def device_of(array: Array) -> str:
    """Return the name of the device that holds `array`, ``"cuda:0"``."""
    return f"cuda:{array.device.id}"


def is_here(array: Array) -> bool:
    """Whether an array is on the current GPU."""
    return array.device.id == cupy.cuda.runtime.getDevice()


def copy_here(array: Array) -> Array:
    """Copy an array from another GPU to the current one, laid out as it was."""
    with running("to"):
        return _as_laid_out(array, cupy.copy)


def to_device(array: Any) -> Array:
    """Copy an array from host memory to the current GPU, laid out as it was."""
    array = np.asarray(array)
    with running("to"):
        return _as_laid_out(array, cupy.asarray)


def to_numpy(array: Array) -> np.ndarray:
    """Copy an array to host memory, laid out as it was; waits for the GPU."""
    return _as_laid_out(array, cupy.asnumpy)


def _as_laid_out(array: Any, copy: Callable[[Any], Any]) -> Any:
    """Return what `copy` makes of an array, its axes in memory in the same order."""
    order, back = _memory_order(array.strides)
    return copy(array.transpose(order)).transpose(back)


@lru_cache(maxsize=1 << 12)
def _memory_order(strides: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Return the axes from the one with the longest stride to the one with the shortest, and the way back."""
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    return order, sorted(range(len(order)), key=order.__getitem__)


def queue(arrays: Iterable[Array]) -> tuple[int, int]:
    """Return the GPU that holds these arrays, and CuPy's current stream there: the queue that an operation joins."""
    return next(iter(arrays)).device.id, cupy.cuda.get_current_stream().ptr


class rejoining:
    """Context of the backward pass of an operation that was queued before.

    Parameters
    ----------
    op : str
        The operation, for the error messages.
    queue : tuple of two ints
        Of its forward pass.

    Raises
    ------
    RuntimeError
        If another stream is current: nothing would make one wait for the other.
    MemoryError
        As :class:`running`.
    """

    __slots__ = ("op", "queue", "within")

    def __init__(self, op: str, queue: tuple[int, int]) -> None:
        self.op, self.queue = op, queue
        self.within = running(op, device=queue[0])

    def __enter__(self) -> None:
        self.within.__enter__()
        now = cupy.cuda.get_current_stream().ptr
        if now != self.queue[1]:
            self.within.__exit__(None, None, None)
            raise RuntimeError(
                f"backward: {self.op} was computed in CuPy's stream {self.queue[1]:#x}, and its gradient is asked "
                f"for in {now:#x}; both must be in one stream, for nothing makes one wait for the other"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.within.__exit__(kind, error, trace)


def synchronize(array: Array) -> None:
    """Wait until all work queued on the GPU of `array` is done."""
    array.device.synchronize()


class running:
    """Context of an operation: the arrays' GPU is the current one, and lack of memory is told in full.

    Parameters
    ----------
    op : str
        The operation, for the error message.
    *arrays : arrays
        Those it computes on, of one GPU.
    device : int, optional
        The GPU where there is no array yet; default the current one.

    Raises
    ------
    MemoryError
        In place of CuPy's: what was asked for, what the pool holds, and what the GPU has.
    """

    __slots__ = ("before", "device", "op")

    def __init__(self, op: str, *arrays: Array, device: int | None = None) -> None:
        self.op = op
        self.device = arrays[0].device.id if arrays else device

    def __enter__(self) -> None:
        self.before = cupy.cuda.runtime.getDevice()
        if self.device is not None and self.device != self.before:
            cupy.cuda.runtime.setDevice(self.device)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, cupy.cuda.memory.OutOfMemoryError):
                raise MemoryError(f"{self.op}: {_lack_of_memory(error)}") from error
        finally:
            if self.device is not None and self.device != self.before:
                cupy.cuda.runtime.setDevice(self.before)


def _lack_of_memory(error: Any) -> str:
    """Say what there is, after what CuPy says was asked for."""
    free, total = cupy.cuda.runtime.memGetInfo()
    pool = cupy.get_default_memory_pool()
    return (
        f"cuda:{cupy.cuda.runtime.getDevice()} is out of memory: {str(error).rstrip('.')}; CuPy's pool holds "
        f"{pool.total_bytes():,} bytes, {pool.used_bytes():,} of them in use, and {free:,} of the GPU's {total:,} "
        "bytes are free; the step can be tried again with a smaller batch"
    )


# Making arrays


def asarray(value: Any, dtype: Any = None) -> Array:
    """Return `value` as an array on the GPU; a number is written there by a kernel, and is no transfer."""
    if isinstance(value, bool | int | float | np.generic):
        one = np.asarray(value, dtype)  # which raises OverflowError for an int too large
        return full((), one.item(), one.dtype)
    return cupy.asarray(value, dtype)


def number(value: Any, dtype: Any, beside: Array) -> Array:
    """Return a Python number as an array without axes, on the GPU of the array `beside`."""
    with running("tensor", beside):
        return asarray(value, dtype)


def empty(shape: tuple[int, ...], dtype: Any = float) -> Array:
    """Return a new array of undefined contents."""
    return cupy.empty(shape, dtype)


def empty_like(array: Array, dtype: Any = None, shape: tuple[int, ...] | None = None) -> Array:
    """Return a new array of undefined contents, its axes in memory in the order of those of `array`."""
    sizes, (order, back) = array.shape if shape is None else shape, _memory_order(array.strides)
    return cupy.empty([sizes[axis] for axis in order], dtype or array.dtype).transpose(back)


def scratch(purpose: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array of undefined contents; CuPy's pool keeps its memory for the next one."""
    return cupy.empty(shape, dtype)


def empty_images(n: int, c: int, h: int, w: int, dtype: Any) -> Array:
    """Return an uninitialised batch, logical (N, C, H, W) over channels-last memory."""
    return cupy.empty((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def full_images(n: int, c: int, h: int, w: int, dtype: Any, value: float) -> Array:
    """Return a batch filled with `value`, logical (N, C, H, W) over channels-last memory."""
    return full((n, h, w, c), value, dtype).transpose(0, 3, 1, 2)


def random_mask(generator: Generator, shape: tuple[int, ...], p: float) -> Array:
    """Return booleans, each False with probability `p` and independent of all others.

    They are drawn on the GPU, from a seed that the generator draws.
    """
    seed = int(generator.integers(1 << 63))
    return fused.dropout(cupy.ones(shape, np.float32), p, 1.0, seed) != 0


# What NumPy does in another way


def copyto(array: Array, values: Any, where: Array | None = None) -> None:
    """Copy values into an array, or with `where` only those in places that are True there."""
    cupy.copyto(array, values, where=where)


def where(condition: Array, a: Any, b: Any) -> Array:
    """Return a where the condition holds and b elsewhere; CuPy makes float32 of bfloat16."""
    chosen = cupy.where(condition, a, b)
    dtypes = {x.dtype for x in (a, b) if is_array(x)}
    return chosen.astype(*dtypes, copy=False) if {dtype.name for dtype in dtypes} == {"bfloat16"} else chosen


def clip(x: Array, low: Any, high: Any) -> Array:
    """Limit each element to [low, high]; None is no limit.

    CuPy's knows no bfloat16, and of one beside a number of Python's it makes float32.
    """
    if x.dtype.name != "bfloat16":
        return cupy.clip(x, low, high)
    clipped = x if low is None else maximum(x, low)
    return (clipped if high is None else minimum(clipped, high)).astype(x.dtype, copy=False)


def concatenate(arrays: Iterable[Array], axis: int = 0) -> Array:
    """Join arrays along an axis; images stay in channels-last memory."""
    arrays = list(arrays)
    if arrays[0].ndim < 3:
        return cupy.concatenate(arrays, axis)
    last = [moveaxis(array, 1, -1) for array in arrays]
    moved = axis if axis < 1 else axis - 1 if axis > 1 else arrays[0].ndim - 1
    return moveaxis(cupy.concatenate(last, moved), -1, 1)


def select(kept: Array, x: Array, out: Array) -> None:
    """Write x where `kept` is True and 0 elsewhere."""
    out[...] = where(kept, x, 0)


def add_at(array: Array, index: Any, values: Array) -> None:
    """``array[index] += values`` where an element the index names twice is added to twice.

    In no fixed order: where more than two are added up, the last bits may differ from run to run.  Halves are added up
    in float32; CuPy has no such addition of bfloat16 at all.
    """
    if array.dtype.name in ("float16", "bfloat16"):
        sums = array.astype(float32)
        add.at(sums, index, values.astype(float32))
        array[...] = sums
    else:
        add.at(array, index, values)


def in_pieces(step: Callable[..., object], *arrays: Array, whole: int | None = None) -> Array:
    """Call ``step(*arrays)`` on the whole arrays, (C,) ones made to broadcast, and return the last.

    CuPy's threads take elements in the order of the axes, however these lie in memory, and threads beside each other
    are to take what lies there beside each other.  So where no axis is to stay `whole`, images get the channels last.
    """
    last = arrays[-1]
    if whole is None and last.ndim > 2 and not last.flags.c_contiguous:
        step(*(_channels_last(array) if array.ndim > 1 else array for array in arrays))
    else:
        step(*(_per_channel(array, last.ndim) for array in arrays))
    return last


def channel_sum(x: Array) -> Array:
    """Sum x (N, C, …) over all axes but the second, to (C,); of halves in float32.

    CuPy has one block of threads for some 32 sums, however long they are, and a GPU has room for hundreds of blocks.
    """
    if x.ndim > 2 and fused.takes(x):
        return fused.channel_sum(x)
    return x.sum(axis=(0, *range(2, x.ndim)))


def channel_sums(terms: Callable[..., Iterable[Array]], *arrays: Array) -> list[Array]:
    """Sum what ``terms(*arrays)`` returns or yields over all axes but the second, each to (C,)."""
    last = arrays[-1]
    return [channel_sum(term) for term in terms(*(_per_channel(array, last.ndim) for array in arrays))]


def channel_moments(x: Array) -> tuple[Array, Array]:
    """Return mean and variance of x (N, C, …) over all axes but the second, (C,) each; of halves in float32."""
    count, x = x.size // x.shape[1], x.astype(sums_dtype(x.dtype), copy=False)
    mean = channel_sum(x) / count
    return mean, channel_sum(square(x - _per_channel(mean, x.ndim))) / count


def _channels_last(array: Array) -> Array:
    """View an array (N, C, …) as (N, …, C)."""
    return array.transpose(0, *range(2, array.ndim), 1)


def _per_channel(array: Array, ndim: int) -> Array:
    """Make an array (C,) broadcast against (N, C, …)."""
    return array.reshape(-1, *(1,) * (ndim - 2)) if array.ndim == 1 < ndim else array
