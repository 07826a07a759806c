"""minicnn's kernels on the stand-in's devices: run by the CUDA emulator, loaded and started as CuPy does it.

The fixture puts :func:`cubin` in the place of ``minicnn.backend.cupy_device.cubin``, so that nothing is compiled by
NVRTC: the path it returns only tells :class:`RawModule` which kernel is meant.
"""

from __future__ import annotations

import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import cuda_emulator
import numpy as np
import pytest
from cuda_emulator import Emulator
from cuda_emulator.arguments import Parameter

from . import device
from .array import ndarray, on_device
from .memory import MemoryPointer, live

__all__ = ["RawModule", "cubin"]

DEFAULT_SHARED = 48 * 1024  # bytes a block gets without asking for more
INTEGERS = (int, np.integer)

_loaded: dict[tuple[str, str], Any] = {}
_one_at_a_time = threading.Lock()


def cubin(kernel: Any, expression: str, architecture: int) -> tuple[Path, str]:
    """Return a path that is none, and the name of the function "in" it."""
    path = Path("stand-in") / f"{kernel.name}-sm_{architecture}.cubin"
    _loaded[str(path), expression] = kernel
    return path, expression


@cache
def _emulator(source: Any, process: int) -> Emulator:
    """Every instance of a file, compiled once, without a sanitizer: the kernels' own tests have those.

    A process that was forked has emulators of its own, for one answers whoever asks.
    """
    if missing := cuda_emulator.available():
        pytest.skip(f"the CUDA emulator: {missing}")
    expressions = [name for kernel in source.kernels.values() for name in kernel.expressions]
    return Emulator(source.path, expressions, include=[source.path.parent], check="none")


class RawModule:
    def __init__(self, *, path: str) -> None:
        self.file_path = path

    def get_function(self, name: str) -> Function:
        if (self.file_path, name) not in _loaded:
            raise device.CUDARuntimeError(500, f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return Function(_loaded[self.file_path, name], name)


class Function:
    """One instance of a kernel, which checks no argument that CuPy does not check."""

    def __init__(self, kernel: Any, name: str) -> None:
        self.name = name
        self.shared_size_bytes: int = kernel.shared
        self.max_dynamic_shared_size_bytes: int = DEFAULT_SHARED - kernel.shared
        self._emulator = _emulator(kernel.source, os.getpid())
        self._run = self._emulator.kernel(name, order="random", copies="late")

    @property
    def kernel(self) -> Function:
        return self

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        shared_mem: int = 0,
        stream: Any = None,
    ) -> None:
        if not (isinstance(grid, tuple) and isinstance(block, tuple)):
            raise TypeError(f"{self.name}: grid and block must be tuples, got {grid!r} and {block!r}")
        if 0 in grid or 0 in block:
            raise ValueError(f"{self.name}: CuPy would start one block for the grid {grid} of {block}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise device.CUDARuntimeError(1, "CUDA_ERROR_INVALID_VALUE: invalid argument (shared memory)")
        with _one_at_a_time:
            self._run(grid, block, self._arguments(args), shared_mem=shared_mem)
        device.launched("kernel", self.name)

    def _arguments(self, args: tuple[Any, ...]) -> list[Any]:
        """Return what the emulator takes in the place of CuPy's arguments."""
        server = self._emulator.server
        server.start()
        lines = server.parameters[self._emulator.kernels.index(self.name)].splitlines()
        parameters = [Parameter.parse(line) for line in lines]
        if len(args) != len(parameters):
            raise TypeError(f"{self.name} takes {len(parameters)} arguments, got {len(args)}")
        pairs = list(zip(parameters, args, strict=True))
        starts = [_address(argument) for parameter, argument in pairs if parameter.pointer]
        return [self._argument(parameter, argument, starts) for parameter, argument in pairs]

    def _argument(self, parameter: Parameter, argument: Any, starts: list[int]) -> Any:
        if argument is None:
            raise TypeError(f"{self.name}: of None CuPy 13 makes any address; a null pointer is np.uintp(0)")
        if isinstance(argument, ndarray):
            return on_device(argument)
        if parameter.pointer and isinstance(argument, (*INTEGERS, MemoryPointer)):
            return self._pointed(parameter, int(argument), starts)
        if isinstance(argument, np.ndarray):
            if argument.size != 1:
                raise TypeError(
                    f"{self.name}: only a NumPy array of size one is passed, by value; got {argument.shape}"
                )
            return argument.reshape(())[()]
        if isinstance(argument, np.void):
            raise TypeError(f"{self.name}: CuPy takes a structure only as a NumPy array of size one")
        return argument

    def _pointed(self, parameter: Parameter, pointer: int, starts: list[int]) -> np.ndarray | None:
        """Return the memory from a pointer to where the next argument begins, or the allocation ends."""
        if pointer == 0:
            return None
        memory = live(pointer)
        if memory is None:
            raise device.CUDARuntimeError(
                700,
                f"cudaErrorIllegalAddress: {self.name}: {pointer:#x} points into no living array's memory",
            )
        device.check_current(memory.device_id)
        begin, end = pointer - memory.ptr, memory.size
        end = min([end, *(other - memory.ptr for other in starts if pointer < other)])
        dtype = _dtype(parameter)
        return memory.buffer[begin : end - (end - begin) % dtype.itemsize].view(dtype)


def _address(argument: Any) -> int:
    """Return where an argument for a pointer points."""
    if isinstance(argument, ndarray):
        return argument.data.ptr
    return int(argument) if isinstance(argument, (*INTEGERS, MemoryPointer)) else 0


def _dtype(parameter: Parameter) -> np.dtype[Any]:
    """Return the dtype of a pointer's elements; of structs and void, bytes."""
    match parameter.kind:
        case "S" | "v":
            return np.dtype(np.uint8)
        case "B":
            import ml_dtypes

            return np.dtype(ml_dtypes.bfloat16)
        case "h":
            return np.dtype(np.float16)
        case "b":
            return np.dtype(bool)
        case kind:
            return np.dtype(f"{kind}{parameter.size}")
