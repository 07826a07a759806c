"""What NVIDIA's driver tells of itself and of the GPUs, asked without CuPy and without taking memory of a GPU.

The driver brings two libraries.  libcuda names the GPUs that CUDA sees, in CUDA's order.  What is free of their memory
it tells only a process that has a context on them, and a context takes memory and time; so that is asked of the other,
NVML, by each GPU's place on the PCI bus.

References
----------
NVIDIA, "CUDA Driver API", sections 6.2 to 6.5; "NVML API Reference Guide", nvmlDeviceGetMemoryInfo.
"""

from __future__ import annotations

import ctypes
import platform
from dataclasses import dataclass
from typing import Any

__all__ = ["Driver", "Gpu", "find"]

_WINDOWS = platform.system() == "Windows"
CUDA = "nvcuda.dll" if _WINDOWS else "libcuda.so.1"
NVML = "nvml.dll" if _WINDOWS else "libnvidia-ml.so.1"

_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NAME, _BUS = 256, 32  # characters enough for a GPU's name and its place on the PCI bus
_SLICE = 1.5  # of a GPU shared out by MIG, NVML tells the board's memory, CUDA the share's: at most half


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes
    ----------
    name : str
    capability : int
        Its compute capability, 90 for 9.0.
    total : int
        Bytes of memory.
    free : int or None
        Bytes that nobody holds; None where NVML does not tell.
    """

    name: str
    capability: int
    total: int
    free: int | None = None


@dataclass(frozen=True)
class Driver:
    """The driver.

    Attributes
    ----------
    version : (int, int)
        The newest CUDA it supports, (12, 4).
    gpus : tuple of Gpu
        Those CUDA sees, in its order.
    error : str
        The error with which CUDA refused to tell of them, ``"CUDA_ERROR_NO_DEVICE"``; empty where it did.
    """

    version: tuple[int, int]
    gpus: tuple[Gpu, ...] = ()
    error: str = ""


def find() -> Driver | None:
    """Return what is known of the driver, None where there is none.

    CUDA reads ``CUDA_VISIBLE_DEVICES`` when it is asked for the first time in a process, and keeps to that.

    Examples
    --------
    >>> find() is None or find().version >= (5, 0)
    True
    """
    try:
        cuda = ctypes.CDLL(CUDA)
        version = _number(cuda, "cuDriverGetVersion")
    except (OSError, RuntimeError):
        return None
    newest = version // 1000, version % 1000 // 10
    try:
        _call(cuda, "cuInit", 0)
        return Driver(newest, tuple(_gpu(cuda, index) for index in range(_number(cuda, "cuDeviceGetCount"))))
    except RuntimeError as error:
        return Driver(newest, error=str(error))


def _gpu(cuda: ctypes.CDLL, index: int) -> Gpu:
    device = _number(cuda, "cuDeviceGet", index)
    name, bus = ctypes.create_string_buffer(_NAME), ctypes.create_string_buffer(_BUS)
    total = ctypes.c_size_t()
    _call(cuda, "cuDeviceGetName", name, _NAME, device)
    _call(cuda, "cuDeviceGetPCIBusId", bus, _BUS, device)
    _call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(total), device)
    major, minor = (_number(cuda, "cuDeviceGetAttribute", which, device) for which in _CAPABILITY)
    free = _free(bus.value, total.value)
    return Gpu(name.value.decode(errors="replace"), 10 * major + minor, total.value, free)


def _number(cuda: ctypes.CDLL, function: str, *arguments: int) -> int:
    """Return what a function of libcuda writes to its first argument."""
    found = ctypes.c_int()
    _call(cuda, function, ctypes.byref(found), *arguments)
    return found.value


def _call(cuda: ctypes.CDLL, function: str, *arguments: Any) -> None:
    """Call a function of libcuda.

    Raises
    ------
    RuntimeError
        With the name of its error.
    """
    if status := getattr(cuda, function)(*arguments):
        name = ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(name))
        raise RuntimeError(name.value.decode() if name.value else f"error {status}")


def _free(bus: bytes, total: int) -> int | None:
    """Return the bytes that are free on the GPU at a place of the PCI bus."""
    try:
        nvml = ctypes.CDLL(NVML)
    except OSError:
        return None
    if nvml.nvmlInit_v2():
        return None
    gpu, memory = ctypes.c_void_p(), (ctypes.c_ulonglong * 3)()  # total, free, used
    try:
        known = nvml.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(gpu)) == 0
        if not known or nvml.nvmlDeviceGetMemoryInfo(gpu, memory) or memory[0] > _SLICE * total:
            return None
        return memory[1]
    finally:
        nvml.nvmlShutdown()
