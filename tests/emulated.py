"""A launcher whose device is the emulator: the unmodified ``.cu`` files, run on the CPU under a sanitizer.

Kernel tests ask for ``launcher()``; those of one amplifying case ask for one launcher a mode of ``MODES``: every thread
order, copies early and late, and the thread sanitizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cuda_emulator
import numpy as np
import pytest
from cuda_emulator import Emulator

from minicnn.backend.cuda_source import Kernel, Source
from minicnn.backend.launch import Launcher

__all__ = ["MODES", "Mode", "launcher", "needs_compiler", "poisoned"]

needs_compiler = pytest.mark.skipif(
    cuda_emulator.available() is not None, reason=f"the CUDA emulator: {cuda_emulator.available()}"
)


@dataclass(frozen=True)
class Mode:
    """How the emulator runs kernels: under which sanitizer, threads in which order, copies when."""

    check: str = "address"
    order: str = "random"
    copies: str = "late"
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.check}-{self.order}-{self.copies}"


MODES = [
    *(
        Mode("address", order, copies)
        for order in ("forward", "reverse", "random")
        for copies in ("eager", "late")
    ),
    Mode("threads", "forward", "eager"),
    Mode("threads", "random", "late"),
]


class EmulatedDevice:
    """NumPy's arrays, and the emulator's kernels; the limits are an H100's."""

    capability = 90
    multiprocessors = 132
    shared_memory = 227 * 1024

    def __init__(self, mode: Mode) -> None:
        self.mode = mode

    def holds(self, array: Any) -> bool:
        return isinstance(array, np.ndarray)

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return poisoned(shape, dtype)

    def view(
        self, array: np.ndarray, offset: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...]
    ) -> np.ndarray:
        return np.ndarray(shape, dtype, array.reshape(-1).view(np.uint8), offset, strides)

    def matmul(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
        return np.matmul(a, b, out=out)

    def function(self, kernel: Kernel, expression: str) -> Any:
        mode = self.mode
        return _emulator(kernel.source, mode.check).kernel(
            expression, order=mode.order, copies=mode.copies, seed=mode.seed
        )


@cache
def _emulator(source: Source, check: str) -> Emulator:
    """Every instance of a file, compiled once."""
    expressions = [name for kernel in source.kernels.values() for name in kernel.expressions]
    return Emulator(source.path, expressions, include=[source.path.parent], check=check)


def launcher(check: str = "address", order: str = "random", copies: str = "late", seed: int = 0) -> Launcher:
    """Return a launcher over the emulator."""
    return Launcher(EmulatedDevice(Mode(check, order, copies, seed)))


def poisoned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array whose every byte is 255: NaN, or -1, wherever nothing is written."""
    array = np.empty(shape, dtype)
    array.reshape(-1).view(np.uint8)[...] = 255
    return array
