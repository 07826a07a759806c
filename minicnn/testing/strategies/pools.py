"""Max and average pooling, on ties as well."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ...nn.check import int_of_at_least, one_of
from ..case import Case
from .arrays import Names, arrays, of_arrays
from .windows import unusual, windows

__all__ = ["pool_cases"]


def pool_cases(
    kind: str = "max",
    *,
    values: Names = ("distinct", "ties", "equal", "negative"),
    layout: Names = "c",
    dtype: Any = np.float64,
    max_side: int = 6,
    unbatched: bool = False,
    blind: bool = False,
) -> st.SearchStrategy[Case]:
    """Draw a call of :func:`minicnn.functional.max_pool2d` or :func:`minicnn.functional.avg_pool2d`.

    Parameters
    ----------
    kind : {'max', 'average'}
    values : str, or several
        Of the input: by default also many ties, all the same, and all below 0, where a padding of 0 would win.
    layout : str, or several
    dtype : dtype
    max_side : int, at least 1
        Of the image.
    unbatched : bool
        Whether to draw single images (C, H, W) too.
    blind : bool
        Whether a dilated window may see no pixel, so that its maximum is −∞: see :func:`windows`.

    Returns
    -------
    strategy of Case
        One input x (N, C, H, W) or (C, H, W).

    Raises
    ------
    ValueError, TypeError
        If there is no such kind, `max_side` is below 1, or :func:`arrays` would not take the rest.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(pool_cases("average"), lambda case: not case.options.get("count_include_pad", True)).options
    {'kernel_size': 1, 'count_include_pad': False}
    """
    one_of(["max", "average"], "pool_cases", "kind", kind)
    int_of_at_least(1, "pool_cases", "max_side", max_side)
    return _pool_cases(kind == "average", max_side, unbatched, blind, **of_arrays(values, layout, dtype))


@st.composite
def _pool_cases(
    draw: st.DrawFn, average: bool, max_side: int, unbatched: bool, blind: bool, **of_array: Any
) -> Case:
    height, width = (draw(st.integers(1, max_side)) for _ in range(2))
    options = draw(windows(height, width, pooling=True, max_dilation=1 if average else 3, blind=blind))
    if average:
        divisor = draw(st.sampled_from([None, 3, -2]))
        include = draw(st.sampled_from([True, False]))
        options |= unusual({"count_include_pad": (include, True), "divisor_override": (divisor, None)})
    n, channels = draw(st.integers(0 if unbatched else 1, 3)), draw(st.integers(1, 3))
    shape = (n, channels, height, width) if n else (channels, height, width)
    return Case((draw(arrays(shape, **of_array)),), options)
