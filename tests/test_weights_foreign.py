"""Files of other programs are read to the number, by their content and without their programs."""

import os
import struct

import foreign
import numpy as np
import pytest
import safetensors.numpy
from foreign import Name, Raw, call, encoded, legacy, pickled, tensor, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import nn
from minicnn.weights import load, read_metadata, save, save_npz

W = np.arange(6, dtype="<f4").reshape(2, 3)
B = np.array([7, 8, 9], "<i8")
STATE = {"w": tensor("0", (2, 3)), "b": tensor("1", (3,), kind="Long")}
STORAGES = {"0": W.tobytes(), "1": B.tobytes()}
BOTH = {
    "zip": lambda value, storages=STORAGES, **kinds: zipped(value, storages),
    "legacy": lambda value, storages=STORAGES, **kinds: legacy(value, storages, kinds={"1": "Long", **kinds}),
}


@pytest.fixture(params=list(BOTH))
def both(request):
    return BOTH[request.param]


@pytest.fixture
def loaded(tmp_path):
    def read(content, name="weights"):
        (tmp_path / name).write_bytes(content)
        return load(tmp_path / name)

    return read


def same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.aligned
    return True


@pytest.mark.parametrize(
    "content",
    [
        zipped(STATE, STORAGES),
        zipped(
            STATE,
            STORAGES,
            {"net/version": "3\n", "net/byteorder": "little", "net/.data/serialization_id": "1"},
        ),
        zipped(STATE, STORAGES, folder=""),
        legacy(STATE, STORAGES, kinds={"1": "Long"}),
        foreign.archive({"w.npy": foreign.npy(W), "b.npy": foreign.npy(B)}),
        foreign.archive({"w.npy": foreign.npy(W), "b.npy": foreign.npy(B)}, foreign.zipfile.ZIP_DEFLATED),
        safetensors.numpy.save({"w": W, "b": B}),
    ],
    ids=["zip", "with more members", "without folder", "legacy", "npz", "compressed npz", "safetensors"],
)
@pytest.mark.parametrize("name", ["weights", "w.pth", "w.npz", "w.safetensors", "w.npy"])
def test_the_content_decides_and_not_the_name(loaded, content, name):
    found = loaded(content, name)
    assert same({key: found[key] for key in ("w", "b")}, {"w": W, "b": B})


def test_npy_is_named_by_its_file(loaded):
    assert same(loaded(foreign.npy(W), "fc.weight.npy"), {"fc.weight": W})


def test_npy_in_any_order_and_byte_order(loaded):
    array = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)).astype(">f8", order="F")
    assert same(loaded(foreign.npy(array), "a.npy"), {"a": array.astype("<f8")})


def test_numpys_own_files_are_read(tmp_path):
    arrays = {"a.b": W, "c": np.float16([[1.5]]), "d": np.array(True), "e": np.zeros((0, 3))}
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "x.npz", **arrays)
        assert same(load(tmp_path / "x.npz"), arrays)


def test_save_npz_is_read_by_numpy_and_by_us(tmp_path):
    state = nn.Conv2d(2, 3, 3).state_dict() | {"file": np.ones(1)}
    save_npz(tmp_path / "a.npz", state)
    with np.load(tmp_path / "a.npz") as theirs:
        assert same(dict(theirs), state)
    assert same(load(tmp_path / "a.npz"), state)
    before = (tmp_path / "a.npz").read_bytes()
    save_npz(tmp_path / "a.npz", state)
    assert (tmp_path / "a.npz").read_bytes() == before


KINDS = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2"}
KINDS |= {"Char": "i1", "Byte": "u1", "Bool": "?"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_type(loaded, both, kind):
    array = np.array([0, 1, 1, 0]).astype(KINDS[kind])
    state = {"odd": tensor("0", (3,), kind="Byte"), "x": tensor("1", (2, 2), kind=kind)}
    content = both(state, {"0": b"abc", "1": array.tobytes()}, **{"0": "Byte", "1": kind})
    assert same(loaded(content), {"odd": np.array(list(b"abc"), np.uint8), "x": array.reshape(2, 2)})


def test_truth_values_are_0_and_1_whatever_the_file_says(loaded, both):
    found = loaded(both({"x": tensor("0", (3,), kind="Bool")}, {"0": b"\x00\x01\x02"}, **{"0": "Bool"}))
    assert found["x"].tobytes() == b"\x00\x01\x01"


def test_bfloat16_becomes_float32(loaded, both):
    values = np.array([1.0, -2.5, np.inf, 2.0**-130], "<f4")  # the last one is subnormal
    raw = (values.view("<u4") >> 16).astype("<u2").tobytes()
    content = both({"x": tensor("0", (4,), kind="BFloat16")}, {"0": raw}, **{"0": "BFloat16"})
    assert same(loaded(content), {"x": values})
    head = {"x": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}
    assert same(loaded(foreign.safetensors(head, raw)), {"x": values})


def test_types_without_a_storage_of_their_own(loaded):
    state = {
        "x": tensor(
            "0", (1,), offset=1, kind="torch.storage.UntypedStorage", count=8, tail=(Name("torch.uint32"),)
        )
    }
    assert same(
        loaded(zipped(state, {"0": struct.pack("<2I", 1, 2**32 - 1)})), {"x": np.array([2**32 - 1], "u4")}
    )


def test_an_expanded_tensor(loaded, both):
    """PyTorch saves what expand() returns as it is: one number, and strides of 0."""
    state = {"w": tensor("0", (2, 3), (0, 1), count=6), "x": tensor("0", (4, 50), (0, 0), count=6, offset=2)}
    found = loaded(both(state, {"0": STORAGES["0"]}))
    assert found["w"].tolist() == [[0, 1, 2]] * 2
    assert found["x"].tolist() == [[2] * 50] * 4


def test_views_of_one_storage(loaded, both):
    of = {"count": 6}
    state = {
        "all": tensor("0", (2, 3), **of),
        "transposed": tensor("0", (3, 2), (1, 3), **of),
        "part": tensor("0", (2, 1), (3, 1), offset=2, **of),
        "one": tensor("0", (), offset=5, **of),
        "none": tensor("0", (0, 3), offset=6, **of),
    }
    found = loaded(both(state, {"0": W.tobytes()}))
    assert same(found, {"all": W, "transposed": W.T, "part": W[:, 2:], "one": W[1, 2], "none": W[:0]})
    assert np.shares_memory(found["all"], found["transposed"])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_view_is_what_as_strided_says(tmp_path_factory, data):
    """A view is read as NumPy makes it, or refused: exactly where it leaves the storage."""
    sizes = st.integers(0, 4)
    shape = tuple(data.draw(st.lists(sizes, max_size=3)))
    strides = tuple(data.draw(sizes) for _ in shape)
    offset, count = data.draw(st.integers(0, 12)), data.draw(st.integers(0, 24))
    flat = np.arange(count, dtype="<f4")
    path = tmp_path_factory.getbasetemp() / "view"
    path.write_bytes(
        zipped({"x": tensor("0", shape, strides, offset=offset, count=count)}, {"0": flat.tobytes()})
    )
    places = offset + sum(
        (np.indices(shape)[i] * strides[i] for i in range(len(shape))), np.zeros(shape, int)
    )
    if offset > count or (places.size and places.max() >= count):
        with pytest.raises(ValueError, match="reaches outside"):
            load(path)
    else:
        assert same(load(path), {"x": flat[places] if places.size else np.empty(shape, "<f4")})


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net"])
def test_a_checkpoint_is_unwrapped(loaded, both, wrapper):
    moment = {"state": {0: {"momentum_buffer": tensor("0", (2, 3))}}, "groups": [{"lr": 0.1, "params": [0]}]}
    assert same(loaded(both({"epoch": 3, wrapper: STATE, "optimizer": moment})), {"w": W, "b": B})


def test_the_name_that_data_parallel_adds_is_removed(loaded, both):
    state = {f"module.{name}": value for name, value in STATE.items()}
    assert list(loaded(both({"state_dict": state}))) == ["w", "b"]
    state["other"] = state.pop("module.b")
    assert list(loaded(both(state))) == ["module.w", "other"]


def test_our_own_names_are_left_alone(tmp_path):
    save(tmp_path / "a", {"module.w": W})
    assert list(load(tmp_path / "a")) == ["module.w"]


def test_ordered_dicts_of_python_2_and_3_with_attributes(loaded, both):
    pairs = call("collections.OrderedDict", [["w", STATE["w"]], ["b", STATE["b"]]])
    items = b"".join(encoded(name) + value for name, value in STATE.items())
    later = Raw(
        call("collections.OrderedDict") + b"(" + items + b"u" + encoded({"_metadata": {"": 1}}) + b"b"
    )
    for state in (pairs, later):
        assert same(loaded(both(state)), {"w": W, "b": B})


def test_parameters(loaded, both):
    hooks = call("collections.OrderedDict")
    state = {
        "w": call("torch._utils._rebuild_parameter", STATE["w"], True, hooks),
        "b": call("torch._utils._rebuild_parameter_with_state", STATE["b"], True, hooks, {}),
    }
    assert same(loaded(both(state)), {"w": W, "b": B})


def test_the_oldest_call_for_a_tensor(loaded, both):
    of = foreign.storage("0", "Float", 6)
    assert same(
        loaded(both({"w": call("torch._utils._rebuild_tensor", of, 0, (2, 3), (3, 1))}, {"0": W.tobytes()})),
        {"w": W},
    )


def test_an_empty_state_dict(loaded, both):
    assert loaded(both({}, {})) == {}


@pytest.mark.parametrize(
    "content",
    [
        zipped(STATE, STORAGES),
        safetensors.numpy.save({"w": W, "b": B}),
        foreign.archive({"w.npy": foreign.npy(W)}),
    ],
)
def test_arrays_may_be_written_to_and_the_file_stays(tmp_path, content):
    path = tmp_path / "w"
    path.write_bytes(content)
    first, second = load(path), load(path)
    first["w"] += 1
    np.testing.assert_array_equal(second["w"], W)
    assert path.read_bytes() == content


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells what is resident")
def test_numbers_are_mapped_and_not_read(tmp_path):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    length = 1 << 28  # 1 GiB, a hole in the file
    head = foreign.safetensors({"w": {"dtype": "F32", "shape": [length], "data_offsets": [0, 4 * length]}})
    with open(tmp_path / "w", "wb") as file:
        file.write(head)
        file.truncate(len(head) + 4 * length)
    before = resident()
    array = load(tmp_path / "w")["w"]
    assert array.shape == (length,)
    assert array[-1] == 0
    assert resident() - before < 1 << 24


def test_an_array_outlives_its_replaced_file(tmp_path):
    path = tmp_path / "w"
    save(path, {"w": W, "b": B})
    old = load(path)
    save(path, {"w": W + 1})
    np.testing.assert_array_equal(old["w"], W)
    np.testing.assert_array_equal(load(path)["w"], W + 1)


def test_the_package_loads_them_too(tmp_path):
    (tmp_path / "w").write_bytes(zipped(STATE, STORAGES))
    assert same(minicnn.load(tmp_path / "w"), {"w": W, "b": B})
    assert read_metadata(tmp_path / "w") == {}


def test_a_network_takes_its_weights(tmp_path):
    """Kernels in channels-last memory, from row-major files, larger than a piece of the copy."""
    net = nn.Sequential(nn.Conv2d(70, 500, 3), nn.BatchNorm2d(500), nn.Conv2d(500, 600, 1))
    generator = np.random.default_rng(0)
    state = {
        name: generator.random(array.shape, np.float32) if array.dtype == np.float32 else array + 3
        for name, array in net.state_dict().items()
    }
    save(tmp_path / "w", state)
    arrays = dict(net.state_dict())
    net.load_state_dict(load(tmp_path / "w"))
    assert same(net.state_dict(), state)
    assert all(array is arrays[name] for name, array in net.state_dict().items())


def test_against_pytorch(tmp_path):
    """Real files of every kind: what torch.load gives is what we give."""
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(4, 6)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.randn(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    state = {
        "view": base[1:3, 2:5],
        "transposed": base.t(),
        "whole": base,
        "parameter": torch.nn.Parameter(torch.randn(3, 2, 2, 2).to(memory_format=torch.channels_last)),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        **{
            str(t): torch.tensor([0, 1, 1]).to(t)
            for t in (torch.half, torch.bfloat16, torch.bool, torch.int8)
        },
        "uint16": torch.tensor([65535], dtype=torch.uint16),
    }
    parallel = torch.nn.DataParallel(net).state_dict()
    files = [
        (state, state),
        (net.state_dict(), net.state_dict()),
        ({"epoch": 3, "state_dict": parallel, "optimizer": optimizer.state_dict()}, net.state_dict()),
    ]
    path = tmp_path / "w"
    for saved, expected in files:
        for options in (
            {"_use_new_zipfile_serialization": new, "pickle_protocol": p} for new in (0, 1) for p in (2, 4)
        ):
            torch.save(saved, path, **options)
            arrays = {
                name: (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
                for name, value in expected.items()
            }
            assert same(load(path), arrays)


def test_a_folder_a_pipe_and_an_empty_file_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for name in ("", "pipe", "empty"):
        with pytest.raises(ValueError, match=r"load: '.*' is "):
            load(tmp_path / name)


def test_pickles_of_any_protocol_and_shared_objects(loaded):
    import pickle

    shared = {"lr": [1, 2.5, None, True, "ü", -(2**70)]}
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        junk = pickle.dumps([shared, shared, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], protocol)
        state = {"state_dict": {}, "rest": Raw(junk[:-1])}
        assert loaded(zipped(pickled(state))) == {}
