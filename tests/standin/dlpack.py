"""DLPack: NumPy's own capsules, in which the memory is said to be a CUDA device's."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from . import memory
from .array import ndarray

__all__ = ["capsule_of", "from_dlpack"]

CPU, CUDA = 1, 2
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def capsule_of(array: ndarray) -> Any:
    capsule = array._host.__dlpack__()
    _say(capsule, CUDA, array._memory.device_id)
    return capsule


def _say(capsule: Any, kind: int, number: int) -> None:
    """Write the device into a DLTensor, in which it follows the pointer."""
    fields = (ctypes.c_int32 * 4).from_address(_pointer(capsule, b"dltensor"))
    fields[2], fields[3] = kind, number


class _Exporter:
    """What NumPy takes a capsule of its own kind from."""

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
        raise BufferError(f"from_dlpack: the array must be on a CUDA device, got a device of kind {kind}")
    capsule = array.__dlpack__(stream=1)
    _say(capsule, CPU, 0)
    return borrowed(np.from_dlpack(_Exporter(capsule)), number)


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
