"""The cross entropy's kernels, run by the emulator: every version against the CPU backend in float64."""

import ml_dtypes
import numpy as np
import pytest
from emulated import MODES, launcher, needs_compiler
from ladder import TOLERANCE, close, in_mode, in_turn, launches, same_bits, wide

from minicnn import Tensor
from minicnn import functional as F
from minicnn.backend.ladder.softmax_cross_entropy import LADDER, softmax_cross_entropy

pytestmark = needs_compiler

VERSION = pytest.mark.parametrize("version", LADDER["softmax_cross_entropy"])

# Samples and classes: one, primes, a warp ± 1, whole and broken vectors, more than a block's threads and vectors.
SIZES = [
    (1, 1),
    (1, 2),
    (2, 31),
    (3, 32),
    (7, 33),
    (257, 3),
    (33, 10),
    (5, 257),
    (2, 1024),
    (3, 1028),
    (2, 1031),
]


def on_the_cpu(z, target, g=None, **options):
    """Loss and gradient in float64."""
    logits = Tensor(z.astype(np.float64), requires_grad=True)
    loss = F.cross_entropy(logits, target, **options)
    loss.backward(g if g is None else g.astype(np.float64))
    return loss.data, logits.grad


def case(size, dtype=np.float32, labels=np.int64, seed=0):
    """Logits, labels of which some are to be ignored, and class weights of which some are 0."""
    rng = np.random.default_rng(seed)
    z = (3 * rng.standard_normal(size)).astype(dtype)
    target = rng.integers(size[1], size=size[0]).astype(labels)
    target[3::5] = -100
    weight = rng.uniform(0.5, 2, size[1]).astype(np.float64 if dtype == np.float64 else np.float32)
    weight[2::7] = 0
    return z, target, weight


@VERSION
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"weight": True, "label_smoothing": 0.25}], ids=str)
def test_mean(version, size, options):
    z, target, weight = case(size)
    options = {**options, **({"weight": weight} if options else {})}
    loss, dz = softmax_cross_entropy(in_turn(sum(size)), z, target, version=version, **options)
    expected, gradient = on_the_cpu(z, target, **options)
    assert loss.shape == ()
    close(loss, expected)
    close(dz, gradient, least=1 / size[0])


@VERSION
@pytest.mark.parametrize("size", [(1, 1), (33, 10), (7, 33), (3, 1028)])
def test_sum_and_single_losses(version, size):
    on = in_turn(sum(size))
    z, target, weight = case(size)
    options = {"weight": weight, "label_smoothing": 0.1, "ignore_index": 0}
    target[target == -100] = 0
    loss, dz = softmax_cross_entropy(on, z, target, reduction="sum", version=version, **options)
    for found, expected in zip((loss, dz), on_the_cpu(z, target, reduction="sum", **options), strict=True):
        close(found, expected)
    g = np.random.default_rng(1).standard_normal(size[0]).astype(np.float32)
    loss, dz = softmax_cross_entropy(on, z, target, reduction="none", g=g, version=version, **options)
    for found, expected in zip(
        (loss, dz), on_the_cpu(z, target, g, reduction="none", **options), strict=True
    ):
        close(found, expected)


@VERSION
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_mode(version, mode):
    z, target, weight = case((11, 36))
    options = {"weight": weight, "label_smoothing": 0.25}
    found = softmax_cross_entropy(in_mode(mode), z, target, version=version, **options)
    for one, other in zip(found, on_the_cpu(z, target, **options), strict=True):
        close(one, other)


@VERSION
def test_the_same_bits_in_every_order(version):
    z, target, weight = case((37, 36))
    same_bits(softmax_cross_entropy(in_turn(i), z, target, weight=weight, version=version) for i in range(3))


@VERSION
def test_large_logits_do_not_overflow(version):
    """exp(10000) does; and a maximum met late must shrink the sum found so far, even to nothing."""
    z = np.zeros((4, 44), np.float32)
    z[0] = np.linspace(-10_000, 10_000, 44)
    z[1] = np.linspace(10_000, -10_000, 44)
    z[2] = 10_000
    z[3] = -10_000 + np.arange(44) % 7
    target = np.array([40, 1, 17, 5])
    for smoothing in (0.0, 0.1):
        options = {"reduction": "none", "label_smoothing": smoothing}
        loss, dz = softmax_cross_entropy(launcher(), z, target, version=version, **options)
        expected, gradient = on_the_cpu(z, target, np.ones(4), **options)
        close(loss, expected)
        close(dz[2:], gradient[2:], 2e-3)  # 10000 has 3 digits after the point, and so has ln p
        close(dz[:2], gradient[:2])


@VERSION
def test_the_digits_that_large_logits_share_cost_none(version):
    # To max + ln Σ the logarithm would be rounded: to a multiple of 2⁻⁷ here.
    z = (np.random.default_rng(0).integers(-16, 16, (5, 1028)) / 8 + 2**16).astype(np.float32)
    target = np.arange(5)
    loss, dz = softmax_cross_entropy(launcher(), z, target, version=version)
    expected, gradient = on_the_cpu(z, target)
    close(loss, expected)
    close(dz, gradient)


@VERSION
def test_the_largest_logit_is_found_wherever_it_is(version):
    """If it were not, exp would overflow; one row for each place in a vector, and in some more."""
    z = np.zeros((20, 20), np.float32)
    np.fill_diagonal(z, 1000)
    loss, _ = softmax_cross_entropy(launcher(), z, np.arange(20), reduction="none", version=version)
    np.testing.assert_array_equal(loss, 0)


@VERSION
def test_masked_classes(version):
    """−∞ is a class that cannot be: it has no share, and costs nothing unless it is wanted."""
    z, target, weight = case((6, 36))
    z[:, 4:30] = -np.inf
    z[5] = -np.inf
    target[:] = 1, 2, 3, 10, -100, 0
    weight[4:30] = 0
    for options in ({}, {"weight": weight, "label_smoothing": 0.2}):
        with np.errstate(all="ignore"):
            expected, gradient = on_the_cpu(z, target, np.ones(6), reduction="none", **options)
        options["reduction"] = "none"
        loss, dz = softmax_cross_entropy(launcher(), z, target, version=version, **options)
        close(loss, expected)
        close(dz, gradient)


@VERSION
def test_infinities_and_nans_stay_in_their_row(version):
    z, target, _ = case((5, 36))
    target[:] = np.arange(5)
    z[1, 20], z[2, 35], z[3, 0] = np.inf, np.nan, np.nan
    with np.errstate(all="ignore"):
        expected, gradient = on_the_cpu(z, target, np.ones(5), reduction="none")
    loss, dz = softmax_cross_entropy(launcher(), z, target, reduction="none", version=version)
    close(loss, expected)
    close(dz, gradient)


@VERSION
@pytest.mark.parametrize("wrong", [-1, 36, 2**40, -(2**63)])
def test_a_label_that_is_no_class_is_seen_in_its_row_and_the_mean(version, wrong):
    z, target, weight = case((6, 36))
    target[:] = np.arange(6)
    options = {"weight": weight, "label_smoothing": 0.2, "version": version}
    right = softmax_cross_entropy(launcher(), z, target, reduction="none", **options)
    target[4] = wrong
    loss, dz = softmax_cross_entropy(launcher(), z, target, reduction="none", **options)
    assert np.isnan(loss[4])
    assert np.isnan(dz[4]).all()
    for found, expected in zip((loss, dz), right, strict=True):
        np.testing.assert_array_equal(np.delete(found, 4, 0), np.delete(expected, 4, 0))
    mean, dz = softmax_cross_entropy(launcher(), z, target, **options)
    assert np.isnan(mean)
    assert np.isnan(dz).all()


@VERSION
def test_nothing_but_labels_to_ignore_has_no_mean(version):
    z, target, _ = case((3, 36))
    target[:] = -100
    loss, _ = softmax_cross_entropy(launcher(), z, target, version=version)
    assert np.isnan(loss)
    loss, dz = softmax_cross_entropy(launcher(), z, target, reduction="sum", version=version)
    assert loss == 0
    np.testing.assert_array_equal(dz, 0)


@pytest.mark.parametrize(
    ("version", "dtype"),
    [(version, dtype) for version in ("v1", "v2", "v3") for dtype in (np.float16, ml_dtypes.bfloat16)]
    + [("v1", np.float64), ("v2", np.float64)],
)
def test_other_dtypes(version, dtype):
    z, target, weight = case((13, 48), dtype)
    loss, dz = softmax_cross_entropy(launcher(), z, target, weight=weight, version=version)
    expected, gradient = on_the_cpu(z, target, weight=weight)
    assert dz.dtype == dtype
    close(loss, expected)
    close(dz, gradient, TOLERANCE[np.dtype(dtype)])


@VERSION
@pytest.mark.parametrize("classes", [36, 37])
def test_32_bit_labels_and_64_bit_indices(version, classes):
    z, target, _ = case((13, classes), labels=np.int32)
    expected = on_the_cpu(z, target)
    for on, labels in ((launcher(), target), (wide(launcher()), target.astype(np.int64))):
        for one, other in zip(softmax_cross_entropy(on, z, labels, version=version), expected, strict=True):
            close(one, other)


@VERSION
def test_the_loss_alone_and_a_place_for_the_gradient(version):
    z, target, _ = case((5, 36))
    expected, gradient = on_the_cpu(z, target)
    loss, dz = softmax_cross_entropy(launcher(), z, target, gradient=False, version=version)
    assert dz is None
    close(loss, expected)
    out = np.empty_like(z)
    assert softmax_cross_entropy(launcher(), z, target, out=out, version=version)[1] is out
    close(out, gradient)


def test_the_fastest_version_is_taken_that_can_do_the_case():
    for dtype, classes in [(np.float32, 600), (np.float32, 601), (np.float16, 601), (np.float64, 600)]:
        z, target, _ = case((2, classes), dtype)
        loss, dz = softmax_cross_entropy(launcher(), z, target)
        expected, gradient = on_the_cpu(z, target)
        close(loss, expected)
        close(dz, gradient)


@VERSION
def test_what_moves_as_the_header_counts_it(version):
    """z three times and dz; from v2 on z twice and dz, and a warp's access is to neighbours."""
    z, target, _ = case((32, 128))
    _, launch, _ = launches(lambda on: softmax_cross_entropy(on, z, target, version=version))
    assert launch.kernel == f"softmax_cross_entropy_{version}"
    assert launch.bytes(0, 6) == (4 if version == "v1" else 3) * z.nbytes
    sectors = {len({at // 8 for at in access.offsets if at is not None}) for access in launch.of(0)}
    assert sectors == {{"v1": 32, "v2": 4, "v3": 16}[version]}


Z, TARGET = np.zeros((3, 5), np.float32), np.zeros(3, np.int64)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"reduction": "max"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'max'"),
        ({"label_smoothing": 1.5}, ValueError, r"label_smoothing must be in \[0, 1\], got 1.5"),
        ({"z": Z[0]}, ValueError, r"z must be \(N, C\) with at least one class, got \(5,\)"),
        ({"z": Z[:, :0]}, ValueError, r"at least one class, got \(3, 0\)"),
        ({"g": np.ones(3, np.float32)}, ValueError, "g is for reduction='none', got reduction='mean'"),
        ({"target": TARGET[:2]}, ValueError, "N is 2 .* and 3"),
        ({"weight": np.ones(4, np.float32)}, ValueError, "C is 4 .* and 5"),
        ({"target": TARGET.astype(np.float32)}, ValueError, "not made for <float, float, int>"),
        ({"weight": np.ones(5)}, (TypeError, ValueError), "float64|double"),
        ({"z": Z.astype(float), "version": "v3"}, ValueError, "v3: takes float32.*got float64"),
        ({"z": Z.astype(np.float16), "version": "v3"}, ValueError, "multiple of 8 classes only, got 5"),
        ({"out": Z[:2]}, ValueError, r"out must be .* of shape \(3, 5\), got .* \(2, 5\)"),
    ],
)
def test_what_is_refused(options, error, message):
    arguments = {"z": Z, "target": TARGET, **options}
    with pytest.raises(error, match=message):
        softmax_cross_entropy(launcher(), arguments.pop("z"), arguments.pop("target"), **arguments)
