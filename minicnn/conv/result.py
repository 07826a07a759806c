"""Where an algorithm writes its result: in channels-last memory, wherever the result is to be in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..backend.cpu import empty_images

__all__ = ["channels_last"]


@contextmanager
def channels_last(out: np.ndarray) -> Iterator[np.ndarray]:
    """Give an array (N, K, P, Q) in channels-last memory to write into, whose values are in `out` after the block.

    It is `out` itself where that has its channels last.

    Examples
    --------
    >>> out = np.zeros((1, 2, 1, 2))
    >>> with channels_last(out) as y:
    ...     y[...] = 1
    ...     y.strides[1] == y.itemsize, y is out
    (True, False)
    >>> out
    array([[[[1., 1.]],
            [[1., 1.]]]])
    """
    if out.transpose(0, 2, 3, 1).flags.c_contiguous:
        yield out
        return
    n, k, p, q = out.shape
    y = empty_images(n, k, p, q, out.dtype)
    yield y
    out[...] = y
