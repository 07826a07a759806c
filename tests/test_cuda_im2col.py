"""Unfolding and folding in CUDA, emulated, and the convolution made of them: held to the CPU's, which are to the bit.

All numbers are whole and small, so that sums are exact in any order and no tolerance hides anything.
"""

import math
from unittest.mock import patch

import numpy as np
import pytest
from emulated import MODES, launcher, needs_compiler
from ladder import in_mode, in_turn, launches, same_bits, wide

from minicnn import conv
from minicnn.backend.ladder import col2im as col2im_module
from minicnn.backend.ladder import im2col as im2col_module
from minicnn.backend.ladder.col2im import col2im
from minicnn.backend.ladder.im2col import im2col
from minicnn.backend.ladder.im2col_conv2d import (
    im2col_conv2d,
    im2col_conv2d_backward_data,
    im2col_conv2d_backward_weight,
)
from minicnn.conv.im2col import fold, unfold
from minicnn.geometry import Window2d

pytestmark = needs_compiler

UNFOLD = pytest.mark.parametrize("version", im2col_module.LADDER["im2col"])
FOLD = pytest.mark.parametrize("version", col2im_module.LADDER["col2im"])

CASES = {  # input (N, H, W, C), kernel, stride, padding, dilation, groups
    "one number": ((1, 1, 1, 1), 1, 1, 0, 1, 1),
    "one vector": ((1, 1, 1, 4), 1, 1, 0, 1, 1),
    "one pixel, all padding but the middle": ((2, 1, 1, 4), 3, 1, 1, 1, 1),
    "VGG": ((2, 5, 7, 8), 3, 1, 1, 1, 1),
    "small": ((2, 3, 2, 8), 3, 1, 1, 1, 2),
    "VGG, channels of no multiple": ((1, 3, 5, 7), 3, 1, 1, 1, 1),
    "a block and one vector": ((1, 1, 257, 4), 3, 1, 1, 1, 1),
    "a block less one vector": ((1, 3, 5, 68), 3, 1, 1, 1, 1),
    "a warp and one channel": ((1, 3, 2, 33), (2, 1), 1, 0, 1, 1),
    "a warp less one channel": ((1, 2, 4, 31), (1, 3), 1, (0, 0, 2, 0), 1, 1),
    "padded unevenly": ((2, 4, 3, 4), 3, 1, (0, 2, 1, 0), 1, 1),
    "pixels in the padding only": ((1, 2, 2, 4), 2, 1, (3, 2, 0, 3), 1, 1),
    "ResNet": ((1, 7, 5, 8), 3, 2, 1, 1, 1),
    "ResNet's shortcut": ((2, 5, 4, 8), 1, 2, 0, 1, 1),
    "AlexNet": ((1, 13, 12, 3), 5, 4, 2, 1, 1),
    "apart": ((1, 7, 8, 4), 2, (3, 5), 0, 1, 1),
    "groups": ((2, 4, 5, 12), 3, 1, 1, 1, 3),
    "groups of odd channels": ((1, 4, 3, 6), (3, 2), (1, 2), 1, 1, 2),
    "depthwise": ((1, 4, 5, 5), 3, 1, 1, 1, 5),
    "dilated": ((1, 7, 8, 4), 3, 1, 2, 2, 1),
    "dilated and strided, relatively prime": ((1, 9, 11, 4), 3, (2, 3), (2, 1, 0, 3), (3, 2), 1),
    "dilated and strided, with a common divisor": ((1, 9, 12, 4), (3, 2), (4, 6), (1, 4, 2, 3), (2, 4), 1),
    "dilated beyond the image": ((1, 2, 3, 8), 3, 1, 5, 5, 2),
}
CASE = pytest.mark.parametrize("name", CASES)


def images(shape, dtype=np.float32, seed=0):
    """Whole numbers, none of them 0, the last channel's and the border's large."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 9, shape) * rng.choice([-1, 1], shape)
    x[..., -1] *= 16
    x[:, [0, -1]] *= 3
    return x.astype(dtype)


def window(name):
    _, kernel, stride, padding, dilation, _ = CASES[name]
    return Window2d.of("test", kernel, stride, padding, dilation)


def columns_of(name, dtype=np.float32):
    """Columns of whole numbers for a case."""
    (n, h, w, c), *_, groups = CASES[name]
    p, q = window(name).output_size(h, w)
    return images((groups, n * p * q, window(name).samples * c // groups), dtype, seed=1)


def first(x):
    return np.moveaxis(x, -1, 1)


def unfolded(name, dtype=np.float32):
    shape, *_, groups = CASES[name]
    return unfold(first(images(shape, dtype)), window(name), groups)


def folded(name, columns):
    n, h, w, c = CASES[name][0]
    return np.moveaxis(fold(columns, (n, c, h, w), window(name)), 1, -1)


def is_same(name):
    """Whether every tap hits: 3×3 with stride and dilation 1."""
    return window(name).kernel == (3, 3) and window(name).stride == window(name).dilation == (1, 1)


def unfit(version, name):
    """Say why a version cannot do a case, if it cannot."""
    shape, *_, groups = CASES[name]
    if version in ("v3", "v4") and shape[3] // groups % 4:
        return "C/groups must be a multiple of 4"
    return (
        "the kernel must be 3×3 with stride and dilation 1" if version == "v4" and not is_same(name) else None
    )


@UNFOLD
@CASE
def test_unfolding(version, name):
    on, (shape, *geometry) = in_turn(len(name)), CASES[name]
    if reason := unfit(version, name):
        with pytest.raises(ValueError, match=f"im2col {version}: {reason}"):
            im2col(on, images(shape), *geometry, version=version)
    else:
        found = im2col(on, images(shape), *geometry, version=version)
        np.testing.assert_array_equal(found, unfolded(name))


@FOLD
@CASE
def test_folding(version, name):
    on, (shape, *geometry, _), columns = in_turn(len(name)), CASES[name], columns_of(name)
    if reason := unfit(version, name):
        with pytest.raises(ValueError, match=f"col2im {version}: {reason}"):
            col2im(on, columns, shape, *geometry, version=version)
    else:
        found = col2im(on, columns, shape, *geometry, version=version)
        np.testing.assert_array_equal(found, folded(name, columns))


@CASE
def test_the_default_is_the_last_version_that_can(name):
    shape, *geometry = CASES[name]
    whole = shape[3] // geometry[-1] % 4 == 0
    with patch.object(on := launcher(), "launch", wraps=on.launch) as launch:
        np.testing.assert_array_equal(im2col(on, images(shape), *geometry), unfolded(name))
        columns = columns_of(name)
        np.testing.assert_array_equal(col2im(on, columns, shape, *geometry[:-1]), folded(name, columns))
    launched = [call.args[0] for call in launch.call_args_list]
    expected = (
        ["im2col_v3", "col2im_v4" if is_same(name) else "col2im_v3"] if whole else ["im2col_v2", "col2im_v2"]
    )
    assert launched == expected


@pytest.mark.parametrize("name", ["VGG", "groups of odd channels", "dilated and strided, relatively prime"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_float64(version, name):
    shape, *geometry = CASES[name]
    x, columns = images(shape, np.float64) / 3, columns_of(name, np.float64) / 3
    found = im2col(launcher(), x, *geometry, version=version)
    np.testing.assert_array_equal(found, unfold(first(x), window(name), geometry[-1]))
    found = col2im(launcher(), columns, shape, *geometry[:-1], version=version)
    np.testing.assert_allclose(found, folded(name, columns), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_mode(mode):
    """Each thread writes what no other does, whoever comes first."""
    name = "small"
    shape, *geometry = CASES[name]
    on, columns = in_mode(mode), columns_of(name)
    for version in im2col_module.LADDER["im2col"]:
        np.testing.assert_array_equal(im2col(on, images(shape), *geometry, version=version), unfolded(name))
    for version in col2im_module.LADDER["col2im"]:
        found = col2im(on, columns, shape, *geometry[:-1], version=version)
        np.testing.assert_array_equal(found, folded(name, columns))


@pytest.mark.parametrize(
    "name", ["VGG", "ResNet's shortcut", "dilated and strided, with a common divisor", "groups"]
)
def test_64_bit_indices(name):
    shape, *geometry = CASES[name]
    on, columns = wide(launcher()), columns_of(name)
    for version in im2col_module.LADDER["im2col"]:
        np.testing.assert_array_equal(im2col(on, images(shape), *geometry, version=version), unfolded(name))
    for version in ("v1", "v2", None):
        found = col2im(on, columns, shape, *geometry[:-1], version=version)
        np.testing.assert_array_equal(found, folded(name, columns))


def test_more_groups_than_the_grid_counts():
    shape, *geometry = CASES["depthwise"]
    columns = columns_of("depthwise")
    with patch.object(im2col_module, "MOST_GROUPS", 2), patch.object(col2im_module, "MOST_GROUPS", 3):
        found = im2col(launcher(), images(shape), *geometry, version="v2")
        np.testing.assert_array_equal(found, unfolded("depthwise"))
        found = col2im(launcher(), columns, shape, *geometry[:-1], version="v2")
        np.testing.assert_array_equal(found, folded("depthwise", columns))


@FOLD
def test_folding_gives_the_same_bits_in_every_order(version):
    shape, *geometry, _ = CASES["VGG"]
    columns = columns_of("VGG") / np.float32(3)
    same_bits([[col2im(in_turn(order), columns, shape, *geometry, version=version)] for order in range(3)])


def sectors(launch):
    """The sectors of 32 bytes that the warps move."""
    return sum(
        len(
            {
                (at * 4 + byte) // 32
                for at in access.offsets
                if at is not None
                for byte in (0, access.size - 1)
            }
        )
        for access in launch.accesses
    )


def test_the_traffic_is_what_the_headers_say():
    """32 windows of 32 channels, all inside: from v1 to v2 an eighth of the sectors, then a quarter of the accesses."""
    x, columns = images((1, 10, 6, 32)), images((1, 32, 9 * 32))

    def call(on):
        for version in im2col_module.LADDER["im2col"]:
            im2col(on, x, 3, version=version)
        for version in col2im_module.LADDER["col2im"]:
            col2im(on, columns, x.shape, 3, version=version)

    found = {launch.kernel: launch for launch in launches(call)}
    assert sectors(found["im2col_v1"]) == 8 * sectors(found["im2col_v2"]) == 8 * sectors(found["im2col_v3"])
    assert len(found["im2col_v2"].accesses) == 4 * len(found["im2col_v3"].accesses)
    entries = {name: found[f"col2im_{name}"].of(0) for name in col2im_module.LADDER["col2im"]}
    assert len(entries["v2"]) == columns.size / 32
    assert (
        max(len(entries["v3"]), len(entries["v4"])) < len(entries["v2"]) / 2
    )  # pixels of a warp differ in hits
    assert sectors(found["col2im_v1"]) > 7 * sectors(found["col2im_v2"])
    for name in ("v1", "v2", "v3", "v4"):
        assert found[f"col2im_{name}"].bytes(0, 1) == columns.nbytes + x.nbytes


def test_no_images_and_no_channels():
    for shape in ((0, 4, 4, 8), (2, 4, 4, 0)):
        columns = im2col(launcher(), np.empty(shape, np.float32), 3, padding=1)
        assert columns.shape == (1, shape[0] * 16, 9 * shape[3])
        assert col2im(launcher(), columns, shape, 3, padding=1).shape == shape


# The convolution


def convolution(name, kernels=2):
    """x, w and g of whole numbers, and the options of a case; so many kernels a group."""
    shape, _, stride, padding, dilation, groups = CASES[name]
    x = images(shape)
    k = kernels * groups
    w = images((k, *window(name).kernel, shape[3] // groups), seed=2)
    g = images((shape[0], *window(name).output_size(*shape[1:3]), k), seed=3)
    return x, w, g, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@pytest.mark.parametrize("workspace", [1, 1 << 28])
@CASE
def test_convolution(name, workspace):
    x, w, g, options = convolution(name)
    on, kernel = in_turn(len(name)), window(name).kernel
    on_cpu = {**options, "algorithm": "direct"}
    n, h, width, c = x.shape
    y = im2col_conv2d(on, x, w, **options, workspace=workspace)
    np.testing.assert_array_equal(first(y), conv.conv2d(first(x), first(w), **on_cpu))
    dx = im2col_conv2d_backward_data(on, g, w, x.shape, **options, workspace=workspace)
    expected = conv.conv2d_backward_data(first(g), first(w), (n, c, h, width), **on_cpu)
    np.testing.assert_array_equal(first(dx), expected)
    dw = im2col_conv2d_backward_weight(on, x, g, kernel, **options, workspace=workspace)
    np.testing.assert_array_equal(
        first(dw), conv.conv2d_backward_weight(first(x), first(g), kernel, **on_cpu)
    )


@pytest.mark.parametrize(
    ("images_at_once", "expected"), [(1, [1, 1, 1, 1, 1]), (2, [1, 2, 2]), (4, [2, 3]), (9, [5])]
)
def test_the_workspace_bounds_the_columns(images_at_once, expected):
    x, w = images((5, 4, 4, 4)), images((2, 3, 3, 4))
    image = 16 * 9 * 4 * 4
    with patch.object(on := launcher(), "launch", wraps=on.launch) as launch:
        y = im2col_conv2d(on, x, w, padding=1, workspace=images_at_once * image + image - 1)
    columns = [call.args[4] for call in launch.call_args_list]
    assert [math.prod(each.shape) * 4 // image for each in columns] == expected
    np.testing.assert_array_equal(first(y), conv.conv2d(first(x), first(w), padding=1, algorithm="direct"))


def test_images_of_an_odd_size_one_at_a_time():
    """The second of them begins 12 bytes beyond a multiple of 16, where no kernel may."""
    x, w, g = images((3, 5, 5, 3)), images((2, 3, 3, 3), seed=2), images((3, 3, 3, 2), seed=3)
    on = launcher()
    y = im2col_conv2d(on, x, w, workspace=1)
    np.testing.assert_array_equal(first(y), conv.conv2d(first(x), first(w), algorithm="direct"))
    dx = im2col_conv2d_backward_data(on, g, w, x.shape, workspace=1)
    expected = conv.conv2d_backward_data(first(g), first(w), (3, 3, 5, 5), algorithm="direct")
    np.testing.assert_array_equal(first(dx), expected)
    dw = im2col_conv2d_backward_weight(on, x, g, 3, workspace=1)
    expected = conv.conv2d_backward_weight(first(x), first(g), 3, algorithm="direct")
    np.testing.assert_array_equal(first(dw), expected)


def test_a_1x1_convolution_unfolds_nothing():
    x, w, g = images((2, 3, 5, 4)), images((3, 1, 1, 4)), images((2, 3, 5, 3))
    with patch.object(on := launcher(), "launch") as launch:
        np.testing.assert_array_equal(im2col_conv2d(on, x, w), x @ w[:, 0, 0].T)
        np.testing.assert_array_equal(im2col_conv2d_backward_data(on, g, w, x.shape), g @ w[:, 0, 0])
        dw = im2col_conv2d_backward_weight(on, x, g, 1)
        np.testing.assert_array_equal(dw[:, 0, 0], np.einsum("npqk,npqc->kc", g, x))
    launch.assert_not_called()


def test_results_may_be_written_where_one_wants_them():
    x, w, g, options = convolution("VGG")
    for call, shape in (
        (lambda out: im2col(launcher(), x, 3, padding=1, out=out), (1, 70, 72)),
        (lambda out: col2im(launcher(), columns_of("VGG"), x.shape, 3, padding=1, out=out), x.shape),
        (lambda out: im2col_conv2d(launcher(), x, w, **options, out=out), g.shape),
        (lambda out: im2col_conv2d_backward_data(launcher(), g, w, x.shape, **options, out=out), x.shape),
        (lambda out: im2col_conv2d_backward_weight(launcher(), x, g, 3, **options, out=out), w.shape),
    ):
        out = np.full(shape, np.nan, np.float32)
        assert call(out) is out
        assert not np.isnan(out).any()


X, W, COLUMNS = (
    np.ones((2, 4, 4, 6), np.float32),
    np.ones((4, 3, 3, 3), np.float32),
    np.ones((2, 8, 27), np.float32),
)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda on: im2col(on, X[0], 3), r"im2col: x must be images \[N, H, W, C\], got shape \(4, 4, 6\)"),
        (lambda on: im2col(on, X, 3, groups=4), "C must be a multiple of groups, got C = 6 and groups = 4"),
        (lambda on: im2col(on, X, 5), "the kernel must fit into the padded input"),
        (lambda on: im2col(on, X, 3, version="v9"), "im2col: version must be one of v1, v2, v3, got 'v9'"),
        (lambda on: im2col(on, X, 3, version="v3"), "im2col v3: C/groups must be a multiple of 4, got 6"),
        (
            lambda on: im2col(on, X.astype(float), 3, version="v3"),
            "im2col v3: x must be float32, got float64",
        ),
        (lambda on: im2col(on, X.astype(np.float16), 3), "not made for <__half, int>"),
        (lambda on: im2col(on, X[:, :, ::2], 3, padding=1, version="v1"), "x must be C-contiguous"),
        (
            lambda on: im2col(on, X, 3, out=COLUMNS),
            r"out must be float32 of shape \(1, 8, 54\), got .*\(2, 8, 27\)",
        ),
        (lambda on: col2im(on, X, X.shape, 3), r"columns must be \[groups, windows, samples\]"),
        (lambda on: col2im(on, COLUMNS, (2, 4, 4, 5), 3), r"a multiple of groups, got shape \(2, 8, 27\)"),
        (lambda on: col2im(on, COLUMNS, (2, 4, 5, 6), 3), r"must have shape \(2, 12, 27\).*got \(2, 8, 27\)"),
        (
            lambda on: col2im(on, COLUMNS, X.shape, 3, version="v4"),
            "v4: C/groups must be a multiple of 4, got 3",
        ),
        (
            lambda on: col2im(on, np.ones((1, 18, 32), np.float32), (2, 4, 4, 8), 2, version="v4"),
            r"v4: the kernel must be 3×3 with stride and dilation 1, got \(2, 2\) with \(1, 1\) and \(1, 1\)",
        ),
        (lambda on: im2col_conv2d(on, X, W.astype(float), groups=2), "one dtype, got float32 and float64"),
        (lambda on: im2col_conv2d_backward_data(on, X, W.astype(float), X.shape), "got float32 and float64"),
        (lambda on: im2col_conv2d_backward_weight(on, X, X.astype(float), 3), "got float32 and float64"),
        (lambda on: im2col_conv2d(on, X, W), "x has 6 channels and w 4 kernels of 3, in 1 groups"),
        (lambda on: im2col_conv2d(on, X, W[:3], groups=2), "w 3 kernels of 3, in 2 groups"),
        (lambda on: im2col_conv2d(on, X, W[0], groups=2), r"w \[K, R, S, C/groups\], got .*\(3, 3, 3\)"),
        (
            lambda on: im2col_conv2d_backward_data(on, X, W, X.shape, groups=2),
            r"g must have the output's shape \(2, 2, 2, 4\), got \(2, 4, 4, 6\)",
        ),
        (
            lambda on: im2col_conv2d(on, X, W, groups=2, out=np.ones((2, 2, 2, 8), np.float32)[..., ::2]),
            r"im2col_conv2d: out must be C-contiguous, got strides \(128, 64, 32, 8\)",
        ),
        (
            lambda on: im2col_conv2d_backward_weight(
                on, X, X[:, :2, :2, :4], 3, groups=2, out=np.ones((4, 3, 3, 6), np.float32)[..., ::2]
            ),
            r"im2col_conv2d_backward_weight: out must be C-contiguous, got strides \(216, 72, 24, 8\)",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(launcher())
