"""What the table of operations does not show: ties, infinities, integers, uneven padding, indices, running statistics.

Each of these tests was written for a mutant of minicnn that survived the table (see mutation_suite.py).
"""

from __future__ import annotations

import operator
import warnings

import naive
import numpy as np
import pytest

from minicnn import Tensor, backend, conv, tensor
from minicnn import functional as F
from minicnn.geometry import Window2d
from minicnn.ops.avg_pool2d import AvgPool2d
from minicnn.ops.conv_transpose2d import ConvTranspose2d
from minicnn.ops.cross_entropy import NegativeLogLikelihood
from minicnn.ops.local_response_norm import with_margins
from minicnn.ops.max_pool2d import MaxPool2d
from minicnn.ops.pad import Pad
from minicnn.testing import Case, Operation
from minicnn.testing.values import fill

INF = np.inf


def leaf(values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def gradient_of(y, *leaves, g=None):
    y.backward(np.ones(y.shape, y.dtype) if g is None else np.asarray(g, y.dtype))
    return [x.grad for x in leaves]


# Dtypes


OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}


@pytest.mark.parametrize("symbol", OPERATORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("other", [np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("swapped", [False, True])
def test_integers_take_the_dtype_of_the_numbers_they_meet(symbol, dtype, other, swapped):
    operands = np.array([1.5, 2.5, 4.25], dtype), np.array([3, 1, 2], other)
    a, b = operands[::-1] if swapped else operands
    y = OPERATORS[symbol](Tensor(a), Tensor(b))
    assert y.dtype == dtype
    np.testing.assert_allclose(y.data, OPERATORS[symbol](a.astype(float), b.astype(float)), rtol=1e-6)


@pytest.mark.parametrize("symbol", OPERATORS)
def test_of_two_floating_point_dtypes_the_wider_is_the_result(symbol):
    for shape in ((2,), (1, 2, 1)):
        a, b = np.array([1.1, 2.3]).reshape(shape), np.array([3.7, 1.9]).reshape(shape)
        for first, second in ((a.astype(np.float32), b), (a, b.astype(np.float32))):
            y = OPERATORS[symbol](Tensor(first), Tensor(second))
            assert y.dtype == np.float64
            np.testing.assert_array_equal(y.data, OPERATORS[symbol](first, second))


def test_integers_stay_integers_where_they_can():
    a, b = np.array([2, 3, -2]), np.array([3, 0, 1], np.int32)
    for symbol in ("+", "-", "*", "**"):
        y = OPERATORS[symbol](Tensor(a), Tensor(b))
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y.data, OPERATORS[symbol](a, b))
    y = Tensor(np.array([2, 4])) ** Tensor(np.array([-1, 2]))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.data, [0.5, 16])


@pytest.mark.parametrize(
    ("function", "definition"),
    [
        (Tensor.exp, np.exp),
        (Tensor.log, np.log),
        (Tensor.sqrt, np.sqrt),
        (F.sigmoid, naive.sigmoid),
        (F.tanh, np.tanh),
        (lambda x: F.softmax(x, 0), lambda x: naive.softmax(x, 0)),
        (lambda x: F.log_softmax(x, 0), lambda x: naive.log_softmax(x, 0)),
        (lambda x: x / 4, lambda x: x / 4),
    ],
    ids=["exp", "log", "sqrt", "sigmoid", "tanh", "softmax", "log_softmax", "divide"],
)
def test_functions_of_integers_are_float32(function, definition):
    x = np.array([1, 2, 3])
    y = function(Tensor(x))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.data, definition(x.astype(float)), rtol=1e-6)


def test_a_conversion_to_the_dtype_there_is_copies_nothing():
    x = leaf([1.0, 2.0])
    assert np.shares_memory(x.to("float64").data, x.data)


# Corners of elementary functions


def test_the_gradient_of_a_power_at_its_corners():
    """da = 0 where b = 0; db = 0 where a = 0 and b ≥ 0, and infinite where a = 0 and b < 0."""
    a, b = leaf([0.0, 0.0, 0.0, 1.0, 2.0, 0.0]), leaf([0.0, 1.0, 2.0, -3.0, 0.0, -1.0])
    da, db = gradient_of(a**b, a, b)
    np.testing.assert_array_equal(da, [0, 1, 0, -3, 0, -INF])
    np.testing.assert_allclose(db, [0, 0, 0, 0, np.log(2), -INF])


def test_clip_lets_the_gradient_through_at_its_bounds():
    x = leaf([-2, -1, 0, 1, 2])
    assert gradient_of(x.clip(-1, 1), x)[0].tolist() == [0, 1, 1, 1, 0]
    x = leaf([-1, 0, 1])
    assert gradient_of(x.clip(min=0), x)[0].tolist() == [0, 1, 1]
    x = leaf([-1, 0, 1])
    assert gradient_of(x.clip(max=0), x)[0].tolist() == [1, 1, 0]


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_softmax_of_large_and_infinite_logits(function):
    x = np.array([[1000.0, 1000, -1000], [-1000, -1000, -1000], [0, -INF, 0], [-INF, -INF, -INF]])
    third = 1 / 3
    expected = np.array([[0.5, 0.5, 0], [third] * 3, [0.5, 0, 0.5]])
    with np.errstate(divide="ignore"):
        wanted = expected if function is F.softmax else np.log(expected)
    y = function(Tensor(x), 1).data
    finite = np.isfinite(wanted)
    np.testing.assert_allclose(y[:3][finite], wanted[finite], rtol=1e-12)
    assert (y[:3][~finite] <= -1000).all()
    assert np.isnan(y[3]).all()


def test_dropout_keeps_what_is_drawn_at_p_and_drops_what_is_below():
    """A draw is a digit to base 256, and only where that is p's own a number for the digits that follow."""

    class Fixed:
        def integers(self, high, size, dtype):
            assert (high, size, dtype) == (1 << 64, 1, np.uint64)
            return np.array([0, 63, 64, 64, 64, 255, 0, 0], np.uint8).view(np.uint64)

        def random(self, count):
            return np.array([0.0, 0.5, 0.75])[:count]

    quarter = 0.25  # 64 of 256, to the last bit
    for p, kept in (
        (0.0, [1, 1, 1, 1, 1, 1]),
        (quarter, [0, 0, 1, 1, 1, 1]),
        (quarter + 0.25 / 256, [0, 0, 0, 1, 1, 1]),
        (quarter + 0.5 / 256, [0, 0, 0, 1, 1, 1]),
        (quarter + 0.625 / 256, [0, 0, 0, 0, 1, 1]),
        (255 / 256, [0, 0, 0, 0, 0, 1]),
        (1.0, [0, 0, 0, 0, 0, 0]),
    ):
        y = F.dropout(tensor([1.0] * 6), p, generator=Fixed(), scale_at_test=True)
        np.testing.assert_array_equal(y.data, kept, err_msg=str(p))


def test_dropout_drops_infinities():
    x = leaf([INF, -INF, np.nan] * 100)
    y = F.dropout(x, 0.5, generator=np.random.default_rng(0))
    (dx,) = gradient_of(y, x, g=x.data)
    for values in (y.data, dx):
        assert 80 < (values == 0).sum() < 220
        assert not np.isfinite(values[values != 0]).any()


# Maxima that tie


def test_elements_that_tie_for_the_maximum_of_all_share_the_gradient():
    x = leaf([[1, 3, 3], [3, 0, 3]])
    assert gradient_of(x.max(), x, g=2)[0].tolist() == [[0, 0.5, 0.5], [0.5, 0, 0.5]]


@pytest.mark.parametrize("keepdim", [False, True])
def test_the_first_maximum_along_an_axis_gets_it_all(keepdim):
    x = leaf([[1, 3, 3], [4, 0, 4]])
    values, indices = x.max(1, keepdim)
    assert values.shape == indices.shape == ((2, 1) if keepdim else (2,))
    assert indices.data.ravel().tolist() == [1, 0]
    assert gradient_of(values, x)[0].tolist() == [[0, 1, 0], [1, 0, 0]]


POOLS = {
    "plain": {"kernel_size": 2},
    "overlapping": {"kernel_size": (3, 2), "stride": (1, 2)},
    "padding": {"kernel_size": (3, 5), "stride": (2, 1), "padding": (1, 2)},
    "ceil": {"kernel_size": (2, 3), "stride": (3, 2), "padding": (1, 0), "ceil_mode": True},
    "dilation": {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 1), "dilation": (2, 3)},
    "wider than the image": {"kernel_size": 3, "stride": 1, "padding": (3, 2), "dilation": (5, 3)},
}
IMAGES = {
    "ties": lambda shape: fill(shape, "ties"),
    "equal": lambda shape: fill(shape, "equal"),
    "infinite": lambda shape: np.where(fill(shape) > 0.5, INF, -INF),
    "−∞": lambda shape: np.full(shape, -INF),
    "mostly −∞": lambda shape: np.where(fill(shape) > 0.8, 1.0, -INF),
}


@pytest.mark.parametrize("window", POOLS)
@pytest.mark.parametrize("values", IMAGES)
def test_a_max_pool_takes_the_first_pixel_of_the_largest(window, values):
    """Also where the padding is as low as the pixels; −1 stands for a window that sees none."""
    x = leaf(IMAGES[values]((2, 2, 7, 5)))
    expected = naive.max_pool2d_indices(x.data, **POOLS[window])
    expected = np.where(np.isinf(expected), -1, expected).astype(int)
    y, indices = F.max_pool2d(x, **POOLS[window], return_indices=True)
    np.testing.assert_array_equal(y.data, naive.max_pool2d(x.data, **POOLS[window]))
    np.testing.assert_array_equal(indices.data, expected)
    assert indices.dtype == np.int64
    g = np.random.default_rng(0).normal(size=y.shape)
    dx = np.zeros((4, 35))
    images, pixels, seen = np.arange(4)[:, None], expected.reshape(4, -1), expected.reshape(4, -1) >= 0
    np.add.at(dx, (images, np.maximum(pixels, 0)), np.where(seen, g.reshape(4, -1), 0))
    np.testing.assert_allclose(gradient_of(y, x, g=g)[0], dx.reshape(x.shape), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", POOLS)
def test_a_max_pool_hands_on_nan_and_its_place(window):
    x = np.where(fill((2, 2, 7, 5)) > 0.9, np.nan, fill((2, 2, 7, 5), seed=1))
    y, indices = F.max_pool2d(Tensor(x), **POOLS[window], return_indices=True)
    for (n, c, p, q), at in np.ndenumerate(indices.data):
        seen = at >= 0
        assert np.array_equal(y.data[n, c, p, q], x[n, c].flat[at] if seen else -INF, equal_nan=True)
    np.testing.assert_array_equal(np.isnan(y.data), naive.max_pool2d(np.isnan(x) * 1.0, **POOLS[window]) > 0)


def test_a_max_pool_of_integers():
    x = -np.arange(1, 31).reshape(1, 1, 5, 6)
    y = F.max_pool2d(Tensor(x), (2, 3), padding=1)
    np.testing.assert_array_equal(y.data, naive.max_pool2d(x.astype(float), (2, 3), padding=1))


@pytest.mark.parametrize("samples", [256, 257, 300])
@pytest.mark.parametrize("upright", [False, True])
def test_a_max_pool_over_a_wide_window(samples, upright):
    """Which sample won is kept in one byte as long as there are no more than 256."""
    shape = (samples, 1) if upright else (1, samples)
    for at in (0, 200, 255, samples - 1):
        row = np.zeros((1, 1, *shape))
        row.flat[at] = 1
        x, pool = leaf(row), MaxPool2d(Window2d.of("pool", shape), with_indices=True)
        y = pool(x)
        assert (pool.indices.item(), pool.choice.itemsize) == (at, 1 if samples <= 256 else 8)
        np.testing.assert_array_equal(gradient_of(y, x)[0], row)
    padding = (samples // 2, 0) if upright else (0, samples // 2)
    _, indices = F.max_pool2d(
        leaf(np.full((1, 1, *shape), -INF)), shape, padding=padding, return_indices=True
    )
    assert indices.data.ravel()[0] == 0


def test_an_adaptive_max_pool_of_a_wide_image():
    for shape in ((1, 1, 1, 300), (1, 1, 300, 1)):
        x = np.zeros(shape)
        x.flat[270] = 1
        _, indices = F.adaptive_max_pool2d(Tensor(x), 1, return_indices=True)
        assert indices.item() == 270


@pytest.mark.parametrize("size", [1, 3, (2, 5), (9, 8), None])
@pytest.mark.parametrize("values", ["ties", "equal", "distinct"])
def test_an_adaptive_max_pool_takes_the_first_pixel_of_the_largest(size, values):
    x = fill((2, 3, 5, 7), values)
    y, indices = F.adaptive_max_pool2d(Tensor(x), size, return_indices=True)
    np.testing.assert_array_equal(indices.data, naive.adaptive_max_pool2d_indices(x, size))
    np.testing.assert_array_equal(np.take(x.reshape(6, -1), indices.data[1, 2], axis=1)[5], y.data[1, 2])
    assert indices.dtype == np.int64


NARROW = [
    ((2, 2, 2, 9), {"padding": (3, 0), "dilation": (5, 1)}),
    ((2, 2, 9, 2), {"padding": (0, 2), "dilation": (1, 4)}),
    ((2, 1, 2, 2), {"padding": (3, 2), "dilation": (5, 4)}),
    ((1, 2, 4, 5), {"padding": (3, 2), "dilation": (5, 4)}),
    ((1, 1, 2, 6), {"padding": (0, 0, 0, 3)}),
    ((1, 1, 6, 2), {"padding": (3, 0, 0, 0)}),
    ((1, 1, 4, 4), {"padding": (2, 3, 4, 2), "dilation": (1, 2)}),
]


@pytest.mark.parametrize(("shape", "options"), NARROW)
@pytest.mark.parametrize("values", ["distinct", "negative", "−∞"])
def test_windows_that_see_no_pixel(shape, options, values):
    """Their samples step over a narrow image, or they lie in the padding altogether: −∞ from nowhere, no gradient."""
    x = leaf(np.full(shape, -INF) if values == "−∞" else fill(shape, values))
    pool = MaxPool2d(Window2d.of("pool", 2, 1, **options), with_indices=True)
    y = pool(x)
    indices = pool.indices
    expected = naive.max_pool2d_indices(x.data, 2, 1, **options)
    assert np.isinf(expected).any()
    np.testing.assert_array_equal(indices, np.where(np.isinf(expected), -1, expected))
    np.testing.assert_array_equal(y.data, naive.max_pool2d(x.data, 2, 1, **options))
    counts = np.zeros(x.shape)
    for (n, c, _, _), at in np.ndenumerate(indices):
        if at >= 0:
            counts[n, c].flat[at] += 1
    np.testing.assert_array_equal(gradient_of(y, x)[0], counts)


@pytest.mark.parametrize("shape", [(1, 1, 2, 9), (1, 1, 9, 2), (1, 1, 1, 1), (1, 1, 3, 3)])
@pytest.mark.parametrize("dilation", [1, 3, (2, 5)])
def test_the_first_pixel_of_a_narrow_image_of_minus_infinity(shape, dilation):
    options = {"kernel_size": 3, "stride": 1, "padding": dilation, "dilation": dilation}
    expected = naive.max_pool2d_indices(np.full(shape, -INF), **options)
    _, indices = F.max_pool2d(Tensor(np.full(shape, -INF)), **options, return_indices=True)
    np.testing.assert_array_equal(indices.data, np.where(np.isinf(expected), -1, expected))


def test_an_average_keeps_its_divisors_in_the_dtype_of_the_images():
    for extra in ({}, {"divisor_override": 3}):
        pool = AvgPool2d(Window2d.of("pool", 2), **extra)
        pool(Tensor(np.ones((1, 1, 4, 4), np.float32), requires_grad=True))
        assert pool.divisor.dtype == np.float32
        assert pool.divisor.shape == ()


def test_an_index_beyond_256_of_a_widely_dilated_window():
    row = np.zeros((1, 1, 1, 600))
    row[..., 400] = 1
    _, indices = F.max_pool2d(Tensor(row), (1, 3), dilation=(1, 200), return_indices=True)
    assert indices.data.ravel()[0] == 400


def test_indices_of_one_image_have_no_batch():
    for pool in (
        lambda x: F.max_pool2d(x, 2, return_indices=True),
        lambda x: F.adaptive_max_pool2d(x, 2, True),
    ):
        y, indices = pool(Tensor(fill((3, 4, 4))))
        assert y.shape == indices.shape == (3, 2, 2)


# Padding that differs from side to side, which the functions for pooling do not offer but their operations take


UNEVEN = [(0, 1, 2, 0), (2, 0, 0, 1), (1, 2, 0, 3)]


@pytest.mark.parametrize("padding", UNEVEN)
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("counted", [False, True])
def test_an_average_over_unevenly_padded_windows(padding, ceil, counted):
    def pool(x):
        return AvgPool2d(Window2d.of("pool", (3, 4), (2, 3), padding, 1, ceil), counted)(x)

    def definition(x):
        return naive.avg_pool2d(x, (3, 4), (2, 3), padding, ceil, counted)

    operation = Operation(pool, definition, linear=[0], itemwise=[0])
    operation.check(Case((fill((2, 2, 6, 5)),)), ["definition", "adjoint"])


@pytest.mark.parametrize("padding", UNEVEN)
@pytest.mark.parametrize("ceil", [False, True])
def test_a_maximum_over_unevenly_padded_windows(padding, ceil):
    x = leaf(fill((2, 2, 6, 8), "negative"))
    pool = MaxPool2d(Window2d.of("pool", (3, 4), (2, 3), padding, (1, 2), ceil), with_indices=True)
    y = pool(x)
    indices = pool.indices
    options = {
        "kernel_size": (3, 4),
        "stride": (2, 3),
        "padding": padding,
        "dilation": (1, 2),
        "ceil_mode": ceil,
    }
    np.testing.assert_array_equal(y.data, naive.max_pool2d(x.data, **options))
    np.testing.assert_array_equal(indices, naive.max_pool2d_indices(x.data, **options))
    (dx,) = gradient_of(y, x)
    np.testing.assert_allclose(dx.sum(), y.size)


@pytest.mark.parametrize("padding", UNEVEN)
def test_a_transposed_convolution_cropped_unevenly(padding):
    def transposed(x, w, b):
        return ConvTranspose2d(Window2d.of("t", (3, 4), (2, 3), padding, (1, 2)), (1, 2), 2)(x, w, b)

    def definition(x, w, b):
        full = naive.conv_transpose2d(
            x, w, b, stride=(2, 3), output_padding=(1, 2), groups=2, dilation=(1, 2)
        )
        top, bottom, left, right = padding
        return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]

    operation = Operation(transposed, definition, linear=[0, 1, 2], itemwise=[0])
    operation.check(
        Case((fill((2, 4, 3, 4)), fill((4, 3, 3, 4), seed=1), fill((6,), seed=2))), ["definition", "adjoint"]
    )


def test_a_convolution_with_relu_is_the_two_after_each_other():
    x, w, b = fill((2, 3, 5, 6)), fill((4, 3, 2, 3), seed=1), fill((4,), seed=2)
    found = []
    for one in (True, False):
        leaves = leaf(x), leaf(w), leaf(b)
        y = F.conv2d(*leaves, padding=1, relu=one)
        y = y if one else F.relu(y)
        assert ((y.data > 0) & (y.data < 1)).any()
        found.append([y.data, *gradient_of(y, *leaves, g=fill(y.shape, seed=3))])
    for together, apart in zip(*found, strict=True):
        np.testing.assert_allclose(together, apart, rtol=1e-12, atol=1e-12)


def in_memory(x, order):
    """Return the same numbers, with the axes in memory in this order."""
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1)], ids=["channels first", "channels last"])
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_norm_with_relu_is_the_two_after_each_other(training, order):
    x, w, b = in_memory(fill((2, 3, 5, 6)), order), fill((3,), seed=1), fill((3,), seed=2)
    found = []
    for one in (True, False):
        leaves, statistics = (leaf(x), leaf(w), leaf(b)), (fill((3,), seed=4), np.full(3, 0.5))
        y = F.batch_norm(*leaves[:1], *statistics, *leaves[1:], training, relu=one)
        y = y if one else F.relu(y)
        assert 0.2 < (y.data > 0).mean() < 0.8
        found.append([y.data, *statistics, *gradient_of(y, *leaves, g=fill(y.shape, seed=3))])
    for together, apart in zip(*found, strict=True):
        np.testing.assert_allclose(together, apart, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [0, 1e3])
@pytest.mark.parametrize("first", [0, 1e2], ids=["even", "outliers first"])
def test_the_variance_keeps_its_digits_far_from_zero(offset, first):
    """In single precision, also where the pixels that the first guess is made of are unlike the others."""
    x = np.random.default_rng(0).normal(offset, 1, (8, 3, 40, 40)).astype(np.float32)
    x[0, :, :20] += first
    mean, var = backend.cpu.channel_moments(in_memory(x, (0, 2, 3, 1)))
    exact = x.astype(np.float64)
    deviation = exact.std((0, 2, 3)).min()
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=3e-7, atol=1e-6 * deviation)
    np.testing.assert_allclose(var, exact.var((0, 2, 3)), rtol=1e-5)


# Indexing


@pytest.mark.parametrize(
    "index",
    [
        (slice(None), [0, 0]),
        ([1, 1], slice(1, None)),
        ([0, 0], None, [1, 1]),
        (..., [2, 2]),
        (1, [0, 0]),
        np.array([[1, 1], [0, 1]]),
    ],
)
def test_an_element_named_twice_beside_slices_gets_both_gradients(index):
    x = leaf(fill((2, 3)))
    y = x[index]
    g = np.random.default_rng(0).normal(size=y.shape)
    expected = np.zeros((2, 3))
    np.add.at(expected, index, g)
    np.testing.assert_allclose(gradient_of(y, x, g=g)[0], expected)


def test_an_index_inside_a_tuple_may_be_reused_after_the_forward_pass():
    index = np.array([0, 1])
    x = leaf([[1.0, 2.0, 3.0]])
    y = x[:, index]
    index[:] = 2
    assert gradient_of(y, x)[0].tolist() == [[1, 1, 0]]


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("amounts", [(0, 1), (1, 0), (0, -1), (-1, 0), (2, -1), (-1, 2)])
def test_padding_and_cutting_along_one_axis(mode, amounts):
    x = leaf(fill((1, 2, 4)))
    y = F.pad(x, amounts, mode)
    np.testing.assert_array_equal(y.data, naive.pad(x.data, amounts, mode))
    copied = (4 + sum(min(n, 0) for n in amounts)) * 2 if mode == "constant" else y.size
    assert gradient_of(y, x)[0].sum() == copied


@pytest.mark.parametrize("amounts", [(0, 0), (0, 2), (1, 0), (-1, 0)])
def test_the_gradient_of_constant_padding_is_a_view_if_nothing_is_cut(amounts):
    pad = Pad(((0, 0), amounts), "constant", 1.0)
    y = pad(leaf(fill((2, 3))))
    assert np.shares_memory(pad.backward(y.data), y.data) == (min(amounts) >= 0)


# Losses and statistics


def test_the_negative_log_likelihoods_gradient_to_the_weights():
    z, a = leaf(fill((3, 4, 2))), leaf(fill((3, 4, 2), "positive", seed=1))
    g = fill((3, 2), seed=2)
    dz, da = gradient_of(NegativeLogLikelihood()(z, a), z, a, g=g)
    np.testing.assert_allclose(dz, -g[:, None] * a.data)
    np.testing.assert_allclose(da, -g[:, None] * z.data)
    for i, expected in enumerate((dz, da)):
        alone = [Tensor(t.data, requires_grad=i == j) for j, t in enumerate((z, a))]
        np.testing.assert_array_equal(gradient_of(NegativeLogLikelihood()(*alone), *alone, g=g)[i], expected)


def test_mse_broadcasts_with_a_warning_that_names_the_callers_line():
    x, t = fill((2, 3)), fill((3,), seed=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss = F.mse_loss(Tensor(x), Tensor(t), "none")
        F.mse_loss(Tensor(x), Tensor(x))
    np.testing.assert_allclose(loss.data, (x - t) ** 2)
    assert ["input (2, 3) and target (3,) differ" in str(warning.message) for warning in caught] == [True]
    assert caught[0].filename == __file__


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 2), (1, 3, 2, 2)])
@pytest.mark.parametrize("momentum", [0.1, 0.75, 1.0])
def test_running_statistics(shape, momentum):
    """Old ones weigh 1 − momentum; the variance that is added is the unbiased one."""
    x = fill(shape) + np.arange(3).reshape(3, *(1,) * (len(shape) - 2))
    mean, var = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.25, 3.0])
    expected_mean = (1 - momentum) * mean + momentum * np.moveaxis(x, 1, 0).reshape(3, -1).mean(1)
    expected_var = (1 - momentum) * var + momentum * np.moveaxis(x, 1, 0).reshape(3, -1).var(1, ddof=1)
    kept = mean, var
    F.batch_norm(Tensor(x), mean, var, training=True, momentum=momentum)
    assert kept[0] is mean
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-12)
    np.testing.assert_allclose(var, expected_var, rtol=1e-12)


def test_running_statistics_may_be_left_out_or_change_before_backward():
    x = leaf(fill((4, 2)))
    mean = np.zeros(2)
    F.batch_norm(x, mean, None, training=True)
    assert mean.any()
    mean, var = np.array([0.5, -1.0]), np.array([2.0, 0.5])
    w = leaf([1.0, 2.0])
    y = F.batch_norm(x, mean, var, w, eps=0.1)
    g = fill((4, 2), seed=1)
    expected = g * w.data / np.sqrt(var + 0.1), (g * (x.data - mean) / np.sqrt(var + 0.1)).sum(0)
    mean[:], var[:] = 7, 7
    for found, wanted in zip(gradient_of(y, x, w, g=g), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_batch_norm_of_no_channels_is_refused():
    with pytest.raises(ValueError, match="batch_norm: training needs more than one value a channel"):
        F.batch_norm(Tensor(np.zeros((2, 0, 3))), None, None, training=True)


def test_arguments_may_be_lists_and_may_be_left_out():
    x, w, b = fill((4, 2)), [2.0, 1.0], [0.5, 0.0]
    y = F.batch_norm(x.astype(np.float32), None, None, w, b, training=True, eps=0.1)
    expected = naive.batch_norm(x, np.array(w), np.array(b), eps=0.1)
    np.testing.assert_allclose(y.data, expected, rtol=1e-5, atol=1e-6)
    kept = F.dropout(tensor(np.ones(1000)), 0.5).data
    assert 300 < np.count_nonzero(kept) < 700
    assert Tensor(np.zeros((0, 3))).mean(1).shape == (0,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Tensor(np.zeros((2, 0))).sum(1).data.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.fold(Tensor(np.ones((1, 4, 1))), 0, 2), "fold: output_size must be at least 1, got 0"),
        (
            lambda: F.adaptive_avg_pool2d(Tensor(np.ones((1, 1, 2, 2))), 0),
            "adaptive_avg_pool2d: output_size must be at least 1",
        ),
        (lambda: Window2d.of("w", 0), "w: kernel_size must be at least 1"),
        (lambda: Window2d.of("w", 1, 0), "w: stride must be at least 1"),
        (lambda: Window2d.of("w", 1, 1, 0, 0), "w: dilation must be at least 1"),
        (
            lambda: F.cross_entropy(Tensor(np.ones((2, 2))), np.ones((2, 2), int)),
            r"cross_entropy: target must have shape \(2,\)",
        ),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_the_loss_of_a_single_sample_is_a_scalar_whatever_the_reduction(loss):
    z, target = Tensor(fill((3,))), Tensor(np.array(1))
    values = [loss(z, target, reduction=reduction) for reduction in ("none", "sum", "mean")]
    assert [value.shape for value in values] == [()] * 3
    assert values[0].item() == values[1].item() == values[2].item()


def test_probabilities_of_another_shape_are_refused():
    with pytest.raises(TypeError, match="cross_entropy: target must be class numbers"):
        F.cross_entropy(Tensor(np.ones((2, 2))), np.ones((1, 2)))


# Geometry


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), *UNEVEN])
def test_reach_is_what_the_windows_cover_along_both_axes(ceil, padding):
    window = Window2d.of("w", (2, 3), (3, 2), padding, (2, 1), ceil)
    for height, width in ((4, 7), (6, 6), (7, 4)):
        p, q = window.output_size(height, width)
        rows = [i * 3 + r * 2 - padding[0] for i in range(p) for r in range(2)]
        columns = [j * 2 + s - padding[2] for j in range(q) for s in range(3)]
        assert window.reach(height, width) == (
            -rows[0],
            max(rows) + 1 - height,
            -columns[0],
            max(columns) + 1 - width,
        )


def test_forms_of_padding_and_of_numbers():
    assert Window2d.of("w", 3, padding="valid").padding == (0, 0, 0, 0)
    assert Window2d.of("w", (4, 3), padding="same", dilation=(1, 2)).padding == (1, 2, 2, 2)
    assert Window2d.of("w", np.array(3)) == Window2d.of("w", (3, 3))


# Memory


def test_the_room_for_a_window_of_channels_has_margins_no_wider_than_the_other_channels():
    x = fill((2, 3))
    for before, after, shape in ((1, 1, (2, 5)), (2, 1, (2, 6)), (9, 1, (2, 6)), (0, 9, (2, 5))):
        room, middle = with_margins(backend.cpu, x, before, after)
        middle[...] = x
        assert room.shape == shape
        np.testing.assert_array_equal(room, np.pad(x, ((0, 0), (min(before, 2), min(after, 2)))))


def test_softmax_of_nothing_is_no_view_of_its_input():
    x = np.zeros((0, 3))
    for function in (F.softmax, F.log_softmax):
        assert function(Tensor(x), 1).data is not x


def test_convolutions_are_in_channels_last_memory():
    x, w = fill((2, 3, 6, 5)), fill((4, 3, 3, 3), seed=1)
    for algorithm in conv.algorithms():
        y = conv.conv2d(x, w, algorithm=algorithm)
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous
        rows = np.empty((2, 4, 4, 3))
        np.testing.assert_array_equal(conv.conv2d(x, w, algorithm=algorithm, out=rows), y)


def test_integers_of_one_size_stay_integers():
    total = Tensor(np.array([2**31 - 1], np.int32)) + Tensor(np.array([1], np.uint32))
    assert total.dtype == "int64"
    assert total.item() == 2**31
