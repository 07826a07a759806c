"""``cupy.cuda.cublas``: the little of cuBLAS that minicnn calls itself, the math mode of a thread's handle."""

from __future__ import annotations

import threading

import numpy as np
from cuda_convolutions import to_tf32

from . import device

__all__ = ["factor", "getMathMode", "get_cublas_handle", "setMathMode"]

TF32 = 3  # CUBLAS_TF32_TENSOR_OP_MATH


class _Modes(threading.local):
    def __init__(self) -> None:
        self.of: dict[int, int] = {}


_modes = _Modes()


def get_cublas_handle() -> int:
    return 0xB1A5 + device.current_id()


def getMathMode(handle: int) -> int:
    return _modes.of.get(handle, 0)


def setMathMode(handle: int, mode: int) -> None:
    _modes.of[handle] = mode


def factor(array: np.ndarray) -> np.ndarray:
    """Return a factor of a matrix product as the tensor cores take it."""
    rounds = array.dtype == np.float32 and array.size and getMathMode(get_cublas_handle()) == TF32
    return to_tf32(array) if rounds else array
