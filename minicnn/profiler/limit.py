"""What this machine can do at most: the rate of one large matrix product in single precision."""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np

from ..backend.matmul import matmul
from ..backend.parallel import get_num_threads

__all__ = ["GFLOP", "SIZE", "sgemm", "sgemm_limit", "sgemm_rate"]

SIZE = 2048
GFLOP = 2 * SIZE**3 / 1e9
_ROUNDS = 5


def sgemm() -> np.ndarray:
    """Multiply two 2048×2048 matrices of float32 on all of minicnn's threads."""
    a = np.ones((SIZE, SIZE), np.float32)
    return matmul(a, a)


def sgemm_rate() -> float:
    """Return the GFLOP/s of one :func:`sgemm`."""
    began = time.perf_counter()
    sgemm()
    return GFLOP / (time.perf_counter() - began)


def sgemm_limit() -> float:
    """Return the GFLOP/s of the best of five :func:`sgemm`: about half a second.

    Measured once for each number of threads; later calls remember.

    Examples
    --------
    >>> sgemm_limit() > 1
    True
    """
    return _measured(get_num_threads())


@lru_cache
def _measured(threads: int) -> float:
    return max(sgemm_rate() for _ in range(_ROUNDS))
