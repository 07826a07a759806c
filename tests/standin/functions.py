"""CuPy's functions, with its own signatures and NumPy's values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from . import device
from .array import ndarray, new, new_like, on_device, operands, quiet, wrap
from .cublas import factor
from .record import transferred
from .ufunc import UFUNCS

__all__ = ["FUNCTIONS", "array"]

# What NumPy can do as it is.  A line is CuPy's signature; arguments may be arrays, scalars or sequences of them.
DELEGATED = """
    all(a, axis=None, out=None, keepdims=False)
    any(a, axis=None, out=None, keepdims=False)
    argmax(a, axis=None, dtype=None, out=None, keepdims=False)
    argmin(a, axis=None, dtype=None, out=None, keepdims=False)
    argsort(a, axis=-1, kind=None)
    broadcast_to(array, shape)
    concatenate(tup, axis=0, out=None, *, dtype=None, casting='same_kind')
    cumsum(a, axis=None, dtype=None, out=None)
    expand_dims(a, axis)
    max(a, axis=None, out=None, keepdims=False)
    mean(a, axis=None, dtype=None, out=None, keepdims=False)
    min(a, axis=None, out=None, keepdims=False)
    moveaxis(a, source, destination)
    pad(array, pad_width, mode='constant', **kwargs)
    prod(a, axis=None, dtype=None, out=None, keepdims=False)
    repeat(a, repeats, axis=None)
    round(a, decimals=0, out=None)
    stack(tup, axis=0, out=None, *, dtype=None, casting='same_kind')
    std(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
    sum(a, axis=None, dtype=None, out=None, keepdims=False)
    swapaxes(a, axis1, axis2)
    take_along_axis(a, indices, axis)
    var(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)
"""
METHODS = """
    all(axis=None, out=None, keepdims=False)
    any(axis=None, out=None, keepdims=False)
    argmax(axis=None, out=None, dtype=None, keepdims=False)
    argmin(axis=None, out=None, dtype=None, keepdims=False)
    argsort(axis=-1, kind=None)
    cumsum(axis=None, dtype=None, out=None)
    max(axis=None, out=None, keepdims=False)
    mean(axis=None, dtype=None, out=None, keepdims=False)
    min(axis=None, out=None, keepdims=False)
    nonzero()
    prod(axis=None, dtype=None, out=None, keepdims=False)
    repeat(repeats, axis=None)
    round(decimals=0, out=None)
    std(axis=None, dtype=None, out=None, ddof=0, keepdims=False)
    sum(axis=None, dtype=None, out=None, keepdims=False)
    take(indices, axis=None, out=None)
    var(axis=None, dtype=None, out=None, ddof=0, keepdims=False)
"""
HALVES = ("float16", "bfloat16")
ADDING = ("cumsum", "mean", "prod", "std", "sum", "var")  # halves in float32, as in CuPy
FROM_NUMPY = """
    bool_ dtype finfo float16 float32 float64 inf int16 int32 int64 int8 nan uint16 uint32 uint64 uint8 uintp
"""


def _signature(text: str, name: str) -> inspect.Signature:
    return inspect.signature(eval(f"lambda {text[len(name) + 1 : -1]}: None"))


def _hosts(value: Any) -> Any:
    """Return an argument for NumPy: arrays' values, sequences of them, and what is no array."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, (list, tuple)):
        return type(value)(_hosts(one) for one in value)
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def _arrays(value: Any) -> list[ndarray]:
    if isinstance(value, (list, tuple)):
        return [array for one in value for array in _arrays(one)]
    return [value] if isinstance(value, ndarray) else []


def _compute(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Call NumPy's function with what the arguments hold; a view is taken of any device's array."""
    out = options.pop("out", None)
    sources = [array for value in (*arguments, *options.values()) for array in _arrays(value)]
    hosts = [_hosts(value) for value in arguments]
    options = {key: _hosts(value) for key, value in options.items()}
    if not sources:
        raise TypeError(f"{name}: none of the arguments is a device array")
    if name in ADDING and options.get("dtype") is None and hosts[0].dtype.name in HALVES:
        found = quiet(getattr(np, name), *(_wide(host) for host in hosts), **options)
        found = quiet(np.asarray(found).astype, hosts[0].dtype)
    else:
        found = np.asarray(quiet(getattr(np, name), *hosts, **options))
    if not any(np.may_share_memory(found, source._host) for source in sources):
        for source in sources:
            on_device(source)
        device.launched("function", name)
    return _delivered(name, found, out, *sources)


def _wide(host: Any) -> Any:
    return host.astype(np.float32) if getattr(host, "dtype", np.dtype(int)).name in HALVES else host


def _delivered(name: str, found: np.ndarray, out: ndarray | None, *sources: ndarray) -> ndarray:
    """Return NumPy's result as a device's array: `out` where that is given."""
    if out is None:
        return wrap(found, *sources)
    target = on_device(out)
    if target.shape != found.shape:
        raise ValueError(f"{name}: out must have the shape {found.shape}, got {target.shape}")
    quiet(np.copyto, target, found, casting="same_kind")
    return out


def _delegated(text: str) -> tuple[str, Callable[..., Any]]:
    name = text.split("(")[0]
    signature = _signature(text, name)
    required = {
        key for key, parameter in signature.parameters.items() if parameter.default is parameter.empty
    }

    def function(*arguments: Any, **options: Any) -> Any:
        given = signature.bind(*arguments, **options).arguments
        more = given.pop("kwargs", {})
        first = tuple(value for key, value in given.items() if key in required)
        rest = {key: value for key, value in given.items() if key not in required}
        return _compute(name, first, {**rest, **more})

    function.__name__ = name
    return name, function


def _method(text: str) -> tuple[str, Callable[..., Any]]:
    """Return a method, which has the function's name and less arguments, in another order."""
    name = text.split("(")[0]
    signature = _signature(text, name)

    def method(self: ndarray, *arguments: Any, **options: Any) -> Any:
        return FUNCTIONS[name](self, **signature.bind(*arguments, **options).arguments)

    method.__name__ = name
    return name, method


# Making arrays


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str | None = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    """Return an array on the current device: from the host's values, or from any device's array."""
    order = order or "K"
    if isinstance(obj, ndarray):
        away = obj._memory.device_id != device.current_id()
        found = obj.copy(order) if away or copy else obj
        found = found.astype(dtype or found.dtype, order, copy=False)
    elif (parts := _arrays(obj)) and len(parts) == len(obj):
        found = FUNCTIONS["stack"](parts)
        found = found.astype(dtype or found.dtype, copy=False)
    else:
        host = np.array(obj, dtype=dtype, order=order)
        if host.dtype.kind not in "biufcV":
            raise ValueError(f"Unsupported dtype {host.dtype}")
        transferred("to device", host.nbytes, "array")
        found = wrap(host, order="K")
    while found.ndim < ndmin:
        found = found[None]
    return found


def asarray(
    a: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    return array(a, dtype, bool(copy), order)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    found = array(a, dtype, False, "C")
    return found if found.ndim else found.reshape(1)


def asnumpy(
    a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True
) -> np.ndarray:
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a, order=order)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return new(shape, dtype, order)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    if dtype is None:
        dtype = fill_value.dtype if isinstance(fill_value, ndarray) else np.array(fill_value).dtype
    found = new(shape, dtype, order)
    found.fill(fill_value)
    return found


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype, order)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 1, dtype, order)


def empty_like(
    prototype: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return new_like(np.empty_like(prototype._host, dtype, order, shape=shape))


def full_like(
    a: ndarray, fill_value: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    found = empty_like(a, dtype, order, subok, shape)
    found.fill(fill_value)
    return found


def zeros_like(
    a: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return full_like(a, 0, dtype, order, subok, shape)


def ones_like(
    a: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return full_like(a, 1, dtype, order, subok, shape)


def copy(a: ndarray, order: str = "K") -> ndarray:
    return a.copy(order)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    host = np.arange(start, dtype=dtype) if stop is None else np.arange(start, stop, step, dtype)
    device.launched("function", "arange")
    return wrap(host)


# Choosing and putting


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return nonzero(condition)
    hosts = operands(condition, x, y)
    device.launched("function", "where")
    found = quiet(np.where, *hosts)
    return wrap(found.astype(np.float32) if found.dtype.name == "bfloat16" else found)


def nonzero(a: ndarray) -> tuple[ndarray, ...]:
    device.launched("function", "nonzero")
    transferred("to host", 8, "how many are not zero")
    return tuple(wrap(one) for one in np.nonzero(on_device(a)))


def clip(a: ndarray, a_min: Any, a_max: Any, out: Any = None) -> ndarray:
    given = operands(a, *(bound for bound in (a_min, a_max) if bound is not None))
    low, high = given[1] if a_min is not None else None, given[-1] if a_max is not None else None
    if given[0].dtype.name == "bfloat16" and (low is None or high is None):
        raise TypeError("Unsupported type <class 'NoneType'>")
    device.launched("function", "clip")
    return _delivered("clip", quiet(np.clip, given[0], low, high), out)  # of bfloat16 in float32


def take(a: ndarray, indices: Any, axis: int | None = None, out: Any = None) -> ndarray:
    if isinstance(indices, list):
        indices = array(indices)
    options = {} if out is None else {"out": out}
    return _compute("take", (a, indices, axis), options)


def put_along_axis(arr: ndarray, indices: ndarray, values: Any, axis: int | None) -> None:
    host, places, (given,) = on_device(arr), on_device(indices), operands(values)
    device.launched("function", "put_along_axis")
    quiet(np.put_along_axis, host, places, given, axis)


def copyto(dst: ndarray, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    """Copy; between devices only whole arrays of one dtype and layout, by their memory."""
    if isinstance(src, np.ndarray):
        if src.size != 1:
            raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
        src = src.item()
    if isinstance(src, ndarray) and where is None and src._memory.device_id != dst._memory.device_id:
        if src.dtype != dst.dtype or src.shape != dst.shape or not (src.flags.forc and dst.flags.forc):
            raise ValueError("copyto between devices: the arrays must be alike and contiguous")
        transferred("between devices", src.nbytes, "copyto")
        dst._host[...] = src._host
        return
    target, (source, chosen) = on_device(dst), operands(src, True if where is None else where)
    device.launched("function", "copyto")
    quiet(np.copyto, target, source, casting=casting, where=chosen)


# Products


def matmul(a: ndarray, b: ndarray, /, out: Any = None, *, dtype: Any = None) -> ndarray:
    """Return a @ b; of halves added up in float32, as cuBLAS does."""
    one, other = on_device(a), on_device(b)
    kept = np.result_type(one, other) if dtype is None else np.dtype(dtype)
    if kept.name == "bfloat16" and max(one.ndim, other.ndim) > 2 and one.size and other.size:
        raise TypeError("data type 'E' not understood")  # which is what CuPy says of stacks of bfloat16
    found = quiet(np.asarray(np.matmul(factor(_wide(one)), factor(_wide(other)))).astype, kept)
    device.launched("function", "matmul")
    return _delivered("matmul", found, out)


# About arrays


class broadcast:
    """What shape arrays have together."""

    def __init__(self, *arrays: Any) -> None:
        found = np.broadcast(*(on_device(one) if isinstance(one, ndarray) else one for one in arrays))
        self.shape, self.nd, self.size = found.shape, found.nd, found.size
        self.values = tuple(
            FUNCTIONS["broadcast_to"](one, found.shape) if isinstance(one, ndarray) else one for one in arrays
        )


def may_share_memory(a: Any, b: Any, max_work: Any = None) -> bool:
    return isinstance(a, ndarray) and isinstance(b, ndarray) and np.may_share_memory(a._host, b._host)


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    return np.result_type(*(one._host if isinstance(one, ndarray) else one for one in arrays_and_dtypes))


FUNCTIONS: dict[str, Any] = {
    **UFUNCS,
    **dict(_delegated(line.strip()) for line in DELEGATED.strip().splitlines()),
    **{name: getattr(np, name) for name in FROM_NUMPY.split()},
    **{
        one.__name__: one
        for one in (
            arange, array, asarray, ascontiguousarray, asnumpy, broadcast, clip, copy, copyto, empty, empty_like, full,
            full_like, matmul, may_share_memory, ndarray, nonzero, ones, ones_like, put_along_axis, result_type, take,
            where, zeros, zeros_like,
        )
    },
}  # fmt: skip

for _line in METHODS.strip().splitlines():
    setattr(ndarray, *_method(_line.strip()))
ndarray.clip = lambda self, min=None, max=None, out=None: clip(self, min, max, out)
ndarray.__matmul__ = lambda self, other: matmul(self, other)
