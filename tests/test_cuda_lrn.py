"""Local response normalisation in CUDA, emulated: every version against the CPU in float64."""

from unittest.mock import patch

import ml_dtypes
import numpy as np
import pytest
from emulated import MODES, launcher, needs_compiler
from ladder import TOLERANCE, close, in_mode, in_turn, same_bits, wide

from minicnn import Tensor
from minicnn import functional as F
from minicnn.backend.ladder import lrn as ladder
from minicnn.backend.ladder.lrn import LADDER, lrn_backward, lrn_forward

pytestmark = needs_compiler

VERSION = pytest.mark.parametrize("version", LADDER["lrn_forward"])
HALVES = [np.float16, ml_dtypes.bfloat16]
ALEXNET = {"size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0}
STRONG = {"size": 5, "alpha": 2.0, "beta": 0.75, "k": 0.5}  # where the energy matters more than k
POWER = {"size": 5, "alpha": 1.0, "beta": 1.3, "k": 1.0}
EVEN = {"size": 4, "alpha": 3.0, "beta": 0.6, "k": 0.25}
WIDE = {"size": 11, "alpha": 3.0, "beta": 0.75, "k": 0.25}
ALONE = {"size": 1, "alpha": 3.0, "beta": 0.75, "k": 0.25}

SHAPES = [
    (1, 1, 1, 1),
    (1, 1, 1, 4),  # one vector, no neighbours
    (2, 1, 3, 8),
    (1, 3, 5, 2),  # fewer channels than half a window
    (1, 7, 1, 5),
    (1, 2, 3, 31),
    (3, 1, 2, 33),
    (1, 2, 7, 12),
    (1, 1, 29, 4),
    (1, 5, 6, 4),  # as many vectors as one warp writes
    (31, 1, 1, 4),
    (1, 1, 2, 480),  # as many as one block writes
    (1, 1, 1, 964),
]


def case(shape, dtype=np.float32, seed=0):
    """x and g, each channel of another size."""
    rng = np.random.default_rng(seed)
    x, g = rng.standard_normal((2, *shape)) * rng.uniform(0.25, 4, shape[-1])
    return x.astype(dtype), g.astype(dtype)


def on_cpu(x, g, options):
    """y and dx in float64."""
    x = Tensor(np.moveaxis(x.astype(np.float64), -1, 1), requires_grad=True)
    y = F.local_response_norm(x, **options)
    y.backward(np.moveaxis(g.astype(np.float64), -1, 1))
    return [np.moveaxis(a, 1, -1) for a in (y.data, x.grad)]


def normalised(on, x, g, options, version=None):
    """y and dx."""
    found = lrn_forward(on, x, **options, version=version), lrn_backward(on, x, g, **options, version=version)
    assert {a.dtype for a in found} == {x.dtype}
    return found


def hold(on, x, g, options, version=None, tolerance=None):
    for one, other in zip(normalised(on, x, g, options, version), on_cpu(x, g, options), strict=True):
        close(one, other, tolerance)


@VERSION
@pytest.mark.parametrize("options", [ALEXNET, STRONG, POWER], ids=["AlexNet", "strong", "power"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_passes(version, shape, options):
    on = in_turn(sum(shape))
    if version == "v3" and shape[-1] % 4:
        for call in (lrn_forward, lrn_backward):
            with pytest.raises(
                ValueError, match=r"v3: C must be a multiple of 4 and size 5, got C = \d+ and"
            ):
                call(on, *case(shape)[: 1 + (call is lrn_backward)], **options, version=version)
    else:
        hold(on, *case(shape), options, version, 2e-6)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("options", [EVEN, WIDE, ALONE], ids=["even", "wide", "alone"])
@pytest.mark.parametrize("shape", [(1, 2, 3, 7), (1, 1, 5, 33), (2, 1, 1, 260)], ids=str)
def test_windows_of_any_size(version, shape, options):
    """An even one reaches one channel further down than up, and the other way backwards."""
    hold(in_turn(sum(shape)), *case(shape), options, version, 2e-6)


@pytest.mark.parametrize("options", [STRONG, EVEN], ids=["strong", "even"])
def test_float64(options):
    hold(launcher(), *case((2, 3, 4, 6), np.float64), options)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("version", "options"), [("v2", POWER), ("v2", EVEN), ("v3", STRONG)])
def test_halves(version, options, dtype):
    hold(launcher(), *case((1, 2, 3, 20), dtype), options, version)


def test_squares_of_halves_are_added_up_in_float32():
    """The square of 300 is no half, and to 2048 halves one adds 1 in vain."""
    x, g = case((1, 1, 2, 8), np.float16)
    x *= 100
    for version in ("v2", "v3"):
        hold(launcher(), x, g, STRONG, version)


@VERSION
def test_pixels_are_apart(version):
    """A large channel changes its own pixel alone, whose neighbours follow it in memory."""
    x, g = case((1, 3, 3, 4))
    before = normalised(launcher(), x, g, STRONG, version)
    x[0, 1, 1] *= 1000
    after = normalised(launcher(), x, g, STRONG, version)
    for one, other in zip(before, after, strict=True):
        same = (one == other).all(-1)
        assert same.sum() == 8
        assert not same[0, 1, 1]


@VERSION
def test_nan_and_infinity_stay_in_their_windows(version):
    x, g = case((1, 2, 1, 12))
    x[0, 0, 0, 3], x[0, 1, 0, 8] = np.nan, np.inf
    y, dx = normalised(launcher(), x, g, STRONG, version)
    np.testing.assert_array_equal(np.isnan(y[0, 0, 0]), [1 <= c <= 5 for c in range(12)])
    np.testing.assert_array_equal(np.isnan(dx[0, 0, 0]), [c <= 7 for c in range(12)])
    assert np.isnan(y[0, 1, 0, 8])
    np.testing.assert_array_equal(y[0, 1, 0, [6, 7, 9, 10]], 0)
    assert np.isfinite(y[0, 1, 0, [*range(6), 11]]).all()


@VERSION
def test_no_energy_and_no_k(version):
    """0 / 0^β."""
    x, g = case((1, 1, 2, 12))
    x[0, 0, 0] = 0
    options = STRONG | {"k": 0.0}
    y, _ = normalised(launcher(), x, g, options, version)
    assert np.isnan(y[0, 0, 0]).all()
    close(y[0, 0, 1], on_cpu(x[:, :, 1:], g[:, :, 1:], options)[0][0, 0, 0], 2e-6)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_mode(mode):
    """Squares before sums before terms, in shared memory; pixels that fill no block, and lanes that only help."""
    on = in_mode(mode)
    x, g = case((1, 3, 3, 36))
    for version in LADDER["lrn_forward"]:
        hold(on, x, g, STRONG, version, 2e-6)


def test_64_bit_indices():
    for version in LADDER["lrn_forward"]:
        hold(wide(launcher()), *case((1, 3, 3, 36)), STRONG, version, 2e-6)
    hold(wide(launcher()), *case((1, 3, 3, 36)), POWER, "v3", 2e-6)


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "launched"),
    [
        ((1, 2, 2, 8), np.float32, ALEXNET, "v3"),
        ((1, 2, 2, 8), np.float32, POWER, "v3"),
        ((1, 2, 2, 6), np.float32, ALEXNET, "v2"),
        ((1, 2, 2, 8), np.float32, EVEN, "v2"),
        ((1, 2, 2, 8), np.float64, ALEXNET, "v1"),
        ((1, 2, 2, 8), np.float16, ALEXNET, "v3"),
        ((1, 2, 2, 8), ml_dtypes.bfloat16, POWER, "v2"),
    ],
)
def test_the_default_is_the_fastest_version_that_can(shape, dtype, options, launched):
    x, g = case(shape, dtype)
    with patch.object(on := launcher(), "launch", wraps=on.launch) as launch:
        hold(on, x, g, options, None, max(2e-6, TOLERANCE[np.dtype(dtype)]))
    assert [call.args[0] for call in launch.call_args_list] == [
        f"lrn_forward_{launched}",
        f"lrn_backward_{launched}",
    ]


@pytest.mark.parametrize(("room", "rows"), [(1 << 15, 8), (5000, 4), (2000, 1), (1, 1)])
def test_as_many_pixels_share_a_block_as_fit(room, rows, monkeypatch):
    """A pixel of 100 channels takes 416 bytes forward, 1232 backward."""
    monkeypatch.setattr(ladder, "SHARED", room)
    with patch.object(on := launcher(), "launch", wraps=on.launch) as launch:
        hold(on, *case((1, 3, 7, 100)), STRONG, "v2", 2e-6)
    blocks = [call.args[2] for call in launch.call_args_list]
    assert blocks[1] == (256 // rows, rows)
    assert [call.kwargs["shared"] for call in launch.call_args_list] == [blocks[0][1] * 416, rows * 1232]


def test_channels_that_fill_no_shared_memory_are_left_to_v1():
    x, g = case((1, 1, 1, 59001))
    message = "v2: a pixel takes 236020 bytes of shared memory, a block has 232448"
    with pytest.raises(ValueError, match=message):
        lrn_forward(launcher(), x, 5, version="v2")
    with patch.object(on := launcher(), "launch") as launch:
        lrn_forward(on, x, 5)
        lrn_backward(on, x, g, 5)
    assert [call.args[0] for call in launch.call_args_list] == ["lrn_forward_v1", "lrn_backward_v1"]


def test_the_same_bits_in_every_order():
    x, g = case((1, 3, 3, 36))
    for version in LADDER["lrn_forward"]:
        same_bits(normalised(in_turn(order), x, g, STRONG, version) for order in range(3))


def test_no_images_and_no_channels():
    for shape in ((0, 4, 4, 8), (2, 4, 4, 0)):
        x = np.empty(shape, np.float32)
        for version in LADDER["lrn_forward"]:
            assert [a.shape for a in normalised(launcher(), x, x, ALEXNET, version)] == [shape, shape]


def test_results_may_be_written_where_one_wants_them():
    x, g = case((1, 2, 3, 8))
    y, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
    assert lrn_forward(launcher(), x, **STRONG, out=y) is y
    assert lrn_backward(launcher(), x, g, **STRONG, out=dx) is dx
    for one, other in zip((y, dx), on_cpu(x, g, STRONG), strict=True):
        close(one, other)


X = np.ones((2, 3, 4, 8), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda on: lrn_forward(on, X[0], 5),
            r"lrn_forward: x must be images \[N, H, W, C\], got shape \(3, 4, 8\)",
        ),
        (lambda on: lrn_forward(on, X, 0), "lrn_forward: size must be an int of at least 1, got 0"),
        (lambda on: lrn_forward(on, X, True), "size must be an int of at least 1, got True"),
        (lambda on: lrn_forward(on, X, 5, version="v4"), "version must be one of v1, v2, v3, got 'v4'"),
        (
            lambda on: lrn_forward(on, X, 3, version="v3"),
            "v3: C must be a multiple of 4 and size 5, got C = 8 and size = 3",
        ),
        (
            lambda on: lrn_forward(on, X.astype(float), 5, version="v3"),
            "v3: numbers must be float32 or float16 or bfloat16",
        ),
        (
            lambda on: lrn_forward(on, X.astype(np.float16), 5, beta=0.5, version="v3"),
            "v3: beta must be 0.75 for float16, got 0.5",
        ),
        (
            lambda on: lrn_forward(on, X.astype(np.float16), 5, version="v1"),
            "v1: numbers must be float32 or float64",
        ),
        (
            lambda on: lrn_backward(on, X.astype(int), X, 5),
            "lrn_backward: v1: numbers must be .*; v2: .*; v3: ",
        ),
        (lambda on: lrn_forward(on, X, 5, out=X[:1]), r"out must be float32 of shape \(2, 3, 4, 8\), got"),
        (lambda on: lrn_backward(on, X, X[:, :2].copy(), 5), r"H is 3 in x .* and 2 in g"),
        (lambda on: lrn_forward(on, X[:, ::2], 5), "x must be C-contiguous"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(launcher())
