"""Pooling by pieces against the plain formulation beside it: the same maxima, choices and gradients, to the bit."""

from __future__ import annotations

import tracemalloc
from copy import copy
from itertools import product
from unittest.mock import patch

import naive
import numpy as np
import pytest

import minicnn
from minicnn import Tensor, no_grad
from minicnn.backend import cpu, pooling
from minicnn.backend.shares import Room
from minicnn.backend.workspace import poisoned
from minicnn.geometry import Window2d, inside
from minicnn.ops.adaptive_pool2d import AdaptiveAvgPool2d
from minicnn.ops.avg_pool2d import AvgPool2d
from minicnn.ops.max_pool2d import MaxPool2d
from minicnn.testing.values import fill

WINDOWS = {
    "side by side": {"kernel_size": 2, "stride": 2},
    "side by side, with a rest": {"kernel_size": (3, 2), "stride": (3, 2)},
    "apart": {"kernel_size": (1, 2), "stride": (2, 3)},
    "far apart": {"kernel_size": 1, "stride": 5},
    "apart, padded": {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    "overlapping, with a rest": {"kernel_size": (2, 6), "stride": (1, 3)},
    "overlapping, without": {"kernel_size": (4, 2), "stride": 2},
    "AlexNet": {"kernel_size": 3, "stride": 2},
    "GoogLeNet": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    "Inception": {"kernel_size": 3, "stride": 1, "padding": 1},
    "ResNet": {"kernel_size": 3, "stride": 2, "padding": 1},
    "padded unevenly": {"kernel_size": 3, "stride": 1, "padding": (0, 2, 1, 0)},
    "one row": {"kernel_size": (1, 4), "stride": (1, 3), "padding": (0, 0, 2, 1)},
    "one column": {"kernel_size": (4, 1), "stride": (3, 1), "padding": (2, 1, 0, 0)},
    "one pixel": {"kernel_size": 1},
    "rows apart": {"kernel_size": (1, 3), "stride": (2, 1)},
    "columns apart": {"kernel_size": (3, 1), "stride": (1, 3), "padding": (1, 1, 0, 0)},
    "wide": {"kernel_size": 5, "stride": (2, 3), "padding": 2},
    "whole": {"kernel_size": (6, 8)},
    "whole, padded": {"kernel_size": (6, 8), "stride": 3, "padding": (1, 2, 0, 1)},
    "uneven": {"kernel_size": (3, 4), "stride": (2, 3), "padding": (2, 0, 1, 3), "ceil_mode": True},
}
DILATED = {
    "dilated": {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1), "dilation": (2, 3)},
    "dilated beyond the stride": {"kernel_size": 2, "stride": 4, "dilation": (3, 5), "padding": 1},
    "wider than the image": {"kernel_size": 3, "padding": (3, 2), "dilation": (5, 5)},
    "the corners": {"kernel_size": 2, "stride": (6, 8), "dilation": (5, 7)},
    "dilated and apart": {"kernel_size": 2, "stride": (2, 4), "padding": (0, 2, 1, 0), "dilation": (1, 3)},
    "all in the padding": {"kernel_size": 2, "stride": (3, 1), "padding": (4, 4, 9, 9)},
}
SHAPE = (3, 4, 6, 8)
IMAGES = {
    "distinct": fill(SHAPE),
    "ties": fill(SHAPE, "ties"),
    "equal": fill(SHAPE, "equal"),
    "−∞": np.full(SHAPE, -np.inf),
    "infinite": np.where(fill(SHAPE) > 0, np.inf, -np.inf),
    "NaN": np.where(fill(SHAPE) > 1, np.nan, fill(SHAPE, seed=1)),
}


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


LAYOUTS = {"channels last": channels_last, "backwards": lambda x: x[:, ::-1, :, ::-1]}


@pytest.fixture(params=[1, 1 << 19], ids=["small pieces", "one piece"])
def pieces(request):
    with patch.object(pooling, "PIECE_BYTES", request.param):
        yield


def run(function, x):
    """Return y, dx and the arrays kept; the gradient g is in channels-first memory, as a linear layer's is."""
    x = Tensor(x, requires_grad=True)
    with poisoned():
        y = function(x)
        kept = {name: value for name, value in vars(function).items() if isinstance(value, np.ndarray)}
        y.backward(upstream(y))
    return y.data, x.grad, kept


def upstream(y):
    return np.random.default_rng(0).normal(size=y.shape).astype(y.dtype)


def counted(name):
    """Count the calls of one of the fast functions."""
    return patch.object(pooling, name, wraps=getattr(pooling, name))


@pytest.mark.parametrize("values", IMAGES)
@pytest.mark.parametrize("name", WINDOWS | DILATED)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_largest_and_the_first_of_them(name, values, layout, pieces):
    window = Window2d.of("pool", **(WINDOWS | DILATED)[name])
    x = LAYOUTS[layout](IMAGES[values])
    y, dx, kept = run(MaxPool2d(window), x)
    plain_y, plain_dx, plain_kept = run(MaxPool2d(window, plain=True), x)
    np.testing.assert_array_equal(y, plain_y)
    np.testing.assert_array_equal(kept["choice"], plain_kept["choice"])
    np.testing.assert_array_equal(dx, plain_dx)
    with no_grad(), poisoned():
        np.testing.assert_array_equal(MaxPool2d(window)(Tensor(x)).data, plain_y)


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("extra", [{}, {"count_include_pad": False}, {"divisor_override": 3}], ids=str)
def test_averages(name, layout, extra, pieces):
    window, x = Window2d.of("pool", **WINDOWS[name]), LAYOUTS[layout](IMAGES["distinct"])
    y, dx, _ = run(AvgPool2d(window, **extra), x)
    plain_y, plain_dx, _ = run(AvgPool2d(window, **extra, plain=True), x)
    np.testing.assert_allclose(y, plain_y, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(dx, plain_dx, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("rows", [2, 3, 4])
def test_pieces_of_several_rows(name, rows):
    window, x = Window2d.of("pool", **WINDOWS[name]), IMAGES["distinct"]
    for function in (MaxPool2d, AvgPool2d):
        with patch.object(pooling, "PIECE_BYTES", rows * x[0, :, 0].nbytes):
            y, dx, _ = run(function(window), x)
        plain_y, plain_dx, _ = run(function(window, plain=True), x)
        np.testing.assert_allclose(y, plain_y, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(dx, plain_dx, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", [(1, 1), (6, 8), (3, 2), (2, 8), (4, 8), (6, 3), (12, 1)])
def test_averages_of_cells(size, pieces):
    y, dx, _ = run(AdaptiveAvgPool2d(size), IMAGES["distinct"])
    plain_y, plain_dx, _ = run(AdaptiveAvgPool2d(size, plain=True), IMAGES["distinct"])
    np.testing.assert_allclose(y, plain_y, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(dx, plain_dx, rtol=1e-12, atol=1e-13)


CELLS = [
    # the image, the cells, and whether all have as many pixels
    ((2, 3), (3, 2), False),
    ((2, 2), (1, 2), True),
    ((2, 2), (2, 1), True),
    ((4, 9), (2, 3), True),
    ((4, 9), (4, 2), False),
    ((3, 4), (2, 2), False),
    ((6, 4), (1, 3), False),
]


@pytest.mark.parametrize(("shape", "size", "even"), CELLS)
def test_averages_of_even_cells_are_those_of_windows(shape, size, even):
    x = fill((2, 3, *shape))
    for plain, count in ((False, int(even)), (True, 0)):
        with counted("avg_pool") as forward, counted("avg_pool_backward") as backward:
            y, dx, _ = run(AdaptiveAvgPool2d(size, plain=plain), x)
        assert (forward.call_count, backward.call_count) == (count, count)
        np.testing.assert_allclose(y, naive.adaptive_avg_pool2d(x, size), rtol=1e-12)
        np.testing.assert_allclose(dx.sum(), upstream(y).sum(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.float16, np.float32])
def test_each_dtype_has_its_own_lowest_value(dtype, pieces):
    window, x = Window2d.of("pool", **WINDOWS["ResNet"]), (-IMAGES["distinct"] * 10).astype(dtype)
    for x_or_lowest in (x, np.full_like(x, np.iinfo(dtype).min if x.dtype.kind in "iu" else -np.inf)):
        fast, plain = MaxPool2d(window, with_indices=True), MaxPool2d(window, with_indices=True, plain=True)
        y, expected = fast(Tensor(x_or_lowest)), plain(Tensor(x_or_lowest))
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.data, expected.data)
        np.testing.assert_array_equal(fast.indices, plain.indices)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("name", ["AlexNet", "Inception", "side by side"])
def test_threads_change_no_bit(name, threads):
    window, x = Window2d.of("pool", **WINDOWS[name]), fill((5, 16, 30, 30)).astype(np.float32)
    before, found = minicnn.get_num_threads(), []
    try:
        with patch.object(pooling, "PIECE_BYTES", 1 << 13):
            for count in (1, threads):
                minicnn.set_num_threads(count)
                found.append([run(function(window), x)[:2] for function in (MaxPool2d, AvgPool2d)])
    finally:
        minicnn.set_num_threads(before)
    np.testing.assert_array_equal(*(np.concatenate([a.ravel() for ys in f for a in ys]) for f in found))


# Which way is taken


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("samples", [255, 256, 257])
def test_a_maximum_of_no_more_samples_than_a_byte_can_number_is_the_fast_one(samples, plain):
    count = int(samples <= 256 and not plain)
    window, x = Window2d.of("pool", (1, samples)), fill((1, 2, 1, samples))
    pool = MaxPool2d(window, plain=plain)
    with counted("max_pool") as forward, counted("max_pool_backward") as backward:
        y, _, kept = run(pool, x)
    assert (forward.call_count, backward.call_count) == (count, count)
    assert kept["choice"].itemsize == (1 if samples <= 256 else 8)
    np.testing.assert_array_equal(y, x.max(3, keepdims=True))


@pytest.mark.parametrize("plain", [False, True])
def test_an_average_is_the_fast_one_unless_the_plain_one_is_asked_for(plain):
    with counted("avg_pool") as forward, counted("avg_pool_backward") as backward:
        run(AvgPool2d(Window2d.of("pool", 2, 2), plain=plain), IMAGES["distinct"])
    assert (forward.call_count, backward.call_count) == (int(not plain), int(not plain))


@pytest.mark.parametrize(
    ("options", "extra", "mirrored"),
    [
        ({"kernel_size": 3, "padding": 1}, {}, (1, 1, 1, 1)),
        ({"kernel_size": (2, 3), "padding": (1, 0, 0, 2)}, {}, (0, 1, 2, 0)),
        ({"kernel_size": 3, "padding": 1}, {"count_include_pad": False}, None),
        ({"kernel_size": 2, "stride": (2, 1)}, {}, None),
        ({"kernel_size": 2, "stride": (1, 2)}, {}, None),
        ({"kernel_size": 2, "padding": (0, 2, 0, 0)}, {"divisor_override": 3}, None),
        ({"kernel_size": 2, "padding": (0, 0, 2, 0)}, {"divisor_override": 3}, None),
    ],
)
def test_the_gradient_of_averages_one_pixel_apart_is_an_average(options, extra, mirrored):
    window = Window2d.of("pool", **options)
    with counted("avg_pool") as average:
        _, dx, _ = run(AvgPool2d(window, **extra), IMAGES["distinct"])
    assert average.call_count == (1 if mirrored is None else 2)
    if mirrored is not None:
        assert average.call_args.args[1].padding == mirrored
    _, plain_dx, _ = run(AvgPool2d(window, **extra, plain=True), IMAGES["distinct"])
    np.testing.assert_allclose(dx, plain_dx, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("size", "count"), [((6, 8), 0), ((6, 6), 1), ((3, 8), 1), ((2, 2), 1)])
def test_an_average_of_the_whole_image_is_a_product_with_ones(size, count):
    with counted("_reduce") as reduce:
        run(AvgPool2d(Window2d.of("pool", size, size)), fill((1, 2, 6, 8)))
    assert reduce.call_count == count


@pytest.mark.parametrize(
    "function",
    [MaxPool2d(Window2d.of("pool", 2)), AvgPool2d(Window2d.of("pool", 2)), AdaptiveAvgPool2d((3, 4))],
)
def test_a_backend_without_fast_pooling_does_it_plainly(function):
    expected = run(copy(function), IMAGES["distinct"])
    with patch.object(cpu, "pooling", None):
        found = run(copy(function), IMAGES["distinct"])
    for a, b in zip(expected[:2], found[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_the_plain_maximum_of_nan_needs_no_choice():
    x = IMAGES["NaN"]
    with no_grad():
        y = MaxPool2d(Window2d.of("pool", 2), plain=True)(Tensor(x))
    np.testing.assert_array_equal(y.data, MaxPool2d(Window2d.of("pool", 2))(Tensor(x)).data)
    assert np.isnan(y.data).any()


# What is not done, and not kept


@pytest.mark.parametrize("plain", [False, True])
def test_which_sample_won_is_not_looked_for_when_nobody_asks(plain):
    x, window = Tensor(IMAGES["distinct"]), Window2d.of("pool", 2, 2)
    pool = MaxPool2d(window, plain=plain)
    with patch.object(pooling, "_Search", side_effect=AssertionError("it is looked for")):
        pool(x)
        assert pool.choice is None
    asked = MaxPool2d(window, with_indices=True, plain=plain)
    asked(x)
    assert asked.choice.dtype == np.uint8


@pytest.mark.parametrize("name", WINDOWS)
def test_backward_needs_one_byte_an_output_or_the_divisors(name):
    window, x = Window2d.of("pool", **WINDOWS[name]), IMAGES["distinct"].astype(np.float32)
    y, _, kept = run(MaxPool2d(window), x)
    assert sum(array.nbytes for array in kept.values()) == y.size
    y, _, kept = run(AvgPool2d(window), x)
    assert sum(array.nbytes for array in kept.values()) <= 4 * y[0, 0].size


def test_of_equal_divisors_one_a_row_is_enough():
    assert pooling._divisors(np.array(4.0), 2, 3).shape == (2, 1, 1)
    assert pooling._divisors(np.arange(6.0).reshape(2, 3), 2, 3).shape == (2, 3, 1)


def test_no_image_is_copied_for_its_padding():
    window = Window2d.of("pool", 3, 1, 1)
    x = channels_last(fill((4, 32, 64, 64)).astype(np.float32))
    with patch.object(pooling, "PIECE_BYTES", 1 << 14):
        for function in (MaxPool2d, AvgPool2d):
            tracemalloc.start()
            with no_grad(), poisoned():  # so that all memory is the system's, which is what is traced
                y = function(window)(Tensor(x))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert y.data.nbytes <= peak < y.data.nbytes + x.nbytes / 4


# How the work is cut


@pytest.mark.parametrize(
    ("problem", "images", "rows"),
    [
        (
            (3, 10, 4),
            [(0, 1), (1, 2), (2, 3)],
            [(0, 3), (3, 6), (6, 10)],
        ),  # 4 rows a piece, as even as can be
        ((2, 2, 100), [(0, 1), (1, 2)], [(0, 1), (1, 2)]),  # not one row, so a row
        ((6, 2, 4), [(0, 1), (1, 3), (3, 4), (4, 6)], [(0, 2)]),  # three would do, but four are shared by two
        ((7, 1, 4), [(0, 3), (3, 7)], [(0, 1)]),
        ((1, 4, 5), [(0, 1)], [(0, 2), (2, 4)]),  # three rows
        ((1, 16, 1), [(0, 1)], [(0, 16)]),
        ((4, 2, 5), [(0, 1), (1, 2), (2, 3), (3, 4)], [(0, 2)]),  # not two images
        ((2, 0, 4), [(0, 2)], [(0, 0)]),
        ((5, 4, 4), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], [(0, 4)]),
        ((2, 3, 0), [(0, 2)], [(0, 3)]),
        ((0, 3, 4), [], []),
    ],
)
def test_pieces_are_as_large_as_the_budget_allows(problem, images, rows):
    with patch.object(pooling, "PIECE_BYTES", 16):
        found = [
            ((p.images.start, p.images.stop), (p.rows.start, p.rows.stop)) for p in pooling.cut(*problem)
        ]
    assert found == [(i, r) for i in images for r in rows]


def test_the_budget_is_of_the_pixels_that_a_row_sees():
    x = IMAGES["distinct"].astype(np.float32)
    with patch.object(pooling, "cut", wraps=pooling.cut) as cut:
        for function in (MaxPool2d, AvgPool2d):
            run(function(Window2d.of("pool", (3, 4), (2, 3))), x)
        run(AvgPool2d(Window2d.of("pool", (3, 4), (3, 4))), x)
        run(MaxPool2d(Window2d.of("pool", (3, 4), (2, 1))), x)
    row = 8 * 4 * 4  # bytes of 8 columns of 4 channels
    found = [(3, 2, 2 * row), (3, 6, row)] * 2 + [(3, 2, 3 * row)] * 2
    found += [(3, 2, 2 * row), (3, 6, 6 * row // 4)]  # or of the samples that see them, a byte each
    assert [call.args for call in cut.call_args_list] == found


@pytest.mark.parametrize("name", WINDOWS | DILATED)
@pytest.mark.parametrize("rows", [slice(0, 1), slice(1, 3), slice(0, 2)], ids=str)
def test_columns_are_dealt_out_with_their_padding_and_no_more(name, rows):
    window, x = Window2d.of("pool", **(WINDOWS | DILATED)[name]), IMAGES["distinct"]
    p, q = window.output_size(6, 8)
    length = min(rows.stop, p) - min(rows.start, p - 1)
    (sh, sw), (eh, ew), (top, _, left, _) = window.stride, window.extent, window.padding
    room = np.pad(x[1:], ((0, 0), (0, 0), (top, 30), (left, 30)), constant_values=7).transpose(0, 2, 3, 1)
    with poisoned():
        columns = pooling._new_columns(2, (length - 1) * sh + eh, q, 4, window, x.dtype, 7)
        for start in {p - length, 0, min(rows.start, p - length)}:  # one piece after the other
            piece = pooling.Piece(slice(1, 3), slice(start, start + length))
            pooling._deal(x, window, piece, columns, 7)
            seen = room[:, start * sh : (start + length - 1) * sh + eh]
            for remainder, column in enumerate(columns):
                expected = seen[:, :, remainder::sw][:, :, : q + (ew - 1) // sw]
                np.testing.assert_array_equal(column, expected)
    assert len(columns) == sw


@pytest.mark.parametrize(
    ("options", "width", "at_once"),
    [
        ({"kernel_size": (2, 3), "stride": 2}, 8, True),
        ({"kernel_size": (2, 3), "stride": 1}, 8, True),
        ({"kernel_size": 2, "stride": 2, "padding": (0, 0, 1, 1)}, 10, True),
        ({"kernel_size": 3, "stride": 2, "padding": (0, 0, 2, 1)}, 11, True),
        ({"kernel_size": 3, "stride": 2, "padding": (1, 0, 0, 0), "ceil_mode": True}, 9, False),
        ({"kernel_size": 3, "stride": 2, "padding": (0, 1, 0, 0)}, 8, False),
    ],
)
def test_rows_are_reduced_at_once_where_no_window_sees_padding_above_or_below(options, width, at_once):
    with (
        patch.object(pooling, "_accumulate", wraps=pooling._accumulate) as accumulate,
        patch.object(pooling, "scratch", wraps=pooling.scratch) as scratch,
        no_grad(),
        poisoned(),
    ):
        y = AvgPool2d(Window2d.of("pool", **options))(Tensor(IMAGES["distinct"]))
    assert accumulate.call_count == 1 + at_once
    assert scratch.call_args_list[0].args[1] == (3, y.shape[2], width, 4)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 2), (5, 3)])
@pytest.mark.parametrize("padding", [0, (0, 1, 0, 0), (0, 0, 1, 0)])
def test_windows_tile_an_image_if_each_pixel_is_seen_once_and_no_padding(size, padding):
    """Dilated ones never do: those that lie between each other are not worth a thought."""
    for kernel, stride, dilation in product(product((1, 2, 3), repeat=2), repeat=3):
        window = Window2d.of("pool", kernel, stride, padding, dilation)
        before_after = [window.padding[:2], window.padding[2:]]
        seen, once = np.pad(np.zeros(size, int), before_after), np.pad(np.ones(size, int), before_after)
        if any(extent > n for extent, n in zip(window.extent, seen.shape, strict=True)):
            continue  # it does not fit
        for r, s in window.offsets():
            seen[window.at(r, s, *window.output_size(*size))] += 1
        expected = dilation == (1, 1) and np.array_equal(seen, once)
        assert pooling._tiles(window, *size) == expected, window


@pytest.mark.parametrize(
    ("options", "count"), [((2, 2), 0), ((2, (3, 2)), 0), (((2, 3), 2), 1), (((3, 2), 2), 1)]
)
def test_gradients_of_windows_that_are_apart_go_to_their_pixels_at_once(options, count):
    with counted("_sum_shares") as sums, counted("_give_shares") as writes:
        run(MaxPool2d(Window2d.of("pool", *options)), IMAGES["distinct"])
    assert (sums.call_count, writes.call_count) == (count, 1 - count)


@pytest.mark.parametrize("name", WINDOWS | DILATED)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("pixels", [slice(0, 6), slice(0, 1), slice(2, 5), slice(5, 6)], ids=str)
def test_each_pixel_is_seen_as_these_samples_of_these_windows(name, axis, pixels):
    window = Window2d.of("pool", **(WINDOWS | DILATED)[name])
    room, found = Room(window, axis, pixels), {pixel: [] for pixel in range(pixels.start, pixels.stop)}
    for group in room.groups:
        places = range(*pixels.indices(6))[group.pixels]
        assert len(places) == group.size
        for u, pixel in enumerate(places):
            for i, sample in enumerate(group.samples):
                at = group.first + u - i * group.back
                assert 0 <= at < room.count
                found[pixel].append((sample, room.start + at))
    stride, (first, last) = (
        window.stride[axis],
        (pixel + window.padding[2 * axis] for pixel in (pixels.start, pixels.stop - 1)),
    )
    assert room.start + room.count - 1 == last // stride  # and no room is left
    if first % stride == 0:
        assert room.start == -((window.extent[axis] - 1 - first) // stride)
    for pixel, seen_as in found.items():
        start = pixel + window.padding[2 * axis]
        places = [(r, start - r * window.dilation[axis]) for r in range(window.kernel[axis])]
        stride = window.stride[axis]
        assert seen_as == [(r, place // stride) for r, place in places if place % stride == 0]


@pytest.mark.parametrize(
    ("pixels", "windows", "existing"),
    [
        (slice(0, 4), 4, (slice(1, 5), slice(0, 4))),  # of −1 to 4
        (slice(0, 4), 9, (slice(1, 6), slice(0, 5))),
        (slice(2, 3), 9, (slice(0, 3), slice(1, 4))),
        (slice(6, 8), 4, (slice(0, 0), slice(5, 5))),  # of 5 to 8
    ],
)
def test_of_the_windows_there_is_room_for_some_exist(pixels, windows, existing):
    assert Room(Window2d.of("pool", 3, 1, 1), 0, pixels).existing(windows) == existing


def test_what_depends_on_the_shape_alone_is_made_once_a_thread():
    x, window = IMAGES["distinct"], Window2d.of("pool", 3, 1, 1)
    before = minicnn.get_num_threads()
    minicnn.set_num_threads(1)
    try:
        with (
            patch.object(pooling, "PIECE_BYTES", x[0].nbytes * 9 // 8),
            counted("_Search") as search,
            counted("Shares") as shares,
        ):
            run(MaxPool2d(window), x)
    finally:
        minicnn.set_num_threads(before)
    assert (search.call_count, shares.call_count) == (1, 1)


def test_pools_of_no_channels_and_of_no_images():
    for shape in ((2, 0, 6, 8), (0, 3, 6, 8)):
        for function in (MaxPool2d, AvgPool2d):
            y, dx, _ = run(function(Window2d.of("pool", 3, 2, 1)), np.zeros(shape))
            assert (y.shape, dx.shape) == ((*shape[:2], 3, 4), shape)


@pytest.mark.parametrize("first", range(-9, 10))
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_places_inside(first, stride, size, count):
    places = [first + i * stride for i in range(count)]
    here, there = inside(first, stride, size, count)
    assert list(range(count))[here] == [i for i, place in enumerate(places) if 0 <= place < size]
    assert list(range(size))[there] == [place for place in places if 0 <= place < size]


@pytest.mark.parametrize(
    ("give", "window", "image_bytes"),
    [
        (pooling._give_shares, Window2d.of("pool", 2, 2), 6 * 5 * 3 * 8),
        (pooling._sum_shares, Window2d.of("pool", 3, 2), 6 * 5 * 3 * 8),
        (pooling._sum_shares, Window2d.of("pool", 5, 1), 6 * 5 * 3 * 25),  # a byte for each window of a pixel
        (pooling._sum_shares, Window2d.of("pool", 5, (1, 2)), 6 * 5 * 3 * 13),  # 25 / 2
    ],
    ids=["given", "summed", "summed, large windows", "summed, and a part of a byte is one"],
)
def test_gradients_go_back_some_images_a_task(give, window, image_bytes):
    """Four images of 6×5 pixels of 3 channels: as many a task as the budget allows."""
    p, q = window.output_size(6, 5)
    g, choice = np.ones((4, p, q, 3)), np.zeros((4, p, q, 3), np.uint8)
    for budget, tasks in ((2 * image_bytes, 2), (2 * image_bytes - 1, 4), (4 * image_bytes, 1)):
        counts, dx = [], np.zeros((4, 6, 5, 3))
        with (
            patch.object(pooling, "PIECE_BYTES", budget),
            patch.object(
                pooling,
                "parallel_for",
                lambda n, task, counts=counts: counts.append(n) or [task(i) for i in range(n)],
            ),
        ):
            give(g, choice, window, dx)
        assert counts == [tasks]
        assert dx.sum() == g.sum()


def test_windows_in_one_column_have_divisors_of_their_own():
    """Of the three windows of 4×4 over 4×2 pixels the middle one sees 8 of them, the others 6."""
    x = Tensor(np.arange(8.0).reshape(1, 1, 4, 2), requires_grad=True)
    y = minicnn.functional.avg_pool2d(x, 4, stride=1, padding=1, count_include_pad=False)
    y.backward(np.array([1.0, 2.0, 3.0]).reshape(y.shape))
    expected = np.array([1 / 6 + 2 / 8, 1 / 6 + 2 / 8 + 3 / 6, 1 / 6 + 2 / 8 + 3 / 6, 2 / 8 + 3 / 6])
    np.testing.assert_allclose(x.grad, np.repeat(expected, 2).reshape(x.shape), rtol=1e-12)
