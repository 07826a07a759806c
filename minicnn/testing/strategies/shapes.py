"""Shapes: one, or several that broadcast together."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

__all__ = ["broadcastable", "shapes"]

Shape = tuple[int, ...]


def shapes(
    ndim: int | None = None, *, min_dims: int = 1, max_dims: int = 4, min_side: int = 1, max_side: int = 4
) -> st.SearchStrategy[Shape]:
    """Draw a shape.  Shrinks to few axes, all of `min_side`.

    Parameters
    ----------
    ndim : int, optional
        The number of axes; default any from `min_dims` to `max_dims`.
    min_dims, max_dims : int
    min_side, max_side : int
        Of the length of each axis; 0 gives empty arrays.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(shapes(), lambda shape: len(shape) == 2 and shape[1] > 2)
    (1, 3)
    """
    fewest, most = (min_dims, max_dims) if ndim is None else (ndim, ndim)
    return hnp.array_shapes(min_dims=fewest, max_dims=most, min_side=min_side, max_side=max_side)


def broadcastable(
    count: int = 2, *, min_dims: int = 0, max_dims: int = 4, min_side: int = 1, max_side: int = 4
) -> st.SearchStrategy[tuple[Shape, ...]]:
    """Draw shapes that broadcast together: of different lengths, and with axes of 1 against longer ones.

    Parameters
    ----------
    count : int
        How many shapes.
    min_dims, max_dims, min_side, max_side : int
        Of each of them, as in :func:`shapes`.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(broadcastable(), lambda two: two[0] != two[1] and len(two[0]) == len(two[1]) == 1)
    ((1,), (2,))
    """
    together = hnp.mutually_broadcastable_shapes(
        num_shapes=count, min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side
    )
    return together.map(lambda found: found.input_shapes)
