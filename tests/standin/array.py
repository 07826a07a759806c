"""``cupy.ndarray``: an array of a device's memory, that NumPy must not touch and that touches nothing of NumPy's.

What computes is NumPy, behind functions that first hold every argument to CuPy's rules: no host arrays, no other
device's arrays, new results in C order.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import device, memory
from .record import transferred

__all__ = ["ndarray", "on_device", "operands", "quiet", "wrap"]

NOT_IMPLICITLY = (
    "Implicit conversion to a NumPy array is not allowed. "
    "Please use `.get()` to construct a NumPy array explicitly."
)
SCALARS = (bool, int, float, complex, np.generic)


def quiet(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call NumPy without its warnings, which a GPU does not give."""
    with np.errstate(all="ignore"):
        return function(*arguments, **options)


def on_device(array: Any) -> np.ndarray:
    """Return the values of an array of the current device, and nothing else's."""
    if not isinstance(array, ndarray):
        raise TypeError(f"Unsupported type {type(array)}")
    device.check_current(array._memory.device_id)
    return array._host


def operands(*values: Any) -> list[Any]:
    """Return what CuPy's functions compute with: values of the current device's arrays, and scalars.

    A Python float beside bfloat16 is a float32, where beside any other floats it takes their dtype; to NumPy it is a
    float64 then.
    """
    found = [value if isinstance(value, SCALARS) else on_device(value) for value in values]
    dtypes = [one.dtype for one in found if isinstance(one, np.ndarray | np.generic)]
    if dtypes and np.result_type(*dtypes).name == "bfloat16":
        return [np.float32(one) if type(one) is float else one for one in found]
    return found


def new(shape: Any, dtype: Any, order: str = "C") -> ndarray:
    """Return a new array in the current device's memory."""
    dtype = np.dtype(dtype)
    shape = (operator.index(shape),) if hasattr(shape, "__index__") else tuple(map(operator.index, shape))
    if any(size < 0 for size in shape):
        raise ValueError("Negative dimensions are not allowed")
    array = object.__new__(ndarray)
    array._memory = memory.allocate(math.prod(shape) * dtype.itemsize)
    array._host = np.ndarray(shape, dtype, array._memory.buffer, order=order)
    array.base = None
    return array


def new_like(host: np.ndarray) -> ndarray:
    """Return a new array of this shape and dtype, its axes in memory in the same order."""
    axes = sorted(range(host.ndim), key=lambda axis: -abs(host.strides[axis]))
    array = new([host.shape[axis] for axis in axes], host.dtype)
    array._host = array._host.transpose(sorted(range(host.ndim), key=axes.__getitem__))
    return array


def wrap(result: Any, *sources: ndarray, order: str = "C") -> ndarray:
    """Return NumPy's result as a device's array: a view of one of the sources, or new memory in this order."""
    host = np.asarray(result)
    for source in sources:
        if np.may_share_memory(host, source._host):
            return view(host, source)
    array = new_like(host) if order == "K" else new(host.shape, host.dtype, order)
    array._host[...] = host
    return array


def view(host: np.ndarray, source: ndarray) -> ndarray:
    array = object.__new__(ndarray)
    array._memory, array._host = source._memory, host
    array.base = source if source.base is None else source.base
    return array


class Flags:
    def __init__(self, host: np.ndarray, owndata: bool) -> None:
        self.c_contiguous, self.f_contiguous = host.flags.c_contiguous, host.flags.f_contiguous
        self.fnc, self.forc, self.owndata = host.flags.fnc, host.flags.forc, owndata

    def __getitem__(self, name: str) -> bool:
        return getattr(self, name.lower())


def indices(key: Any) -> tuple[Any, bool]:
    """Return NumPy's form of an index, and whether it chooses by a mask, whose sum the host must know."""
    masked = False

    def one(part: Any) -> Any:
        nonlocal masked
        if part is None or part is Ellipsis or isinstance(part, (slice, int, np.integer, np.bool_)):
            return part
        if isinstance(part, (list, np.ndarray)):
            part = np.asarray(part)
            transferred("to device", part.nbytes, "an index of the host's")
        else:
            part = on_device(part)
        masked = masked or part.dtype == bool
        return part

    found = tuple(one(part) for part in key) if isinstance(key, tuple) else (one(key),)
    return found, masked


class ndarray:
    """An array in a device's memory."""

    __module__ = "cupy"

    __hash__ = None  # as CuPy's and NumPy's
    __array_priority__ = 100
    _host: np.ndarray
    _memory: memory.Memory
    base: ndarray | None

    def __new__(
        cls, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"
    ) -> ndarray:
        if memptr is None:
            if strides is not None:
                raise ValueError("strides cannot be given without memptr")
            return new(shape, dtype, order)
        array = object.__new__(cls)
        array._memory = memptr.mem
        array._host = np.ndarray(shape, dtype, memptr.mem.buffer, memptr.ptr - memptr.mem.ptr, strides, order)
        array.base = None
        return array

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @property
    def strides(self) -> tuple[int, ...]:
        return self._host.strides

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._host.dtype

    @property
    def ndim(self) -> int:
        return self._host.ndim

    @property
    def size(self) -> int:
        return self._host.size

    @property
    def itemsize(self) -> int:
        return self._host.itemsize

    @property
    def nbytes(self) -> int:
        return self._host.nbytes

    @property
    def flags(self) -> Flags:
        return Flags(self._host, self.base is None)

    @property
    def data(self) -> memory.MemoryPointer:
        offset = self._host.__array_interface__["data"][0] - self._memory.ptr if self._memory.size else 0
        return memory.MemoryPointer(self._memory, offset)

    @property
    def device(self) -> device.Device:
        return self._memory.device

    @property
    def T(self) -> ndarray:
        return view(self._host.T, self)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        host = self._host
        return {
            "shape": host.shape,
            "typestr": host.dtype.str,
            "descr": host.dtype.descr,
            "stream": 1,
            "version": 3,
            "strides": None if host.flags.c_contiguous else host.strides,
            "data": (self.data.ptr, False),
        }

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # NumPy is to keep off

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(NOT_IMPLICITLY)

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called with a device array")

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called with a device array")

    # To the host, each counted

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        transferred("to host", self.nbytes, "get")
        if out is None:
            return np.array(self._host, order=order)
        if type(out) is not np.ndarray or out.shape != self.shape or out.dtype != self.dtype:
            raise ValueError(f"get: out must be a NumPy array of shape {self.shape} and dtype {self.dtype}")
        out[...] = self._host
        return out

    def _values(self, what: str) -> np.ndarray:
        transferred("to host", self.nbytes, what)
        return self._host

    def item(self) -> Any:
        return self._values("item").item()

    def tolist(self) -> Any:
        return self._values("tolist").tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        return self._values("tobytes").tobytes(order)

    def __float__(self) -> float:
        return float(self._values("float").item())

    def __int__(self) -> int:
        return int(self._values("int").item())

    def __bool__(self) -> bool:
        return bool(self._values("bool"))

    def __repr__(self) -> str:
        return repr(self._values("repr"))

    def __str__(self) -> str:
        return str(self._values("str"))

    def __format__(self, form: str) -> str:
        return format(self._values("format"), form)

    # From the host, and between devices

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError(f"set: {arr.dtype} {arr.shape} is not {self.dtype} {self.shape}")
        transferred("to device", arr.nbytes, "set")
        self._host[...] = arr

    def copy(self, order: str = "C") -> ndarray:
        """Return a copy on the current device."""
        if self._memory.device_id != device.current_id():
            transferred("between devices", self.nbytes, "copy")
        else:
            device.launched("function", "copy")
        return wrap(np.array(self._host, order=order, copy=True), order="K")

    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> ndarray:
        if casting is not None:
            raise TypeError("casting is not supported yet")
        host = on_device(self)
        result = quiet(host.astype, dtype, order=order, copy=copy)
        if result is host:
            return self
        device.launched("function", "astype")
        return wrap(result, order="K")

    # Parts and forms

    def __getitem__(self, key: Any) -> ndarray:
        found, masked = indices(key)
        if Ellipsis not in [part for part in found if not isinstance(part, np.ndarray)]:
            found = (*found, Ellipsis)  # so that even one element is an array, and a view
        if not any(isinstance(part, np.ndarray) for part in found):
            return view(self._host[found], self)
        result = on_device(self)[found]
        device.launched("function", "take")
        if masked:
            transferred("to host", 8, "how many a mask chooses")
        return wrap(result)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._set(indices(key)[0], value, "setitem")

    def fill(self, value: Any) -> None:
        self._set(..., value, "fill")

    def _set(self, key: Any, value: Any, name: str) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        host, (value,) = on_device(self), operands(value.item() if isinstance(value, np.ndarray) else value)
        device.launched("function", name)
        quiet(host.__setitem__, key, value)

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> ndarray:
        return self._formed(self._host.reshape(*shape, order=order))

    def ravel(self, order: Any = "C") -> ndarray:
        return self._formed(self._host.ravel(order))

    def flatten(self, order: Any = "C") -> ndarray:
        return self._formed(self._host.flatten(order))

    def transpose(self, *axes: Any) -> ndarray:
        return view(self._host.transpose(*axes), self)

    def swapaxes(self, axis1: int, axis2: int) -> ndarray:
        return view(self._host.swapaxes(axis1, axis2), self)

    def squeeze(self, axis: Any = None) -> ndarray:
        return view(self._host.squeeze(axis), self)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ndarray:
        return view(self._host.diagonal(offset, axis1, axis2), self)

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        return view(self._host.view() if dtype is None else self._host.view(dtype), self)

    def _formed(self, host: np.ndarray) -> ndarray:
        """Return another form of the array: a view where NumPy made one."""
        if np.may_share_memory(host, self._host) or not host.size:
            return view(host, self)
        on_device(self)
        device.launched("function", "copy")
        return wrap(host, order="K")

    # Between libraries

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._memory.device_id

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        from .dlpack import capsule_of

        return capsule_of(self)

    def __reduce__(self) -> Any:
        from .functions import array

        return array, (self.get(),)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        with self.device:
            return self.copy()
