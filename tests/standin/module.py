"""The module ``cupy`` itself, put together, and put where ``import`` finds it."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from minicnn.backend import cupy_device, gpu_state

from . import cublas, device, dlpack, kernels, memory, record
from .array import ndarray
from .functions import FUNCTIONS
from .ufunc import ufunc

__all__ = ["cupy", "installed"]

VERSION = "14.2.0"  # whose sources the rules were taken from


def _module(name: str, **contents: Any) -> Any:
    found = types.ModuleType(name)
    found.__dict__.update(contents)
    return found


def _get_array_module(*args: Any) -> Any:
    import numpy as np

    return cupy if any(isinstance(one, ndarray) for one in args) else np


def _properties(number: int) -> dict[str, Any]:
    return {
        "name": b"Stand-in for an H100",
        "totalGlobalMem": device.machine.total,
        "multiProcessorCount": 132,
        "major": 9,
        "minor": 0,
        "clockRate": device.ATTRIBUTES["ClockRate"],
        "memoryClockRate": device.ATTRIBUTES["MemoryClockRate"],
        "memoryBusWidth": device.ATTRIBUTES["GlobalMemoryBusWidth"],
        "l2CacheSize": device.ATTRIBUTES["L2CacheSize"],
        "sharedMemPerBlockOptin": device.ATTRIBUTES["MaxSharedMemoryPerBlockOptin"],
        "warpSize": 32,
    }


_runtime = _module(
    "cupy.cuda.runtime",
    CUDARuntimeError=device.CUDARuntimeError,
    getDeviceCount=lambda: device.machine.devices,
    getDevice=device.current_id,
    setDevice=device.set_current,
    getDeviceProperties=_properties,
    driverGetVersion=lambda: 13000,
    runtimeGetVersion=lambda: 12090,
    memGetInfo=lambda: device.Device().mem_info,
    deviceSynchronize=lambda: None,
    is_hip=False,
)
_memory = _module(
    "cupy.cuda.memory",
    MemoryPointer=memory.MemoryPointer,
    MemoryPool=memory.MemoryPool,
    OutOfMemoryError=memory.OutOfMemoryError,
)
_cuda = _module(
    "cupy.cuda",
    __path__=[],
    Device=device.Device,
    Event=device.Event,
    MemoryPointer=memory.MemoryPointer,
    MemoryPool=memory.MemoryPool,
    Stream=device.Stream,
    cublas=cublas,
    get_cublas_handle=cublas.get_cublas_handle,
    alloc=lambda size: memory.MemoryPointer(memory.allocate(size), 0),
    get_current_stream=device.get_current_stream,
    get_elapsed_time=device.get_elapsed_time,
    get_local_runtime_version=lambda: 12090,
    is_available=lambda: device.machine.devices > 0,
    memory=_memory,
    runtime=_runtime,
)
cupy = _module(
    "cupy",
    __path__=[],
    __version__=VERSION,
    **FUNCTIONS,
    RawModule=kernels.RawModule,
    cuda=_cuda,
    from_dlpack=dlpack.from_dlpack,
    get_array_module=_get_array_module,
    get_default_memory_pool=lambda: memory.pool,
    is_available=_cuda.is_available,
    ufunc=ufunc,
)
_MODULES = {module.__name__: module for module in (cupy, _cuda, _memory, _runtime)}


def _reset() -> None:
    device.reset()
    memory.pool._reset()
    record.forget()


def _imported_against_it() -> list[str]:
    """Return the modules of minicnn that import CuPy at their top, or what does."""
    return [
        name
        for name in sys.modules
        if name.startswith(("minicnn.backend.gpu", "minicnn.conv.cuda"))
        and name != "minicnn.backend.gpu_state"
    ]


def _forget_minicnn() -> None:
    """Un-import what was imported against a ``cupy``, and drop the launchers made with it."""
    for name in _imported_against_it():
        del sys.modules[name]
        package, _, child = name.rpartition(".")
        parent = sys.modules.get(package)
        if parent is not None and hasattr(parent, child):
            delattr(parent, child)
    cupy_device.launcher.cache_clear()


@contextmanager
def installed() -> Iterator[Any]:
    """Let ``import cupy`` find the stand-in, with minicnn's kernels emulated, until the block ends."""
    _reset()
    _forget_minicnn()
    before = {name: sys.modules.get(name) for name in _MODULES}
    sys.modules.update(_MODULES)
    try:
        with (
            patch.object(cupy_device, "cubin", kernels.cubin),
            patch.object(gpu_state, "_checked", cupy),  # it needs no driver and no library
        ):
            yield cupy
    finally:
        _forget_minicnn()
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        _reset()
