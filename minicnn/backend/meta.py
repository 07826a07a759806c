"""The backend of shapes: arrays that have a shape and a dtype, and neither values nor memory.

A network on the device ``"meta"`` (PyTorch's word) runs through the same code as any other, layer by
layer and operation by operation, but nothing is computed: what comes out of each is the shape and the dtype it would
have.  So the largest network is built and measured in milliseconds.

A :class:`MetaArray` is one number, repeated along all axes by strides of 0.  NumPy's own views (slices, transposes,
reshapes) then have the right shape for nothing, and its elementwise functions and reductions ask
``__array_ufunc__``, which answers with a shape.  What is left is in the functions below, under the names that
:mod:`minicnn.backend.cpu` has.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy import (  # noqa: F401  (the seam: operations reach these names through the backend)
    abs,
    add,
    broadcast,
    clip,
    divide,
    divmod,
    exp,
    expand_dims,
    finfo,
    float32,
    greater,
    inf,
    int64,
    isinf,
    isnan,
    log,
    maximum,
    minimum,
    moveaxis,
    multiply,
    negative,
    power,
    result_type,
    sqrt,
    square,
    subtract,
    swapaxes,
    tanh,
    uint8,
)

from .cpu import (  # noqa: F401  (as they are there)
    Generator,
    from_dlpack,
    is_float,
    is_here,
    lowest,
    new_generator,
    place,
    running,
    silent,
    synchronize,
)

__all__ = ["MetaArray"]


class MetaArray(np.ndarray):
    """A shape and a dtype that behave as an array.  What would need a value raises ValueError."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if method == "at":
            return None
        if out is not None and out[0] is not None:
            return out[0]
        if method == "reduce":
            shape = _reduced(inputs[0].shape, options.get("axis", 0), options.get("keepdims", False))
        else:
            shape = np.broadcast_shapes(*map(np.shape, inputs))
        results = [empty(shape, dtype) for dtype in _dtypes(ufunc, inputs, options.get("dtype"))]
        return results[0] if len(results) == 1 else tuple(results)

    def __setitem__(self, index: Any, value: Any) -> None:
        pass

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> MetaArray:
        """Return the shape with another dtype."""
        return empty(self.shape, dtype)

    def copy(self, *args: Any, **kwargs: Any) -> MetaArray:
        """Return another one like it."""
        return empty(self.shape, self.dtype)

    def __deepcopy__(self, memo: Any) -> MetaArray:
        return self.copy()

    def __reduce__(self) -> Any:
        return empty, (self.shape, self.dtype)

    def any(self, *args: Any, **kwargs: Any) -> Any:
        """No: nothing is known to be an exception."""
        return False

    def __dlpack__(self, **options: Any) -> NoReturn:  # type: ignore[override]  (there is no memory to hand out)
        self._no_value()

    def _no_value(self, *args: Any) -> NoReturn:
        raise ValueError(f"an array on the meta device has no values, only a shape, {self.shape}")

    item = tolist = __bool__ = __float__ = __int__ = __index__ = _no_value  # type: ignore[assignment]  (none returns)

    def __repr__(self) -> str:
        return f"array(..., shape={self.shape}, dtype={self.dtype}, device='meta')"

    __str__ = __repr__


Array = MetaArray


def _dtypes(ufunc: Any, inputs: tuple[Any, ...], wanted: Any) -> list[np.dtype]:
    """Return the dtypes of a function's results."""
    if wanted is not None:
        return [np.dtype(wanted)] * ufunc.nout
    given = [x.dtype if hasattr(x, "dtype") else type(x) for x in inputs]
    given += given * (ufunc.nin - len(given))  # a reduction has one input where its function has two
    return list(ufunc.resolve_dtypes((*given, *[None] * ufunc.nout))[ufunc.nin :])


def _reduced(shape: tuple[int, ...], axis: Any, keepdims: bool) -> tuple[int, ...]:
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    gone = {a % len(shape) for a in axes}
    if keepdims:
        return tuple(1 if i in gone else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i not in gone)


# Making arrays


def empty(shape: Any, dtype: Any = float) -> MetaArray:
    """Return an array of this shape; it takes a few bytes, whatever the shape."""
    return np.broadcast_to(np.zeros((), dtype), shape).view(MetaArray)


zeros = empty


def empty_like(array: Any, dtype: Any = None, shape: Any = None) -> MetaArray:
    """Return an array of the same shape, or of another."""
    return empty(array.shape if shape is None else shape, dtype or array.dtype)


zeros_like = empty_like


def full(shape: Any, value: Any, dtype: Any = None) -> MetaArray:
    """Return an array of this shape."""
    return empty(shape, dtype or np.asarray(value).dtype)


def arange(*args: Any, **options: Any) -> MetaArray:
    """Return an array as long as the range."""
    return asarray(np.arange(*args, **options))


def asarray(value: Any, dtype: Any = None) -> MetaArray:
    """Return the shape of what ``numpy.asarray`` would give."""
    if isinstance(value, MetaArray) and dtype in (None, value.dtype):
        return value
    array = value if hasattr(value, "shape") else np.asarray(value)  # no values are fetched from a GPU
    return empty(array.shape, dtype or array.dtype)


def queue(arrays: Any) -> None:
    """Return None: no work is queued anywhere."""


def number(value: Any, dtype: Any, beside: Any) -> MetaArray:
    """Return an array without axes."""
    return asarray(np.asarray(value, dtype))


def scratch(purpose: str, shape: tuple[int, ...], dtype: Any) -> MetaArray:
    """Return an array of this shape."""
    return empty(shape, dtype)


def empty_images(n: int, c: int, h: int, w: int, dtype: Any) -> MetaArray:
    """Return a batch of images."""
    return empty((n, c, h, w), dtype)


def full_images(n: int, c: int, h: int, w: int, dtype: Any, value: float) -> MetaArray:
    """Return a batch of images."""
    return empty((n, c, h, w), dtype)


def random_mask(generator: Generator, shape: tuple[int, ...], p: float) -> MetaArray:
    """Return an array of booleans; nothing is drawn."""
    return empty(shape, bool)


# What NumPy does with values


def argmax(array: Array, axis: int) -> MetaArray:
    """Return the shape of the places."""
    return empty(_reduced(array.shape, axis, False), np.int64)


def broadcast_to(array: Any, shape: tuple[int, ...]) -> MetaArray:
    """Return the array in this shape."""
    return np.broadcast_to(array, shape).view(MetaArray)


def concatenate(arrays: Any, axis: int = 0) -> MetaArray:
    """Return the shape of the arrays joined."""
    first, length = arrays[0].shape, sum(a.shape[axis] for a in arrays)
    return empty((*first[:axis], length, *first[axis + 1 :]), np.result_type(*(a.dtype for a in arrays)))


def copyto(array: Array, values: Any, where: Any = True) -> None:
    """Do nothing: there is nothing to copy to."""


def put_along_axis(array: Array, indices: Array, values: Any, axis: int) -> None:
    """Do nothing: there is nothing to put."""


def add_at(array: Array, index: Any, values: Any) -> None:
    """Do nothing: there is nothing to add to."""


def take(array: Array, indices: Array, axis: int) -> MetaArray:
    """Return the shape of what is taken."""
    return empty((*array.shape[:axis], *indices.shape, *array.shape[axis + 1 :]), array.dtype)


def take_along_axis(array: Array, indices: Array, axis: int) -> MetaArray:
    """Return the shape of what is taken."""
    return empty(indices.shape, array.dtype)


def where(condition: Any, a: Any, b: Any) -> MetaArray:
    """Return the shape of the three together."""
    given = (x.dtype if hasattr(x, "dtype") else x for x in (a, b))
    return empty(np.broadcast_shapes(*map(np.shape, (condition, a, b))), np.result_type(*given))


def matmul(a: Array, b: Array) -> MetaArray:
    """Return the shape of the product."""
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.ndim > 1 else ()
    return empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *rows, *columns), np.result_type(a, b))


def channel_sum(x: Array) -> MetaArray:
    """Return one number a channel."""
    return empty(x.shape[1:2], x.dtype)


def channel_sums(terms: Any, *arrays: Array) -> list[MetaArray]:
    """Return one number a channel, of each term."""
    return [channel_sum(arrays[-1]) for _ in terms(*arrays)]


def channel_moments(x: Array) -> tuple[MetaArray, MetaArray]:
    """Return two numbers a channel."""
    return channel_sum(x), channel_sum(x)


def in_pieces(step: Any, *arrays: Array, whole: int | None = None) -> MetaArray:
    """Return the last array, the result: nothing is computed."""
    return arrays[-1]


def select(kept: Array, x: Array, out: Array) -> None:
    """Do nothing: there is nothing to write."""


def may_share_memory(a: Any, b: Any) -> bool:
    """Yes: nobody may write into a shape."""
    return True


pooling = fused = None  # the operations' own, plain formulation does


# Where it is


def is_array(value: Any) -> bool:
    """Whether `value` is an array of this backend."""
    return isinstance(value, MetaArray)


def device_of(array: Array) -> str:
    """Return ``"meta"``."""
    return "meta"


def to_device(array: Any) -> MetaArray:
    """Return the array's shape."""
    return asarray(array)


def to_numpy(array: MetaArray) -> NoReturn:
    """Raise ValueError: there are no values."""
    array._no_value()
