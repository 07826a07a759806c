"""Arrays, drawn as a shape, a kind of numbers, a seed and a layout.

Drawn element by element, an array of a few hundred numbers would be a few hundred decisions, to be made for each
of many thousand cases and shrunk one by one.  Here it is four.  A case shrinks by its shape, and what is left of
it is short to print (:func:`minicnn.testing.fill`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ...nn.check import one_of
from ..layouts import LAYOUTS, lay_out
from ..values import VALUES, fill
from .shapes import Shape, shapes

__all__ = ["Names", "arrays", "chosen", "seeds"]

Names = str | Iterable[str]
"""One name, or several of which one is drawn."""


def seeds() -> st.SearchStrategy[int]:
    """Draw a seed for :func:`minicnn.testing.fill`."""
    return st.integers(0, 2**16 - 1)


def arrays(
    shape: Shape | st.SearchStrategy[Shape] | None = None,
    *,
    values: Names = "distinct",
    layout: Names = "c",
    dtype: Any = np.float64,
) -> st.SearchStrategy[np.ndarray]:
    """Draw an array.  Shrinks to a small shape, the first kind of values and the first layout.

    Parameters
    ----------
    shape : tuple of ints, or a strategy of them
        Default: :func:`shapes`.
    values : str, or several
        Kinds of numbers, of :data:`minicnn.testing.VALUES`.
    layout : str, or several
        Of :data:`minicnn.testing.LAYOUTS`.  ``"broadcast"`` makes the values repeat along one axis, so it is not
        drawn for ``"distinct"`` ones.
    dtype : dtype

    Raises
    ------
    ValueError
        If there is no such kind or layout, or the two do not go together.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(arrays((2, 2), values=("distinct", "equal")), lambda x: x[0, 0] == x[1, 1])
    array([[1., 1.],
           [1., 1.]])
    >>> find(arrays(layout=("c", "fortran", "negative")), lambda x: x.strides[0] < 0).shape
    (1,)
    """
    kinds = chosen("arrays", "values", values, VALUES)
    layouts = chosen("arrays", "layout", layout, LAYOUTS)
    fitting = [(v, m) for v in kinds for m in layouts if (v, m) != ("distinct", "broadcast")]
    if not fitting:
        raise ValueError(
            "arrays: layout 'broadcast' repeats values and 'distinct' ones never do, got no other values or layout"
        )
    drawn = st.just(shape) if isinstance(shape, tuple) else shapes() if shape is None else shape
    return st.builds(_array, drawn, st.sampled_from(fitting), seeds(), st.just(np.dtype(dtype)))


def chosen(strategy: str, name: str, value: Names, known: Iterable[str]) -> tuple[str, ...]:
    """Return the names given, once it is sure that all are known."""
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names:
        raise ValueError(f"{strategy}: {name} must have at least one name, got none")
    return tuple(one_of(tuple(known), strategy, name, one) for one in names)


def _array(shape: Shape, kind: tuple[str, str], seed: int, dtype: np.dtype) -> np.ndarray:
    values, layout = kind
    array = fill(shape, values, seed, dtype)
    long = [axis for axis, n in enumerate(shape) if n > 1]
    if layout == "broadcast" and long:
        array = np.broadcast_to(array.take([0], long[seed % len(long)]), shape)
    return lay_out(array, layout)
