"""Initialisation: the distributions the papers ask for, the same numbers for every memory layout."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minicnn import Tensor, manual_seed, nn, tensor
from minicnn.nn import init
from minicnn.random import default_generator

KERNEL = (60, 30, 5, 4)  # fan_in 600, fan_out 1200, 36,000 values
FAN_IN, FAN_OUT = 600, 1200


def kernel(dtype: str = "float32") -> Tensor:
    return Tensor(np.full(KERNEL, 9.0, dtype))


NORMAL = {  # the standard deviation each paper's formula gives, worked out by hand
    "normal": (lambda t: init.normal_(t, 0.5, 0.25), 0.5, 0.25),
    "he": (lambda t: init.kaiming_normal_(t, nonlinearity="relu"), 0, math.sqrt(2 / FAN_IN)),
    "he backward": (
        lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"),
        0,
        math.sqrt(2 / FAN_OUT),
    ),
    "he leaky": (lambda t: init.kaiming_normal_(t, a=0.5), 0, math.sqrt(2 / (1.25 * FAN_IN))),
    "he linear": (lambda t: init.kaiming_normal_(t, nonlinearity="linear"), 0, math.sqrt(1 / FAN_IN)),
    "glorot": (init.xavier_normal_, 0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
    "glorot tanh": (lambda t: init.xavier_normal_(t, 5 / 3), 0, 5 / 3 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
    "lecun": (init.lecun_normal_, 0, math.sqrt(1 / FAN_IN)),
    "alexnet": (init.krizhevsky2012_normal_, 0, 0.01),
    "vgg": (init.simonyan2014_normal_, 0, 0.1),
}
UNIFORM = {  # the bounds
    "uniform": (lambda t: init.uniform_(t, -1, 3), -1, 3),
    "he": (lambda t: init.kaiming_uniform_(t, nonlinearity="relu"), -0.1, 0.1),  # √(6 / 600)
    "torch's default": (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), -(600**-0.5), 600**-0.5),
    "glorot": (init.xavier_uniform_, -math.sqrt(6 / 1800), math.sqrt(6 / 1800)),
    "glorot gain": (lambda t: init.xavier_uniform_(t, gain=2.0), -math.sqrt(24 / 1800), math.sqrt(24 / 1800)),
    "lecun": (init.lecun_uniform_, -math.sqrt(3 / 600), math.sqrt(3 / 600)),
    "lenet": (init.lecun1998_uniform_, -2.4 / 600, 2.4 / 600),
    "lenet of 25": (lambda t: init.lecun1998_uniform_(t, fan_in=25), -2.4 / 25, 2.4 / 25),
}


def assert_moments(values: np.ndarray, mean: float, std: float, kurtosis: float) -> None:
    """Hold the sample's moments to the distribution's, within 4 standard errors.

    With n values the mean errs by σ/√n, the variance by σ² √((κ − 1)/n), κ = E[(x − μ)⁴]/σ⁴.
    """
    z = (values.astype(np.float64).ravel() - mean) / std
    n = z.size
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs((z * z).mean() - 1) < 4 * math.sqrt((kurtosis - 1) / n)
    assert abs((z**4).mean() - kurtosis) < 4 * (z**4).std() / math.sqrt(n)


@pytest.mark.parametrize("name", NORMAL)
def test_normal(name):
    fill, mean, std = NORMAL[name]
    manual_seed(0)
    t = kernel()
    array = t.data
    assert fill(t) is t
    assert t.data is array
    assert_moments(array, mean, std, kurtosis=3)


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform(name):
    fill, low, high = UNIFORM[name]
    manual_seed(0)
    t = kernel()
    assert fill(t) is t
    width = high - low
    assert_moments(t.data, (low + high) / 2, width / math.sqrt(12), kurtosis=1.8)
    assert low <= t.data.min() < low + 0.001 * width
    assert high - 0.001 * width < t.data.max() <= high + 1e-6 * width  # rounding to float32


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [(0, 0.1, -0.2, 0.2), (0.1, 0.2, 0.0, 0.4), (0, 0.1, 0.15, 2), (3, 0.01, -2, 4)],
)
def test_truncated_normal(mean, std, a, b):
    """Hold it to the normal density between a and b, integrated."""
    x = np.linspace(max(a, mean - 9 * std), min(b, mean + 9 * std), 100_001)
    weight = np.exp(-(((x - mean) / std) ** 2) / 2)
    weight /= weight.sum()
    center = weight @ x
    variance = weight @ (x - center) ** 2
    manual_seed(0)
    t = kernel("float64")
    assert init.trunc_normal_(t, mean, std, a, b) is t
    assert a <= t.data.min() <= t.data.max() <= b
    assert_moments(t.data, center, math.sqrt(variance), weight @ (x - center) ** 4 / variance**2)


def test_a_cut_out_of_reach_leaves_the_normal_distribution():
    first = init.trunc_normal_(kernel(), std=0.01, generator=np.random.default_rng(1)).data
    plain = init.normal_(kernel(), std=0.01, generator=np.random.default_rng(1)).data
    np.testing.assert_array_equal(first, plain)


@pytest.mark.parametrize(("fill", "value"), [(init.zeros_, 0), (init.ones_, 1)])
def test_constants(fill, value):
    t = kernel()
    assert fill(t) is t
    assert (t.data == value).all()


def test_constant_and_a_scalar_tensor():
    assert init.constant_(tensor([1.0, 2.0]), 0.1).data.tolist() == [np.float32(0.1)] * 2
    assert init.constant_(tensor(1.0), 3).item() == 3
    assert 0 <= init.uniform_(tensor(5.0)).item() < 1


def strided(array: np.ndarray) -> np.ndarray:
    return np.zeros((*array.shape[:3], 2 * array.shape[3]), array.dtype)[..., ::2]


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("fill", [init.normal_, init.trunc_normal_, init.xavier_uniform_])
@pytest.mark.parametrize("layout", [channels_last, np.asfortranarray, strided])
@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (70, 60, 5, 5)])  # one block, and more than one
def test_the_values_do_not_depend_on_the_layout(fill, layout, shape):
    plain = Tensor(np.zeros(shape, np.float32))
    other = Tensor(layout(np.zeros(shape, np.float32)))
    strides = other.data.strides
    manual_seed(3)
    fill(plain)
    manual_seed(3)
    fill(other)
    np.testing.assert_array_equal(plain.data, other.data)
    assert plain.data.all()  # nothing is left out
    assert other.data.strides == strides != plain.data.strides


@pytest.mark.parametrize("fill", [init.normal_, init.uniform_])
def test_float32_weights_are_the_float64_ones_rounded(fill):
    manual_seed(4)
    double = fill(kernel("float64")).data
    manual_seed(4)
    single = fill(kernel()).data
    np.testing.assert_array_equal(single, double.astype(np.float32))
    assert (single != double).mean() > 0.9


def test_seeds_and_generators():
    fills = [init.normal_, init.trunc_normal_, init.uniform_, init.kaiming_normal_, init.lecun1998_uniform_]
    for fill in fills:
        first = fill(kernel(), generator=np.random.default_rng(5)).data
        again = fill(kernel(), generator=np.random.default_rng(5)).data
        other = fill(kernel(), generator=np.random.default_rng(6)).data
        np.testing.assert_array_equal(first, again)
        assert (first != other).mean() > 0.9
    manual_seed(7)
    a, b = (init.normal_(kernel()).data for _ in range(2))
    assert (a != b).mean() > 0.9
    manual_seed(7)
    init.normal_(kernel(), generator=np.random.default_rng(0))  # draws nothing from the default one
    np.testing.assert_array_equal(init.normal_(kernel()).data, a)


def test_initialisation_is_not_recorded():
    weight = nn.Parameter(tensor([[1.0, 2.0]]))
    init.xavier_uniform_(weight)
    assert weight.is_leaf
    assert weight.requires_grad


@pytest.mark.parametrize(
    ("name", "param", "gain"),
    [
        ("linear", None, 1),
        ("conv2d", None, 1),
        ("sigmoid", None, 1),
        ("tanh", None, 5 / 3),
        ("relu", None, math.sqrt(2)),
        ("leaky_relu", None, math.sqrt(2 / 1.0001)),
        ("leaky_relu", 1.0, 1),
        ("leaky_relu", 0, math.sqrt(2)),
        ("selu", None, 0.75),
    ],
)
def test_gain(name, param, gain):
    assert init.calculate_gain(name, param) == pytest.approx(gain, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: init.calculate_gain("rellu"),
            ValueError,
            "calculate_gain: nonlinearity .* did you mean 'relu'",
        ),
        (lambda: init.kaiming_normal_(kernel(), mode="fan_inn"), ValueError, "mode .*mean 'fan_in'"),
        (lambda: init.kaiming_normal_(kernel(), nonlinearity=1), ValueError, "nonlinearity must be one of"),
        (
            lambda: init.xavier_normal_(tensor([1.0])),
            ValueError,
            r"xavier_normal_: .*\(out, in\).*got shape \(1,\)",
        ),
        (lambda: init.lecun_normal_(Tensor(np.zeros((0, 3)))), ValueError, r"lecun_normal_: .*\(0, 3\)"),
        (lambda: init.lecun1998_uniform_(kernel(), fan_in=0), ValueError, "fan_in must be at least 1, got 0"),
        (lambda: init.uniform_(kernel(), 1, 0), ValueError, "b must be at least a, got a=1, b=0"),
        (lambda: init.normal_(kernel(), std=-1), ValueError, "normal_: std must be at least 0, got -1"),
        (
            lambda: init.trunc_normal_(kernel(), std=-1),
            ValueError,
            "trunc_normal_: std must be at least 0, got -1",
        ),
        (
            lambda: init.trunc_normal_(kernel(), 3, 0.1),
            ValueError,
            "trunc_normal_: at least 1 in 1000 .* got mean=3, std=0.1, a=-2.0, b=2.0",
        ),
        (lambda: init.trunc_normal_(kernel(), a=2, b=1), ValueError, "between a and b, .* a=2, b=1"),
        (
            lambda: init.trunc_normal_(tensor([1, 2])),
            TypeError,
            "trunc_normal_: .* floating point, got int64",
        ),
        (lambda: init.normal_(tensor([1, 2])), TypeError, "normal_: .* floating point, got int64"),
        (lambda: init.zeros_(np.zeros(3)), TypeError, "zeros_: expected a Tensor, got ndarray"),
        (lambda: init.kaiming_uniform_(np.zeros(3)), TypeError, "kaiming_uniform_: expected a Tensor"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


# What the layers start with


@pytest.mark.parametrize("layer", [lambda: nn.Linear(600, 60), lambda: nn.Conv2d(30, 60, (5, 4))])
def test_default_weights_and_biases_are_torchs(layer):
    manual_seed(0)
    bound = 600**-0.5
    layers = [layer() for _ in range(4)]
    for array in (np.stack([l.weight.data for l in layers]), np.stack([l.bias.data for l in layers])):
        assert np.abs(array).max() <= bound * (1 + 1e-6)
        assert_moments(array, 0, bound / math.sqrt(3), kurtosis=1.8)
    assert (layers[0].weight.data != layers[1].weight.data).all()


def test_the_default_of_a_grouped_convolution_counts_its_group_only():
    manual_seed(0)
    layer, bound = nn.Conv2d(24, 12, 5, groups=4), 150**-0.5  # 6 channels a group: fan-in 150
    assert 0.99 * bound < np.abs(layer.weight.data).max() <= bound * (1 + 1e-6)
    assert 0.6 * bound < np.abs(layer.bias.data).max() <= bound * (1 + 1e-6)


def test_the_same_seed_gives_the_same_network():
    def state(seed):
        manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 3)).state_dict()

    a, b, c = state(1), state(1), state(2)
    assert all((a[name] == b[name]).all() for name in a)
    assert all((a[name] != c[name]).any() for name in a)


def test_reset_parameters_draws_again():
    manual_seed(8)
    layer = nn.Conv2d(2, 3, 3)
    first = layer.weight.data.copy()
    layer.reset_parameters()
    assert (layer.weight.data != first).all()


def test_signals_keep_their_variance_through_deep_networks():
    """What the schemes are for: 20 layers on, the variance is within a factor of 3 of the input's."""
    manual_seed(9)
    for fill, activation in ((init.lecun_normal_, nn.Identity()), (init.kaiming_normal_, nn.ReLU())):
        signal = tensor(np.random.default_rng(0).normal(size=(64, 256)))
        for _ in range(20):
            layer = nn.Linear(256, 256, bias=False, dtype=np.float64)
            fill(layer.weight)
            signal = activation(layer(signal)).detach()
        assert 1 / 3 < (signal.data**2).mean() < 3


def test_nothing_is_drawn_on_demand():
    before = manual_seed(0).bit_generator.state
    with init.skip():
        layer = nn.Conv2d(3, 4, 3)
        init.ones_(layer.bias)
        init.trunc_normal_(layer.bias)
    assert default_generator().bit_generator.state == before
    np.testing.assert_array_equal(layer.bias.data, 1)
    init.normal_(layer.bias)
    assert default_generator().bit_generator.state != before
