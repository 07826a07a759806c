"""Checkpoints: what goes in comes out whatever its memory layout, and no accident leaves half a file."""

import json
import os
import stat
import struct
import threading

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minicnn import nn, tensor
from minicnn.atomic import replacing
from minicnn.weights import load, read_metadata, save, save_npz

DTYPES = ["?", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@st.composite
def strided(draw):
    """An array of any dtype and layout: axes permuted, steps, negative strides, zeros among the sizes."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    array = draw(arrays(dtype, draw(array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))))
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    steps = draw(st.lists(st.sampled_from([1, -1, 2]), min_size=array.ndim, max_size=array.ndim))
    return array[tuple(slice(None, None, step) for step in steps)]


@settings(deadline=None)  # each example waits for the disk
@given(st.dictionaries(st.text(min_size=1), strided(), max_size=4))
def test_arrays_come_back(folder, state):
    save(folder / "a", state)
    loaded = load(folder / "a")
    assert loaded.keys() == state.keys()
    for name, array in state.items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.tobytes()  # tobytes is row-major; NaNs count


def test_channels_last_weights_are_stored_by_logical_value(path):
    conv = nn.Conv2d(3, 4, (5, 2))
    assert not conv.weight.data.flags.c_contiguous  # or this tests nothing
    save(path, conv.state_dict())
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["weight"], conv.weight.data)


def test_tensors_and_big_endian_arrays_are_stored_by_value(path):
    save(path, {"t": tensor([[1.0, 2.0]]), "big": np.array([1, 2], ">i4")})
    assert load(path)["t"].tolist() == [[1, 2]]
    assert load(path)["big"].tolist() == [1, 2]


def test_a_module_gets_its_own_weights_back(path):
    net, other = (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
    )
    save(path, net.state_dict())
    other.load_state_dict(load(path))
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)


def test_metadata_come_back(path):
    about = {"model": "lenet5", "variant": None, "classes": ["T-shirt/top", "ß"], "epoch": 3, "mean": [0.1]}
    save(path, {}, about)
    assert read_metadata(path) == about


def test_without_metadata_there_are_none(path):
    save(path, {"w": np.ones(1)})
    assert read_metadata(path) == {}


def test_files_of_others_can_be_read(path):
    safetensors.numpy.save_file({"w": np.ones(2)}, path, {"format": "pt"})
    assert load(path)["w"].tolist() == [1, 1]
    assert read_metadata(path) == {}


def test_the_same_weights_make_the_same_bytes(path):
    about = {name: name for name in "abcdefgh"}
    files = set()
    for order in (1, -1) * 4:
        save(path, {"w": np.ones(2), "v": np.zeros(3)}, dict(list(about.items())[::order]))
        files.add(path.read_bytes())
    assert len(files) == 1


def test_loaded_arrays_are_their_own(path):
    save(path, {"w": np.ones(2)})
    loaded = load(path)
    loaded["w"] += 1
    assert load(path)["w"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"w": np.array(["text"])}, "'w'.*<U4"),
        ({"w": np.zeros(2, complex)}, "complex128"),
        ({"w": np.array([None])}, "object"),
        ({"w": np.zeros(2, np.longdouble)}, "float128|longdouble"),
        ({"w": [1.0]}, "list"),
        ({3: np.ones(1)}, "names must be texts, got 3"),
    ],
)
def test_what_is_no_array_is_an_error_and_leaves_the_file(path, state, named):
    save(path, {"old": np.ones(1)})
    with pytest.raises(TypeError, match=named):
        save(path, state)
    assert list(load(path)) == ["old"]
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (save, "__metadata__"),
        *((save_npz, name) for name in ("/w", "../w", "a/../w", "a\\w", "a\0w", "w" * 65_536)),
    ],
)
def test_a_name_that_could_not_be_read_again_is_an_error_and_leaves_the_file(path, write, name):
    write(path, {"old": np.ones(1)})
    with pytest.raises(ValueError, match=r"^save.* name|called"):
        write(path, {name: np.ones(1)})
    assert list(load(path)) == ["old"]
    assert os.listdir(path.parent) == [path.name]


def test_metadata_that_are_no_json_are_an_error(path):
    with pytest.raises(TypeError, match="JSON"):
        save(path, {}, {"a": object()})


def whole_file():
    return safetensors.numpy.save({"weight": np.arange(20.0), "bias": np.ones(3)})


def header_only(dtype, shape, offsets):
    head = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    return struct.pack("<Q", len(head)) + head


@given(st.integers(0, len(whole_file()) - 1))
def test_a_truncated_file_is_an_error(folder, length):
    file = folder / "cut.safetensors"
    file.write_bytes(whole_file()[:length])
    for read in (load, read_metadata):
        with pytest.raises(
            ValueError, match=r"load: .*cut\.safetensors.* no whole safetensors file"
        ) as caught:
            read(file)
        assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_a_foreign_file_is_an_error(folder, content):
    file = folder / "foreign"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"load: .*foreign' (is|has|holds) "):
        load(file)


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        header_only("F8_E5M2", [4], [0, 4]) + bytes(4),  # NumPy has no such type
        header_only("F32", [1000], [0, 4000]),
        header_only("F32", [-1], [0, 4]) + bytes(4),
    ],
    ids=["png", "float8", "no data", "negative shape"],
)
def test_other_formats_are_errors(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no whole safetensors file"):
        load(path)


def test_metadata_that_are_no_json_text_are_an_error(path):
    safetensors.numpy.save_file({}, path, {"minicnn": "{"})
    with pytest.raises(ValueError, match="no whole safetensors file"):
        read_metadata(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        load(tmp_path / "none")
    with pytest.raises(ValueError, match="is a folder"):
        load(tmp_path)


def test_saving_into_no_folder_names_the_path_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        save(tmp_path / "none" / "w", {})
    assert str(caught.value.filename) == str(tmp_path / "none" / "w")


class Stop(BaseException):
    """As KeyboardInterrupt, no Exception."""


@pytest.mark.parametrize("moment", ["writing", "to disk", "renaming"])
def test_an_interrupted_save_leaves_the_old_file(path, monkeypatch, moment):
    save(path, {"w": np.zeros(1000)})
    before = path.read_bytes()

    def stop(*arguments):
        raise Stop

    def write_half(self, content):
        with open(self, "wb") as file:
            file.write(content[: len(content) // 2])
        raise Stop

    target, replacement = {
        "writing": ("pathlib.Path.write_bytes", write_half),
        "to disk": ("os.fsync", stop),
        "renaming": ("os.replace", stop),
    }[moment]
    with monkeypatch.context() as patch:
        patch.setattr(target, replacement)
        with pytest.raises(Stop):
            save(path, {"w": np.ones(1000)})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_the_content_is_on_disk_before_it_takes_the_name(path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda fd: (events.append(os.fstat(fd).st_size), fsync(fd)))
    monkeypatch.setattr("os.replace", lambda a, b: (events.append("replace"), replace(a, b)))
    save(path, {"w": np.ones(4)})
    assert events == [path.stat().st_size, "replace"]


def test_a_reader_sees_a_whole_file_at_any_time(path):
    save(path, {"w": np.zeros(20_000)})
    done = threading.Event()

    def write():
        for i in range(30):
            save(path, {"w": np.full(20_000, i)})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert np.unique(load(path)["w"]).size == 1
    writer.join()


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and links")
def test_permissions_are_the_usual_ones_and_links_stay(tmp_path):
    (tmp_path / "link").symlink_to("file")
    old = os.umask(0o022)
    try:
        save(tmp_path / "link", {"w": np.ones(1)})
    finally:
        os.umask(old)
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_replacing_keeps_the_suffix_and_the_folder(tmp_path):
    with replacing(tmp_path / "picture.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")
    assert os.listdir(tmp_path) == ["picture.png"]
