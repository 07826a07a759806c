"""The machine's limit: a single-precision matrix product, run as a peer of its own in the same turns."""

from __future__ import annotations

import numpy as np

from .. import set_num_threads
from ..backend.matmul import matmul
from .task import Task

__all__ = ["GFLOP", "SIZE", "prepare", "sgemm", "versions"]

SIZE = 2048
GFLOP = 2 * SIZE**3 / 1e9


def sgemm() -> np.ndarray:
    """Multiply two square matrices on all our threads."""
    a = np.ones((SIZE, SIZE), np.float32)
    return matmul(a, a)


def versions() -> dict[str, str]:
    """Return nothing: it is NumPy's, as minicnn's is."""
    return {}


class _Product:
    def step(self) -> None:
        sgemm()

    def answer(self) -> dict[str, np.ndarray]:
        return {}


def prepare(task: Task) -> _Product:
    """Take as many threads as all peers."""
    set_num_threads(task.threads)
    return _Product()
