"""Layers: that they hand their arguments on, what they hold, how they print, and what they refuse."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import functional as F
from minicnn import manual_seed, nn, tensor


def images(n: int = 2, c: int = 4, h: int = 9, w: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, c, h, w)).astype(np.float32)


def assert_same(a, b) -> None:
    if isinstance(a, tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert a.shape == b.shape
        np.testing.assert_array_equal(a.data, b.data)


# A layer is its function.  Every argument is given a value of its own, so a swapped or dropped one shows.

SAME_AS_FUNCTION = {
    "conv": (
        lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2),
        lambda l, x: F.conv2d(x, l.weight, l.bias, (2, 1), (1, 0), (1, 2), 2),
    ),
    "conv, four paddings": (
        lambda: nn.Conv2d(4, 6, 3, padding=(1, 1, 2, 3), bias=False),
        lambda l, x: F.conv2d(x, l.weight, None, padding=(1, 1, 2, 3)),
    ),
    "conv, same": (
        lambda: nn.Conv2d(4, 6, (3, 4), padding="same"),
        lambda l, x: F.conv2d(x, l.weight, l.bias, padding="same"),
    ),
    "conv, valid": (
        lambda: nn.Conv2d(4, 6, 3, padding="valid"),
        lambda l, x: F.conv2d(x, l.weight, l.bias),
    ),
    "conv, reflected": (
        lambda: nn.Conv2d(4, 6, 3, 2, (1, 2), padding_mode="reflect"),
        lambda l, x: F.conv2d(F.pad(x, (2, 2, 1, 1), "reflect"), l.weight, l.bias, 2),
    ),
    "conv, replicated": (
        lambda: nn.Conv2d(4, 6, 3, padding=(0, 1, 2, 3), padding_mode="replicate"),
        lambda l, x: F.conv2d(F.pad(x, (2, 3, 0, 1), "replicate"), l.weight, l.bias),
    ),
    "conv, circular": (
        lambda: nn.Conv2d(4, 6, (3, 4), padding="same", padding_mode="circular"),
        lambda l, x: F.conv2d(F.pad(x, (1, 2, 1, 1), "circular"), l.weight, l.bias),
    ),
    "transposed conv": (
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (0, 2), 2, True, (1, 2)),
        lambda l, x: F.conv_transpose2d(x, l.weight, l.bias, (2, 3), (1, 0), (0, 2), 2, (1, 2)),
    ),
    "transposed conv, no bias": (
        lambda: nn.ConvTranspose2d(4, 3, 2, bias=False),
        lambda l, x: F.conv_transpose2d(x, l.weight),
    ),
    "linear": (lambda: nn.Linear(8, 3), lambda l, x: F.linear(x, l.weight, l.bias)),
    "linear, no bias": (lambda: nn.Linear(8, 3, bias=False), lambda l, x: F.linear(x, l.weight)),
    "max pool": (
        lambda: nn.MaxPool2d((3, 2), (2, 3), (1, 0), (2, 1), True, False),
        lambda l, x: F.max_pool2d(x, (3, 2), (2, 3), (1, 0), (2, 1), return_indices=True),
    ),
    "max pool, ceil": (
        lambda: nn.MaxPool2d(2, 3, 1, 2, False, True),
        lambda l, x: F.max_pool2d(x, 2, 3, 1, 2, ceil_mode=True),
    ),
    "max pool, floor": (
        lambda: nn.MaxPool2d(3, 2),
        lambda l, x: F.max_pool2d(x, 3, 2),
    ),
    "max pool, default stride": (lambda: nn.MaxPool2d(3), lambda l, x: F.max_pool2d(x, 3, 3)),
    "average pool": (
        lambda: nn.AvgPool2d((3, 2), (2, 3), (1, 0), True, False),
        lambda l, x: F.avg_pool2d(x, (3, 2), (2, 3), (1, 0), ceil_mode=True, count_include_pad=False),
    ),
    "average pool, divisor": (
        lambda: nn.AvgPool2d(3, divisor_override=5),
        lambda l, x: F.avg_pool2d(x, 3, divisor_override=5),
    ),
    "adaptive average pool": (
        lambda: nn.AdaptiveAvgPool2d((None, 3)),
        lambda l, x: F.adaptive_avg_pool2d(x, (9, 3)),
    ),
    "adaptive max pool": (
        lambda: nn.AdaptiveMaxPool2d((4, None), return_indices=True),
        lambda l, x: F.adaptive_max_pool2d(x, (4, 8), return_indices=True),
    ),
    "local response norm": (
        lambda: nn.LocalResponseNorm(3, 0.5, 0.6, 2.0),
        lambda l, x: F.local_response_norm(x, 3, alpha=0.5, beta=0.6, k=2.0),
    ),
    "relu": (lambda: nn.ReLU(inplace=True), lambda l, x: F.relu(x)),
    "sigmoid": (nn.Sigmoid, lambda l, x: F.sigmoid(x)),
    "tanh": (nn.Tanh, lambda l, x: F.tanh(x)),
    "softmax": (lambda: nn.Softmax(1), lambda l, x: F.softmax(x, 1)),
    "log-softmax": (lambda: nn.LogSoftmax(-1), lambda l, x: F.log_softmax(x, 3)),
    "flatten": (nn.Flatten, lambda l, x: x.reshape(2, 288)),
    "flatten, some": (lambda: nn.Flatten(0, 2), lambda l, x: x.reshape(72, 8)),
    "identity": (lambda: nn.Identity(3, any="thing"), lambda l, x: x),
}


@pytest.mark.parametrize("name", SAME_AS_FUNCTION)
def test_a_layer_is_its_function(name):
    make, function = SAME_AS_FUNCTION[name]
    layer, x = make(), tensor(images())
    before = x.data.copy()
    assert_same(layer(x), function(layer, x))
    np.testing.assert_array_equal(x.data, before)


@pytest.mark.parametrize("name", SAME_AS_FUNCTION)
def test_gradients_reach_every_parameter_and_the_input(name):
    layer, x = SAME_AS_FUNCTION[name][0](), tensor(images(), requires_grad=True)
    y = layer(x)
    y = y[0] if isinstance(y, tuple) else y
    y.backward(np.random.default_rng(1).normal(size=y.shape))
    for t in (x, *layer.parameters()):
        assert t.grad is not None
        assert t.grad.shape == t.shape
        assert np.any(t.grad != 0)


LOGITS = np.random.default_rng(2).normal(size=(6, 3))
TARGET = np.array([0, 2, 1, 1, 2, 0])
WEIGHT = np.array([1.0, 2.0, 0.5])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_are_their_functions(reduction):
    z, t, w = tensor(LOGITS), tensor(TARGET), tensor(WEIGHT)
    options = {"ignore_index": 1, "reduction": reduction}
    assert_same(
        nn.CrossEntropyLoss(w, label_smoothing=0.2, **options)(z, t),
        F.cross_entropy(z, t, w, 1, reduction, 0.2),
    )
    assert_same(nn.NLLLoss(WEIGHT, **options)(z, t), F.nll_loss(z, t, w, 1, reduction))
    assert_same(
        nn.MSELoss(reduction=reduction)(z, tensor(LOGITS[::-1])), F.mse_loss(z, LOGITS[::-1], reduction)
    )


def test_class_weights_are_a_buffer():
    loss = nn.CrossEntropyLoss(WEIGHT)
    assert list(loss.state_dict()) == ["weight"]
    assert loss.weight.data is not WEIGHT
    assert not list(loss.parameters())
    assert not nn.NLLLoss().state_dict()
    assert nn.NLLLoss([1.0, 2.0]).weight.dtype == np.float32


# What they hold


def test_parameter_counts():
    """LeNet-5 in its modern form, layer by layer, and the layers it does without."""
    layers = [
        nn.Conv2d(1, 6, 5),
        nn.Conv2d(6, 16, 5),
        nn.Linear(400, 120),
        nn.Linear(120, 84),
        nn.Linear(84, 10),
    ]
    counts = [sum(p.size for p in layer.parameters()) for layer in layers]
    assert counts == [156, 2416, 48120, 10164, 850]
    assert sum(p.size for p in nn.Sequential(*layers).parameters()) == 61706
    assert sum(p.size for p in nn.Conv2d(96, 256, 5, groups=2).parameters()) == 256 * 48 * 25 + 256
    assert [p.shape for p in nn.ConvTranspose2d(6, 4, (3, 2), groups=2).parameters()] == [(6, 2, 3, 2), (4,)]


def test_names_are_torchvisions():
    """The keys of the first layers of torchvision's vgg11_bn and alexnet checkpoints."""
    features = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 8, 3)
    )
    classifier = nn.Sequential(nn.Dropout(), nn.Linear(8, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2))
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(nn.Sequential({"features": features, "classifier": classifier}).state_dict()) == [
        "features.0.weight",
        "features.0.bias",
        *(f"features.1.{name}" for name in norm),
        "features.4.weight",
        "features.4.bias",
        "classifier.1.weight",
        "classifier.1.bias",
        "classifier.4.weight",
        "classifier.4.bias",
    ]


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, (3, 2)), nn.ConvTranspose2d(4, 6, (3, 2))])
def test_kernels_lie_channels_last(layer):
    assert layer.weight.shape in [(6, 4, 3, 2), (4, 6, 3, 2)]
    assert layer.weight.data.transpose(0, 2, 3, 1).flags.c_contiguous
    layer(tensor(images())).sum().backward()
    assert layer.weight.grad.shape == layer.weight.shape


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: nn.Conv2d(2, 3, 3, **o),
        lambda **o: nn.ConvTranspose2d(2, 3, 3, **o),
        lambda **o: nn.Linear(2, 3, **o),
        lambda **o: nn.BatchNorm2d(2, **o),
    ],
)
def test_dtype_and_device(make):
    floats = {name: a for name, a in make().state_dict().items() if not name.endswith("tracked")}
    assert {a.dtype for a in floats.values()} == {np.dtype("float32")}
    assert {p.dtype for p in make(dtype=np.float64, device="cpu").parameters()} == {np.dtype("float64")}
    with pytest.raises(TypeError, match="floating-point"):
        make(dtype=np.int64)
    with pytest.raises(ValueError, match="device must be"):
        make(device="abacus")


# Batch normalisation


def test_batch_norm_in_training_and_evaluation():
    x = images(c=3).astype(np.float64)
    norm = nn.BatchNorm2d(3, eps=0.1, momentum=0.25, dtype=np.float64)
    norm.weight.data[...], norm.bias.data[...] = [1, 2, 3], [4, 5, 6]
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    w, b = (p.data.reshape(3, 1, 1) for p in (norm.weight, norm.bias))

    def normalised(mean, var):
        return w * (x - mean.reshape(3, 1, 1)) / np.sqrt(var.reshape(3, 1, 1) + 0.1) + b

    np.testing.assert_allclose(norm(tensor(x)).data, normalised(mean, var), rtol=1e-12, atol=1e-12)
    count = 2 * 9 * 8
    running_mean, running_var = 0.25 * mean, 0.75 + 0.25 * var * count / (count - 1)
    np.testing.assert_allclose(norm.running_mean.data, running_mean, rtol=1e-12)
    np.testing.assert_allclose(norm.running_var.data, running_var, rtol=1e-12)
    assert norm.num_batches_tracked.item() == 1

    norm.eval()
    y = norm(tensor(x))
    np.testing.assert_allclose(y.data, normalised(running_mean, running_var), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(norm.running_mean.data, running_mean, rtol=1e-12)
    assert norm.num_batches_tracked.item() == 1


def test_momentum_none_averages_over_all_batches():
    norm = nn.BatchNorm2d(2, momentum=None, dtype=np.float64)
    batches = [np.random.default_rng(i).normal(i, 1 + i, size=(3, 2, 4, 4)) for i in range(4)]
    for batch in batches:
        norm(tensor(batch))
    np.testing.assert_allclose(norm.running_mean.data, np.mean([b.mean((0, 2, 3)) for b in batches], 0))
    np.testing.assert_allclose(norm.running_var.data, np.mean([b.var((0, 2, 3), ddof=1) for b in batches], 0))
    assert norm.num_batches_tracked.item() == 4


def test_batch_norm_without_running_statistics():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    assert list(norm.state_dict()) == ["weight", "bias"]
    x = tensor(images())
    assert_same(norm(x), norm.eval()(x))  # the batch's statistics in both modes


def test_batch_norm_may_stop_tracking():
    norm, x = nn.BatchNorm2d(4), tensor(images())
    norm(x)
    norm.track_running_stats = False
    mean = norm.running_mean.data.copy()
    norm(x + 1)
    np.testing.assert_array_equal(norm.running_mean.data, mean)
    assert norm.num_batches_tracked.item() == 1
    assert_same(norm.eval()(x), F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias))


def test_batch_norm_without_affine():
    norm, x = nn.BatchNorm2d(4, affine=False), tensor(images())
    assert list(norm.state_dict()) == ["running_mean", "running_var", "num_batches_tracked"]
    assert_same(norm(x), F.batch_norm(x, None, None, training=True))


def test_batch_norm_keeps_its_arrays_and_resets_them():
    norm = nn.BatchNorm2d(4)
    arrays = list(norm.state_dict().values())
    first = [array.copy() for array in arrays]
    norm(tensor(images()))
    assert all(a is b for a, b in zip(arrays, norm.state_dict().values(), strict=True))
    norm.weight.data[...] = 3
    norm.reset_parameters()
    for array, value in zip(arrays, first, strict=True):
        np.testing.assert_array_equal(array, value)
    assert [a.ravel()[0].item() for a in first] == [1, 0, 0, 1, 0]


def test_a_failing_forward_leaves_the_statistics_alone():
    norm = nn.BatchNorm2d(4)
    before = {name: array.copy() for name, array in norm.state_dict().items()}
    for wrong in (images(c=3), images(n=1, h=1, w=1)):
        with pytest.raises(ValueError, match="batch_norm"):
            norm(tensor(wrong))
    for name, array in norm.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_batch_norm_takes_arrays_and_lists_like_every_layer():
    x = images(c=1)
    assert_same(nn.BatchNorm2d(1)(x), nn.BatchNorm2d(1)(x.tolist()))


@pytest.mark.parametrize("shape", [(2, 4), (4, 3, 3), (1, 4, 3, 3, 3)])
def test_batch_norm_wants_images(shape):
    with pytest.raises(ValueError, match=r"BatchNorm2d: input must be 4-D \(N, C, H, W\), got shape"):
        nn.BatchNorm2d(4)(tensor(np.zeros(shape)))


# Dropout


def test_dropout_inverted():
    manual_seed(0)
    x, layer = tensor(np.full((100, 100), 3.0)), nn.Dropout(0.25)
    y = layer(x).data
    assert set(np.unique(y)) == {0, 4}  # 3 / (1 − 0.25)
    assert abs((y == 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 10_000)
    assert_same(layer.eval()(x), x)
    assert np.mean(nn.Dropout(0)(x).data == x.data) == 1
    assert not nn.Dropout(1)(x).data.any()


def test_dropout_as_in_the_papers():
    manual_seed(0)
    x, layer = tensor(np.full((100, 100), 3.0)), nn.Dropout(0.25, scale_at_test=True)
    assert set(np.unique(layer(x).data)) == {0, 3}
    assert set(np.unique(layer.eval()(x).data)) == {2.25}  # 3 · (1 − 0.25)


def test_dropout_follows_the_seed():
    x, layer = tensor(np.ones(1000)), nn.Dropout()
    manual_seed(1)
    first, second = layer(x).data, layer(x).data
    assert (first != second).any()
    manual_seed(1)
    np.testing.assert_array_equal(layer(x).data, first)


# How they print: PyTorch's words

REPR = {
    "Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1))": lambda: nn.Conv2d(1, 6, 5),
    "Conv2d(1, 6, kernel_size=(5, 3), stride=(2, 2), padding=(1, 0), dilation=(2, 2))": lambda: nn.Conv2d(
        1, 6, (5, 3), 2, (1, 0), 2
    ),
    "Conv2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=same, bias=False, padding_mode=reflect)": (
        lambda: nn.Conv2d(4, 8, 3, padding="same", bias=False, padding_mode="reflect")
    ),
    "Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1), padding=(0, 1, 2, 3))": lambda: nn.Conv2d(
        1, 6, 5, padding=(0, 1, 2, 3)
    ),
    "ConvTranspose2d(4, 6, kernel_size=(3, 3), stride=(2, 2), output_padding=(1, 1), groups=2)": (
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, output_padding=1, groups=2)
    ),
    "Linear(in_features=3, out_features=2, bias=False)": lambda: nn.Linear(3, 2, bias=False),
    "MaxPool2d(kernel_size=3, stride=2, padding=0, dilation=1, ceil_mode=True)": lambda: nn.MaxPool2d(
        3, 2, ceil_mode=True
    ),
    "AvgPool2d(kernel_size=(2, 3), stride=(2, 3), padding=0)": lambda: nn.AvgPool2d((2, 3)),
    "AdaptiveAvgPool2d(output_size=(6, None))": lambda: nn.AdaptiveAvgPool2d((6, None)),
    "AdaptiveMaxPool2d(output_size=1)": lambda: nn.AdaptiveMaxPool2d(1),
    "BatchNorm2d(3, eps=0.001, momentum=None, affine=True, track_running_stats=False)": lambda: (
        nn.BatchNorm2d(3, 1e-3, None, track_running_stats=False)
    ),
    "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)": lambda: nn.LocalResponseNorm(5),
    "Dropout(p=0.5, inplace=False)": nn.Dropout,
    "Dropout(p=0.7, inplace=True, scale_at_test=True)": lambda: nn.Dropout(0.7, True, scale_at_test=True),
    "ReLU()": nn.ReLU,
    "ReLU(inplace=True)": lambda: nn.ReLU(True),
    "Sigmoid()": nn.Sigmoid,
    "Tanh()": nn.Tanh,
    "Softmax(dim=1)": lambda: nn.Softmax(1),
    "LogSoftmax(dim=-1)": lambda: nn.LogSoftmax(dim=-1),
    "Flatten(start_dim=1, end_dim=-1)": nn.Flatten,
    "Identity()": nn.Identity,
    "CrossEntropyLoss()": nn.CrossEntropyLoss,
    "Sequential()": nn.Sequential,
}


@pytest.mark.parametrize("text", REPR)
def test_repr(text):
    assert repr(REPR[text]()) == text


# What they refuse

REFUSED = [
    (lambda: nn.Conv2d(3, 8, 3, groups=2), "Conv2d: in_channels=3 must be divisible by groups=2"),
    (lambda: nn.Conv2d(4, 9, 3, groups=2), "Conv2d: out_channels=9 must be divisible by groups=2"),
    (lambda: nn.Conv2d(0, 8, 3), "Conv2d: in_channels must be at least 1, got 0"),
    (lambda: nn.Conv2d(3, -8, 3), "Conv2d: out_channels must be at least 1, got -8"),
    (lambda: nn.Conv2d(3, 8, 3, groups=0), "Conv2d: groups must be at least 1, got 0"),
    (lambda: nn.Conv2d(3, 8, 0), "Conv2d: kernel_size must be at least 1, got 0"),
    (lambda: nn.Conv2d(3, 8, 3, stride=0), "Conv2d: stride must be at least 1, got 0"),
    (lambda: nn.Conv2d(3, 8, 3, padding=-1), "Conv2d: padding must be at least 0, got -1"),
    (lambda: nn.Conv2d(3, 8, 3, padding="some"), "Conv2d: padding must be 'same', 'valid' or numbers"),
    (lambda: nn.Conv2d(3, 8, 3, 2, "same"), "Conv2d: padding='same' needs stride 1"),
    (lambda: nn.Conv2d(3, 8, 3, padding_mode="reflected"), "Conv2d: padding_mode .*did you mean 'reflect'"),
    (lambda: nn.ConvTranspose2d(3, 8, 3, groups=2), "ConvTranspose2d: in_channels=3 must be divisible"),
    (lambda: nn.ConvTranspose2d(3, 8, 3, dilation=0), "ConvTranspose2d: dilation must be at least 1, got 0"),
    (lambda: nn.ConvTranspose2d(3, 8, 3, output_padding=-1), "output_padding must be at least 0, got -1"),
    (lambda: nn.ConvTranspose2d(3, 8, 3, padding_mode="reflect"), "padding_mode must be one of 'zeros', got"),
    (lambda: nn.Linear(0, 3), "Linear: in_features must be at least 1, got 0"),
    (lambda: nn.Linear(3, 0), "Linear: out_features must be at least 1, got 0"),
    (lambda: nn.MaxPool2d(0), "MaxPool2d: kernel_size must be at least 1, got 0"),
    (lambda: nn.MaxPool2d(2, (1, 2, 3)), "MaxPool2d: stride must be an int or 2 ints"),
    (lambda: nn.AvgPool2d(2, padding=-1), "AvgPool2d: padding must be at least 0, got -1"),
    (lambda: nn.AdaptiveAvgPool2d(0), "AdaptiveAvgPool2d: output_size must be at least 1"),
    (lambda: nn.AdaptiveMaxPool2d((1, 2, 3)), "AdaptiveMaxPool2d: output_size must be an int or 2 ints"),
    (lambda: nn.BatchNorm2d(0), "BatchNorm2d: num_features must be at least 1, got 0"),
    (lambda: nn.BatchNorm2d(3, momentum=1.1), r"BatchNorm2d: momentum must be in \[0, 1\], got 1.1"),
    (lambda: nn.BatchNorm2d(3, eps=-1e-5), r"BatchNorm2d: eps must be in \[0, inf\], got -1e-05"),
    (lambda: nn.LocalResponseNorm(0), "LocalResponseNorm: size must be at least 1, got 0"),
    (lambda: nn.Dropout(1.5), r"Dropout: p must be in \[0, 1\], got 1.5"),
    (lambda: nn.Dropout(float("nan")), r"Dropout: p must be in \[0, 1\], got nan"),
    (
        lambda: nn.CrossEntropyLoss(reduction="avg"),
        "CrossEntropyLoss: reduction must be one of 'mean', 'sum', 'none'",
    ),
    (
        lambda: nn.CrossEntropyLoss(label_smoothing=2),
        r"CrossEntropyLoss: label_smoothing must be in \[0, 1\]",
    ),
    (lambda: nn.MSELoss(reduction="means"), "MSELoss: reduction .* did you mean 'mean'"),
]

MISTYPED = [
    (lambda: nn.Conv2d(3.0, 8, 3), "Conv2d: in_channels must be an int, got 3.0"),
    (lambda: nn.Conv2d(3, True, 3), "Conv2d: out_channels must be an int, got True"),
    (lambda: nn.Conv2d(3, 8, "3"), "Conv2d: kernel_size must be an int or a tuple of ints"),
    (
        lambda: nn.ConvTranspose2d(3, 8, 3, padding="same"),
        "ConvTranspose2d: padding must be an int or a tuple",
    ),
    (lambda: nn.Linear("3", 2), "Linear: in_features must be an int, got '3'"),
    (lambda: nn.AdaptiveAvgPool2d(2.5), "AdaptiveAvgPool2d: output_size must be an int or a tuple of ints"),
    (lambda: nn.Dropout("half"), "Dropout: p must be a number, got 'half'"),
    (lambda: nn.Dropout(None), "Dropout: p must be a number, got None"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_values_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("make", "message"), MISTYPED)
def test_arguments_of_the_wrong_type(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_numpy_numbers_are_numbers():
    layer = nn.Conv2d(np.int64(2), np.int32(4), np.int64(3), groups=np.int8(2))
    assert repr(layer) == "Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), groups=2)"
    assert nn.Dropout(np.float32(0.5)).p == 0.5


ANY = st.one_of(
    st.integers(-2, 5), st.tuples(st.integers(-1, 4), st.integers(-1, 4)), st.sampled_from([None, "same"])
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_arguments_work_or_are_refused_by_name(data):
    """Whatever a layer is given, it computes, or raises an error of ours that names it or its function."""
    kind = data.draw(st.sampled_from([nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d]))
    channels = data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4))) if "Conv" in kind.__name__ else ()
    options = data.draw(st.fixed_dictionaries({"kernel_size": ANY}, optional={"stride": ANY, "padding": ANY}))
    x = tensor(np.zeros((2, 2, data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))), np.float32))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            y = kind(*channels, **options)(x)
    except (TypeError, ValueError) as error:
        named = str(error).split(":")[0]
    else:
        named = kind.__name__
        assert y.ndim == 4
        assert y.shape[0] == 2
    assert named in {kind.__name__, *F.__all__}
