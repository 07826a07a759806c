"""The meta device: every operation on it has the shapes and dtypes it has on the CPU, for no memory."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from operations import OPERATIONS

import minicnn
from minicnn import Tensor, backend, models, nn, no_grad
from minicnn.backend import cpu, meta
from minicnn.study import summary


def shapes(operation, example, dtype, device):
    case = OPERATIONS[operation].examples[example]
    arrays = [np.asarray(a, dtype) for a in case.inputs]
    tensors = [Tensor(backend.to_device(a, device), requires_grad=True) for a in arrays]
    with minicnn.device(device):
        y = OPERATIONS[operation].call(*tensors, **case.options)
        y.backward(Tensor(backend.to_device(np.ones(y.shape, y.dtype), device)))
    grads = [None if t.grad is None else (t.grad.shape, t.grad.dtype) for t in tensors]
    assert all(t.grad is None or backend.device_of(t.grad) == device for t in tensors)
    return y.device, (y.shape, y.dtype), grads


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("operation", "example"),
    [(operation, example) for operation, entry in OPERATIONS.items() for example in entry.examples],
)
def test_every_operation_has_the_shapes_and_dtypes_of_the_cpu(operation, example, dtype):
    device, *found = shapes(operation, example, dtype, "meta")
    assert device == "meta"
    assert found == list(shapes(operation, example, dtype, "cpu")[1:])


def test_an_average_of_all_batches_is_not_read_in_evaluation():
    with minicnn.device("meta"):
        norm = nn.BatchNorm2d(1, momentum=None).eval()
        assert norm(minicnn.tensor([[[[1.0]]]])).shape == (1, 1, 1, 1)


def test_it_offers_whatever_the_cpu_offers():
    names = {name for name in vars(cpu) if not name.startswith("_")} - {"np", "Any", "annotations"}
    assert names <= set(vars(meta))


def test_nothing_is_allocated():
    tracemalloc.start()
    with minicnn.device("meta"), no_grad():
        model = nn.Sequential(
            nn.Conv2d(3, 4096, 3, padding=1), nn.BatchNorm2d(4096), nn.ReLU(), nn.MaxPool2d(2)
        )
        model.append(nn.Flatten()).append(nn.Linear(4096 * 512 * 512, 1000))
        y = model(Tensor(meta.empty((64, 3, 1024, 1024), np.float32)))
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert y.shape == (64, 1000)
    assert peak < 1e6


@pytest.mark.parametrize("variant", ["modern", "paper", "d2l"])
def test_a_summary_is_the_same_without_values(variant):
    with minicnn.device("meta"):
        shapes_only = summary(models.lenet5(variant))
    assert shapes_only == summary(models.lenet5(variant))


def test_what_needs_values_says_so():
    with minicnn.device("meta"):
        x = minicnn.tensor([1.0, 2.0])
    assert repr(x) == "tensor(..., shape=(2,), dtype=float32, device='meta')"
    for act in (
        lambda: x.numpy(),
        lambda: x.sum().item(),
        lambda: float(x.sum()),
        lambda: x.to("cpu"),
        lambda: bool(x[0] > 0),
    ):
        with pytest.raises(ValueError, match="meta device has no values"):
            act()


def test_copies_have_no_memory_either():
    with minicnn.device("meta"):
        layer = nn.Linear(10**6, 10**6)
    assert copy.deepcopy(layer).weight.device == "meta"


def test_a_pickle_holds_the_shape_only():
    with minicnn.device("meta"):
        written = pickle.dumps(nn.Linear(10**6, 10**6))
    assert len(written) < 10_000
    weight = pickle.loads(written).weight
    assert (weight.device, weight.shape, weight.dtype) == ("meta", (10**6, 10**6), np.float32)


def test_values_are_not_fetched_from_where_they_are():
    class OnAGPU:  # as CuPy's arrays, which NumPy cannot convert
        shape, dtype = (2, 3), np.dtype("float32")

        def __array__(self, *args, **kwargs):
            raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    array = meta.to_device(OnAGPU())
    assert (array.shape, array.dtype) == ((2, 3), np.float32)


def test_devices_do_not_mix():
    with minicnn.device("meta"):
        layer = nn.Linear(2, 3)
    with pytest.raises(TypeError, match="one device"):
        layer(minicnn.tensor([[1.0, 2.0]]))
    assert nn.Linear(2, 3).weight.device == "cpu"


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match=r"'cpu'.*'meta'.*got 'tpu'"), minicnn.device("tpu"):
        pass


def test_a_network_moves_there_but_not_back():
    layer = nn.Linear(2, 3).to("meta")
    assert layer.weight.device == "meta"
    with pytest.raises(ValueError, match="no values"):
        layer.to("cpu")


def test_nothing_can_be_loaded_there():
    with minicnn.device("meta"):
        layer = nn.Linear(2, 3)
    with pytest.raises(ValueError, match="no memory to load into"):
        layer.load_state_dict(nn.Linear(2, 3).state_dict())
