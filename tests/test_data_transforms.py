"""Transforms, held to their definitions; affine maps to plain loops over pixels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import manual_seed
from minicnn.data import transforms
from minicnn.data.transforms import (
    CenterCrop,
    Compose,
    Normalize,
    Pad,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToFloat,
)

ALL = [
    ToFloat(),
    Normalize(0.5, 2),
    Pad(1),
    RandomAffine(10, (0.1, 0.1)),
    Resize(5),
    CenterCrop(1),
    RandomCrop(3, padding=1),
    RandomHorizontalFlip(),
    RandomResizedCrop(4),
    Compose([Pad(1), Normalize(0, 1)]),
]


def floats(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def test_to_float():
    everything = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    out = ToFloat()(everything)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out.ravel(), np.arange(256, dtype=np.float32) / np.float32(255))
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(ToFloat()(floats(1, 1, 2, 2).astype(dtype)), floats(1, 1, 2, 2))
        assert ToFloat()(floats(1, 1, 2, 2).astype(dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalize(dtype):
    images = floats(2, 3, 4, 5).astype(dtype)
    out = Normalize([0.1, 0.2, 0.3], [1, 2, 4])(images)
    assert out.dtype == dtype
    for c in range(3):
        np.testing.assert_allclose(out[:, c], (images[:, c] - 0.1 * (c + 1)) / 2**c, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(Normalize(0.5, 0.25)(images), 4 * images - 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(Normalize(0.5, [1, 2, 4])(images)[:, 2], (images[:, 2] - 0.5) / 4, rtol=1e-6)


@given(padding=st.integers(0, 4), fill=st.integers(0, 255), channels=st.integers(1, 3))
def test_pad(padding, fill, channels):
    images = np.random.default_rng(0).integers(0, 256, (2, channels, 3, 4), np.uint8)
    expected = np.pad(images, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=fill)
    out = Pad(padding, fill)(images)
    np.testing.assert_array_equal(out, expected)
    assert out.dtype == np.uint8


def test_compose_keeps_the_order():
    images = floats(1, 1, 2, 2)
    out = Compose([Pad(1), Normalize(0.5, 1)])(images)
    assert out[0, 0, 0, 0] == -0.5  # padded first, then shifted
    assert Compose([])(images) is images


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_the_input_stays_as_it_was(transform):
    images = floats(3, 1, 28, 28)
    before = images.copy()
    transform(images)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("shape", [(0, 1, 28, 28), (1, 1, 1, 1), (2, 3, 5, 4)])
def test_any_shape(transform, shape):
    out = transform(floats(*shape))
    assert out.shape[:2] == shape[:2]
    assert np.isfinite(out).all()


@pytest.mark.parametrize("transform", ALL[:-1], ids=repr)
@pytest.mark.parametrize(
    ("images", "error"),
    [
        ([[[[1.0]]]], TypeError),
        (np.zeros((1, 1, 2, 2), np.int64), TypeError),
        (np.zeros((1, 2, 2), np.float32), ValueError),
        (np.float32(1), TypeError),
    ],
)
def test_what_is_no_batch_is_refused(transform, images, error):
    with pytest.raises(error, match=rf"^{type(transform).__name__}: images must be "):
        transform(images)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Normalize(0, 0), ValueError, "std must be greater than 0"),
        (lambda: Normalize(0, [1, -1]), ValueError, "std must be greater than 0"),
        (lambda: Normalize(math.nan, 1), ValueError, "mean must be a finite number"),
        (lambda: Normalize([[1]], 1), ValueError, "mean must be a finite number, or one a channel"),
        (
            lambda: Normalize([1, 2], 1)(floats(1, 3, 2, 2)),
            ValueError,
            "got 2 for images of shape (1, 3, 2, 2)",
        ),
        (lambda: Normalize(0, 1)(np.zeros((1, 1, 2, 2), np.uint8)), TypeError, "got uint8; ToFloat()"),
        (lambda: Pad(-1), ValueError, "got -1"),
        (lambda: Pad(1.5), ValueError, "got 1.5"),
        (lambda: Pad(True), ValueError, "got True"),
        (lambda: Compose([ToFloat(), None]), TypeError, "got None"),
        (lambda: RandomAffine("10"), ValueError, "degrees must be two finite numbers"),
        (lambda: RandomAffine(None), ValueError, "degrees must be two finite numbers"),
        (lambda: RandomAffine((1, 2, 3)), ValueError, "degrees must be two finite numbers"),
        (lambda: RandomAffine(math.inf), ValueError, "degrees must be two finite numbers"),
        (lambda: RandomAffine((5, -5)), ValueError, "low before high"),
        (lambda: RandomAffine(-5), ValueError, "low before high"),
        (lambda: RandomAffine(0, 0.1), ValueError, "translate must be two finite numbers"),
        (lambda: RandomAffine(0, (0.1, 1.1)), ValueError, "translate must be fractions in [0, 1]"),
        (lambda: RandomAffine(0, (-0.1, 0.1)), ValueError, "translate must be fractions in [0, 1]"),
        (lambda: RandomAffine(0, scale=(0, 1)), ValueError, "scale must be greater than 0"),
        (lambda: RandomAffine(0, scale=(2, 1)), ValueError, "low before high"),
        (lambda: RandomAffine(0, shear=90), ValueError, "shear must be between"),
        (lambda: RandomAffine(0, shear=(0, 1, -95, 1)), ValueError, "shear must be between"),
        (lambda: RandomAffine(0, shear=(0, 1, 2)), ValueError, "shear must be two finite numbers"),
        (lambda: RandomAffine(0, generator=3), TypeError, "generator must be"),
    ],
)
def test_wrong_parameters(make, error, message):
    with pytest.raises(error, match=r"^\w+: ") as raised:
        make()
    assert message in str(raised.value)


def test_the_repr_tells_all():
    assert repr(Compose([Pad(2), ToFloat()])) == "Compose([Pad(2, fill=0), ToFloat()])"
    assert repr(Normalize([0.5, 0.25], 2)) == "Normalize(mean=[0.5 , 0.25], std=2.)"
    assert repr(RandomAffine(10, (0.1, 0), (0.9, 1.1), (0, 5), fill=1)) == (
        "RandomAffine(degrees=(-10.0, 10.0), translate=(0.1, 0.0), scale=(0.9, 1.1), "
        "shear=(0.0, 5.0, 0.0, 0.0), fill=1)"
    )
    assert set(transforms.__all__) >= {"Compose", "Normalize", "Pad", "RandomAffine", "ToFloat"}


# RandomAffine: one value ranges make it certain what is drawn.


def affine(degrees=0.0, scale=1.0, shear_x=0.0, shear_y=0.0, fill=0.0):
    return RandomAffine(
        (degrees, degrees), scale=(scale, scale), shear=(shear_x, shear_x, shear_y, shear_y), fill=fill
    )


def by_loops(image, degrees, scale, shear_x, shear_y, fill):
    """One image (H, W), pixel by pixel: shear along x, then along y, then turn, then scale, all about the centre."""
    height, width = image.shape
    out = np.zeros((height, width))
    a, sx, sy = (math.radians(angle) for angle in (degrees, shear_x, shear_y))
    for row in range(height):
        for column in range(width):
            # Backwards: undo the scaling, the turn, the shear along y, the shear along x.
            x, y = (column - (width - 1) / 2) / scale, (row - (height - 1) / 2) / scale
            x, y = math.cos(a) * x + math.sin(a) * y, -math.sin(a) * x + math.cos(a) * y
            y += math.tan(sy) * x
            x += math.tan(sx) * y
            x, y = x + (width - 1) / 2, y + (height - 1) / 2
            left, top = math.floor(x), math.floor(y)
            for i, j in [(top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)]:
                value = image[i, j] if 0 <= i < height and 0 <= j < width else fill
                out[row, column] += value * (1 - abs(x - j)) * (1 - abs(y - i))
    return out


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    degrees=st.floats(-180, 180),
    scale=st.floats(0.3, 3),
    shear_x=st.floats(-60, 60),
    shear_y=st.floats(-60, 60),
    fill=st.sampled_from([0.0, 0.5]),
)
def test_affine_maps_are_what_loops_make_them(size, degrees, scale, shear_x, shear_y, fill):
    image = np.random.default_rng(0).random(size)
    out = affine(degrees, scale, shear_x, shear_y, fill)(image[None, None])
    assert out.dtype == np.float64
    np.testing.assert_allclose(out[0, 0], by_loops(image, degrees, scale, shear_x, shear_y, fill), atol=1e-9)


def test_positive_angles_turn_clockwise():
    image = floats(2, 3, 9, 9)
    np.testing.assert_allclose(affine(90)(image), np.rot90(image, k=-1, axes=(2, 3)), atol=1e-5)


class Certain(np.random.Generator):
    """Draws the upper end of every range."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def uniform(self, low, high, size):
        return np.broadcast_to(high, size)


def test_shifts_are_fractions_of_width_and_height_to_the_right_and_down():
    image = floats(1, 1, 10, 20)
    out = RandomAffine(0, translate=(0.25, 0.2), generator=Certain())(image)
    expected = np.zeros_like(image)
    expected[:, :, 2:, 5:] = image[:, :, :-2, :-5]
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_amounts_cover_their_ranges_both_ways():
    """Shifts of a single bright pixel, seen as its centre of mass."""
    dot = np.zeros((600, 1, 41, 41))
    dot[:, :, 20, 20] = 1
    out = RandomAffine(0, translate=(0.25, 0.1), generator=np.random.default_rng(0))(dot)
    for axis, reach in ((3, 0.25 * 41), (2, 0.1 * 41)):
        centre = (out.sum(5 - axis) * np.arange(41)).sum((1, 2)) / out.sum((1, 2, 3)) - 20
        assert -reach <= centre.min() < -0.98 * reach
        assert 0.98 * reach < centre.max() <= reach
        assert abs(centre.mean()) < 0.05 * reach


def test_doing_nothing_changes_nothing():
    for dtype in (np.uint8, np.float32, np.float64):
        images = (255 * floats(4, 3, 6, 5)).astype(dtype)
        out = RandomAffine(0, generator=np.random.default_rng(0))(images)
        np.testing.assert_array_equal(out, images)
        assert out.dtype == dtype


def test_bytes_are_rounded():
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 9, 9), np.uint8)
    distort = affine(17, 0.8, fill=200)
    np.testing.assert_array_equal(
        distort(images), np.rint(distort(images.astype(np.float32))).astype(np.uint8)
    )


def test_every_image_gets_amounts_of_its_own_the_same_for_its_channels():
    image = np.broadcast_to(floats(1, 1, 8, 8), (2, 3, 8, 8))
    out = RandomAffine(45, generator=np.random.default_rng(0))(image)
    np.testing.assert_array_equal(out[:, 0], out[:, 2])
    assert np.abs(out[0] - out[1]).max() > 0.1


def test_the_seed_decides():
    images = floats(4, 1, 8, 8)
    distorts = [
        RandomAffine(20, (0.1, 0.1), (0.8, 1.2), 10, generator=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    first, again, other = (distort(images) for distort in distorts)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert np.abs(distorts[0](images) - first).max() > 0.01  # a second batch is distorted anew

    distort = RandomAffine(20)
    manual_seed(4)
    first = distort(images)
    manual_seed(4)
    np.testing.assert_array_equal(distort(images), first)
