"""State dicts: names, round trips, and loading that does all or nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import manual_seed, nn, tensor


def network() -> nn.Sequential:
    return nn.Sequential(
        {
            "features": nn.Sequential(nn.Conv2d(2, 3, (3, 2), bias=False), nn.BatchNorm2d(3), nn.ReLU()),
            "classifier": nn.Linear(3, 4),
        }
    )


NAMES = {  # as torch.nn names and orders them
    "features.0.weight": (3, 2, 3, 2),
    "features.1.weight": (3,),
    "features.1.bias": (3,),
    "features.1.running_mean": (3,),
    "features.1.running_var": (3,),
    "features.1.num_batches_tracked": (),
    "classifier.weight": (4, 3),
    "classifier.bias": (4,),
}


def snapshot(module: nn.Module) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in module.state_dict().items()}


def copied(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in module.state_dict().items()}


def test_names_and_shapes():
    state = network().state_dict()
    assert [(name, array.shape) for name, array in state.items()] == list(NAMES.items())
    assert list(network().state_dict(prefix="net")) == [f"net.{name}" for name in NAMES]


def test_the_arrays_are_the_modules_own():
    net = network()
    assert net.state_dict()["classifier.bias"] is net.classifier.bias.data


def test_buffers_that_are_not_persistent_are_left_out():
    module = nn.Module()
    module.register_buffer("kept", tensor([1.0]))
    module.register_buffer("dropped", tensor([1.0]), persistent=False)
    assert list(module.state_dict()) == ["kept"]
    module.register_buffer("dropped", tensor([1.0]))
    assert list(module.state_dict()) == ["kept", "dropped"]


def test_round_trip_keeps_arrays_and_layout():
    manual_seed(0)
    source, target = network(), network()
    source.features[1].num_batches_tracked.data[...] = 7
    arrays = target.state_dict()
    assert snapshot(source) != snapshot(target)
    assert target.load_state_dict(copied(source)) == ([], [])
    assert snapshot(source) == snapshot(target)
    assert all(array is arrays[name] for name, array in target.state_dict().items())
    assert target.features[0].weight.data.transpose(0, 2, 3, 1).flags.c_contiguous


def test_tensors_and_other_float_types_are_converted():
    source, target = network().to("float64"), network()
    state = {name: tensor(array) for name, array in source.state_dict().items()}
    target.load_state_dict(state)
    assert target.classifier.weight.dtype == np.float32
    np.testing.assert_array_equal(
        target.classifier.weight.data, source.classifier.weight.data.astype(np.float32)
    )


def test_num_batches_tracked_may_be_missing():
    net, state = network(), copied(network())
    net.features[1].num_batches_tracked.data[...] = 5
    del state["features.1.num_batches_tracked"]
    assert net.load_state_dict(state) == ([], [])
    assert net.features[1].num_batches_tracked.item() == 5


def test_not_strict_loads_what_fits_by_name():
    net, state = network(), copied(network())
    bias = net.classifier.bias.data.copy()
    del state["classifier.bias"]
    state["head"] = np.zeros(3, np.float32)
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["classifier.bias"]
    assert result.unexpected_keys == ["head"]
    np.testing.assert_array_equal(net.classifier.bias.data, bias)
    np.testing.assert_array_equal(net.classifier.weight.data, state["classifier.weight"])


def without(name: str) -> Callable[[dict], dict]:
    return lambda state: {n: a for n, a in state.items() if n != name}


def with_(name: object, value: object) -> Callable[[dict], dict]:
    return lambda state: {**state, name: value}


FAULTS = [
    (without("classifier.bias"), "missing: classifier.bias"),
    (with_("classifier.head", np.zeros(2)), "unexpected: classifier.head"),
    (with_(0, np.zeros(2)), "unexpected: 0"),
    (
        with_("classifier.bias", np.zeros((4, 1), "f")),
        r"classifier.bias has shape \(4, 1\), must have \(4,\)",
    ),
    (with_("classifier.bias", np.zeros(4, int)), "classifier.bias has dtype int64, must have float32"),
    (with_("classifier.bias", "zeros"), "classifier.bias is no array but of type str"),
    (with_("classifier.bias", memoryview(np.zeros(4))), "classifier.bias is no array but of type memoryview"),
    (with_("classifier.bias", np.full(4, None)), "classifier.bias has dtype object, must have float32"),
    (
        with_("features.1.num_batches_tracked", np.float32(2)),
        "num_batches_tracked has dtype float32, must have int64",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_a_state_that_does_not_fit_changes_nothing(spoil, message):
    manual_seed(1)
    net, state = network(), copied(network())
    before = snapshot(net)
    with pytest.raises(ValueError, match=f"the state does not fit Sequential; .*{message}"):
        net.load_state_dict(spoil(state))
    assert snapshot(net) == before


@pytest.mark.parametrize(("spoil", "message"), FAULTS[3:])
def test_shapes_and_dtypes_are_errors_even_if_not_strict(spoil, message):
    net, state = network(), copied(network())
    before = snapshot(net)
    with pytest.raises(ValueError, match=message):
        net.load_state_dict(spoil(state), strict=False)
    assert snapshot(net) == before


def test_one_error_lists_every_sort_of_fault():
    state = copied(network())
    del state["features.1.bias"]
    state.update({"extra": np.zeros(1), "classifier.weight": np.zeros((1, 3), np.float32)})
    with pytest.raises(ValueError, match="fit") as error:
        network().load_state_dict(state)
    assert str(error.value) == (
        "load_state_dict: the state does not fit Sequential; missing: features.1.bias; unexpected: extra; "
        "unfit: classifier.weight has shape (1, 3), must have (4, 3)"
    )


def test_a_long_list_of_names_is_cut():
    with pytest.raises(ValueError, match=r"missing: .*features.1.running_mean, .* and 2 more; unex"):
        network().load_state_dict({"a": np.zeros(1)})


def test_a_value_too_large_for_the_type_changes_nothing():
    net, state = network(), copied(network())
    before = snapshot(net)
    state["classifier.bias"] = np.full(4, 1e300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="overflow"):
            net.load_state_dict(state)
    assert snapshot(net) == before


@pytest.mark.parametrize("state", [None, [("weight", np.zeros(2))], "weights.safetensors", nn.Linear(3, 4)])
def test_a_state_that_is_no_mapping(state):
    with pytest.raises(TypeError, match="load_state_dict: state must map names to arrays, got"):
        nn.Linear(3, 4).load_state_dict(state)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_spoiled_state_is_refused_and_changes_nothing(data):
    """Drop, rename, reshape or retype any one array: an error, and every byte as before."""
    net, state = network(), copied(network())
    before = snapshot(net)
    name = data.draw(st.sampled_from([n for n in NAMES if not n.endswith("tracked")]))
    array = state.pop(name)
    spoiled = data.draw(
        st.sampled_from(["drop", "rename", "longer", "flat", "transposed", "integer", "object", "none"])
    )
    state |= {
        "drop": {},
        "rename": {name + "_": array},
        "longer": {name: np.concatenate([array, array])},
        "flat": {name: array[None]},
        "transposed": {name: array.T[..., None]},
        "integer": {name: array.astype(np.int64)},
        "object": {name: array.tolist()},
        "none": {name: None},
    }[spoiled]
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        net.load_state_dict(state)
    assert snapshot(net) == before
