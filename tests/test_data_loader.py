"""Dataset and DataLoader: what they refuse, and that each image is seen once an epoch with its own label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import Tensor, manual_seed
from minicnn.data import DataLoader, Dataset


def numbered(n, dtype=np.uint8, channels=1):
    """Image i is filled with i; its label is i modulo 7."""
    images = np.broadcast_to(np.arange(n, dtype=dtype).reshape(-1, 1, 1, 1), (n, channels, 2, 3)).copy()
    return Dataset(images, np.arange(n) % 7, tuple("abcdefg"), "numbered")


IMAGES, LABELS = np.zeros((3, 1, 2, 2), np.uint8), np.array([0, 1, 0])


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        ([[1]], LABELS, TypeError, "got list"),
        (IMAGES.astype(np.int32), LABELS, TypeError, "got int32 of shape (3, 1, 2, 2)"),
        (IMAGES, [0, 1, 0], TypeError, "got list"),
        (IMAGES, LABELS.astype(np.uint8), TypeError, "got uint8 of shape (3,)"),
        (IMAGES[:, 0], LABELS, ValueError, "got shapes (3, 2, 2) and (3,)"),
        (IMAGES, LABELS[:, None], ValueError, "got shapes (3, 1, 2, 2) and (3, 1)"),
        (IMAGES[:2], LABELS, ValueError, "got shapes (2, 1, 2, 2) and (3,)"),
        (
            IMAGES,
            LABELS + 1,
            ValueError,
            "must be in [0, 2), for there are so many classes; they are in [1, 2]",
        ),
        (IMAGES, LABELS - 1, ValueError, "they are in [-1, 0]"),
    ],
)
def test_a_data_set_checks_its_parts(images, labels, error, message):
    with pytest.raises(error, match=r"^Dataset: ") as raised:
        Dataset(images, labels, ("a", "b"))
    assert message in str(raised.value)


def test_a_data_set_is_a_sequence_of_pairs():
    data = numbered(10)
    assert len(data) == 10
    assert [(int(image.max()), label) for image, label in data] == [(i, i % 7) for i in range(10)]
    assert data[-1][1] == 2
    with pytest.raises(IndexError):
        data[10]
    for index in (slice(0, 1), 1.0, [1]):
        with pytest.raises(TypeError):
            data[index]
    assert repr(data) == "Dataset('numbered', 10 images 1×2×3 uint8, 7 classes)"


@pytest.mark.parametrize("indices", [slice(2, 8, 3), [5, 2, 2], range(4, 6), np.array([9, -10]), []])
def test_subset(indices):
    data = numbered(10)
    expected = [*range(10)][indices] if isinstance(indices, slice) else [i % 10 for i in indices]
    part = data.subset(indices)
    assert [int(image.max()) for image, _ in part] == expected
    assert part.labels.tolist() == [i % 7 for i in expected]
    assert (part.classes, part.name) == (data.classes, data.name)


@pytest.mark.parametrize(
    ("indices", "error"),
    [
        ([10], IndexError),
        ([-11], IndexError),
        ([0.0], TypeError),
        ([[1]], TypeError),
        ([True], TypeError),
        (3, TypeError),
    ],
)
def test_subset_refuses(indices, error):
    with pytest.raises(error, match=r"^subset: indices must be "):
        numbered(10).subset(indices)


@given(
    n=st.integers(0, 20),
    batch_size=st.integers(1, 25),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 9),
)
def test_an_epoch_shows_every_image_once_with_its_label(n, batch_size, shuffle, drop_last, seed):
    loader = DataLoader(
        numbered(n, np.float32),
        batch_size,
        shuffle,
        drop_last=drop_last,
        transform=lambda images: images,
        generator=np.random.default_rng(seed),
    )
    batches = list(loader)
    assert len(batches) == len(loader) == (n // batch_size if drop_last else -(-n // batch_size))
    assert all(len(images) == batch_size for images, _ in batches[: n // batch_size])
    seen = [int(i) for images, _ in batches for i in images.numpy()[:, 0, 0, 0]]
    assert len(set(seen)) == len(seen) == (len(batches) * batch_size if drop_last else n)
    assert [int(label) for _, labels in batches for label in labels.numpy()] == [i % 7 for i in seen]
    if not shuffle:
        assert seen == list(range(len(seen)))


def seen(loader):
    return [int(i) for images, _ in loader for i in images.numpy()[:, 0, 0, 0]]


def as_is(images):
    return images


def test_the_order_is_the_generator_s_and_new_each_epoch():
    data = numbered(50, np.float32)
    generator = np.random.default_rng(3)
    loader = DataLoader(data, 8, shuffle=True, transform=as_is, generator=np.random.default_rng(3))
    first, second = seen(loader), seen(loader)
    assert first == generator.permutation(50).tolist()
    assert second == generator.permutation(50).tolist()
    assert first != second


def test_without_a_generator_the_order_is_the_default_one_s():
    loader = DataLoader(numbered(50, np.float32), 8, shuffle=True, transform=as_is)
    manual_seed(5)
    first = seen(loader)
    assert first == np.random.default_rng(5).permutation(50).tolist()
    assert seen(loader) != first
    manual_seed(5)  # after the loader was made, and still heeded
    assert seen(loader) == first


def test_an_order_not_shuffled_draws_nothing():
    generator = np.random.default_rng(0)
    list(DataLoader(numbered(5), generator=generator))
    assert generator.random() == np.random.default_rng(0).random()


def test_batches_are_tensors_float32_between_0_and_1_and_int64():
    data = Dataset(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1), np.array([1, 0]), ("a", "b"))
    ((images, labels),) = DataLoader(data, batch_size=2)
    assert isinstance(images, Tensor)
    assert isinstance(labels, Tensor)
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    assert images.numpy().ravel().tolist() == [0, 1]
    assert labels.numpy().tolist() == [1, 0]
    assert not images.requires_grad


def test_channels_last_images_stay_so():
    images = np.zeros((4, 5, 6, 3), np.uint8).transpose(0, 3, 1, 2)
    loader = DataLoader(Dataset(images, np.zeros(4, np.int64), ("a",)), batch_size=3, shuffle=True)
    batch, _ = next(iter(loader))
    assert batch.shape == (3, 3, 5, 6)
    assert batch.data.strides[1] == batch.data.itemsize


def test_a_batch_is_transformed_once_and_the_data_stay():
    calls = []

    def halve(images):
        calls.append(len(images))
        images = images.astype(np.float32)
        images /= 2
        return images

    data = numbered(5)
    before = data.images.copy()
    assert [float(images.data.max()) for images, _ in DataLoader(data, 2, transform=halve)] == [0.5, 1.5, 2]
    assert calls == [2, 2, 1]
    np.testing.assert_array_equal(data.images, before)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dataset": [1, 2]}, TypeError, "dataset must be a Dataset, got list"),
        ({"batch_size": 0}, ValueError, "batch_size must be an int of at least 1, got 0"),
        ({"batch_size": -3}, ValueError, "got -3"),
        ({"batch_size": 2.0}, ValueError, "got 2.0"),
        ({"batch_size": True}, ValueError, "got True"),
        ({"transform": 3}, TypeError, "transform must be callable, got 3"),
        ({"generator": 7}, TypeError, "generator must be a numpy.random.Generator, got 7"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=r"^DataLoader: ") as raised:
        DataLoader(**{"dataset": numbered(3), **arguments})
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "transform", [as_is, lambda images: images[:1] / 2, lambda images: images[0] / 2, lambda images: None]
)
def test_a_transform_that_returns_no_batch_of_floats(transform):
    with pytest.raises((TypeError, ValueError), match=r"^DataLoader: .*transform"):
        next(iter(DataLoader(numbered(3), 3, transform=transform)))
