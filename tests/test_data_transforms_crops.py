"""Sizes, crops and mirror images: held to Pillow on whole pictures, to plain loops, and to pictures made by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from minicnn import manual_seed
from minicnn.data import transforms
from minicnn.data.transforms import (
    CenterCrop,
    GoogLeNetCrops,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    TenCrop,
)
from minicnn.data.transforms import random_resized_crop as module

BILINEAR = Image.Resampling.BILINEAR


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, 3, height, width), np.uint8)


def image_of(pixels):
    """The Pillow image of (3, H, W)."""
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def pixels_of(image):
    return np.asarray(image).transpose(2, 0, 1)


def numbered(height, width, count=1):
    """Images whose every pixel has a value of its own, all alike."""
    return np.broadcast_to(
        np.arange(1.0, 1 + height * width).reshape(height, width), (count, 1, height, width)
    )


# Resize


def triangle(inner, outer):
    """The matrix (outer, inner) of a linear filter as wide as what one new pixel covers, by its definition."""
    scale = inner / outer
    weights = np.array(
        [
            [max(0, 1 - abs((j + 0.5) - (i + 0.5) * scale) / max(scale, 1)) for j in range(inner)]
            for i in range(outer)
        ]
    )
    return weights / weights.sum(1, keepdims=True)


@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    wanted=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_resize_is_a_filter_along_rows_and_columns(size, wanted):
    images = np.random.default_rng(0).random((2, 3, *size))
    out = Resize(wanted)(images)
    assert out.dtype == np.float64
    expected = triangle(size[0], wanted[0]) @ images @ triangle(size[1], wanted[1]).T
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(40, 30), (60, 100), (7, 5)])
def test_resized_bytes_are_pillow_s(size):
    images = np.concatenate([picture(50, 70, seed) for seed in range(2)])
    out = Resize(size)(images)
    assert out.dtype == np.uint8
    for made, image in zip(out, images, strict=True):
        np.testing.assert_array_equal(made, pixels_of(image_of(image).resize(size[::-1], BILINEAR)))


@pytest.mark.parametrize(
    ("given", "shorter", "expected"),
    [
        ((375, 500), 256, (256, 341)),  # 341.3 is rounded down, as in torchvision
        ((500, 375), 256, (341, 256)),
        ((300, 500), 256, (256, 426)),  # 426.7
        ((100, 100), 224, (224, 224)),
        ((256, 300), 256, (256, 300)),
    ],
)
def test_the_shorter_side_gets_the_length_and_the_proportions_stay(given, shorter, expected):
    assert Resize(shorter)(np.zeros((1, 1, *given), np.uint8)).shape == (1, 1, *expected)


# Crops


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    smaller=st.tuples(st.integers(0, 11), st.integers(0, 11)),
)
def test_the_centre_has_the_same_margins_on_both_sides(height, width, smaller):
    h, w = max(height - smaller[0], 1), max(width - smaller[1], 1)
    image = numbered(height, width)
    out = CenterCrop((h, w))(image)
    # Half pixels: of 1 and 5 down, of 3 and 7 up, to the even number.
    top, left = ((d // 2) + (d % 4 == 3) for d in (height - h, width - w))
    np.testing.assert_array_equal(out, image[:, :, top : top + h, left : left + w])


def test_ten_crops_of_a_picture_made_by_hand():
    picture = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], np.uint8)
    five = [
        [[1, 2], [5, 6]],
        [[3, 4], [7, 8]],
        [[5, 6], [9, 10]],
        [[7, 8], [11, 12]],
        [[2, 3], [6, 7]],
    ]
    mirror_images = [
        [[2, 1], [6, 5]],
        [[4, 3], [8, 7]],
        [[6, 5], [10, 9]],
        [[8, 7], [12, 11]],
        [[3, 2], [7, 6]],
    ]
    expected = np.array(five + mirror_images)[:, None]
    np.testing.assert_array_equal(TenCrop(2)(picture[None, None]), expected)
    two = np.stack([picture, picture + 100])[:, None]
    np.testing.assert_array_equal(TenCrop(2)(two), np.concatenate([expected, expected + 100]))


def test_ten_crops_may_be_oblong():
    assert TenCrop((2, 3))(np.zeros((2, 3, 4, 5), np.float32)).shape == (20, 3, 2, 3)


def by_pillow(image, size, sides):
    """The 144 crops of one image, cut from whole pictures."""
    found = []
    for side in sides:
        factor = side / min(image.size)
        scaled = image.resize((int(image.width * factor), int(image.height * factor)), BILINEAR)
        longest = max(scaled.size)
        for start in (0, round((longest - side) / 2), longest - side):
            left, top = (start, 0) if scaled.width == longest else (0, start)
            square = scaled.crop((left, top, left + side, top + side))
            end, middle = side - size, round((side - size) / 2)
            places = [(0, 0), (end, 0), (0, end), (end, end), (middle, middle)]
            six = [square.crop((x, y, x + size, y + size)) for x, y in places]
            six.append(square.resize((size, size), BILINEAR))
            found += six + [ImageOps.mirror(view) for view in six]
    return np.stack([pixels_of(view) for view in found])


@pytest.mark.parametrize("shape", [(40, 60), (64, 32), (33, 33)], ids=["wide", "upright", "square"])
def test_googlenet_s_crops_are_those_of_the_paper(shape):
    """At a sixteenth of the paper's sizes: crops of 14 from 16, 18, 20 and 22."""
    images = np.concatenate([picture(*shape, seed) for seed in range(2)])
    out = GoogLeNetCrops(14)(images)
    expected = [by_pillow(image_of(image), 14, (16, 18, 20, 22)) for image in images]
    assert [len(crops) for crops in expected] == [144, 144]
    np.testing.assert_array_equal(out, np.concatenate(expected))


def test_googlenet_s_scales():
    assert GoogLeNetCrops().sides == [256, 288, 320, 352]
    assert GoogLeNetCrops(299).sides == [342, 384, 427, 470]  # in proportion


def test_several_views_of_each_image_are_counted():
    for many in (TenCrop(8), GoogLeNetCrops(8)):
        for n in (0, 2):
            assert many(np.zeros((n, 1, 16, 16), np.uint8)).shape == (n * many.count, 1, 8, 8)


# Chance


def test_random_crops_are_parts_of_the_padded_image_from_everywhere():
    out = RandomCrop((3, 4), padding=2, fill=-1, generator=np.random.default_rng(0))(numbered(5, 6, 4000))
    padded = np.pad(numbered(5, 6)[0, 0], 2, constant_values=-1)
    parts = {
        padded[i : i + 3, j : j + 4].tobytes(): (i, j)
        for i in range(5 + 4 - 3 + 1)
        for j in range(6 + 4 - 4 + 1)
    }
    assert len(parts) == 49
    places = [parts[np.ascontiguousarray(image[0]).tobytes()] for image in out]
    times = [places.count(place) for place in parts.values()]
    assert 40 < min(times) <= max(times) < 130  # 82 on average


def test_half_of_the_images_are_mirrored():
    images = numbered(2, 3, 2000)
    out = RandomHorizontalFlip(generator=np.random.default_rng(0))(images)
    turned = (out == images[..., ::-1]).all((1, 2, 3))
    assert ((out == images).all((1, 2, 3)) ^ turned).all()
    assert 900 < turned.sum() < 1100
    np.testing.assert_array_equal(RandomHorizontalFlip(0)(images), images)
    np.testing.assert_array_equal(RandomHorizontalFlip(1)(images), images[..., ::-1])


def parts_of(monkeypatch, images, **options):
    """What RandomResizedCrop cuts out of the images before resizing, and what it returns."""
    parts = []

    def resized(part, size):
        parts.append(part)
        return transforms.Resize(size)(part)

    monkeypatch.setattr(module, "resized", resized)
    out = RandomResizedCrop(4, generator=np.random.default_rng(0), **options)(images)
    return parts, out


def test_random_resized_crops_have_areas_and_proportions_of_the_paper(monkeypatch):
    parts, out = parts_of(monkeypatch, numbered(200, 200, 1000))
    areas = np.array([part.shape[2] * part.shape[3] for part in parts]) / 200**2
    ratios = np.array([math.log(part.shape[3] / part.shape[2]) for part in parts])
    assert 0.07 < areas.min() < 0.1
    assert 0.95 < areas.max() <= 1
    small, middling = (((low <= areas) & (areas < low + 0.32)).sum() for low in (0.08, 0.4))
    assert 0.8 < small / middling < 1.25  # drawn evenly; larger ones only fit if they are square
    assert np.abs(ratios).max() < math.log(4 / 3) + 0.02
    assert ratios.min() < -0.27
    assert ratios.max() > 0.27
    assert abs(ratios.mean()) < 0.02
    # Where they are: the first pixel's number tells.
    tops, lefts = np.divmod(np.array([part[0, 0, 0, 0] for part in parts]) - 1, 200)
    for start, axis in ((tops, 2), (lefts, 3)):
        room = np.array([200 - part.shape[axis] for part in parts])
        placed = (start / np.maximum(room, 1))[room > 20]
        assert placed.min() < 0.01
        assert placed.max() == 1
        assert abs(placed.mean() - 0.5) < 0.03
    assert out.shape == (1000, 1, 4, 4)
    np.testing.assert_array_equal(out[7], Resize((4, 4))(parts[7])[0])


@pytest.mark.parametrize(("shape", "expected"), [((3, 300), (3, 4)), ((300, 3), (4, 3))])
def test_what_never_fits_is_the_middle(monkeypatch, shape, expected):
    (part,), _ = parts_of(monkeypatch, numbered(*shape), scale=(0.9, 1))
    assert part.shape[2:] == expected
    rows, columns = ((given - wanted) // 2 for given, wanted in zip(shape, expected, strict=True))
    assert part[0, 0, 0, 0] == 1 + rows * shape[1] + columns


@pytest.mark.parametrize(
    "make", [lambda **o: RandomCrop(6, 2, **o), RandomHorizontalFlip, lambda **o: RandomResizedCrop(4, **o)]
)
def test_the_seed_decides(make):
    images = np.random.default_rng(0).random((16, 1, 8, 8))
    first, again, other = (make(generator=np.random.default_rng(seed))(images) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    manual_seed(4)
    first = make()(images)
    manual_seed(4)
    np.testing.assert_array_equal(make()(images), first)


# Mistakes


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Resize(0), ValueError, "an int of at least 1 or a pair of such, got 0"),
        (lambda: Resize(2.5), ValueError, "got 2.5"),
        (lambda: Resize(True), ValueError, "got True"),
        (lambda: Resize("12"), ValueError, "got '12'"),
        (lambda: Resize((1, 2, 3)), ValueError, "got (1, 2, 3)"),
        (lambda: Resize(8)(np.zeros((1, 3, 0, 4), np.uint8)), ValueError, "must have pixels"),
        (lambda: Resize(300)(np.zeros((1, 1, 1, 9000), np.uint8)), ValueError, "become 300×2700000"),
        (lambda: CenterCrop((3, -1)), ValueError, "got (3, -1)"),
        (lambda: CenterCrop(5)(picture(4, 9)), ValueError, "at least 5×5, got shape (1, 3, 4, 9)"),
        (lambda: TenCrop(5)(picture(9, 4)), ValueError, "at least 5×5, got shape (1, 3, 9, 4)"),
        (lambda: TenCrop(5)([1]), TypeError, "images must be an array"),
        (lambda: GoogLeNetCrops((5, 4)), ValueError, "that of a square, got (5, 4)"),
        (lambda: GoogLeNetCrops(5)(np.zeros((3, 4, 4))), ValueError, "images must be a batch"),
        (
            lambda: RandomCrop(9, padding=2)(picture(4, 9)),
            ValueError,
            "at least 9×9, got shape (1, 3, 8, 13)",
        ),
        (lambda: RandomCrop(9, padding=-1), ValueError, "padding must be an int of at least 0, got -1"),
        (lambda: RandomCrop(9, generator=1), TypeError, "generator must be"),
        (lambda: RandomHorizontalFlip(1.5), ValueError, "p must be a number in [0, 1], got 1.5"),
        (lambda: RandomHorizontalFlip(math.nan), ValueError, "got nan"),
        (lambda: RandomHorizontalFlip(generator=1), TypeError, "generator must be"),
        (lambda: RandomResizedCrop(9, scale=(0, 1)), ValueError, "scale must be a range within (0, 1]"),
        (lambda: RandomResizedCrop(9, scale=(0.5, 0.4)), ValueError, "scale must be a range within (0, 1]"),
        (lambda: RandomResizedCrop(9, scale=0.5), ValueError, "scale must be two finite numbers"),
        (lambda: RandomResizedCrop(9, ratio=(-1, 1)), ValueError, "ratio must be a range of positive"),
        (lambda: RandomResizedCrop(9, generator=1), TypeError, "generator must be"),
        (lambda: RandomResizedCrop(9)(picture(0, 4)), ValueError, "must have pixels"),
    ],
)
def test_mistakes(make, error, message):
    with pytest.raises(error, match=r"^\w+: ") as raised:
        make()
    assert message in str(raised.value)


def test_the_repr_tells_all():
    assert repr(Resize(5)) == "Resize(5)"
    assert repr(Resize([5, 6])) == "Resize((5, 6))"
    assert repr(TenCrop(5)) == "TenCrop((5, 5))"
    assert repr(GoogLeNetCrops()) == "GoogLeNetCrops(224)"
    assert repr(RandomCrop(5, 2)) == "RandomCrop((5, 5), padding=2, fill=0)"
    assert repr(RandomHorizontalFlip()) == "RandomHorizontalFlip(p=0.5)"
    assert repr(RandomResizedCrop(5)).startswith("RandomResizedCrop((5, 5), scale=(0.08, 1.0), ratio=(0.75,")
