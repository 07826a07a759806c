"""Arrays, drawn as a shape, a kind of numbers, a seed and a layout.

Drawn element by element, an array of a few hundred numbers would be a few hundred decisions, to be made for each
of many thousand cases and shrunk one by one.  Here it is four.  A case shrinks by its shape, and what is left of
it is short to print (:func:`minicnn.testing.fill`).

NumPy's repr of an array leaves out its layout, most of its elements if they are many, and the ``np.``.  So from here
on Hypothesis prints arrays of numbers, whoever draws them, as Python that makes them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.vendor import pretty

from ...nn.check import one_of
from ..case import literal
from ..layouts import LAYOUTS, lay_out
from ..values import VALUES, fill, lengths, type_of_numbers
from .shapes import Shape, shapes

__all__ = ["Names", "arrays", "chosen", "of_arrays", "seeds"]

Names = str | Sequence[str]
"""One name, or several of which one is drawn: in order, or a seed would not draw the same again."""


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

    A failing test prints it as ``np.array(…)``, or ``lay_out(np.array(…), …)`` with :func:`minicnn.testing.lay_out`.

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
        That all these values fit: see :func:`minicnn.testing.fill`.

    Raises
    ------
    ValueError
        If there is no such kind or layout, the two do not go together, or a length in `shape` is below 0.
    TypeError
        If `shape` is neither a tuple nor a strategy, or the dtype does not fit the values.

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
    for kind in kinds:
        type_of_numbers("arrays", kind, dtype)
    if isinstance(shape, tuple):
        shape = st.just(lengths("arrays", shape))
    elif not isinstance(shape, st.SearchStrategy | None):
        raise TypeError(f"arrays: shape must be a tuple of ints, or a strategy of them, got {shape!r}")
    return _arrays(shapes() if shape is None else shape, st.sampled_from(fitting), np.dtype(dtype))


def of_arrays(values: Names, layout: Names, dtype: Any) -> dict[str, Any]:
    """Return arguments for :func:`arrays`, to draw with later, once it is sure that it takes them."""
    arguments = {"values": values, "layout": layout, "dtype": dtype}
    arrays(**arguments)
    return arguments


def chosen(strategy: str, name: str, value: Names, known: Iterable[str]) -> tuple[str, ...]:
    """Return the names given, once it is sure that all are known."""
    if not isinstance(value, Sequence):
        raise TypeError(f"{strategy}: {name} must be a name, or several in order, got {value!r}")
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names:
        raise ValueError(f"{strategy}: {name} must have at least one name, got none")
    return tuple(one_of(tuple(known), strategy, name, one) for one in names)


@st.composite
def _arrays(
    draw: st.DrawFn,
    shapes: st.SearchStrategy[Shape],
    kinds: st.SearchStrategy[tuple[str, str]],
    dtype: np.dtype,
) -> np.ndarray:
    shape, (values, layout), seed = draw(shapes), draw(kinds), draw(seeds())
    array = fill(shape, values, seed, dtype)
    long = [axis for axis, n in enumerate(shape) if n > 1]
    if layout == "broadcast" and long:
        array = np.broadcast_to(array.take([0], long[seed % len(long)]), shape)
    return lay_out(array, layout)


def _print(array: np.ndarray, printer: Any, cycle: bool) -> None:
    printer.text(literal(array) if array.dtype.kind in "biuf" else repr(array))


pretty.for_type_by_name("numpy", "ndarray", _print)
