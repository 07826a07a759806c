"""Pooling in CUDA, emulated: every version against the CPU's plain formulation, which is to the bit.

Numbers are whole and small, many of them equal; sums of them are exact, so that only an average's division rounds.
"""

from unittest.mock import patch

import ml_dtypes
import numpy as np
import pytest
from emulated import MODES, launcher, needs_compiler
from ladder import close, in_mode, in_turn, launches, same_bits, wide

from minicnn import Tensor
from minicnn.backend.ladder.pool import (
    LADDER,
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
)
from minicnn.geometry import Window2d
from minicnn.ops.avg_pool2d import AvgPool2d
from minicnn.ops.max_pool2d import MaxPool2d

pytestmark = needs_compiler

CASES = {  # input (N, H, W, C), kernel, stride, padding, dilation, ceil mode
    "one number": ((1, 1, 1, 1), 1, 1, 0, 1, False),
    "side by side": ((2, 4, 6, 4), 2, 2, 0, 1, False),
    "small": ((1, 3, 4, 8), 3, 1, 1, 1, False),
    "side by side, with a rest": ((1, 7, 5, 3), (3, 2), (3, 2), 0, 1, False),
    "hanging over": ((2, 5, 7, 8), 3, 2, 0, 1, True),
    "hanging over the padding": ((1, 4, 6, 5), 3, 2, 1, 1, True),
    "AlexNet": ((1, 7, 9, 12), 3, 2, 0, 1, False),
    "ResNet": ((2, 5, 6, 7), 3, 2, 1, 1, False),
    "Inception": ((1, 5, 11, 4), 3, 1, 1, 1, False),
    "padded unevenly": ((1, 6, 5, 4), (4, 5), (1, 2), (0, 2, 1, 0), 1, False),
    "apart": ((1, 7, 8, 4), (1, 2), (2, 3), 0, 1, True),
    "far apart": ((1, 6, 11, 2), 1, 5, 0, 1, False),
    "the whole image": ((3, 7, 5, 8), (7, 5), 1, 0, 1, False),
    "more than the block's rows sum": ((2, 9, 11, 4), (9, 10), 1, (0, 0, 1, 0), 1, False),
    "a patch of one column and one row too many": ((1, 9, 5, 36), 2, 1, 0, 1, False),
    "a patch less one": ((1, 8, 4, 31), 2, 1, 0, 1, False),
    "a warp of vectors and one": ((1, 2, 3, 132), 2, 1, 1, 1, False),
    "a warp of channels and one": ((1, 3, 2, 33), 2, 1, 0, 1, False),
    "one row": ((1, 1, 37, 5), (1, 3), (1, 2), (0, 0, 1, 1), 1, False),
    "one column": ((1, 37, 1, 4), (3, 1), (2, 1), (1, 1, 0, 0), 1, False),
}
DILATED = {
    "dilated": ((1, 7, 8, 4), (3, 2), (2, 1), 1, (2, 3), False),
    "dilated beyond the stride": ((1, 9, 13, 3), 2, 4, 1, (3, 5), True),
    "dilated beyond the image": ((1, 3, 4, 4), 2, 1, 3, 5, False),
    "dilated and apart": ((2, 4, 9, 8), 2, (2, 4), (0, 1, 1, 0), (1, 3), False),
}
CASE = pytest.mark.parametrize("name", CASES)
ANY_CASE = pytest.mark.parametrize("name", CASES | DILATED)
DIVISORS = [{}, {"count_include_pad": False}, {"divisor_override": 7}, {"divisor_override": -2}]
HALVES = [np.float16, ml_dtypes.bfloat16]


def versions(operation):
    return pytest.mark.parametrize("version", LADDER[operation])


def geometry(name):
    """The arguments of the max pooling functions after the images."""
    return (CASES | DILATED)[name][1:]


def for_average(name):
    """The same, of the average's functions."""
    kernel, stride, padding, _, ceil_mode = geometry(name)
    return kernel, stride, padding, ceil_mode


def numbers(shape, dtype=np.float32, seed=0):
    """Whole numbers, so few different ones that windows have ties; the border's, of which none is 0, are larger."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, shape)
    x[:, [0, -1]] = 2 * x[:, [0, -1]] + 9
    x[:, :, [0, -1]] = 2 * x[:, :, [0, -1]] - 9
    return x.astype(dtype)


def images(name, dtype=np.float32):
    return numbers((CASES | DILATED)[name][0], dtype)


def gradients(name, dtype=np.float32):
    (n, h, w, c), *_ = (CASES | DILATED)[name]
    return numbers((n, *window(name).output_size(h, w), c), dtype, seed=1)


def window(name):
    return Window2d.of("test", *geometry(name))


def on_cpu(function, x, g):
    """What a function of images gives, channels last: y, the indices if it has any, and dx."""
    x = Tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    y = function(x)
    indices = [function.indices] if isinstance(function, MaxPool2d) else []
    y.backward(np.moveaxis(g, -1, 1))
    return [np.moveaxis(a, 1, -1) for a in (y.data, *indices, x.grad)]


def max_on_cpu(name, x, g):
    return on_cpu(MaxPool2d(window(name), with_indices=True, plain=True), x, g)


def max_pooled(on, name, version, dtype=np.float32):
    """y, indices and dx, and the same of the CPU."""
    x, g = images(name, dtype), gradients(name, dtype)
    y, indices = max_pool_forward(on, x, *geometry(name), version=version)
    assert y.dtype == x.dtype
    assert indices.dtype == np.int64
    dx = max_pool_backward(on, g, indices, x.shape, *geometry(name), version=version)
    exact = x.astype(np.float64), g.astype(np.float64)
    return (y, indices, dx), max_on_cpu(name, *exact)


def avg_pooled(on, name, version, options, dtype=np.float32):
    """y and dx, and the same of the CPU in float64; backward has no v4."""
    x, g = images(name, dtype), gradients(name, dtype)
    y = avg_pool_forward(on, x, *for_average(name), **options, version=version)
    version = version if version in LADDER["avg_pool_backward"] else None
    dx = avg_pool_backward(on, g, x.shape, *for_average(name), **options, version=version)
    exact = x.astype(np.float64), g.astype(np.float64)
    return (y, dx), on_cpu(AvgPool2d(window(name), **options, plain=True), *exact)


def refused(version, name, dtype=np.float32):
    """Whether v4 cannot do a case: its channels are no multiple of a vector."""
    return version == "v4" and (CASES | DILATED)[name][0][3] % (16 // np.dtype(dtype).itemsize) > 0


@versions("max_pool_forward")
@ANY_CASE
def test_max(version, name):
    found, expected = max_pooled(in_turn(len(name)), name, version)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@versions("avg_pool_forward")
@CASE
def test_average(version, name):
    options = DIVISORS[len(name) % 4]
    if refused(version, name):
        with pytest.raises(ValueError, match="avg_pool_forward v4: C must be a multiple of 4, got"):
            avg_pooled(launcher(), name, version, options)
        return
    found, expected = avg_pooled(in_turn(len(name)), name, version, options)
    for one, other in zip(found, expected, strict=True):
        close(one, other, 1e-6)


@versions("avg_pool_forward")
@pytest.mark.parametrize("options", DIVISORS)
def test_divisors(version, options):
    """A last window that hangs over the padding, which counts only where it was declared."""
    found, expected = avg_pooled(launcher(), "hanging over", version, options)
    close(found[0], expected[0], 1e-6)
    uneven = Window2d((4, 3), (2, 2), (2, 0, 0, 1), ceil_mode=True)
    x, g = numbers((2, 5, 6, 4)), numbers((2, *uneven.output_size(5, 6), 4))
    arguments = uneven.kernel, uneven.stride, uneven.padding, True
    expected = on_cpu(AvgPool2d(uneven, **options, plain=True), x.astype(np.float64), g.astype(np.float64))
    close(avg_pool_forward(launcher(), x, *arguments, **options, version=version), expected[0], 1e-6)
    if version != "v4":
        found = avg_pool_backward(launcher(), g, x.shape, *arguments, **options, version=version)
        close(found, expected[1], 1e-6)


@versions("max_pool_forward")
def test_nan_wins_the_last_of_several_and_so_does_minus_infinity_the_first(version):
    x = numbers((1, 6, 7, 4))
    x[0, 1:3, 1:4, 0] = np.nan
    x[0, :, :, 1] = -np.inf
    x[0, 4, 5, 2] = np.nan
    x[0, :3, :, 3] = -np.inf
    x[0, 2, 3, 3] = np.inf
    options = Window2d.of("test", 3, 2, 1)
    function = MaxPool2d(options, with_indices=True, plain=True)
    expected = np.moveaxis(function(Tensor(np.moveaxis(x, -1, 1))).data, 1, -1)
    y, indices = max_pool_forward(launcher(), x, 3, 2, 1, version=version)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(indices, np.moveaxis(function.indices, 1, -1))


@versions("max_pool_forward")
def test_a_window_without_pixels_has_no_place_and_gives_its_gradient_to_none(version):
    """Three samples 5 apart, and an image that lies between them."""
    (y, indices, dx), expected = max_pooled(launcher(), "dilated beyond the image", version)
    assert (indices == -1).any()
    np.testing.assert_array_equal(y[indices == -1], -np.inf)
    assert dx.sum() == gradients("dilated beyond the image")[indices >= 0].sum()
    np.testing.assert_array_equal(indices, expected[1])


@versions("max_pool_forward")
def test_indices_are_written_only_if_wanted(version):
    with patch.object(on := launcher(), "launch", wraps=on.launch) as launch:
        y, indices = max_pool_forward(
            on, images("AlexNet"), *geometry("AlexNet"), with_indices=False, version=version
        )
    assert indices is None
    assert launch.call_args.args[5] is None
    np.testing.assert_array_equal(y, max_pooled(launcher(), "AlexNet", version)[1][0])


@versions("avg_pool_forward")
def test_nan_and_infinity_stay_in_their_windows(version):
    x, g = numbers((1, 4, 4, 4)), numbers((1, 2, 2, 4))
    x[0, 0, 1, 0], x[0, 2, 3, 1] = np.nan, np.inf
    g[0, 1, 0, 2] = np.nan
    expected = on_cpu(AvgPool2d(Window2d.of("test", 2, 2), plain=True), x, g)
    np.testing.assert_array_equal(avg_pool_forward(launcher(), x, 2, version=version), expected[0])
    if version != "v4":
        found = avg_pool_backward(launcher(), g, x.shape, 2, version=version)
        np.testing.assert_array_equal(found, expected[1])


@pytest.mark.parametrize("name", ["hanging over the padding", "side by side", "dilated"])
def test_float64(name):
    """Numbers that float32 could not tell apart."""
    x, g = (a + 2.0**-40 for a in (images(name, np.float64), gradients(name, np.float64)))
    on = launcher()
    expected = max_on_cpu(name, x, g)
    y, indices = max_pool_forward(on, x, *geometry(name))
    dx = max_pool_backward(on, g, indices, x.shape, *geometry(name))
    for one, other in zip((y, indices, dx), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    if name in CASES:
        expected = on_cpu(AvgPool2d(window(name), plain=True), x, g)
        close(avg_pool_forward(on, x, *for_average(name)), expected[0], 1e-15)
        close(avg_pool_backward(on, g, x.shape, *for_average(name)), expected[1], 1e-15)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["hanging over", "ResNet", "Inception", "the whole image"])
def test_halves(name, dtype):
    """Vectors of 8 and single channels; whole numbers are exact."""
    found, expected = max_pooled(launcher(), name, "v3", dtype)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.astype(np.float64), other)
    for version in ("v3", "v4"):
        if not refused(version, name, dtype):
            for one, other in zip(*avg_pooled(launcher(), name, version, {}, dtype), strict=True):
                close(one, other)


@pytest.mark.parametrize(("dtype", "large"), [(np.float16, 2048), (ml_dtypes.bfloat16, 256)])
def test_halves_are_added_up_in_float32(dtype, large):
    """To a half as large as this, one adds 1 in vain."""
    x = np.ones((1, 3, 3, 8), dtype)
    x[:, 0, 0] = large
    for version in ("v3", "v4"):
        y = avg_pool_forward(launcher(), x, 3, divisor_override=1, version=version)
        np.testing.assert_array_equal(y.astype(np.float64), large + 8)
    dx = avg_pool_backward(launcher(), x, (1, 5, 5, 8), 3, 1, divisor_override=1)
    np.testing.assert_array_equal(dx[0, 2, 2].astype(np.float64), large + 8)
    dx = max_pool_backward(launcher(), x, np.full(x.shape, 12), (1, 5, 5, 8), 3, 1)
    np.testing.assert_array_equal(dx[0, 2, 2].astype(np.float64), large + 8)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_mode(mode):
    """Each thread writes what no other does, and v4's block waits for all its sums."""
    on = in_mode(mode)
    for version in LADDER["max_pool_forward"]:
        for one, other in zip(*max_pooled(on, "small", version), strict=True):
            np.testing.assert_array_equal(one, other)
    for version in LADDER["avg_pool_forward"]:
        for one, other in zip(*avg_pooled(on, "small", version, {}), strict=True):
            close(one, other, 1e-6)


@pytest.mark.parametrize("name", ["hanging over the padding", "AlexNet"])
def test_64_bit_indices(name):
    on = wide(launcher())
    for version in ("v1", "v2", "v3"):
        if version == "v2" and name != "AlexNet":
            continue  # which has 64-bit indices for vectors only
        for one, other in zip(*max_pooled(on, name, version), strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(*avg_pooled(on, name, version, {}), strict=True):
            close(one, other, 1e-6)
    if name == "AlexNet":
        close(*(pair[0] for pair in avg_pooled(on, name, "v4", {})), 1e-6)


@pytest.mark.parametrize(
    ("shape", "kernel", "dtype", "launched"),
    [
        ((1, 5, 5, 4), 3, np.float32, "v3"),
        ((1, 5, 5, 3), 3, np.float32, "v3"),
        ((1, 5, 5, 8), 3, np.float16, "v3"),
        ((1, 5, 5, 8), 3, np.float64, "v1"),
        ((1, 6, 6, 4), 6, np.float32, "v4"),
        ((1, 8, 4, 4), (8, 4), np.float32, "v4"),
        ((1, 31, 2, 4), (31, 1), np.float32, "v3"),
        ((1, 6, 6, 3), 6, np.float32, "v3"),
        ((1, 6, 6, 4), 6, np.float16, "v3"),
        ((1, 6, 6, 8), 6, ml_dtypes.bfloat16, "v4"),
    ],
)
def test_the_default_is_the_fastest_version_that_can(shape, kernel, dtype, launched):
    with patch.object(on := launcher(), "launch", wraps=on.launch) as launch:
        avg_pool_forward(on, numbers(shape, dtype), kernel)
        max_pool_forward(on, numbers(shape, dtype), kernel)
    names = [call.args[0] for call in launch.call_args_list]
    assert names == [f"avg_pool_forward_{launched}", f"max_pool_forward_{min(launched, 'v3')}"]


def test_the_same_bits_in_every_order():
    def run(on):
        x, g = images("small") / np.float32(3), gradients("small") / np.float32(3)
        _, indices = max_pool_forward(on, x, 3, 1, 1)
        return [
            max_pool_backward(on, g, indices, x.shape, 3, 1, 1),
            *(avg_pool_forward(on, x, 3, 1, 1, version=version) for version in ("v3", "v4")),
            avg_pool_backward(on, g, x.shape, 3, 1, 1),
        ]

    same_bits(run(in_turn(order)) for order in range(3))


def sectors(accesses):
    """The sectors of 32 bytes that each access to an array of float32 moves."""
    return [
        {(at * 4 + byte) // 32 for at in access.offsets if at is not None for byte in (0, access.size - 1)}
        for access in accesses
    ]


def by_block(accesses):
    """How many sectors the blocks need, each counted once a block."""
    needed = {}
    for access, some in zip(accesses, sectors(accesses), strict=True):
        needed.setdefault((access.block, access.array), set()).update(some)
    return sum(map(len, needed.values()))


def test_the_traffic_is_what_the_header_says():
    """To v2 an eighth of the sectors, by a quarter of the accesses; to v3 half of what a block needs."""
    x = numbers((1, 16, 10, 128))

    def call(on):
        for version in ("v1", "v2", "v3"):
            avg_pool_forward(on, x[:, :10, :6, :32].copy(), 3, 1, version=version)
        for version in ("v2", "v3"):
            avg_pool_forward(on, x, 3, 1, 1, version=version)
            avg_pool_backward(on, x, x.shape, 3, 1, 1, version=version)

    v1, v2, v3, *overlapping = (launch.of(0) for launch in launches(call))
    assert sum(map(len, sectors(v1))) == 8 * sum(map(len, sectors(v2)))
    assert len(v1) == 4 * len(v2) == 4 * len(v3)
    rows, rows_backward, patches, patches_backward = map(by_block, overlapping)
    assert max(patches / rows, patches_backward / rows_backward) < 0.55


def test_no_images_and_no_channels():
    for shape in ((0, 4, 4, 8), (2, 4, 4, 0)):
        x = np.empty(shape, np.float32)
        y, indices = max_pool_forward(launcher(), x, 2)
        assert y.shape == indices.shape == (shape[0], 2, 2, shape[3])
        assert max_pool_backward(launcher(), y, indices, shape, 2).shape == shape
        for version in LADDER["avg_pool_forward"]:
            assert avg_pool_forward(launcher(), x, 2, version=version).shape == y.shape
        assert avg_pool_backward(launcher(), y, shape, 2).shape == shape


def test_results_may_be_written_where_one_wants_them():
    x, g = images("side by side"), gradients("side by side")
    y, dx = np.full_like(g, np.nan), np.full_like(x, np.nan)
    indices = max_pool_forward(launcher(), x, 2, out=y)[1]
    assert max_pool_backward(launcher(), g, indices, x.shape, 2, out=dx) is dx
    np.testing.assert_array_equal(dx, max_on_cpu("side by side", x, g)[2])
    assert avg_pool_forward(launcher(), x, 2, out=y) is y
    np.testing.assert_array_equal(y, on_cpu(AvgPool2d(window("side by side"), plain=True), x, g)[0])
    assert avg_pool_backward(launcher(), g, x.shape, 2, out=dx) is dx
    np.testing.assert_array_equal(dx, np.repeat(np.repeat(g / 4, 2, 1), 2, 2))


X, G = np.ones((2, 4, 4, 6), np.float32), np.ones((2, 2, 2, 6), np.float32)
INDICES = np.zeros(G.shape, np.int64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda on: max_pool_forward(on, X[0], 2), r"x must be images \[N, H, W, C\], got shape \(4, 4, 6\)"),
        (
            lambda on: max_pool_forward(on, X, 5),
            "max_pool_forward: the kernel must fit into the padded input",
        ),
        (
            lambda on: avg_pool_forward(on, X, 2, padding=2),
            r"padding must be at most half the kernel, got padding \(2, 2, 2, 2\) for a kernel covering \(2, 2\)",
        ),
        (
            lambda on: avg_pool_forward(on, X, 3, padding=(1, 1, 1, 2)),
            "avg_pool_forward: padding must be at most half",
        ),
        (lambda on: avg_pool_forward(on, X, 2, divisor_override=0), "must be an int other than 0, got 0"),
        (lambda on: max_pool_forward(on, X, 2, version="v4"), "must be one of v1, v2, v3, got 'v4'"),
        (
            lambda on: max_pool_forward(on, X.astype(np.float16), 2, version="v2"),
            "max_pool_forward v2: numbers must be float32, got float16",
        ),
        (
            lambda on: avg_pool_backward(on, G.astype(float), X.shape, 2, version="v3"),
            "v3: numbers must be float32 or float16 or bfloat16, got float64",
        ),
        (
            lambda on: avg_pool_forward(on, X.astype(int), 2),
            "v1: numbers must be float32 or float64, got int64; v2: ",
        ),
        (lambda on: max_pool_forward(on, X, 2, out=X), r"out must be float32 of shape \(2, 2, 2, 6\), got"),
        (lambda on: max_pool_backward(on, X, INDICES, X.shape, 2), "P is 4 in g .* and 2 in indices"),
        (lambda on: max_pool_backward(on, G, INDICES, X.shape, 3), r"P is 2 in g .* and 1 in pool\.P"),
        (lambda on: avg_pool_backward(on, G, (2, 4, 4, 5), 2), r"C is 6 in g .* and 5 in dx"),
        (
            lambda on: avg_pool_backward(on, G, (4, 4, 6), 2),
            r"input_shape must be images .*got shape \(4, 4, 6\)",
        ),
        (
            lambda on: avg_pool_backward(on, G, (1, 1 << 16, 1 << 15, 4), 2),
            "2147483647 pixels an image, got 65536×32768",
        ),
        (lambda on: max_pool_forward(on, X[:, ::2], 2), "x must be C-contiguous"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(launcher())


def test_indices_are_int64():
    with pytest.raises(
        TypeError, match=r"max_pool_backward_v3: indices must be int64 for long long\*, got int32"
    ):
        max_pool_backward(launcher(), G, INDICES.astype(np.int32), X.shape, 2)
