"""DLPack: NumPy's own capsules, in which the memory is said to be a CUDA device's."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from . import memory
from .array import ndarray

__all__ = ["capsule_of", "from_dlpack"]

CPU, CUDA = 1, 2
UINT, BFLOAT = 1, 4  # what elements are; NumPy knows only the first, so bfloat16 goes as 16 bits
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


class _DLTensor(ctypes.Structure):
    """The beginning of one."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
    )


def _tensor(capsule: Any) -> _DLTensor:
    return _DLTensor.from_address(_pointer(capsule, b"dltensor"))


def capsule_of(array: ndarray) -> Any:
    """Return NumPy's capsule, in which the device is not the CPU."""
    half = array.dtype.name == "bfloat16"
    capsule = (array._host.view(np.uint16) if half else array._host).__dlpack__()
    tensor = _tensor(capsule)
    tensor.device_type, tensor.device_id = CUDA, array._memory.device_id
    tensor.code = BFLOAT if half else tensor.code
    return capsule


class _Exporter:
    """What NumPy takes a capsule from."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU, 0


def from_dlpack(array: Any, *, device: Any = None, copy: Any = None) -> ndarray:
    """Return an array over the memory of another library's array, which is on one of the devices."""
    kind, number = array.__dlpack_device__()
    if kind != CUDA:
        raise TypeError("CPU arrays cannot be directly imported to CuPy.")
    capsule = array.__dlpack__(stream=1)
    tensor = _tensor(capsule)
    half = tensor.code == BFLOAT
    tensor.device_type, tensor.device_id = CPU, 0
    tensor.code = UINT if half else tensor.code
    host = np.from_dlpack(_Exporter(capsule))
    if half:
        from ml_dtypes import bfloat16

        host = host.view(bfloat16)
    return borrowed(host, number)


def borrowed(host: np.ndarray, number: int) -> ndarray:
    """Return an array over memory that is not the pool's; NumPy takes it for read-only."""
    start, end = np.lib.array_utils.byte_bounds(host)
    flat = np.frombuffer((ctypes.c_uint8 * (end - start)).from_address(start), np.uint8)
    found = object.__new__(ndarray)
    found._memory, found.base = memory.Memory(flat, number, owner=host), None
    offset = host.__array_interface__["data"][0] - start
    found._host = np.ndarray(host.shape, host.dtype, flat, offset, host.strides)
    memory.remember(found._memory)
    return found
