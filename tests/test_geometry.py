"""Window geometry, held to counting the windows one by one."""

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.geometry import Window2d

axis = st.tuples(
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(1, 3),
)


@given(axis, axis, st.booleans())
def test_output_size_counts_the_windows(vertical, horizontal, ceil_mode):
    height, kh, sh, top, bottom, dh = vertical
    width, kw, sw, left, right, dw = horizontal
    window = Window2d.of("test", (kh, kw), (sh, sw), (top, bottom, left, right), (dh, dw), ceil_mode)
    expected = (
        naive.out_size(height, kh, sh, top, bottom, dh, ceil_mode),
        naive.out_size(width, kw, sw, left, right, dw, ceil_mode),
    )
    if min(expected) < 1:
        with pytest.raises(ValueError, match="test: the kernel must fit into the padded input"):
            window.output_size(height, width)
    else:
        assert window.output_size(height, width) == expected


@given(axis, st.booleans())
def test_reach_is_what_the_windows_cover(line, ceil_mode):
    size, kernel, stride, before, after, dilation = line
    window = Window2d.of("test", kernel, stride, (before, after, before, after), dilation, ceil_mode)
    p = naive.out_size(size, kernel, stride, before, after, dilation, ceil_mode)
    if p < 1:
        return
    top, bottom, _, _ = window.reach(size, size)
    touched = [i * stride + r * dilation - before for i in range(p) for r in range(kernel)]
    assert (top, bottom) == (-min(touched), max(touched) + 1 - size)


@given(axis)
def test_at_picks_each_windows_sample(line):
    size, kernel, stride, before, after, dilation = line
    window = Window2d.of("test", kernel, stride, (before, after, before, after), dilation)
    p = naive.out_size(size, kernel, stride, before, after, dilation)
    if p < 1:
        return
    room = np.arange((size + before + after) ** 2).reshape(size + before + after, -1)
    for r, s in window.offsets():
        picked = room[window.at(r, s, p, p)]
        expected = [
            [room[i * stride + r * dilation, j * stride + s * dilation] for j in range(p)] for i in range(p)
        ]
        np.testing.assert_array_equal(picked, expected)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 12))
def test_same_keeps_the_size(kh, kw, dilation, size):
    window = Window2d.of("test", (kh, kw), padding="same", dilation=dilation)
    assert window.output_size(size, size) == (size, size)
    top, bottom, left, right = window.padding
    assert (bottom - top, right - left) == (dilation * (kh - 1) % 2, dilation * (kw - 1) % 2)


def test_forms_of_an_argument():
    expected = Window2d((3, 3), (2, 2), (1, 1, 1, 1), (1, 1))
    for three, two, one in (
        (3, 2, 1),
        ((3, 3), [2, 2], (1, 1)),
        (np.int64(3), np.array([2, 2]), (1, 1, 1, 1)),
    ):
        assert Window2d.of("any", three, two, one) == expected
    assert hash(expected) == hash(Window2d.of("other", 3, 2, 1))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kernel_size": 0}, ValueError, "op: kernel_size must be at least 1, got 0"),
        ({"kernel_size": (2, 3, 4)}, ValueError, "op: kernel_size must be an int or 2 ints, got (2, 3, 4)"),
        (
            {"kernel_size": 2, "stride": 1.5},
            TypeError,
            "op: stride must be an int or a tuple of ints, got 1.5",
        ),
        (
            {"kernel_size": 2, "stride": True},
            TypeError,
            "op: stride must be an int or a tuple of ints, got True",
        ),
        ({"kernel_size": 2, "padding": -1}, ValueError, "op: padding must be at least 0, got -1"),
        (
            {"kernel_size": 2, "padding": (1, 2, 3)},
            ValueError,
            "op: padding must be an int or 2 or 4 ints, got (1, 2, 3)",
        ),
        (
            {"kernel_size": 2, "padding": "full"},
            ValueError,
            "op: padding must be 'same', 'valid' or numbers, got 'full'",
        ),
        (
            {"kernel_size": 2, "stride": 2, "padding": "same"},
            ValueError,
            "op: padding='same' needs stride 1, got stride (2, 2)",
        ),
        ({"kernel_size": 2, "dilation": (0, 1)}, ValueError, "op: dilation must be at least 1, got (0, 1)"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error) as caught:
        Window2d.of("op", **arguments)
    assert str(caught.value) == message
