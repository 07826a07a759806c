"""Loading by name and from folders: IDX sets, CIFAR's binary form, and where named sets are looked for."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from minicnn.data import load, loading
from minicnn.data.catalogue import SOURCES

TRAIN, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def bytes_of(*shape):
    return np.random.default_rng(len(shape)).integers(0, 256, shape, np.uint8)


@pytest.fixture
def arrays():
    return {
        TRAIN: bytes_of(5, 6, 7),
        TRAIN_LABELS: np.array([0, 3, 1, 2, 0], np.uint8),
        TEST: bytes_of(2, 6, 7),
        TEST_LABELS: np.array([4, 0], np.uint8),
    }


def write(folder, arrays, zipped=()):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        if name in zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return folder


# Folders with IDX files


@pytest.mark.parametrize("zipped", [(), (TRAIN, TRAIN_LABELS, TEST, TEST_LABELS), (TEST, TRAIN_LABELS)])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_of_idx_files(tmp_path, arrays, zipped, kind):
    train, test = load(kind(write(tmp_path / "mine", arrays, zipped)))
    np.testing.assert_array_equal(train.images[:, 0], arrays[TRAIN])
    np.testing.assert_array_equal(train.labels, arrays[TRAIN_LABELS])
    np.testing.assert_array_equal(test.images[:, 0], arrays[TEST])
    np.testing.assert_array_equal(test.labels, arrays[TEST_LABELS])
    assert train.images.shape == (5, 1, 6, 7)
    assert train.labels.dtype == np.int64
    assert train.classes == test.classes == ("0", "1", "2", "3", "4")  # 4 is in the test part only
    assert train.name == test.name == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({TRAIN: None}, "must hold train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
        ({TEST_LABELS: None}, "must hold t10k-labels-idx1-ubyte or"),
        ({TRAIN: np.zeros((5, 42), np.uint8)}, "uint8 with 3 axes, it holds uint8 of shape (5, 42)"),
        ({TEST_LABELS: np.zeros((2, 1), np.uint8)}, "must hold uint8 with 1 axes"),
        ({TRAIN: bytes_of(4, 6, 7)}, "got shapes (4, 1, 6, 7) and (5,)"),
        ({TEST: bytes_of(2, 7, 6)}, "must have one size"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, arrays, change, message):
    write(tmp_path, {name: array for name, array in (arrays | change).items() if array is not None})
    with pytest.raises(ValueError, match=r"^(load|Dataset): ") as error:
        load(tmp_path)
    assert message in str(error.value)


def test_images_and_labels_swapped_are_noticed(tmp_path, arrays):
    arrays[TRAIN], arrays[TRAIN_LABELS] = arrays[TRAIN_LABELS], arrays[TRAIN]
    with pytest.raises(ValueError, match="must hold uint8 with 3 axes"):
        load(write(tmp_path, arrays))


def test_elements_of_another_type_are_an_error(tmp_path, arrays):
    write(tmp_path, arrays)
    (tmp_path / TRAIN_LABELS).write_bytes(bytes([0, 0, 0x0C, 1]) + struct.pack(">I5i", 5, 0, 3, 1, 2, 0))
    with pytest.raises(ValueError, match="must hold uint8 with 1 axes, it holds int32"):
        load(tmp_path)


# CIFAR


def cifar_files(name):
    """Two tiny sets in CIFAR's form, with pixel values that tell where they belong."""
    if name == "cifar10":
        head, parts = [[i % 10] for i in range(12)], [f"data_batch_{i}.bin" for i in range(1, 6)]
        test, names = "test_batch.bin", ("batches.meta.txt", "\n".join(f"c{i}" for i in range(10)) + "\n\n")
    else:
        head, parts = [[19, (i * 9) % 100] for i in range(12)], ["train.bin"]
        test, names = "test.bin", ("fine_label_names.txt", "\n".join(f"c{i}" for i in range(100)) + "\n")
    records = [bytes(label) + bytes_of(3072).tobytes()[i:] + bytes(range(i)) for i, label in enumerate(head)]
    files = {part: b"".join(records[i :: len(parts)][:2]) for i, part in enumerate(parts)}
    return files | {test: records[10] + records[11], names[0]: names[1].encode()}


def archive(folder, name, files, mode="w:gz"):
    folder.mkdir(exist_ok=True)
    path = folder / SOURCES[name].layout.archive
    with tarfile.open(path, mode) as tar:
        for file, content in files.items():
            member = tarfile.TarInfo(f"some-folder/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(tmp_path, name, packed):
    files = cifar_files(name)
    if packed:
        archive(tmp_path, name, files)
    else:
        for file, content in files.items():
            (tmp_path / file).write_bytes(content)
    train, test = load(tmp_path)
    labels = 1 if name == "cifar10" else 2
    raw = b"".join(content for file, content in files.items() if "batch_" in file or file == "train.bin")
    assert len(train) == len(raw) // (labels + 3072)
    for i, (image, label) in enumerate(train):
        record = raw[i * (labels + 3072) : (i + 1) * (labels + 3072)]
        assert label == record[labels - 1]
        for channel, y, x in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (2, 31, 31)]:
            assert image[channel, y, x] == record[labels + 1024 * channel + 32 * y + x]
    assert train.classes == tuple(f"c{i}" for i in range(10 if labels == 1 else 100))
    assert len(test) == 2
    assert train.images.transpose(0, 2, 3, 1).flags.c_contiguous


def test_a_damaged_archive(tmp_path):
    path = archive(tmp_path, "cifar10", cifar_files("cifar10"))
    whole = path.read_bytes()
    for content in (
        whole[: len(whole) // 2],
        whole[:40],
        whole[:10] + b"\xff" * 40,
        b"nothing of the kind",
        b"",
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"load: .*binary.tar.gz (is a damaged archive|must hold)"):
            load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("data_batch_2.bin", None, "must hold data_batch_2.bin"),
        ("batches.meta.txt", None, "must hold batches.meta.txt"),
        ("data_batch_2.bin", bytes(3072), "records of 3,073 bytes, it is 3,072 bytes long"),
        ("test_batch.bin", b"", "records of 3,073 bytes, it is 0 bytes long"),
        ("data_batch_5.bin", b"\x0a" + bytes(3072), "labels of"),
    ],
)
def test_an_archive_with_the_wrong_contents(tmp_path, file, content, message):
    files = cifar_files("cifar10") | {file: content}
    archive(tmp_path, "cifar10", {name: content for name, content in files.items() if content is not None})
    with pytest.raises(ValueError, match=r"^(load|Dataset): ") as error:
        load(tmp_path)
    assert message in str(error.value)


# Named sets


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data set is on this machine, and none can be downloaded."""
    monkeypatch.delenv("MINICNN_DATA", raising=False)
    monkeypatch.setattr(loading, "_DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(loading, "download", lambda *arguments: pytest.fail(f"download{arguments}"))


def test_the_own_folder_comes_before_debian_s(tmp_path, monkeypatch, nowhere, arrays):
    (tmp_path / "debian").mkdir()
    write(tmp_path / "debian" / "mnist", arrays)
    assert len(load("mnist")[0]) == 5

    (tmp_path / "own").mkdir()
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "own"))
    assert len(load("mnist")[0]) == 5  # nothing in there yet
    nine = {TRAIN: bytes_of(1, 6, 7), TRAIN_LABELS: np.array([9], np.uint8)}
    write(tmp_path / "own" / "mnist", arrays | nine)
    train, test = load("mnist")
    assert len(train) == 1
    assert train.name == test.name == "mnist"
    assert train.classes == tuple("0123456789")


@pytest.mark.parametrize("own", [None, "", "own"])
def test_what_is_nowhere_is_downloaded_to_the_own_folder_or_the_cache(
    tmp_path, monkeypatch, nowhere, arrays, own
):
    def download(name, files, mirrors, folder):
        assert (name, files, mirrors) == ("mnist", SOURCES["mnist"].files, SOURCES["mnist"].mirrors)
        assert folder == (tmp_path / "own" / "mnist" if own else None)
        return write(tmp_path / "downloaded", arrays)

    monkeypatch.setattr(loading, "download", download)
    if own is not None:
        monkeypatch.setenv("MINICNN_DATA", str(tmp_path / own) if own else "")
    # A half-finished download is not taken for the set.
    (tmp_path / "own").mkdir()
    write(tmp_path / "own" / "mnist", {TRAIN: arrays[TRAIN]})
    assert len(load("mnist")[0]) == 5


def test_too_many_labels_for_the_named_classes(tmp_path, monkeypatch, nowhere, arrays):
    (tmp_path / "own").mkdir()
    write(tmp_path / "own" / "fashion-mnist", arrays | {TEST_LABELS: np.array([10, 0], np.uint8)})
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "own"))
    with pytest.raises(ValueError, match=r"labels of fashion-mnist must be in \[0, 10\)"):
        load("fashion-mnist")


def test_a_folder_named_like_a_set_does_not_hide_it(tmp_path, monkeypatch, arrays):
    write(tmp_path / "mnist5k", arrays)
    monkeypatch.chdir(tmp_path)
    assert len(load("mnist5k")[0]) == 4000
    assert len(load("./mnist5k")[0]) == 5


@pytest.mark.parametrize(
    ("name", "near"),
    [("minst", "mnist"), ("mnist-5k", "mnist5k"), ("fashion_mnist", "fashion-mnist"), ("CIFAR10", "cifar10")],
)
def test_an_unknown_name_suggests_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"^load: .* got '{name}'; did you mean '{near}'"):
        load(name)


def test_a_name_near_nothing():
    with pytest.raises(ValueError, match=r"'cifar100', got '/no/such/folder'$"):
        load("/no/such/folder")


def test_no_name_at_all():
    with pytest.raises(TypeError, match="PathLike"):
        load(5)


@pytest.mark.skipif(
    not SOURCES["fashion-mnist"].layout.found_in(Path("/usr/share/datasets/fashion-mnist")),
    reason="Debian's dataset-fashion-mnist is not installed",
)
def test_debian_s_fashion_mnist(monkeypatch):
    monkeypatch.delenv("MINICNN_DATA", raising=False)
    train, test = load("fashion-mnist")
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert np.bincount(train.labels).tolist() == [6_000] * 10
    assert np.bincount(test.labels).tolist() == [1_000] * 10
    assert train.classes[int(train.labels[0])] == "Ankle boot"
    assert train.images.mean() / 255 == pytest.approx(0.2860, abs=1e-4)  # as known everywhere
    assert train.images.std() / 255 == pytest.approx(0.3530, abs=1e-4)
