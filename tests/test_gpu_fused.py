"""Operations that are kernels on a GPU: against the CPU in float64, and against the plain formulation beside them."""

from functools import partial
from math import sqrt
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import standin
from ladder import close

import minicnn
from minicnn import Tensor, no_grad
from minicnn import functional as F
from minicnn.backend.ladder.conv2d_backward_weight import conv2d_backward_bias
from minicnn.backend.launch import Launcher
from minicnn.geometry import Window2d
from minicnn.ops.adaptive_pool2d import AdaptiveAvgPool2d
from minicnn.ops.avg_pool2d import AvgPool2d
from minicnn.ops.batch_norm import BatchNorm, BatchNormInference
from minicnn.ops.cross_entropy import SoftmaxCrossEntropy
from minicnn.ops.dropout import Dropout
from minicnn.ops.local_response_norm import LocalResponseNorm
from minicnn.ops.max_pool2d import MaxPool2d
from minicnn.optim import SGD

pytestmark = pytest.mark.usefixtures("cuda")

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = ["float64", "float32", "float16", BFLOAT16]
HALVES = DTYPES[2:]


class Case(NamedTuple):
    """An operation on tensors, the shapes of those that have gradients, and which ladder functions do it."""

    call: Any
    shapes: list
    ladder: tuple


def fixed(x, w, b, relu=False):
    """Batch normalisation by given statistics."""
    count = x.shape[1]
    mean, var = np.linspace(-1, 1, count), np.linspace(0.5, 2, count)
    return F.batch_norm(x, like(x, mean), like(x, var), w, b, relu=relu)


def entropy(z, **options):
    """Cross entropy, some labels to be ignored."""
    samples = z.size // z.shape[1]
    labels = np.where(np.arange(samples) % 4 == 3, -100, np.arange(samples) * 7 % z.shape[1])
    weight = options.pop("weight", None)
    weight = weight if weight is None else like(z, weight)
    return F.cross_entropy(z, like(z, labels.reshape(z.shape[0], *z.shape[2:]), "int64"), weight, **options)


def like(tensor, values, dtype=None):
    """A tensor of these values beside another one."""
    return Tensor(np.asarray(values, dtype or tensor.dtype)).to(tensor.device)


LRN = "lrn_forward", "lrn_backward"
NORM = "batch_norm_forward", "batch_norm_backward"
FIXED = "batch_norm_inference", "batch_norm_backward"
MAX = "max_pool_forward", "max_pool_backward"
AVG = "avg_pool_forward", "avg_pool_backward"
ENTROPY = ("softmax_cross_entropy",)

WINDOW = Window2d.of("pool", 3, 2, 1)
UNEVEN = {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1, "ceil_mode": True}
WEIGHTS = [1.0, 2.0, 0.5, 0.0, 3.0]

CASES = {
    "lrn": Case(partial(F.local_response_norm, size=5, k=2.0), [(2, 8, 3, 4)], LRN),
    "lrn, even": Case(
        partial(F.local_response_norm, size=4, alpha=3.0, beta=0.6, k=0.25), [(2, 6, 3, 2)], LRN
    ),
    "lrn, three axes": Case(partial(F.local_response_norm, size=3, alpha=2.0), [(3, 5, 4)], LRN),
    "lrn, five axes": Case(partial(F.local_response_norm, size=5, alpha=2.0), [(2, 4, 2, 1, 3)], LRN),
    "norm": Case(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [(3, 8, 2, 3), (8,), (8,)], NORM
    ),
    "norm, relu": Case(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, relu=True),
        [(2, 5, 3, 3), (5,), (5,)],
        NORM,
    ),
    "norm of rows": Case(lambda x: F.batch_norm(x, None, None, training=True, eps=0.1), [(7, 3)], NORM),
    "norm, fixed": Case(fixed, [(2, 8, 3, 2), (8,), (8,)], FIXED),
    "norm, fixed, relu": Case(partial(fixed, relu=True), [(4, 3), (3,), (3,)], FIXED),
    "max": Case(partial(F.max_pool2d, kernel_size=2), [(2, 8, 4, 6)], MAX),
    "max, uneven": Case(partial(F.max_pool2d, **UNEVEN, dilation=(1, 2)), [(2, 3, 6, 6)], MAX),
    "avg": Case(partial(F.avg_pool2d, kernel_size=2), [(2, 8, 4, 6)], AVG),
    "avg, uneven": Case(partial(F.avg_pool2d, **UNEVEN), [(2, 3, 6, 6)], AVG),
    "avg, image alone": Case(partial(F.avg_pool2d, **UNEVEN, count_include_pad=False), [(1, 4, 6, 6)], AVG),
    "avg, divided by 7": Case(partial(F.avg_pool2d, **UNEVEN, divisor_override=7), [(1, 4, 6, 6)], AVG),
    "avg of cells": Case(partial(F.adaptive_avg_pool2d, output_size=(2, 1)), [(2, 8, 4, 3)], AVG),
    "entropy": Case(entropy, [(6, 5)], ENTROPY),
    "entropy, weighted": Case(partial(entropy, weight=WEIGHTS, label_smoothing=0.1), [(6, 5)], ENTROPY),
    "entropy, sum": Case(partial(entropy, reduction="sum", label_smoothing=0.3), [(5, 8)], ENTROPY),
    "entropy of each": Case(partial(entropy, weight=WEIGHTS, reduction="none"), [(2, 5, 3, 2)], ENTROPY),
    "entropy, many classes": Case(entropy, [(3, 516)], ENTROPY),
}
CASE = pytest.mark.parametrize("name", CASES)


def drawn(shapes, dtype="float32", seed=0):
    """Arrays of these shapes."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0.5, size=shape).astype(dtype) for shape in shapes]


def results(call, tensors, seed=1):
    """The result and the gradients of all tensors, from the GPU if they were there."""
    y = call(*tensors)
    g = np.random.default_rng(seed).normal(size=y.shape)
    y.backward(like(y, g).data)
    return [y.numpy(), *(Tensor(t.grad).numpy() for t in tensors)]


def tensors_of(arrays, dtype=None):
    return [Tensor(a.astype(dtype or a.dtype), requires_grad=True) for a in arrays]


def on_cpu(call, arrays, dtype="float64"):
    return results(call, tensors_of(arrays, dtype))


def on_gpu(call, arrays, layout="channels last"):
    return results(call, [Tensor(laid_out(a, layout), requires_grad=True) for a in arrays])


def laid_out(x, layout):
    """A logical (N, C, …) array of the GPU with x's values."""
    import cupy

    last = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    if layout == "channels first":
        return cupy.asarray(x.copy())
    if layout == "channels last":
        memory = cupy.asarray(last.copy())
    elif layout == "a slice":
        memory = cupy.asarray(np.concatenate([last, last], axis=-1))[..., : last.shape[-1]]
    else:
        memory = cupy.asarray(np.concatenate([[x.dtype.type(0)], last.ravel()]))[1:].reshape(last.shape)
    return cupy.moveaxis(memory, -1, 1) if x.ndim > 2 else memory


LAYOUTS = ["channels first", "channels last", "a slice", "not aligned"]


@pytest.fixture
def ran(monkeypatch):
    """The names of the ladder functions that run."""
    return noting(monkeypatch)


def noting(monkeypatch):
    names, run = [], Launcher.run

    def noted(self, function, *arguments, **options):
        if function is not conv2d_backward_bias:  # sums a channel, which plain formulations take too
            names.append(function.__name__)
        return run(self, function, *arguments, **options)

    monkeypatch.setattr(Launcher, "run", noted)
    return names


# The operations


@CASE
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_result_and_the_gradients_are_the_cpus(name, dtype, ran):
    call, shapes, ladder = CASES[name]
    arrays = drawn(shapes, dtype)
    found, expected = on_gpu(call, arrays), on_cpu(call, arrays)
    assert tuple(ran) == ladder
    assert {a.dtype for a in found} == {np.dtype(dtype)}
    for one, other in zip(found, expected, strict=True):
        close(one, other)


@CASE
@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_of_any_layout(name, layout, ran):
    call, shapes, ladder = CASES[name]
    arrays = drawn(shapes)
    found, expected = on_gpu(call, arrays, layout), on_cpu(call, arrays)
    assert tuple(ran) == ladder
    for one, other in zip(found, expected, strict=True):
        close(one, other)


@CASE
def test_nothing_comes_to_the_host(name):
    call, shapes, _ = CASES[name]
    inputs = [Tensor(laid_out(a, "channels last"), requires_grad=True) for a in drawn(shapes)]
    beside = call(*inputs)  # what the case itself brings there is counted here
    g = like(beside, np.ones(beside.shape)).data
    brought = sum(one.kind == "to device" for one in standin.transfers)
    standin.transfers.clear()
    call(*inputs).backward(g)
    assert all(one.kind == "to device" for one in standin.transfers)
    assert len(standin.transfers) <= brought


@CASE
def test_results_lie_in_channels_last_memory(name):
    call, shapes, _ = CASES[name]
    inputs = [Tensor(laid_out(a, "channels first"), requires_grad=True) for a in drawn(shapes)]
    y = call(*inputs)
    y.backward(like(y, np.ones(y.shape)).data)
    for array in (y.data, inputs[0].grad):
        if array.ndim == len(shapes[0]):
            last = array if array.ndim < 3 else array.transpose(0, *range(2, array.ndim), 1)
            assert last.flags.c_contiguous


@CASE
def test_without_gradients(name):
    call, shapes, _ = CASES[name]
    arrays = drawn(shapes)
    with no_grad():
        y = call(*(Tensor(laid_out(a, "channels last")) for a in arrays))
    close(y.numpy(), on_cpu(call, arrays)[0])


def test_nothing_is_found_for_a_gradient_that_nobody_wants():
    x = Tensor(laid_out(drawn([(2, 4, 5, 6)])[0], "channels last"))
    pool, loss = MaxPool2d(WINDOW), SoftmaxCrossEntropy(-100, 0.0, "none")
    pool(x)
    loss(x, like(x, np.zeros((2, 5, 6)), "int64"))
    assert pool.choice is None
    assert loss.dz is None


EMPTY = {
    "lrn": (CASES["lrn"].call, [(0, 8, 3, 4)]),
    "norm, fixed": (fixed, [(0, 8, 3, 2), (8,), (8,)]),
    "max": (CASES["max"].call, [(0, 3, 4, 4)]),
    "max, uneven": (CASES["max, uneven"].call, [(0, 3, 5, 6)]),
    "avg": (CASES["avg"].call, [(0, 3, 4, 4)]),
    "avg of cells": (CASES["avg of cells"].call, [(0, 8, 4, 3)]),
    "entropy, sum": (CASES["entropy, sum"].call, [(0, 8)]),
    "entropy": (entropy, [(0, 8)]),
    "entropy of each": (CASES["entropy of each"].call, [(2, 5, 0)]),
    "dropout": (F.dropout, [(0, 3, 4, 4)]),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_batch_of_none(name, ran):
    call, shapes = EMPTY[name]
    arrays = drawn(shapes)
    found, expected = on_gpu(call, arrays), on_cpu(call, arrays)
    assert ran == []
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# The plain formulation beside the kernels


PLAIN = {
    "lrn": (partial(LocalResponseNorm, 5, 2.0, 0.75, 1.0), [(2, 8, 3, 4)]),
    "lrn, a power": (partial(LocalResponseNorm, 4, 2.0, 0.6, 1.0), [(2, 7, 3, 2)]),
    "norm": (partial(BatchNorm, 1e-5), [(3, 8, 2, 3), (8,), (8,)]),
    "norm, relu": (partial(BatchNorm, 1e-5, True), [(3, 8, 2, 3), (8,), (8,)]),
    "max": (partial(MaxPool2d, WINDOW), [(2, 4, 5, 6)]),
    "avg": (partial(AvgPool2d, WINDOW, False), [(2, 4, 5, 6)]),
    "avg of cells": (partial(AdaptiveAvgPool2d, (2, 3)), [(2, 4, 4, 6)]),
}


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_formulation_runs_there_too(name, dtype, ran):
    function, shapes = PLAIN[name]
    arrays = drawn(shapes, dtype)
    plain = on_gpu(function(plain=True), arrays)
    assert ran == []
    for one, other in zip(plain, on_gpu(function(), arrays), strict=True):
        close(one, other, 2e-2 if dtype == "float16" else None)  # its sums are of halves
    assert len(ran) == 2


@pytest.mark.parametrize("relu", [False, True])
def test_fixed_statistics_plain_and_not(relu, ran):
    import cupy

    arrays = drawn([(2, 8, 3, 2), (8,), (8,)])
    statistics = [cupy.asarray(a) for a in (arrays[1], arrays[2] ** 2)]
    found = [
        on_gpu(BatchNormInference(*statistics, 1e-5, relu, plain=plain), arrays) for plain in (True, False)
    ]
    assert len(ran) == 2
    for one, other in zip(*found, strict=True):
        close(one, other)


@pytest.mark.parametrize("name", [name for name in CASES if "entropy" in name])
def test_cross_entropy_without_its_kernel(name, monkeypatch, ran):
    from minicnn.backend import gpu_fused

    call, shapes, _ = CASES[name]
    arrays = drawn(shapes)
    kernel = on_gpu(call, arrays)
    monkeypatch.setattr(gpu_fused, "cross_entropy_takes", lambda z: False)
    ran.clear()
    for one, other in zip(on_gpu(call, arrays), kernel, strict=True):
        close(one, other)
    assert ran == []


LIMITS = [  # a case, a dtype, and the limit that it is beyond
    ("lrn", "float64", "gpu_fused.MOST"),
    ("norm", "float16", "gpu_fused.MOST"),
    ("max", "float64", "gpu_fused.MOST"),
    ("max", "float16", "gpu_pooling.MOST"),
    ("avg", BFLOAT16, "gpu_pooling.MOST"),
    ("avg, uneven", "float16", "gpu_pooling.MOST"),
    ("entropy", "float64", "gpu_fused.MOST"),
    ("lrn", "float16", "gpu_fused.MOST_PIXELS"),
    ("lrn", "float16", "gpu_fused.MOST_CHANNELS"),
    ("entropy", "float64", "gpu_fused.MOST_SAMPLES"),
]


@pytest.mark.parametrize(("name", "dtype", "limit"), LIMITS)
def test_what_the_kernels_are_not_made_for_is_computed_all_the_same(name, dtype, limit, monkeypatch, ran):
    call, shapes, _ = CASES[name]
    arrays = drawn(shapes, dtype)
    monkeypatch.setattr(f"minicnn.backend.{limit}", 1)
    found, expected = on_gpu(call, arrays), on_cpu(call, arrays)
    assert ran == []
    for one, other in zip(found, expected, strict=True):
        close(one, other, {"float64": 1e-12, "float16": 1e-2}.get(dtype, 5e-2))
    on_gpu(call, drawn(shapes))
    assert ran  # for of float32 there may be as many


# Batch normalisation


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("aligned", [True, False])
def test_running_statistics_are_moved(dtype, aligned):
    (x,) = drawn([(3, 4, 2, 5)], dtype)
    found = []
    for device in ("cpu", "cuda"):
        x_there = Tensor(x.astype("float64") if device == "cpu" else x).to(device)
        room = like(x_there, np.arange(10.0)).data
        running = (room[:4], room[4:8]) if aligned else (room[1:5], room[5:9])
        room[:9] += 0 if aligned else -1
        F.batch_norm(x_there, *running, training=True, momentum=0.3)
        found.append(Tensor(room).numpy())
    close(found[1][:-2], found[0][:-2])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_halves_may_have_statistics_and_weights_of_float32(dtype, training):
    x, *of_channels = drawn([(3, 8, 2, 2), (8,), (8,), (8,), (8,)])
    x, of_channels[3] = x.astype(dtype), abs(of_channels[3]) + 0.1

    def call(x, w, b, mean, var):
        return F.batch_norm(x, mean.data, var.data, w, b, training=training)

    found = []
    for device, kind in (("cpu", "float64"), ("cuda", None)):
        arrays = [Tensor(a.astype(kind or a.dtype)).to(device) for a in (x, *of_channels)]
        inputs = [Tensor(a.data, requires_grad=True) for a in arrays[:3]]
        y = call(*inputs, *arrays[3:])
        y.backward(like(y, np.random.default_rng(3).normal(size=y.shape).astype(dtype)).data)
        found.append([y, *(Tensor(t.grad) for t in inputs), *arrays[3:]])
    assert [t.dtype for t in found[1]] == [x.dtype, x.dtype, *["float32"] * 4]
    for one, other in zip(found[1], found[0], strict=True):
        close(one.numpy(), other.numpy(), 2e-2 if dtype is BFLOAT16 else 2e-3)


def test_statistics_elsewhere():
    x = Tensor(np.ones((2, 3), "float32")).to("cuda")
    with pytest.raises(TypeError, match="one device, got some on 'cuda:0' and some on 'cpu'"):
        F.batch_norm(x, np.zeros(3, "float32"), None, training=True)


def test_one_value_a_channel_is_no_batch():
    x = Tensor(np.ones((1, 3), "float32")).to("cuda")
    with pytest.raises(ValueError, match=r"batch_norm: training needs more than one value a channel, got"):
        F.batch_norm(x, None, None, training=True)


@pytest.mark.parametrize("learned", [False, True])
def test_fixed_statistics_of_the_forward_pass_count(learned):
    import cupy

    x = Tensor(cupy.ones((2, 3), "float32"), requires_grad=True)
    mean, var = cupy.zeros(3, "float32"), cupy.ones(3, "float32")
    of_channels = [Tensor(cupy.ones(3, "float32"), requires_grad=True) for _ in range(2 * learned)]
    y = F.batch_norm(x, mean, var, *of_channels, eps=0.0)
    var[...] = 100.0
    y.backward(cupy.ones((2, 3), "float32"))
    np.testing.assert_array_equal(cupy.asnumpy(x.grad), 1)


@pytest.mark.parametrize(
    ("input", "statistics"),
    [
        ("float16", ("float16", "float32")),
        ("float16", ("float32", "float16")),
        ("float16", ("float64", "float64")),
        ("float64", ("float32", "float32")),
        ("float32", ("float64", "float64")),
    ],
)
def test_other_dtypes_do_not_meet(input, statistics):
    x, *given = (Tensor(a).to("cuda") for a in (np.ones((2, 3), input), *(np.ones(3, d) for d in statistics)))
    with pytest.raises(TypeError, match="batch_norm: all arrays must have one dtype, got input"):
        F.batch_norm(x, *given)


# Local response normalisation and softmax


def test_whether_the_kernel_takes_a_window_is_asked(monkeypatch, ran):
    from minicnn.backend import gpu_fused

    asked = []
    monkeypatch.setattr(gpu_fused, "lrn_takes", lambda x, size: asked.append(size))
    F.local_response_norm(minicnn.tensor(np.ones((1, 7, 1, 1)), device="cuda"), 5, 2.0)
    assert asked == [5]
    assert ran == []


@pytest.mark.parametrize("call", [F.softmax, F.log_softmax])
def test_a_softmax_of_halves_rounds_once(call):
    x = np.random.default_rng(0).normal(size=(1, 3000)).astype("float16")
    exact = call(Tensor(x.astype("float64")), 1).numpy()
    found = call(minicnn.tensor(x, device="cuda"), 1).numpy()
    assert found.dtype == "float16"
    assert np.abs(found - exact).max() <= 0.51 * np.spacing(np.abs(exact).max().astype("float16"))


# Dropout


def dropped(x, p=0.3, seed=7, **options):
    """y and dx for a gradient of ones, by a generator with this seed."""
    import cupy

    t = Tensor(x, requires_grad=True)
    y = Dropout(p, 2.0, np.random.default_rng(seed), **options)(t)
    y.backward(cupy.ones(y.shape, y.dtype))
    return cupy.asnumpy(y.data), cupy.asnumpy(t.grad)


SHAPE = (3, 5, 7, 2)


def test_the_gradient_has_the_mask_of_the_result():
    import cupy

    y, dx = dropped(cupy.full(SHAPE, 3.0, "float32"))
    assert set(np.unique(y)) == {0, 6}
    np.testing.assert_array_equal(dx, y / 3)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_mask_is_one_for_all_dtypes_and_layouts(dtype, layout):
    import cupy

    expected, _ = dropped(cupy.ones(SHAPE, "float32"))
    for found in dropped(laid_out(np.ones(SHAPE, dtype), layout)):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.astype("float32"), expected)


def test_the_plain_formulation_has_the_same_mask(ran):
    import cupy

    x = laid_out(drawn([SHAPE])[0], "channels last")
    for one, other in zip(dropped(x, plain=True), dropped(x), strict=True):
        np.testing.assert_array_equal(one, other)
    assert ran == ["dropout"] * 3  # the mask; forward and backward
    y, _ = dropped(cupy.ones(SHAPE, "float32"), seed=8)
    assert (y != dropped(cupy.ones(SHAPE, "float32"))[0]).any()


def test_beyond_the_kernels_limit_the_mask_alone_is_its(ran, monkeypatch):
    x = like(minicnn.tensor(0.0, device="cuda"), np.ones(SHAPE), "float16").data
    expected = dropped(x)
    assert len(ran) == 2
    monkeypatch.setattr("minicnn.backend.gpu_fused.takes", lambda x: x.dtype == "float32")
    ran.clear()
    for one, other in zip(dropped(x), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(ran) == 1


def test_each_call_drops_others():
    x = Tensor(np.ones(SHAPE, "float32")).to("cuda")
    minicnn.manual_seed(3)
    first, second = F.dropout(x).numpy(), F.dropout(x).numpy()
    assert (first != second).any()
    minicnn.manual_seed(3)
    np.testing.assert_array_equal(F.dropout(x).numpy(), first)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_as_many_are_dropped_as_chance_allows(p):
    import cupy

    y, _ = dropped(cupy.ones((64, 64), "float32"), p)
    assert abs((y == 0).sum() - 4096 * p) <= 5 * sqrt(4096 * p * (1 - p))


def test_all_or_none_are_dropped():
    import cupy

    x = cupy.full(SHAPE, cupy.inf, "float32")
    for found, expected in ((dropped(x, 1), (0, 0)), (dropped(x, 0), (np.inf, 2))):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_dropout_is_no_transfer():
    import cupy

    x = Tensor(cupy.ones(SHAPE, "float32"), requires_grad=True)
    F.dropout(x).backward(cupy.ones(SHAPE, "float32"))
    assert standin.transfers == []


# Cross entropy


def without_its_kernel(monkeypatch):
    from minicnn.backend import gpu_fused

    monkeypatch.setattr(gpu_fused, "cross_entropy_takes", lambda z: False)


@pytest.mark.parametrize("wrong", [-1, 4, 1 << 40])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 1.0}, {"weight": [0.0, 1.0, 0.0, 2.0]}], ids=str)
@pytest.mark.parametrize("plain", [False, True])
def test_a_label_out_of_range_makes_the_loss_nan(wrong, options, plain, monkeypatch):
    import cupy

    if plain:
        without_its_kernel(monkeypatch)
    options = {
        name: like(minicnn.tensor(0.0, device="cuda"), v) if name == "weight" else v
        for name, v in options.items()
    }
    labels, z = (
        Tensor(cupy.asarray([1, wrong, -100])),
        Tensor(cupy.ones((3, 4), "float32"), requires_grad=True),
    )
    standin.transfers.clear()
    each = F.cross_entropy(z, labels, reduction="none", **options)
    each.backward(cupy.ones(3, "float32"))
    mean, total = (F.cross_entropy(z, labels, reduction=r, **options) for r in ("mean", "sum"))
    assert standin.transfers == []
    assert np.isnan(each.numpy()).tolist() == [False, True, False]
    assert np.isnan(Tensor(z.grad).numpy()).all(axis=1).tolist() == [False, True, False]
    assert np.isnan(mean.item())
    assert np.isnan(total.item())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_likelihoods(dtype):
    arrays = drawn([(6, 5)], dtype)

    def call(z):
        labels = like(z, [3, 0, -100, 1, 4, 2], "int64")
        return F.nll_loss(z, labels, like(z, WEIGHTS))

    found, expected = on_gpu(call, arrays), on_cpu(call, arrays)
    assert {a.dtype for a in found} == {np.dtype(dtype)}
    for one, other in zip(found, expected, strict=True):
        close(one, other)


@pytest.mark.parametrize("kind", ["uint8", "int16"])
def test_likelihoods_of_labels_of_any_integer_type(kind):
    arrays = drawn([(3, 4)])

    def call(z):
        return F.nll_loss(z, like(z, [3, 0, 1], kind), ignore_index=1 << 40)

    for one, other in zip(on_gpu(call, arrays), on_cpu(call, arrays), strict=True):
        close(one, other)


def test_a_label_out_of_range_makes_a_likelihood_nan():
    import cupy

    z = Tensor(cupy.ones((3, 4), "float32"), requires_grad=True)
    labels = Tensor(cupy.asarray([1, 4, -100]))
    standin.transfers.clear()
    each = F.nll_loss(z, labels, reduction="none")
    each.backward(cupy.ones(3, "float32"))
    mean = F.nll_loss(z, labels)
    assert standin.transfers == []
    np.testing.assert_array_equal(each.numpy(), [-1, np.nan, 0])
    assert np.isnan(mean.item())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("plain", [False, True])
def test_all_labels_ignored(reduction, plain, monkeypatch):
    if plain:
        without_its_kernel(monkeypatch)
    arrays = drawn([(3, 4)])

    def call(z):
        return F.cross_entropy(z, like(z, [2, 2, 2], "int64"), ignore_index=2, reduction=reduction)

    for one, other in zip(on_gpu(call, arrays), on_cpu(call, arrays, "float32"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "int32", "uint32", "int64"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_labels_of_any_integer_type(dtype, kind):
    arrays = drawn([(3, 4)], dtype)

    def call(z):
        return F.cross_entropy(z, like(z, [3, 0, 1], kind))

    for one, other in zip(on_gpu(call, arrays), on_cpu(call, arrays), strict=True):
        close(one, other)


def test_labels_of_any_layout():
    import cupy

    (z,) = drawn([(2, 3, 4, 5)])
    labels = np.arange(40).reshape(2, 4, 5) % 3
    there = cupy.asarray(np.concatenate([[0], labels.transpose(2, 1, 0).ravel()]))[1:]
    there = Tensor(there.reshape(5, 4, 2).transpose(2, 1, 0))
    found = F.cross_entropy(Tensor(cupy.asarray(z)), there, reduction="none")
    close(found.numpy(), F.cross_entropy(Tensor(z.astype("float64")), labels, reduction="none").numpy())


def test_one_sample():
    (z,) = drawn([(5,)])

    def call(z):
        return F.cross_entropy(z, like(z, 3, "int64"), reduction="none")

    for one, other in zip(on_gpu(call, [z]), on_cpu(call, [z]), strict=True):
        close(one, other)


def test_the_gradient_of_a_half_is_scaled_before_it_is_rounded():
    import cupy

    z = np.zeros((1024, 2), "float16")
    z[:, 0] = 9.0  # the gradient is 1e-7 a sample, less than float16's smallest number but one
    t = Tensor(cupy.asarray(z), requires_grad=True)
    labels = Tensor(cupy.zeros(1024, "int64"))
    F.cross_entropy(t, labels).backward(cupy.asarray(4096, "float16"))
    p = 1 / (1 + np.exp(9.0))
    close(cupy.asnumpy(t.grad), np.tile([-4 * p, 4 * p], (1024, 1)))


def test_arguments_that_do_not_fit():
    import cupy

    z = Tensor(cupy.ones((3, 4), "float32"))
    with pytest.raises(
        ValueError, match=r"cross_entropy: reduction must be 'mean', 'sum' or 'none', got 'avg'"
    ):
        F.cross_entropy(z, Tensor(cupy.zeros(3, "int64")), reduction="avg")
    with pytest.raises(
        ValueError, match=r"cross_entropy: target must have shape \(3,\) for input .*got \(4,\)"
    ):
        F.cross_entropy(z, Tensor(cupy.zeros(4, "int64")))
    with pytest.raises(TypeError, match=r"cross_entropy: target must be class numbers"):
        F.cross_entropy(z, Tensor(cupy.zeros(3, "float32")))
    with pytest.raises(TypeError, match="one device, got some on 'cuda:0' and some on 'cpu'"):
        F.cross_entropy(z, np.zeros(3, "int64"))
    with pytest.raises(ValueError, match=r"cross_entropy: weight must have shape \(4,\)"):
        F.cross_entropy(z, Tensor(cupy.zeros(3, "int64")), Tensor(cupy.ones(3, "float32")))


def test_probabilities_as_targets():
    arrays = drawn([(3, 4)])
    target = np.full((3, 4), 0.25)

    def call(z):
        return F.cross_entropy(z, like(z, target), label_smoothing=0.1)

    for one, other in zip(on_gpu(call, arrays), on_cpu(call, arrays), strict=True):
        close(one, other)


# Pooling


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
@pytest.mark.parametrize("plain", [False, True])
def test_maxima_and_their_indices(dtype, plain, ran):
    import cupy

    x = (np.arange(2 * 3 * 5 * 6).reshape(2, 3, 5, 6) * 37 % 64).astype(dtype)
    window = Window2d.of("pool", 3, 2, 1, (1, 2))
    there, here = MaxPool2d(window, True, plain), MaxPool2d(window, True)
    y = there(Tensor(cupy.asarray(x)))
    np.testing.assert_array_equal(y.numpy(), here(Tensor(x)).data)
    np.testing.assert_array_equal(cupy.asnumpy(there.indices), here.indices)
    assert standin.transfers[1:-2] == []  # but x, y and the indices
    assert bool(ran) == (dtype == "float32" and not plain)


@pytest.mark.parametrize("plain", [False, True])
def test_nan_is_above_all(plain):
    x = drawn([(2, 3, 6, 4)])[0]
    x[x > 1] = np.nan
    found, expected = on_gpu(MaxPool2d(WINDOW, plain=plain), [x]), on_cpu(MaxPool2d(WINDOW), [x], "float32")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# Gradient descent


RULES = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.5, "maximize": True},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
]


def descended(device, arrays, dtype, options, layout="channels last"):
    """A parameter after three steps, at two rates, the gradients in channels-first memory."""
    p, *grads = arrays
    p = Tensor(laid_out(p.astype(dtype), layout) if device == "cuda" else p.astype(dtype), requires_grad=True)
    kept = p.data
    optimizer = SGD([p], lr=0.5, **options)
    standin.transfers.clear()
    for g in grads:
        p.grad = Tensor(g.astype(dtype)).to(device).data
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.25
    assert p.data is kept
    assert all(one.kind == "to device" for one in standin.transfers)
    return p.numpy()


@pytest.mark.parametrize("options", RULES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 2, 5, 1), (7,), ()], ids=str)
def test_steps_down_the_gradient(shape, dtype, options, ran):
    arrays = drawn([shape] * 4)
    arrays = [a.astype(dtype) for a in arrays]
    found = descended("cuda", arrays, dtype, options)
    assert ran == ([] if dtype in HALVES else ["sgd"] * 3)
    expected = descended("cpu", arrays, "float64", options)
    close(found, expected, 3e-2 if dtype is BFLOAT16 else None, least=1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameters_of_any_layout(layout, ran):
    arrays, options = drawn([(3, 2, 5, 4)] * 4), {"momentum": 0.9}
    close(descended("cuda", arrays, "float32", options, layout), descended("cpu", arrays, "float64", options))
    assert len(ran) == (3 if layout in LAYOUTS[:2] else 0)  # the kernel changes whole, aligned memory only


# Elsewhere


@pytest.mark.parametrize("exponent", [2, 0.5, -1.5])
def test_powers_of_floats_are_not_looked_at(exponent):
    import cupy

    x = Tensor(cupy.full((2, 3), 4.0, "float32"), requires_grad=True)
    y = x**exponent
    y.backward(cupy.ones((2, 3), "float32"))
    assert standin.transfers == []
    close(y.numpy(), np.full((2, 3), 4.0**exponent))


@CASE
def test_another_gpu_than_the_current_one(name, cuda):
    if cuda.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one GPU")
    call, shapes, _ = CASES[name]
    arrays = drawn(shapes)
    tensors = [Tensor(a).to("cuda:1") for a in arrays]
    found = results(call, [Tensor(t.data, requires_grad=True) for t in tensors])
    for one, other in zip(found, on_cpu(call, arrays), strict=True):
        close(one, other)


def test_steps_and_statistics_of_another_gpu(cuda):
    if cuda.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one GPU")
    p = Tensor(np.ones(3, "float32")).to("cuda:1").detach()
    p.requires_grad = True
    mean = Tensor(np.ones(3, "float16")).to("cuda:1")
    F.batch_norm(Tensor(np.ones((4, 3), "float16")).to("cuda:1"), mean, None, training=True)
    F.dropout(p * 2, 0).sum().backward()
    SGD([p], lr=0.5).step()
    np.testing.assert_array_equal(p.numpy(), 0)
    np.testing.assert_array_equal(mean.numpy(), 1)
