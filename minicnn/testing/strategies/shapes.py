"""Shapes: one, or several that broadcast together."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ...nn.check import int_of_at_least

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

    Raises
    ------
    ValueError
        If a limit is below 0, or the least is above the most.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(shapes(), lambda shape: len(shape) == 2 and shape[1] > 2)
    (1, 3)
    """
    if ndim is not None:
        min_dims = max_dims = int_of_at_least(0, "shapes", "ndim", ndim)
    _check_limits("shapes", dims=(min_dims, max_dims), side=(min_side, max_side))
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


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

    Raises
    ------
    ValueError
        If there is to be no shape, a limit is below 0, or the least is above the most.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(broadcastable(), lambda two: two[0] != two[1] and len(two[0]) == len(two[1]) == 1)
    ((1,), (2,))
    """
    int_of_at_least(1, "broadcastable", "count", count)
    _check_limits("broadcastable", dims=(min_dims, max_dims), side=(min_side, max_side))
    together = hnp.mutually_broadcastable_shapes(
        num_shapes=count, min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side
    )
    return together.map(lambda found: found.input_shapes)


def _check_limits(strategy: str, **limits: tuple[int, int]) -> None:
    for name, (least, most) in limits.items():
        int_of_at_least(0, strategy, f"min_{name}", least)
        int_of_at_least(0, strategy, f"max_{name}", most)
        if least > most:
            raise ValueError(f"{strategy}: min_{name} must be at most max_{name}, got {least} and {most}")
