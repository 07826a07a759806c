"""The machine's limit: a single-precision matrix product, run as a peer of its own in the same turns."""

from __future__ import annotations

import numpy as np

from .. import set_num_threads
from ..profiler.limit import sgemm
from .task import Task

__all__ = ["prepare", "versions"]


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
