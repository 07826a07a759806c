"""Batch normalisation's kernels, run by the emulator: every version against the definition in float64, and the CPU."""

import ml_dtypes
import numpy as np
import pytest
from emulated import MODES, launcher, needs_compiler
from ladder import close, in_mode, in_turn, launches, same_bits, wide

from minicnn import Tensor
from minicnn import functional as F
from minicnn.backend.ladder import batch_norm as ladder
from minicnn.backend.ladder.batch_norm import (
    LADDER,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
)

pytestmark = needs_compiler

FORWARD = pytest.mark.parametrize("version", LADDER["batch_norm_forward"])
BACKWARD = pytest.mark.parametrize("version", LADDER["batch_norm_backward"])
INFERENCE = pytest.mark.parametrize("version", LADDER["batch_norm_inference"])

# Rows and channels: one, primes, a warp ± 1, a block's rows ± 1, a part's rows ± 1 (64 of v3; 2048 of v4, one channel).
SIZES = [
    (2, 1),
    (3, 2),
    (7, 33),
    (8, 31),
    (9, 32),
    (17, 5),
    (63, 4),
    (64, 12),
    (65, 36),
    (67, 130),
    (2051, 1),
]
EPS = 1e-3


def by_definition(x, w, b, relu=False, statistics=None):
    """y, and the statistics it was made with, in float64."""
    x = x.astype(np.float64)
    mean, var = (x.mean(0), x.var(0)) if statistics is None else statistics
    y = (x - mean) / np.sqrt(var + EPS)
    y = y if w is None else y * w + b
    return np.maximum(y, 0) if relu else y, mean, var


def gradients(g, x, w, b, relu=False, statistics=None):
    """dx, dw and db in float64: the definition's chain rule, term by term."""
    y, mean, var = by_definition(x, w, b, relu, statistics)
    g = g.astype(np.float64) * (y > 0 if relu else 1)
    root = np.sqrt(var + EPS)
    normal = (x.astype(np.float64) - mean) / root
    slope = (1 if w is None else w) / root
    dw, db = (g * normal).sum(0), g.sum(0)
    through = 0 if statistics is not None else db / len(x) + normal * dw / len(x)
    return slope * (g - through), dw, db


def case(size, dtype=np.float32, seed=0, affine=True):
    """Input, gradient, weight and bias, the channels of several scales."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(size) * rng.uniform(0.5, 2, size[1]) + rng.uniform(-2, 2, size[1])).astype(dtype)
    g = rng.standard_normal(size).astype(dtype)
    kind = np.float64 if dtype == np.float64 else np.float32
    w, b = (rng.uniform(0.5, 2, size[1]).astype(kind) for _ in range(2)) if affine else (None, None)
    return x, g, w, b


@FORWARD
@pytest.mark.parametrize("size", SIZES)
def test_forward(version, size):
    on, relu = in_turn(sum(size)), size[0] % 2 == 0
    x, _, w, b = case(size, affine=size[1] != 5)
    expected, *statistics = by_definition(x, w, b, relu)
    y, *found = batch_norm_forward(on, x, w, b, eps=EPS, relu=relu, version=version)
    close(y, expected)
    for one, other in zip(found, statistics, strict=True):
        close(one, other)


@BACKWARD
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_backward(version, size, training):
    on, relu = in_turn(sum(size)), size[0] % 2 == 1
    x, g, w, b = case(size, affine=size[1] != 5)
    _, mean, var = (a.astype(np.float32) for a in by_definition(x, w, b))
    statistics = None if training else (mean, var)
    found = batch_norm_backward(
        on, g, x, mean, var, w, b, eps=EPS, relu=relu, training=training, version=version
    )
    # With two rows dx is nearly 0, the difference of large terms: held to the size of those.
    scale = np.abs(g).max() * np.max(1 if w is None else w) / np.sqrt(var.min() + EPS)
    expected = gradients(g, x, w, b, relu, statistics)
    assert np.abs(found[0] - expected[0]).max() <= 1e-5 * scale
    for one, other in zip(found[1:], expected[1:], strict=True):
        close(one, other, 2e-5)


@INFERENCE
@pytest.mark.parametrize("size", [(1, 1), *SIZES])
def test_inference(version, size):
    on, relu = in_turn(sum(size)), size[0] % 2 == 0
    x, _, w, b = case(size, affine=size[1] != 5)
    mean, var = np.float32([0.5] * size[1]), np.linspace(0.25, 4, size[1], dtype=np.float32)
    y = batch_norm_inference(on, x, mean, var, w, b, eps=EPS, relu=relu, version=version)
    close(y, by_definition(x, w, b, relu, (mean, var))[0])


@FORWARD
def test_images_running_statistics_and_gradients_are_the_cpus(version):
    rng = np.random.default_rng(1)
    images, g = (rng.standard_normal((3, 5, 7, 6)).astype(np.float32) for _ in range(2))
    w, b, mean, var = (rng.uniform(0.5, 2, 6).astype(np.float32) for _ in range(4))
    running = mean.copy(), var.copy()
    x, weight, bias = (
        Tensor(a, requires_grad=True) for a in (np.moveaxis(images, -1, 1), w.copy(), b.copy())
    )
    y = F.batch_norm(x, mean, var, weight, bias, training=True, momentum=0.3, eps=EPS, relu=True)
    y.backward(np.moveaxis(g, -1, 1))
    on = launcher()
    options = {"eps": EPS, "relu": True, "version": version}
    found, *statistics = batch_norm_forward(
        on, images, w, b, running_mean=running[0], running_var=running[1], momentum=0.3, **options
    )
    close(found, np.moveaxis(y.data, 1, -1))
    close(running[0], mean)
    close(running[1], var)
    dx, dw, db = batch_norm_backward(on, g, images, *statistics, w, b, **options)
    close(dx, np.moveaxis(x.grad, 1, -1))
    close(dw, weight.grad)
    close(db, bias.grad)


@pytest.mark.parametrize(
    ("version", "dtype"),
    [(version, dtype) for version in ("v1", "v2", "v3", "v4") for dtype in (np.float16, ml_dtypes.bfloat16)]
    + [("v1", np.float64), ("v2", np.float64)],
)
def test_other_dtypes(version, dtype):
    on = launcher()
    x, g, w, b = case((67, 16), dtype)
    expected, mean, var = by_definition(x, w, b, relu=True)
    y, *statistics = batch_norm_forward(on, x, w, b, eps=EPS, relu=True, version=version)
    assert y.dtype == dtype
    close(y, expected)
    for one, other in zip(statistics, (mean, var), strict=True):
        close(one, other)
    dx, dw, db = batch_norm_backward(on, g, x, *statistics, w, b, eps=EPS, relu=True, version=version)
    for one, other in zip((dx, dw, db), gradients(g, x, w, b, relu=True), strict=True):
        close(one, other)
    inference = "v1" if dtype == np.float64 else "v2"
    close(batch_norm_inference(on, x, *statistics, w, b, eps=EPS, relu=True, version=inference), expected)


@FORWARD
def test_halves_are_added_up_in_float32(version):
    """A sum of halves stops at 2048, where adding 1 changes nothing any more."""
    x, g = np.full((2500, 8), 3, np.float16), np.ones((2500, 8), np.float16)
    x[::2] = 1
    _, mean, var = batch_norm_forward(launcher(), x, version=version)
    close(mean, np.full(8, 2.0))
    close(var, np.full(8, 1.0))
    _, _, db = batch_norm_backward(launcher(), g, x, mean, var, version=version)
    close(db, np.full(8, 2500.0))


@FORWARD
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_mode(version, mode, monkeypatch):
    """Eight parts in v3, the last one shorter, and channels that fill no block."""
    monkeypatch.setattr(ladder, "ROWS", 1)
    on, relu = in_mode(mode), True
    x, g, w, b = case((61, 5))
    y, *statistics = batch_norm_forward(on, x, w, b, eps=EPS, relu=relu, version=version)
    close(y, by_definition(x, w, b, relu)[0])
    found = batch_norm_backward(on, g, x, *statistics, w, b, eps=EPS, relu=relu, version=version)
    for one, other in zip(found, gradients(g, x, w, b, relu), strict=True):
        close(one, other, 2e-5)
    inference = {"v1": "v1", "v4": "v2"}.get(version)
    if inference:
        y = batch_norm_inference(on, x, *statistics, w, b, eps=EPS, relu=relu, version=inference)
        close(y, by_definition(x, w, b, relu)[0])


@FORWARD
def test_a_small_variance_about_a_large_mean(version, monkeypatch):
    """Σ x² / M − μ² has no digit left of this variance.  And more parts are merged than a warp has lanes."""
    monkeypatch.setattr(ladder, "ROWS", 1)
    x, _, w, b = case((300, 12) if version == "v3" else (2311, 5))
    x += 10_000
    expected, mean, var = by_definition(x, w, b)
    textbook = (x * x).mean(0) - x.mean(0) ** 2
    assert not np.abs(textbook / var - 1).max() <= 0.5
    y, found_mean, found_var = batch_norm_forward(launcher(), x, w, b, eps=EPS, version=version)
    running_sum = version == "v1"  # which rounds as often as it adds
    close(found_mean, mean, 2e-5 if running_sum else 2e-7)
    close(found_var, var, 1e-2 if running_sum else 1e-3)
    close(y, expected, 1e-1 if running_sum else 2e-3)


@BACKWARD
def test_gradients_of_many_parts(version, monkeypatch):
    """More than a warp has lanes."""
    monkeypatch.setattr(ladder, "ROWS", 1)
    x, g, w, b = case((301, 12) if version == "v3" else (2311, 5))
    _, mean, var = (a.astype(np.float32) for a in by_definition(x, w, b))
    found = batch_norm_backward(launcher(), g, x, mean, var, w, b, eps=EPS, relu=True, version=version)
    for one, other in zip(found, gradients(g, x, w, b, relu=True), strict=True):
        close(one, other, 5e-5)


def test_the_same_bits_in_every_order(monkeypatch):
    monkeypatch.setattr(ladder, "ROWS", 1)
    x, g, w, b = case((203, 12))

    def run(on):
        y, *statistics = batch_norm_forward(on, x, w, b)
        return [y, *statistics, *batch_norm_backward(on, g, x, *statistics, w, b, relu=True)]

    same_bits(run(in_turn(order)) for order in range(3))


def test_as_many_blocks_as_are_useful(monkeypatch):
    """A limit on blocks makes parts larger, or a thread go further down, and no row is lost."""
    monkeypatch.setattr(ladder, "BLOCKS", 3)
    monkeypatch.setattr(ladder, "MOST_BLOCKS", 2)
    x, *_ = case((700, 40))
    for version in ("v3", "v4"):
        y, mean, var = batch_norm_forward(launcher(), x, eps=EPS, version=version)
        for found, expected in zip((y, mean, var), by_definition(x, None, None), strict=True):
            close(found, expected)


@FORWARD
@pytest.mark.parametrize("channels", [12, 13])
def test_64_bit_indices(version, channels):
    on = wide(launcher())
    x, g, w, b = case((67, channels))
    y, *statistics = batch_norm_forward(on, x, w, b, eps=EPS, version=version)
    close(y, by_definition(x, w, b)[0])
    found = batch_norm_backward(on, g, x, *statistics, w, b, eps=EPS, version=version)
    for one, other in zip(found, gradients(g, x, w, b), strict=True):
        close(one, other, 2e-5)


@BACKWARD
def test_a_relu_is_seen_from_x_to_the_last_bit(version):
    """Where x is the mean and there is no bias the result is 0, and no gradient goes through."""
    on, statistics = launcher(), (np.float32([0.1, 3]), np.float32([1, 7]))
    x = np.repeat(statistics[0][None], 9, axis=0)
    x[::3] = np.nextafter(x[::3], 10)
    x[1::3] = np.nextafter(x[1::3], -10)
    y = batch_norm_inference(on, x, *statistics, relu=True)
    np.testing.assert_array_equal(y > 0, np.arange(9)[:, None] % 3 == [0, 0])
    dx, _, db = batch_norm_backward(
        on, np.ones_like(x), x, *statistics, relu=True, training=False, version=version
    )
    np.testing.assert_array_equal(dx > 0, y > 0)
    np.testing.assert_array_equal(db, [3, 3])


@FORWARD
def test_a_nan_stays_in_its_channel_and_passes_the_relu(version):
    x, _, w, b = case((9, 4))
    x[5, 1] = np.nan
    y, *statistics = batch_norm_forward(launcher(), x, w, b, relu=True, version=version)
    for found in (y, *statistics):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(np.broadcast_to(x[5], found.shape)))


@FORWARD
def test_what_has_no_rows_adds_nothing_to_numbers_whose_square_overflows(version):
    # Where some threads have no row, 0 · (10²⁰)² would be NaN.
    x = np.full((9, 4), 1e20, np.float32)
    y, mean, var = batch_norm_forward(launcher(), x, version=version)
    np.testing.assert_array_equal(mean, x[0])
    np.testing.assert_array_equal(var, 0)
    np.testing.assert_array_equal(y, 0)


def test_a_result_may_be_written_where_one_wants_it():
    x, g, *_ = case((9, 4))
    out, dx = np.empty_like(x), np.empty_like(x)
    y, *statistics = batch_norm_forward(launcher(), x, eps=EPS, out=out)
    assert y is out
    close(out, by_definition(x, None, None)[0])
    assert batch_norm_backward(launcher(), g, x, *statistics, eps=EPS, out=dx)[0] is dx
    close(dx, gradients(g, x, None, None)[0], 2e-5)


def test_no_rows_and_no_channels():
    none = np.empty((0, 3), np.float32)
    y = batch_norm_inference(launcher(), none, ONES, ONES)
    assert y.shape == (0, 3)
    _, dw, db = batch_norm_backward(launcher(), none, none, ONES, ONES)
    np.testing.assert_array_equal([dw, db], 0)
    assert batch_norm_forward(launcher(), np.empty((2, 0), np.float32))[1].shape == (0,)


# What moves, as the headers count it


@FORWARD
def test_the_forward_bytes(version):
    """x three times and y; from v2 on x twice and y."""
    x, *_ = case((64, 64))
    moved = launches(lambda on: batch_norm_forward(on, x, version=version))
    assert [launch.kernel for launch in moved] == list(LADDER["batch_norm_forward"][version])
    images = [
        (launch, (0, 1) if launch is moved[-1] else (0,)) for launch in moved if "merge" not in launch.kernel
    ]
    assert sum(launch.bytes(*arrays) for launch, arrays in images) == (4 if version == "v1" else 3) * x.nbytes


@BACKWARD
def test_the_backward_bytes(version):
    """g and x twice, and dx."""
    x, g, *_ = case((64, 64))
    statistics = np.ones((2, 64), np.float32)
    moved = launches(lambda on: batch_norm_backward(on, g, x, *statistics, version=version))
    assert [launch.kernel for launch in moved] == list(LADDER["batch_norm_backward"][version])
    dx = 6 if version == "v1" else 8
    sums = sum(launch.bytes(0, 1) for launch in moved[:-1] if "merge" not in launch.kernel)
    assert sums + moved[-1].bytes(0, 1, dx) == 5 * x.nbytes


@pytest.mark.parametrize("channels", [16, 128])
def test_16_bytes_a_thread_are_a_quarter_of_the_requests(channels):
    """And where the channels fill half a warp, an eighth: none of v4's lanes idles."""
    x, g, *_ = case((64, channels))
    statistics = np.ones((2, channels), np.float32)

    def requests(version):
        forward, *_ = launches(lambda on: batch_norm_forward(on, x, version=version))
        backward, *_ = launches(lambda on: batch_norm_backward(on, g, x, *statistics, version=version))
        return len(forward.of(0)) + len(backward.of(0))

    assert requests("v3") == (4 if channels == 128 else 8) * requests("v4")


X, ONES = np.ones((4, 3), np.float32), np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda on: batch_norm_forward(on, X[:1]), r"more than one value a channel, got x \(1, 3\)"),
        (lambda on: batch_norm_forward(on, X[0]), r"rows and channels \(…, C\), got shape \(3,\)"),
        (lambda on: batch_norm_forward(on, X.T), "x must be C-contiguous"),
        (lambda on: batch_norm_forward(on, X, version="v9"), "must be one of v1, v2, v3, v4, got 'v9'"),
        (lambda on: batch_norm_forward(on, X, out=X[:2]), r"out must .* shape \(4, 3\), got .* \(2, 3\)"),
        (lambda on: batch_norm_forward(on, X.astype(float), version="v3"), "v3: takes float32.*got float64"),
        (
            lambda on: batch_norm_forward(on, X.astype(np.float16), version="v4"),
            "v4: takes float16 with a multiple of 8 channels only, got 3",
        ),
        (lambda on: batch_norm_backward(on, X[:2], X, ONES, ONES), "g must have the shape of x"),
        (lambda on: batch_norm_inference(on, X, ONES[:2], ONES[:2]), "C is 3 .*and 2 in"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(launcher())


def test_more_rows_than_a_float_counts_are_refused(monkeypatch):
    monkeypatch.setattr(ladder, "COUNTED", 2)
    assert batch_norm_forward(launcher(), np.zeros((16, 1), np.float32), version="v2")
    with pytest.raises(ValueError, match="v2: a thread counts up to 2 rows, 17 rows are too many"):
        batch_norm_forward(launcher(), np.zeros((17, 1), np.float32), version="v2")


def test_what_is_not_asked_for_goes_to_the_version_that_can():
    """float64 and halves of no whole vectors have no fastest version, and get the one before."""
    for dtype in (np.float64, np.float16):
        x, *_ = case((9, 3), dtype)
        y, *statistics = batch_norm_forward(launcher(), x, eps=EPS)
        close(y, by_definition(x, None, None)[0])
        close(batch_norm_inference(launcher(), x, *statistics, eps=EPS), by_definition(x, None, None)[0])
