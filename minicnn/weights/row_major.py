"""What is written to a file: arrays of numbers, in host memory and logical row-major order."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from ..tensor import Tensor

__all__ = ["row_major"]

_DTYPES = "?bhilqBHILQefd"  # codes of NumPy's bool, ints, unsigned ints, and floats of up to 64 bits


def row_major(name: str, value: Any) -> np.ndarray:
    """Return the values of an array or Tensor as a file holds them.

    Raises
    ------
    TypeError
        If the name is no text, or the values are no numbers.

    Examples
    --------
    >>> row_major("w", np.zeros((2, 3)).T).flags.c_contiguous
    True
    """
    if not isinstance(name, str):
        raise TypeError(f"save: names must be texts, got {name!r}")
    array = value.data if isinstance(value, Tensor) else value
    host = np.asarray(backend.of(array).to_numpy(array), order="C")
    if host.dtype.char not in _DTYPES:
        raise TypeError(f"save: {name!r} must be an array of numbers, got dtype {host.dtype}")
    return host
