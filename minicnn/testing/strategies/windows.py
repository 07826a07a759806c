"""Sliding windows over an image of a given size: all that are legal, and the strange ones often.

Along each axis a kernel, its dilation and a stride are drawn, then padding from the least with which one window
fits.  So nothing drawn is ever illegal, and a kernel that just covers the padded image is common.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from ...geometry import Window2d
from ...nn.check import int_of_at_least

__all__ = ["form", "unusual", "windows"]


class _Axis(NamedTuple):
    kernel: int
    dilation: int
    stride: int
    before: int
    after: int


class _Most(NamedTuple):
    kernel: int
    dilation: int
    stride: int
    padding: int


def windows(
    height: int,
    width: int,
    *,
    pooling: bool = False,
    max_kernel: int = 4,
    max_dilation: int = 3,
    max_stride: int = 5,
    max_padding: int = 5,
    blind: bool = False,
) -> st.SearchStrategy[dict[str, Any]]:
    """Draw the options of a window that fits into an image at least once.

    Options that have their default are left out, and pairs of equal numbers are one number.

    Parameters
    ----------
    height, width : int, at least 1
        Of the image.
    pooling : bool
        False: ``kernel_size``, ``stride``, ``padding`` (also asymmetric, 'same' or 'valid') and ``dilation``, as a
        convolution takes them but for the size of its kernel, which is its weight's.
        True: ``kernel_size``, ``stride``, ``padding`` up to half the kernel, ``dilation`` and ``ceil_mode``, as
        :func:`minicnn.functional.max_pool2d` takes them.
    max_kernel, max_dilation, max_stride : int
        1 leaves the option out, except for the kernel's size.
    max_padding : int
        On each side, but for kernels that would not fit otherwise.  (Pools go by half the kernel.)
    blind : bool
        Whether a pool's window may see no pixel, its dilation stepping over a small image: its maximum is −∞.

    Raises
    ------
    ValueError
        If a side of the image or a limit is too small, or `blind` is asked of a convolution.
    TypeError
        If one is no int.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(windows(4, 4), lambda options: True)
    {'kernel_size': 1}
    >>> find(windows(4, 4), lambda options: options.get("stride", 1) == (1, 2))
    {'kernel_size': 1, 'stride': (1, 2)}
    >>> find(windows(4, 4, pooling=True), lambda options: options.get("padding") == (0, 1))
    {'kernel_size': (1, 2), 'padding': (0, 1)}
    """
    sizes = {"height": height, "width": width}
    limits = {"max_kernel": max_kernel, "max_dilation": max_dilation, "max_stride": max_stride}
    for name, value in {**sizes, **limits}.items():
        int_of_at_least(1, "windows", name, value)
    int_of_at_least(0, "windows", "max_padding", max_padding)
    if blind and not pooling:
        raise ValueError("windows: blind must be False unless pooling, got True")
    most = _Most(max_kernel, max_dilation, max_stride, max_padding)
    if pooling:
        return _pool_windows(height, width, most, blind)
    return _conv_windows(height, width, most)


@st.composite
def _conv_windows(draw: st.DrawFn, height: int, width: int, most: _Most) -> dict[str, Any]:
    style = draw(st.sampled_from(["symmetric", "asymmetric", "same", "valid"]))
    around = 0 if style == "valid" else most.padding
    rows, columns = (_conv_axis(draw, n, style == "asymmetric", most, around) for n in (height, width))
    stride = form(rows.stride, columns.stride)
    padding: Any = form(rows.before, rows.after, columns.before, columns.after)
    if style == "same":
        stride, padding = 1, "same"
    elif style == "valid" and padding == 0:
        padding = "valid"
    options = {
        "stride": (stride, 1),
        "padding": (padding, 0),
        "dilation": (form(rows.dilation, columns.dilation), 1),
    }
    return {"kernel_size": form(rows.kernel, columns.kernel), **unusual(options)}


def _conv_axis(draw: st.DrawFn, size: int, asymmetric: bool, most: _Most, padding: int) -> _Axis:
    kernel, dilation = _samples(draw, most)
    stride = draw(st.integers(1, most.stride))
    needed = _extent(kernel, dilation) - size
    before = draw(_at_least(0 if asymmetric else -(-needed // 2), padding))
    after = draw(_at_least(needed - before, padding)) if asymmetric else before
    return _Axis(kernel, dilation, stride, before, after)


@st.composite
def _pool_windows(draw: st.DrawFn, height: int, width: int, most: _Most, blind: bool) -> dict[str, Any]:
    strided = most.stride > 1 and draw(st.booleans())  # else by its kernel, the default
    ceil_mode = draw(st.booleans())
    rows, columns = (_pool_axis(draw, size, strided, ceil_mode, most) for size in (height, width))
    if not blind:
        rows, columns = _seeing(rows, height, ceil_mode), _seeing(columns, width, ceil_mode)
    options = {
        "stride": (form(rows.stride, columns.stride) if strided else None, None),
        "padding": (form(rows.before, columns.before), 0),
        "dilation": (form(rows.dilation, columns.dilation), 1),
        "ceil_mode": (ceil_mode, False),
    }
    return {"kernel_size": form(rows.kernel, columns.kernel), **unusual(options)}


def _pool_axis(draw: st.DrawFn, size: int, strided: bool, ceil_mode: bool, most: _Most) -> _Axis:
    kernel, dilation = _samples(draw, most)
    extent = _extent(kernel, dilation)
    stride = draw(st.integers(1, most.stride)) if strided else kernel
    hanging = stride - 1 if ceil_mode else 0  # by how much the only window may reach over the padded image
    padding = draw(st.integers(max(0, -(-(extent - size - hanging) // 2)), extent // 2))
    return _Axis(kernel, dilation, stride, padding, padding)


def _seeing(axis: _Axis, size: int, ceil_mode: bool) -> _Axis:
    """Return the axis without dilation if otherwise some window saw no pixel."""
    kernel, dilation, stride, padding, _ = axis
    count, _ = Window2d.of("windows", kernel, stride, padding, dilation, ceil_mode).output_size(size, size)
    first_sample = (i * stride - padding for i in range(count))
    pixels = range(size)
    if all(any(start + r * dilation in pixels for r in range(kernel)) for start in first_sample):
        return axis
    padding = min(padding, kernel // 2)
    return _Axis(kernel, 1, stride, padding, padding)


def _samples(draw: st.DrawFn, most: _Most) -> tuple[int, int]:
    return draw(st.integers(1, most.kernel)), draw(st.integers(1, most.dilation))


def _extent(kernel: int, dilation: int) -> int:
    return dilation * (kernel - 1) + 1


def _at_least(least: int, most: int) -> st.SearchStrategy[int]:
    return st.integers(max(0, least), max(0, least, most))


def form(*numbers: int) -> int | tuple[int, ...]:
    """Return one number for several equal ones, and a pair for (a, a, b, b).

    Examples
    --------
    >>> form(2, 2), form(1, 1, 3, 3), form(1, 2, 3, 3)
    (2, (1, 3), (1, 2, 3, 3))
    """
    if len(set(numbers)) == 1:
        return numbers[0]
    return numbers[::2] if len(numbers) == 4 and numbers[::2] == numbers[1::2] else numbers


def unusual(options: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Return the options, given with their defaults, that differ from them."""
    return {name: value for name, (value, usual) in options.items() if value != usual}
