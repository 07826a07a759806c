"""Mixed precision: which operations take halves under autocast, how exact they are, and what GradScaler does.

How exact is derived, not guessed.  With the unit roundoff u of a half, a product's factors are wrong by u each, and so
is what is stored: 3u of the sum of the terms' *absolute values*, which float64 computes on the CPU.  A sum kept in half
precision is wrong by u a term, and has 4,096 terms here.
"""

from __future__ import annotations

import contextvars
import os
import pkgutil
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import minicnn
from minicnn import GradScaler, Tensor, nn, ops, optim
from minicnn import functional as F
from minicnn.autocast import PRODUCTS, WIDE, cast
from minicnn.backend.precision import tf32
from minicnn.tensor import Function

ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes, which is not installed")

REAL = os.environ.get("MINICNN_TEST_GPU") == "1"
HALVES = ("float16", "bfloat16")
ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "tf32": 2.0**-10}  # TF32's digits may be cut off
STORED = {"float16": 1, "bfloat16": 1, "tf32": 0}  # whether the result is rounded too
EXACTLY = 2.0**-23  # float32's own, a term


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def on(device: str, *arrays: np.ndarray, dtype: str = "float32") -> list[Tensor]:
    return [Tensor(minicnn.tensor(a, dtype=dtype, device=device).data, requires_grad=True) for a in arrays]


def values(array) -> np.ndarray:
    return np.asarray(Tensor(array).numpy(), np.float64)


def outcome(function, arrays, g, device: str, dtype: str, **options) -> list[np.ndarray]:
    """Return the result and all gradients, in float64."""
    tensors = on(device, *arrays, dtype=dtype)
    y = function(*tensors, **options)
    y.backward(minicnn.tensor(g, dtype=dtype, device=device))
    return [values(y.data), *(values(t.grad) for t in tensors)]


# What is cast, and where

CHANGED = {  # to each operation a call on two tensors (2, 3), and whether it gives a half under autocast
    "matmul": (lambda x, y: x @ y.transpose(0, 1), True),
    "rmatmul": (lambda x, y: x.transpose(0, 1).__rmatmul__(y.data), True),
    "linear": (lambda x, y: F.linear(x, y), True),
    "conv2d": (lambda x, y: F.conv2d(x.reshape(1, 2, 1, 3), y.reshape(1, 2, 1, 3)), True),
    "conv_transpose2d": (lambda x, y: F.conv_transpose2d(x.reshape(1, 2, 1, 3), y.reshape(2, 1, 1, 3)), True),
    "exp": (lambda x, y: x.exp(), False),
    "log": (lambda x, y: x.log(), False),
    "pow": (lambda x, y: x**y, False),
    "rpow": (lambda x, y: 2**x, False),
    "sum": (lambda x, y: x.sum(1), False),
    "mean": (lambda x, y: x.mean(1), False),
    "softmax": (lambda x, y: F.softmax(x, 1), False),
    "log_softmax": (lambda x, y: F.log_softmax(x, 1), False),
    "cross_entropy": (lambda x, y: F.cross_entropy(x, minicnn.tensor([0, 2], device="cuda")), False),
    "cross_entropy of probabilities": (lambda x, y: F.cross_entropy(x, y), False),
    "nll_loss": (lambda x, y: F.nll_loss(x, minicnn.tensor([0, 2], device="cuda")), False),
    "mse_loss": (lambda x, y: F.mse_loss(x, y), False),
    "local_response_norm": (lambda x, y: F.local_response_norm(x.reshape(1, 2, 3), 2), False),
}
UNCHANGED = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "truediv": lambda x, y: x / y,
    "neg": lambda x, y: -x,
    "sqrt": lambda x, y: x.sqrt(),
    "clip": lambda x, y: x.clip(0, 1),
    "relu": lambda x, y: F.relu(x),
    "max": lambda x, y: x.max(1).values,
    "reshape": lambda x, y: x.reshape(3, 2),
    "cat": lambda x, y: F.cat([x, y]),
    "pad": lambda x, y: F.pad(x, (1, 1)),
    "dropout": lambda x, y: F.dropout(x),
    "batch_norm": lambda x, y: F.batch_norm(x, None, None, training=True),
    "max_pool2d": lambda x, y: F.max_pool2d(x.reshape(1, 1, 2, 3), 2),
    "avg_pool2d": lambda x, y: F.avg_pool2d(x.reshape(1, 1, 2, 3), 2),
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("given", ["half", "float32"])
@pytest.mark.parametrize("operation", CHANGED)
def test_products_give_halves_and_the_delicate_float32(cuda, operation, given, half):
    call, lowered = CHANGED[operation]
    dtype = half if given == "half" else "float32"
    x, y = on("cuda", np.abs(draw(2, 3)) + 0.5, np.abs(draw(2, 3, seed=1)) + 0.5, dtype=dtype)
    with minicnn.autocast(half):
        z = call(x, y)
    assert z.dtype == (half if lowered else "float32")
    z.sum().backward()
    assert x.grad.dtype == dtype, "a gradient comes back in the dtype of what went in"


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("operation", UNCHANGED)
def test_everything_else_computes_in_what_it_is_given(cuda, operation, half):
    for dtype in (half, "float32"):
        x, y = on("cuda", np.abs(draw(2, 3)) + 0.5, np.abs(draw(2, 3, seed=1)) + 0.5, dtype=dtype)
        with minicnn.autocast(half):
            z = UNCHANGED[operation](x, y)
        assert z.dtype == dtype
        z.backward(minicnn.tensor(np.ones(z.shape), dtype=dtype, device="cuda"))
        assert x.grad.dtype == dtype


@pytest.mark.parametrize("half", HALVES)
def test_where_two_dtypes_meet_the_wider_one_wins(cuda, half):
    (x,), (y,) = on("cuda", draw(2, 3), dtype=half), on("cuda", draw(2, 3, seed=1))
    with minicnn.autocast(half):
        z = x + y
        assert z.dtype == "float32"
        assert F.linear(x, y).dtype == half
    z.sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (half, "float32")


def test_where_two_unlike_halves_meet_float32_does(cuda):
    (x,), (y,) = on("cuda", draw(2, 3), dtype="float16"), on("cuda", draw(2, 3), dtype="bfloat16")
    exact = [values(a.data).astype("float64") for a in (x, y)]
    for z, expected in ((x + y, exact[0] + exact[1]), (y - x, exact[1] - exact[0])):
        assert z.dtype == "float32"
        np.testing.assert_allclose(values(z.data), expected, rtol=0, atol=1e-6)
    assert (x * y).dtype == (y / x).dtype == "float32"
    with minicnn.autocast("float16"):
        assert F.linear(x, y).dtype == "float16"


@pytest.mark.parametrize("half", HALVES)
def test_batch_norm_gives_halves_and_keeps_its_own_in_float32(cuda, half):
    x = 1e4 * draw(8, 3, 2, 2)  # whose squares float16 cannot hold
    norm, there = nn.BatchNorm2d(3), nn.BatchNorm2d(3).to("cuda")
    expected = norm(minicnn.tensor(x))
    with minicnn.autocast(half):
        found = there(minicnn.tensor(x, dtype=half, device="cuda"))
    assert found.dtype == half
    np.testing.assert_allclose(values(found.data), expected.data, atol=4 * 3 * ROUNDOFF[half])
    found.sum().backward()
    for name, tensor in there.state_dict().items():
        assert name == "num_batches_tracked" or tensor.dtype == "float32", name
    assert there.weight.grad.dtype == "float32"
    rtol = 2 * ROUNDOFF[half]
    np.testing.assert_allclose(values(there.running_var.data), norm.running_var.data, rtol=rtol)


def test_the_lists_name_operations():
    modules = [import_module(f"minicnn.ops.{m.name}") for m in pkgutil.iter_modules(ops.__path__)]
    names = {
        name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Function)
    }
    assert names >= PRODUCTS | WIDE


def test_a_cast_keeps_channels_last_memory(cuda):
    (x,) = on("cuda", draw(2, 4, 5, 3))
    images = x.data.transpose(0, 3, 1, 2)
    with minicnn.autocast("float16"):
        (half,) = cast("Conv2d", [images])
        (wide,) = cast("Softmax", [half])
    assert (half.dtype, wide.dtype) == ("float16", "float32")
    assert half.strides == tuple(s // 2 for s in images.strides)
    assert wide.strides == images.strides


def test_float64_is_left_alone(cuda):
    x, y = on("cuda", draw(2, 3), draw(4, 3), dtype="float64")
    with minicnn.autocast("float16"):
        assert F.linear(x, y).dtype == "float64"
        assert x.exp().dtype == "float64"
        with pytest.raises(TypeError, match="linear: all arrays must have one dtype"):
            F.linear(x, y.to("float32"))


def test_integers_are_left_alone(cuda):
    x = minicnn.tensor([[1, 2]], device="cuda")
    with minicnn.autocast("float16"):
        assert x.sum().dtype == "int64"
        assert (x @ x.transpose(0, 1)).dtype == "int64"


@pytest.mark.parametrize("dtype", [*HALVES, "tf32"])
def test_on_the_cpu_it_does_nothing(dtype):
    x, y = on("cpu", draw(2, 3), draw(4, 3))
    with minicnn.autocast(dtype):
        assert F.linear(x, y).dtype == "float32"
        assert x.to("float16").exp().dtype == "float16"


# The block


def dtype_of_a_product() -> str:
    (x,) = on("cuda", draw(2, 2))
    return (x @ x).dtype.name + (" by TF32" if tf32() else "")


def test_of_nested_blocks_the_innermost_decides(cuda):
    with minicnn.autocast("float16"):
        assert dtype_of_a_product() == "float16"
        with minicnn.autocast("bfloat16"):
            assert dtype_of_a_product() == "bfloat16"
            with minicnn.autocast("bfloat16", enabled=False):
                assert dtype_of_a_product() == "float32"
            with minicnn.autocast("tf32"):
                assert dtype_of_a_product() == "float32 by TF32"
                with minicnn.autocast("tf32", enabled=False):
                    assert dtype_of_a_product() == "float32"
                with minicnn.autocast():
                    assert dtype_of_a_product() == "float16"
            assert dtype_of_a_product() == "bfloat16"
        assert dtype_of_a_product() == "float16"
    assert dtype_of_a_product() == "float32"


def test_an_exception_ends_it(cuda):
    with pytest.raises(ZeroDivisionError), minicnn.autocast("tf32"), minicnn.autocast("float16"):
        _ = 1 / 0
    assert dtype_of_a_product() == "float32"


def test_it_decorates(cuda):
    @minicnn.autocast("float16")
    def nested(depth: int) -> list[str]:
        with minicnn.autocast("bfloat16"):
            inner = nested(depth - 1) if depth else []
        return [dtype_of_a_product(), *inner]

    assert nested(2) == ["float16"] * 3
    assert dtype_of_a_product() == "float32"


def test_it_holds_for_one_thread(cuda):
    found = []
    with minicnn.autocast("float16"):
        thread = threading.Thread(
            target=contextvars.Context().run, args=(lambda: found.append(dtype_of_a_product()),)
        )
        thread.start()
        thread.join()
    assert found == ["float32"]


def test_what_is_no_precision_is_refused():
    for dtype in ("cuda", "float32", None, np.float16):
        with (
            pytest.raises(ValueError, match="autocast: dtype must be 'float16', 'bfloat16' or 'tf32'"),
            minicnn.autocast(dtype),
        ):
            pass


def test_bfloat16_without_its_library_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match="pip install ml_dtypes"), minicnn.autocast("bfloat16"):
        pass


# How exact it is

TERMS = 4096
LAYERS = {  # to each layer its function, the shapes of its inputs, and the options; one of its sums has TERMS terms
    "linear, forward": (F.linear, ((2, TERMS), (3, TERMS), (3,)), {}),
    "linear, weight": (F.linear, ((TERMS, 2), (3, 2), (3,)), {}),
    "linear, data": (F.linear, ((2, 3), (TERMS, 3), (TERMS,)), {}),
    "matmul": (Tensor.__matmul__, ((2, TERMS), (TERMS, 3)), {}),
    "conv2d, forward": (F.conv2d, ((1, TERMS // 4, 3, 3), (8, TERMS // 4, 2, 2), (8,)), {"stride": 2}),
    "conv2d, weight": (F.conv2d, ((1, 8, 64, 64), (8, 8, 1, 1), (8,)), {}),
    "conv2d, data": (F.conv2d, ((1, 8, 3, 3), (TERMS // 4, 8, 2, 2), (TERMS // 4,)), {"padding": 1}),
    "conv2d, small": (F.conv2d, ((2, 3, 7, 6), (4, 3, 3, 2), (4,)), {"stride": 2, "padding": (1, 2)}),
    "conv_transpose2d": (F.conv_transpose2d, ((2, 4, 3, 4), (4, 6, 3, 2), (6,)), {"stride": 2, "padding": 1}),
}


def bounds(function, arrays, g, precision: str, **options) -> list[np.ndarray]:
    """Return how far off a layer's result and gradients may be: see this module's docstring."""
    gross = outcome(function, map(np.abs, arrays), np.abs(g), "cpu", "float64", **options)
    share = (2 + STORED[precision]) * ROUNDOFF[precision] * (1 + ROUNDOFF[precision]) ** 2 + TERMS * EXACTLY
    return [share * terms for terms in gross]


def worst(found: list[np.ndarray], exact: list[np.ndarray], allowed: list[np.ndarray]) -> float:
    """Return the largest error as a part of what is allowed; NaN if there is one."""
    return max(
        float((np.abs(a - b) / np.where(c, c, 1)).max())
        for a, b, c in zip(found, exact, allowed, strict=True)
    )


def positive(layer: str) -> tuple[Callable[..., Tensor], list[np.ndarray], np.ndarray, dict[str, Any]]:
    """Return a layer, inputs and an upstream gradient without cancellation, in which errors of one kind add up."""
    function, shapes, options = LAYERS[layer]
    arrays = [np.abs(draw(*shape, seed=seed)) for seed, shape in enumerate(shapes)]
    return function, arrays, np.abs(draw(*function(*map(Tensor, arrays), **options).shape, seed=9)), options


@pytest.mark.parametrize("precision", [*HALVES, "tf32"])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_as_exact_as_its_factors(cuda, layer, precision):
    function, arrays, g, options = positive(layer)

    def under_autocast(*tensors: Tensor) -> Tensor:
        with minicnn.autocast(precision):
            return function(*tensors, **options)

    exact = outcome(function, arrays, g, "cpu", "float64", **options)
    found = outcome(under_autocast, arrays, g, "cuda", "float32")
    error = worst(found, exact, bounds(function, arrays, g, precision, **options))
    assert error <= 1
    if precision != "tf32" or not REAL:  # a real cuBLAS may find float32 as fast for shapes like these
        assert error > 0.02, "it was computed in float32"


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("layer", ["linear, forward", "linear, weight", "conv2d, small", "conv_transpose2d"])
def test_a_layer_of_halves_is_as_exact_without_autocast(cuda, layer, half):
    function, arrays, g, options = positive(layer)
    exact = outcome(function, arrays, g, "cpu", "float64", **options)
    found = outcome(function, arrays, g, "cuda", half, **options)
    assert worst(found, exact, bounds(function, arrays, g, half, **options)) <= 1


@pytest.mark.parametrize("half", HALVES)
def test_a_sum_kept_in_half_precision_would_be_noticed(half):
    """What the tests above let pass is less than such a sum's error, forward and backward."""
    dtype = np.dtype(half)
    x, w = np.abs(draw(1, TERMS)), np.abs(draw(1, TERMS, seed=1))
    total = dtype.type(0)
    for term in (x * w).astype(dtype)[0]:
        total = dtype.type(total + term)
    y, dx, dw = outcome(F.linear, (x, w), np.ones((1, 1)), "cpu", "float64")
    allowed = bounds(F.linear, (x, w), np.ones((1, 1)), half)
    assert worst([np.array([[float(total)]]), dx, dw], [y, dx, dw], allowed) > 1


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_halves_are_added_up_in_float32_without_autocast_too(half, device, request):
    if device == "cuda":
        request.getfixturevalue("cuda")
    (large,), (x,) = on(device, 1000 + draw(300, 300), dtype=half), on(device, 4 * draw(5, 1000), dtype=half)
    assert float(values(large.mean().data)) == pytest.approx(1000, rel=ROUNDOFF[half] + 1e-3)
    z = values(x.data)
    p = np.exp(z - z.max(1, keepdims=True)) / np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)
    tiny = {"float16": 2.0**-25, "bfloat16": 0}[half]  # half the distance of the least float16s
    rtol = ROUNDOFF[half] + 1000 * EXACTLY
    np.testing.assert_allclose(values(F.softmax(x, 1).data), p, rtol=rtol, atol=tiny)
    np.testing.assert_allclose(values(F.log_softmax(x, 1).data), np.log(p), rtol=rtol)


# A network, where what one layer rounds the next ones carry on


class Noise(Function):
    """y = x (1 + u r), dx = g (1 + u s) with signs r and s drawn: what storing x and its gradient may do to them."""

    def __init__(self, u: float, rng: np.random.Generator) -> None:
        self.u, self.rng = u, rng

    def forward(self, x):
        return x * (1 + self.u * self.rng.choice([-1, 1], x.shape))

    def backward(self, g):
        return g * (1 + self.u * self.rng.choice([-1, 1], g.shape))


NETWORK = ((2, 1, 12, 12), (4, 1, 5, 5), (4,), (10, 64), (10,))


def network(x: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor, stored=lambda t: t) -> Tensor:
    x, w, b, v, c = map(stored, (x, w, b, v, c))
    y = F.max_pool2d(F.relu(stored(F.conv2d(x, w, b))), 2)
    z = stored(F.linear(y.flatten(1), v, c))
    return F.cross_entropy(z, minicnn.tensor([3, 1], device=x.device.split(":")[0]))


def network_in(device: str, dtype: str, function=network) -> list[np.ndarray]:
    arrays = [
        draw(*shape, seed=i) / (np.prod(shape[1:]) ** 0.5 if i else 1) for i, shape in enumerate(NETWORK)
    ]
    return outcome(function, arrays, np.ones(()), device, dtype)


@pytest.mark.parametrize("half", HALVES)
def test_a_network_is_as_exact_as_noise_of_the_same_size_leaves_it(cuda, half):
    """Its error is at most 2 times the largest that 20 draws make, of relative noise u wherever a half is stored."""
    rng, u = np.random.default_rng(0), ROUNDOFF[half]
    exact = network_in("cpu", "float64")

    def autocast_network(*tensors: Tensor) -> Tensor:
        with minicnn.autocast(half):
            return network(*tensors)

    def noisy(*tensors: Tensor) -> Tensor:
        return network(*tensors, stored=lambda t: Noise(u, rng)(t))

    def error(found: list[np.ndarray]) -> np.ndarray:
        return np.array([np.linalg.norm(a - b) for a, b in zip(found, exact, strict=True)])

    noise = np.max([error(network_in("cpu", "float64", noisy)) for _ in range(20)], axis=0)
    found = error(network_in("cuda", "float32", autocast_network))
    assert (found <= 2 * noise).all(), (found, noise)
    assert (found >= noise / 20).all(), "it was not computed in half precision"


def small_network() -> nn.Module:
    minicnn.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.LocalResponseNorm(3), nn.MaxPool2d(2),
        nn.Dropout(0.0), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1),
    )  # fmt: skip


@pytest.mark.parametrize("half", HALVES)
def test_a_network_of_halves_runs_without_autocast(cuda, half):
    """Every layer takes halves and gives them, and nothing overflows on the way: the inputs are about 100."""
    x, g = 100 * draw(4, 2, 6, 6), draw(4, 3, seed=1)
    network = small_network()
    exact = network.to("float64")(minicnn.tensor(x, dtype="float64"))
    exact.backward(g.astype(np.float64))
    expected = [p.grad for p in network.parameters()]
    network = small_network().to("cuda").to(half)
    y = network(minicnn.tensor(x, dtype=half, device="cuda"))
    y.backward(minicnn.tensor(g, dtype=half, device="cuda"))
    assert y.dtype == half
    tolerance = 20 * ROUNDOFF[half]  # two for each layer
    np.testing.assert_allclose(values(y.data), exact.data, atol=tolerance)
    for p, e in zip(network.parameters(), expected, strict=True):
        assert p.grad.dtype == half
        assert np.linalg.norm(values(p.grad) - e) <= tolerance * max(np.linalg.norm(e), 1)


def losses(device: str, precision: str, steps: int = 12) -> list[float]:
    model = nn.Sequential(*list(small_network().children())[:-1]).to(device)
    data, labels = (minicnn.tensor(a, device=device) for a in (draw(8, 2, 6, 6), np.arange(8) % 3))
    optimizer = optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    scaler, found = GradScaler(enabled=precision == "float16"), []
    for _ in range(steps):
        with minicnn.autocast(precision):
            loss = F.cross_entropy(model(data), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("precision", [*HALVES, "tf32"])
def test_a_network_trains_in_mixed_precision_as_without(cuda, precision):
    right, found = losses("cpu", precision), losses("cuda", precision)  # on the CPU that is float32
    assert right[-1] < 0.1 * right[0]
    np.testing.assert_allclose(found, right, atol=20 * ROUNDOFF[precision])


# GradScaler

DEVICES = ("cpu", "cuda")


@pytest.fixture(params=DEVICES)
def device(request) -> str:
    if request.param == "cuda":
        request.getfixturevalue("cuda")
    return request.param


def one_parameter(device: str, value: float = 1.0) -> tuple[Tensor, optim.SGD]:
    w = minicnn.tensor([value, value], device=device, requires_grad=True)
    return w, optim.SGD([w], lr=0.125)


def train(w: Tensor, optimizer: optim.SGD, scaler: GradScaler, *factors: float) -> list[float]:
    """Take a step for each factor with the gradient (factor, 1), and return the scale after each."""
    scales = []
    for factor in factors:
        optimizer.zero_grad()
        scaler.scale((w * minicnn.tensor([factor, 1.0], device=w.device)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    return scales


@pytest.mark.parametrize("planted", [np.inf, -np.inf, np.nan])
def test_a_step_that_overflows_is_left_out_and_halves_the_scale(device, planted):
    w, optimizer = one_parameter(device)
    scales = train(w, optimizer, GradScaler(1024.0), 1.0, planted, 1.0, 2.0)
    assert scales == [1024, 512, 512, 512]
    np.testing.assert_array_equal(values(w.data), [1 - 0.125 * 4, 1 - 0.125 * 3])


def test_the_scale_grows_after_steps_in_a_row(device):
    w, optimizer = one_parameter(device)
    scaler = GradScaler(4.0, growth_factor=3.0, backoff_factor=0.25, growth_interval=3)
    scales = train(w, optimizer, scaler, 1, 1, np.inf, 1, 1, 1, 1, 1, 1, np.nan)
    assert scales == [4, 4, 1, 1, 1, 3, 3, 3, 9, 2.25]


def test_the_scale_has_no_part_in_the_training(device):
    ways = []
    for scaler in (GradScaler(), GradScaler(2.0**-4), GradScaler(enabled=False)):
        w, optimizer = one_parameter(device)
        train(w, optimizer, scaler, 1, 0.3, -2)
        ways.append(values(w.data))
    np.testing.assert_array_equal(ways[0], ways[2])
    np.testing.assert_array_equal(ways[1], ways[2])


def test_one_bad_gradient_among_many_is_found(device):
    for place in range(5):
        parameters = [minicnn.tensor(np.ones((3, 2)), device=device, requires_grad=True) for _ in range(5)]
        for i, p in enumerate(parameters):
            gradient = np.full((3, 2), 3e38 if i else -3e38)  # whose sum is infinite, and no fault
            if i == place:
                gradient[2, 1] = np.inf
            p.grad = minicnn.tensor(gradient, dtype=p.dtype, device=device).data
        optimizer, scaler = optim.SGD(parameters, lr=1.0), GradScaler()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == 2.0**15
        assert all((values(p.data) == 1).all() for p in parameters)


def test_large_gradients_are_no_overflow(device):
    w, optimizer = one_parameter(device)
    w.grad = minicnn.tensor([3e38, 3e38], device=device).data
    scaler = GradScaler()
    scaler.step(optimizer)
    assert (values(w.data) != 1).all()


def test_gradients_are_unscaled_once_before_they_are_clipped(device):
    w, optimizer = one_parameter(device)
    scaler = GradScaler()
    scaler.scale((w * 3).sum()).backward()
    scaler.unscale_(optimizer)
    np.testing.assert_array_equal(values(w.grad), [3, 3])
    w.grad *= 2
    scaler.step(optimizer)
    np.testing.assert_array_equal(values(w.data), [1 - 0.125 * 6] * 2)


def test_two_optimisers_step_for_themselves(device):
    (v, one), (w, other) = one_parameter(device), one_parameter(device)
    scaler = GradScaler()
    scaler.scale((v * 2).sum() + (w * np.inf).sum()).backward()
    scaler.step(one)
    scaler.step(other)
    scaler.update()
    np.testing.assert_array_equal(values(v.data), [0.75, 0.75])
    np.testing.assert_array_equal(values(w.data), [1, 1])
    assert scaler.get_scale() == 2.0**15


def test_what_is_out_of_turn_is_refused(device):
    w, optimizer = one_parameter(device)
    scaler = GradScaler()
    with pytest.raises(RuntimeError, match="update: no optimiser has stepped"):
        scaler.update()
    with pytest.raises(RuntimeError, match="step: none of the optimiser's parameters has a gradient"):
        scaler.step(optimizer)
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="unscale_: these gradients were unscaled"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="step: this optimiser has stepped"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="unscale_: this optimiser has stepped"):
        scaler.unscale_(optimizer)
    scaler.update()
    with pytest.raises(RuntimeError, match="update: no optimiser has stepped"):
        scaler.update()


def test_gradients_of_float16_are_refused(device):
    w = minicnn.tensor([1.0], dtype="float16", device=device, requires_grad=True)
    w.sum().backward()
    with pytest.raises(ValueError, match="gradients must not be float16"):
        GradScaler().unscale_(optim.SGD([w], lr=1.0))


def test_a_scale_that_cannot_help_is_an_error():
    w, optimizer = one_parameter("cpu")
    with pytest.raises(RuntimeError, match="infinite or NaN even at the scale"):
        train(w, optimizer, GradScaler(), *[np.nan] * 150)


def test_the_scale_stays_a_number():
    w, optimizer = one_parameter("cpu", 0.0)
    scaler = GradScaler(2.0**120, growth_factor=2.0**5, growth_interval=1)
    assert train(w, optimizer, scaler, 0, 0, 0) == [2.0**125, 2.0**126, 2.0**126]


def test_not_enabled_it_does_nothing():
    w, optimizer = one_parameter("cpu")
    scaler = GradScaler(enabled=False)
    loss = w.sum()
    assert scaler.scale(loss) is loss
    assert (scaler.get_scale(), scaler.is_enabled(), scaler.state_dict()) == (1, False, {})
    scaler.load_state_dict({"scale": "anything"})
    assert train(w, optimizer, scaler, np.inf) == [1]
    assert np.isinf(w.data[0])
    scaler.unscale_(optimizer)
    scaler.unscale_(optimizer)


def test_it_goes_on_from_its_state():
    options = {"growth_interval": 3, "growth_factor": 4.0, "backoff_factor": 0.125}
    (v, one), (w, other) = one_parameter("cpu"), one_parameter("cpu")
    before, after = GradScaler(64.0, **options), GradScaler()
    train(v, one, before, np.inf, 1, 1)
    state = before.state_dict()
    assert state == {
        "scale": 8.0, "growth_factor": 4.0, "backoff_factor": 0.125, "growth_interval": 3, "_growth_tracker": 2,
    }  # fmt: skip
    after.load_state_dict(dict(reversed(state.items())))
    assert train(w, other, after, 1, np.inf) == train(v, one, before, 1, np.inf) == [32, 4]


@pytest.mark.parametrize("seed", range(5))
def test_it_goes_the_way_of_pytorch_s(seed):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is a peer, not a requirement")
    rng = np.random.default_rng(seed)
    options = {"growth_factor": float(rng.choice([2, 3])), "growth_interval": int(rng.integers(1, 5))}
    ours, theirs = GradScaler(1024.0, **options), torch.amp.GradScaler("cpu", 1024.0, **options)
    v, w = minicnn.tensor(np.ones(3, np.float32), requires_grad=True), torch.ones(3, requires_grad=True)
    one, other = optim.SGD([v], lr=0.1, momentum=0.9), torch.optim.SGD([w], lr=0.1, momentum=0.9)
    for _ in range(25):
        factors = rng.normal(size=3).astype(np.float32)
        if rng.random() < 0.2:
            factors[rng.integers(3)] = rng.choice([np.inf, np.nan])
        new = float(rng.integers(1, 100)) if rng.random() < 0.1 else None
        for scaler, optimizer, loss in (
            (ours, one, (v * minicnn.tensor(factors)).sum()),
            (theirs, other, (w * torch.tensor(factors)).sum()),
        ):
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update(new)
        assert ours.state_dict() == pytest.approx(theirs.state_dict(), rel=1e-6)
        np.testing.assert_allclose(v.data, w.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_state_that_does_not_fit_changes_nothing():
    scaler = GradScaler()
    before = scaler.state_dict()
    for state, error in (
        ({}, "the state must hold"),
        ({**before, "other": 1}, "the state must hold"),
        (None, "the state must hold"),
        ({**before, "scale": 0.0}, "scale must be above 0"),
        ({**before, "_growth_tracker": -1}, "_growth_tracker must be at least 0"),
    ):
        with pytest.raises(ValueError, match=f"GradScaler.load_state_dict: {error}"):
            scaler.load_state_dict(state)
    assert scaler.state_dict() == before


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"init_scale": 0}, "GradScaler: init_scale must be above 0, got 0"),
        ({"init_scale": np.inf}, "GradScaler: init_scale must be"),
        ({"growth_factor": 1}, "GradScaler: growth_factor must be above 1, got 1"),
        ({"backoff_factor": 1.0}, "GradScaler: backoff_factor must be above 0 and below 1, got 1"),
        ({"growth_interval": 0}, "GradScaler: growth_interval must be at least 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        GradScaler(**options)


def test_a_new_scale_can_be_set():
    scaler = GradScaler()
    scaler.update(8.0)
    assert scaler.get_scale() == 8
    with pytest.raises(ValueError, match="new_scale must be above 0"):
        scaler.update(-1.0)


@pytest.mark.skipif(REAL, reason="the stand-in counts transfers, no real GPU does")
def test_gradients_of_a_step_come_to_the_host_as_one_number(cuda):
    from standin import transfers

    parameters = [minicnn.tensor(draw(3, i), device="cuda", requires_grad=True) for i in (1, 2, 3)]
    optimizer, scaler = optim.SGD(parameters, lr=0.1), GradScaler()
    x = minicnn.tensor(draw(5, 3), device="cuda")
    del transfers[:]
    with minicnn.autocast("float16"):
        loss = F.cat([x @ p for p in parameters], 1).sum()
    scaler.scale(loss).backward()
    assert transfers == []
    scaler.step(optimizer)
    scaler.update()
    assert [transfer.kind for transfer in transfers] == ["to host"]
    assert transfers[0].nbytes <= 8


# What it is for


STEPS = 20


def trained(device: str, precision: str, scaler: GradScaler) -> np.ndarray:
    """Fit a line by gradients of about 10⁻¹⁰, at a rate to match, and return the weights."""
    x, true = draw(16, 3), np.array([[1.0, -2.0, 0.5]], np.float32)
    data, target = (minicnn.tensor(a, device=device) for a in (x, x @ true.T))
    w = minicnn.tensor(np.zeros((1, 3), np.float32), device=device, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1 * 2.0**30)
    for _ in range(STEPS):
        optimizer.zero_grad()
        if precision == "float32":
            y = F.linear(data, w)
        elif device == "cuda":
            with minicnn.autocast(precision):
                y = F.linear(data, w)
        else:
            y = F.linear(data.to(precision), w.to(precision))
        loss = F.mse_loss(y.to("float32"), target) * 2.0**-30
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    return values(w.data)


def test_gradients_too_small_for_float16_are_lost_without_a_scale_and_not_with_one(device):
    right = trained("cpu", "float32", GradScaler(enabled=False))
    np.testing.assert_array_equal(trained(device, "float16", GradScaler(enabled=False)), 0)
    scaled = trained(device, "float16", GradScaler(2.0**24))
    np.testing.assert_allclose(scaled, right, atol=STEPS * 2 * ROUNDOFF["float16"])


def test_bfloat16_needs_no_scale(cuda):
    right = trained("cpu", "float32", GradScaler(enabled=False))
    found = trained("cuda", "bfloat16", GradScaler(enabled=False))
    np.testing.assert_allclose(found, right, atol=STEPS * 2 * ROUNDOFF["bfloat16"])


def test_a_scale_too_large_is_found_out(device):
    """From 2⁶⁰ on every step overflows float16 until the scale is down to what it can be: then it learns."""
    found = trained(device, "float16", GradScaler(2.0**60))
    assert not np.allclose(found, 0)
    w, optimizer = one_parameter(device)
    assert train(w, optimizer, GradScaler(2.0**60), 1.0) == [2.0**60], "float32 holds that"
