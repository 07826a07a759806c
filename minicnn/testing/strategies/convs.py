"""Convolutions and transposed convolutions, small enough for a loop in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ...geometry import Window2d, pair
from ...nn.check import int_of_at_least
from ..case import Case
from .arrays import Names, arrays, of_arrays
from .windows import form, unusual, windows

__all__ = ["conv_cases", "conv_transpose_cases", "transposed_axis"]

_WORK = 5000
"""Multiply-adds of one case, at most, unless one channel alone has more."""

_USUAL = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}


def conv_cases(
    *,
    values: Names = "distinct",
    layout: Names = "c",
    dtype: Any = np.float64,
    max_side: int = 6,
    unbatched: bool = False,
) -> st.SearchStrategy[Case]:
    """Draw a call of :func:`minicnn.functional.conv2d`, of at most 5,000 multiply-adds.

    Batches of up to 3 images, groups up to depthwise and with several kernels a group, with a bias and
    without, every window of :func:`windows`.

    Parameters
    ----------
    values, layout : str, or several
        Of the inputs, each of which draws its own: see :func:`arrays`.
    dtype : dtype
    max_side : int, at least 1
        Of the image.  Of a large one, a single channel may have more multiply-adds.
    unbatched : bool
        Whether to draw single images (C, H, W) too.

    Returns
    -------
    strategy of Case
        Inputs x (N, C, H, W) or (C, H, W), w (K, C/groups, R, S), perhaps b (K,).

    Raises
    ------
    ValueError, TypeError
        If `max_side` is below 1, or :func:`arrays` would not take the rest.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from minicnn import functional as F
    >>> from minicnn.testing import check_properties
    >>> @settings(max_examples=5, deadline=None, database=None)
    ... @given(conv_cases())
    ... def test_conv2d(case):
    ...     check_properties(F.conv2d, case.inputs, case.options, only=["gradient"])
    >>> test_conv2d()
    """
    int_of_at_least(1, "conv_cases", "max_side", max_side)
    return _conv_cases(max_side, unbatched, **of_arrays(values, layout, dtype))


@st.composite
def _conv_cases(draw: st.DrawFn, max_side: int, unbatched: bool, **of_array: Any) -> Case:
    height, width = (draw(st.integers(1, max_side)) for _ in range(2))
    options = draw(windows(height, width))
    kernel = pair("conv_cases", "kernel_size", options.pop("kernel_size"), least=1)
    p, q = Window2d.of("conv_cases", kernel, **options).output_size(height, width)
    n, groups, in_group, out_group = _counts(draw, kernel[0] * kernel[1] * p * q, unbatched)
    shapes = [(n, groups * in_group, height, width), (groups * out_group, in_group, *kernel)]
    inputs = _inputs(draw, shapes, groups * out_group, **of_array)
    return Case(inputs, {**options, **unusual({"groups": (groups, 1)})})


def conv_transpose_cases(
    *,
    values: Names = "distinct",
    layout: Names = "c",
    dtype: Any = np.float64,
    max_side: int = 5,
    unbatched: bool = False,
) -> st.SearchStrategy[Case]:
    """Draw a call of :func:`minicnn.functional.conv_transpose2d`, of at most 5,000 multiply-adds.

    Parameters
    ----------
    values, layout, dtype, max_side, unbatched
        As in :func:`conv_cases`.

    Returns
    -------
    strategy of Case
        Inputs x (N, C, H, W) or (C, H, W), w (C, K/groups, R, S), perhaps b (K,).

    Raises
    ------
    ValueError, TypeError
        As :func:`conv_cases`.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from minicnn import Tensor, functional as F
    >>> @settings(max_examples=5, database=None)
    ... @given(conv_transpose_cases())
    ... def test_runs(case):
    ...     F.conv_transpose2d(*map(Tensor, case.inputs), **case.options)
    >>> test_runs()
    """
    int_of_at_least(1, "conv_transpose_cases", "max_side", max_side)
    return _conv_transpose_cases(max_side, unbatched, **of_arrays(values, layout, dtype))


@st.composite
def _conv_transpose_cases(draw: st.DrawFn, max_side: int, unbatched: bool, **of_array: Any) -> Case:
    height, width = (draw(st.integers(1, max_side)) for _ in range(2))
    rows, columns = (transposed_axis(draw, size) for size in (height, width))
    options: dict[str, Any] = {name: form(rows[name], columns[name]) for name in rows}
    kernel = pair("conv_transpose_cases", "kernel_size", options.pop("kernel_size"), least=1)
    n, groups, in_group, out_group = _counts(draw, kernel[0] * kernel[1] * height * width, unbatched)
    options["groups"] = groups
    shapes = [(n, groups * in_group, height, width), (groups * in_group, out_group, *kernel)]
    inputs = _inputs(draw, shapes, groups * out_group, **of_array)
    return Case(inputs, unusual({name: (value, _USUAL[name]) for name, value in options.items()}))


def transposed_axis(draw: st.DrawFn, size: int) -> dict[str, int]:
    """Draw options along one axis that leave at least one pixel."""
    kernel, stride, dilation = (draw(st.integers(1, most)) for most in (4, 4, 3))
    extra = draw(st.integers(0, max(stride, dilation) - 1))
    whole = (size - 1) * stride + dilation * (kernel - 1) + 1
    padding = draw(st.integers(0, min(3, (whole - 1) // 2)))
    return {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "output_padding": extra,
        "dilation": dilation,
    }


def _counts(draw: st.DrawFn, work: int, unbatched: bool) -> tuple[int, int, int, int]:
    """Draw N (0: one image without a batch), groups, and channels in and out of each, within the budget."""
    counts = []
    for least, most in ((0 if unbatched else 1, 3), (1, 4), (1, 3), (1, 3)):
        count = draw(st.integers(least, max(1, min(most, _WORK // work))))
        work *= max(1, count)
        counts.append(count)
    return counts[0], counts[1], counts[2], counts[3]


def _inputs(draw: st.DrawFn, shapes: list[Any], kernels: int, **of_array: Any) -> tuple[np.ndarray, ...]:
    """Draw x, w and perhaps b; N = 0 stands for no batch."""
    shapes[0] = shapes[0] if shapes[0][0] else shapes[0][1:]
    if draw(st.booleans()):
        shapes.append((kernels,))
    return tuple(draw(arrays(shape, **of_array)) for shape in shapes)
