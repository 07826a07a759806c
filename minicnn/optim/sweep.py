"""Elementwise work on whole sets of arrays, one cache-full at a time.

An update rule is a dozen elementwise operations on a parameter and the few arrays that belong to it.  Done on
whole parameters, every one of them would carry the arrays through main memory anew, and need a scratch array
as large as the parameter.  Here the arrays are cut into pieces that stay in the cache from the first
operation to the last, so each array passes through main memory once, and scratch is as large as a piece.  The
threads share the pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import backend
from ..backend.parallel import parallel_for

__all__ = ["sweep"]

Array = Any
Job = tuple[Callable[..., None], Mapping[str, Array]]

_PIECE = 1 << 17  # elements: four such float32 arrays fill 2 MiB; in short calls threads wait for Python
_SHARED = 1 << 18  # elements: less work than this is done before another thread has woken


def sweep(jobs: Iterable[Job], op: str = "sweep") -> None:
    """Call ``update(**arrays)`` for each job, on one piece of its arrays after the other.

    Parameters
    ----------
    jobs : iterable of (update, arrays)
        ``update`` works elementwise and in place.  ``arrays`` maps its argument names to arrays of one shape,
        cut so that the first one's pieces are contiguous if it is dense, in whatever order of axes.  No array
        may be in two jobs.  On a GPU, where nothing is gained by pieces, they are whole.
    op : str
        What this is, for errors.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.zeros(3), np.ones(3)
    >>> def add(x, y):
    ...     x += y
    >>> sweep([(add, {"x": x, "y": y})])
    >>> x
    array([1., 1., 1.])
    """
    pieces = [(update, piece) for update, arrays in jobs for piece in _pieces(arrays)]

    def run(i: int) -> None:
        update, piece = pieces[i]
        update(**piece)

    first = [next(iter(piece.values())) for _, piece in pieces]
    here = backend.of(*first, op=op)
    alone = here is not backend.cpu or sum(array.size for array in first) < _SHARED
    if here is not backend.cpu:
        # Scratch for the largest is what may not fit.  Then nothing has changed yet.
        pieces.sort(key=lambda piece: -next(iter(piece[1].values())).size)
    # An infinite or NaN gradient is carried into its parameter without a warning, as in PyTorch.
    with backend.running(op, *first):
        if alone:
            for i in range(len(pieces)):
                run(i)
        else:
            parallel_for(len(pieces), run)


def _pieces(arrays: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Cut the arrays into pieces of about _PIECE elements, along the slowest axis of the first one."""
    first = next(iter(arrays.values()))
    order = sorted(range(first.ndim), key=lambda axis: (first.shape[axis] == 1, -first.strides[axis]))
    views = {name: array.transpose(order) for name, array in arrays.items()}
    if first.size <= _PIECE or backend.of(first) is not backend.cpu:
        return [views]
    length = first.shape[order[0]]
    rows = max(_PIECE * length // first.size, 1)
    return [
        {name: view[start : start + rows] for name, view in views.items()} for start in range(0, length, rows)
    ]
