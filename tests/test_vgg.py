"""VGG: Table 1 configuration by configuration, torchvision's names, first weights, the start from A."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, manual_seed, models, nn, no_grad, optim, tensor
from minicnn.models.vgg import VGG
from minicnn.study import summary
from minicnn.testing import gradcheck, slim

CONFIGURATIONS = ("A", "A-LRN", "B", "C", "D", "E")
NUMBERED = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(2014)


def shape_of(name: str, *args, **options):
    """Return the network without memory for its weights."""
    with minicnn.device("meta"):
        return getattr(models, name)(*args, **options)


def narrow(*args, divisor: int = 32, **options) -> VGG:
    return slim(shape_of("vgg", *args), divisor, num_classes=5, **options)


def images(n: int, side: int = 64, dtype: str = "float32") -> Tensor:
    """Return noise, each image on a colour of its own."""
    rng = np.random.default_rng(5)
    noise, colours = rng.normal(size=(n, 3, side, side)), rng.normal(size=(n, 3, 1, 1))
    return Tensor((noise + 2 * colours).astype(dtype))


# The numbers


@pytest.mark.parametrize(
    ("variant", "parameters", "with_bn", "gmacs"),
    [
        ("A", 132_863_336, 132_868_840, "7.61"),
        ("A-LRN", 132_863_336, 132_868_840, "7.61"),
        ("B", 133_047_848, 133_053_736, "11.31"),
        ("C", 133_638_952, None, "11.77"),
        ("D", 138_357_544, 138_365_992, "15.47"),
        ("E", 143_667_240, 143_678_248, "19.63"),
    ],
)
def test_totals(variant, parameters, with_bn, gmacs):
    found, normalised = summary(shape_of("vgg", variant)), summary(shape_of("vgg", variant, True))
    assert (found.parameters, f"{found.macs / 1e9:.2f}") == (parameters, gmacs)
    assert normalised.parameters == (with_bn or normalised.parameters)
    assert normalised.macs == found.macs


@pytest.mark.parametrize(
    ("variant", "layers"), [("A", 11), ("A-LRN", 11), ("B", 13), ("C", 16), ("D", 16), ("E", 19)]
)
def test_each_stage_keeps_its_size_and_halves_it_at_the_end(variant, layers):
    rows = summary(shape_of("vgg", variant)).rows
    weighted = [row for row in rows if row.kind in ("Conv2d", "Linear")]
    assert len(weighted) == layers
    assert [row.output_shape for row in weighted[-3:]] == [(4096,), (4096,), (1000,)]
    sides = {64: {224}, 128: {112}, 256: {56}, 512: {28, 14}}
    assert all(row.output_shape[1] in sides[row.output_shape[0]] for row in weighted[:-3])
    pooled = [row.output_shape for row in rows if row.kind == "MaxPool2d"]
    assert pooled == [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]


def test_table_1():
    """Each configuration adds layers to one before it, as the bold entries of the paper's table do."""
    kernels = {}
    for variant in CONFIGURATIONS:
        layers = [m for m in shape_of("vgg", variant).modules() if isinstance(m, nn.Conv2d)]
        kernels[variant] = [(m.out_channels, m.kernel_size[0], m.padding[0]) for m in layers]
    a, d = kernels["A"], kernels["D"]
    assert a == [(k, 3, 1) for k in (64, 128, 256, 256, 512, 512, 512, 512)]
    assert kernels["A-LRN"] == a
    assert kernels["B"] == [a[0], *a[:2], *a[1:]]
    assert d == [(k, 3, 1) for k in (64, 64, 128, 128, 256, 256, 256, *[512] * 6)]
    one_by_one = [i for i in range(13) if kernels["C"][i] != d[i]]
    assert one_by_one == [6, 9, 12]
    assert [kernels["C"][i] for i in one_by_one] == [(256, 1, 0), (512, 1, 0), (512, 1, 0)]
    assert kernels["E"] == sorted([*d, (256, 3, 1), (512, 3, 1), (512, 3, 1)])


def test_only_a_lrn_normalises_responses():
    for variant in CONFIGURATIONS:
        kinds = [row.kind for row in summary(shape_of("vgg", variant)).rows]
        places = [i for i, kind in enumerate(kinds) if kind == "LocalResponseNorm"]
        assert places == ([2] if variant == "A-LRN" else [])  # after the first ReLU
    norm = shape_of("vgg", "A-LRN").features[2]
    assert (norm.size, norm.alpha / norm.size, norm.beta, norm.k) == (5, 1e-4, 0.75, 2.0)


# torchvision's names

CONVOLUTIONS = {
    "vgg11": (0, 3, 6, 8, 11, 13, 16, 18),
    "vgg13": (0, 2, 5, 7, 10, 12, 15, 17, 20, 22),
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_the_names_are_torchvisions(name):
    places = [f"features.{i}" for i in CONVOLUTIONS[name]] + [f"classifier.{i}" for i in (0, 3, 6)]
    state = shape_of(name).state_dict()
    assert list(state) == [f"{place}.{part}" for place in places for part in ("weight", "bias")]
    assert state["classifier.0.weight"].shape == (4096, 25088)


@pytest.mark.parametrize("name", NUMBERED)
def test_batch_norm_stands_after_a_convolution_that_keeps_its_bias(name):
    plain, normalised = shape_of(name), shape_of(f"{name}_bn")
    kinds = [type(layer).__name__ for layer in normalised.features]
    expected = []
    for layer in plain.features:
        expected += ["Conv2d", "BatchNorm2d"] if isinstance(layer, nn.Conv2d) else [type(layer).__name__]
    assert kinds == expected
    assert all(layer.bias is not None for layer in normalised.features if isinstance(layer, nn.Conv2d))
    assert {layer.eps for layer in normalised.features if isinstance(layer, nn.BatchNorm2d)} == {1e-5}
    assert "features.1.running_var" in normalised.state_dict()


@pytest.mark.parametrize("name", NUMBERED)
def test_numbered_names_are_configurations(name):
    for batch_norm in (False, True):
        model, named = shape_of("vgg", NUMBERED[name], batch_norm), shape_of(name + "_bn" * batch_norm)
        shapes = ({n: a.shape for n, a in m.state_dict().items()} for m in (model, named))
        assert next(shapes) == next(shapes)
        assert named.config == {"model": name + "_bn" * batch_norm, "num_classes": 1000}


# First weights


def spread(layer, std: float) -> float:
    """Return by how many of its own deviations the standard deviation of a layer's weights misses `std`."""
    values = layer.weight.numpy().astype(np.float64)
    assert (layer.bias.numpy() == 0).all()
    assert abs(values.mean()) < 5 * std / values.size**0.5
    return abs(values.std() / std - 1) * (2 * values.size) ** 0.5


def fans(layer) -> tuple[int, int]:
    samples = layer.weight[0, 0].size
    return layer.weight.shape[1] * samples, layer.weight.shape[0] * samples


EXPECTED = {
    "simonyan": lambda layer: 0.1,  # a variance of 0.01
    "glorot": lambda layer: (2 / sum(fans(layer))) ** 0.5,
    "torchvision": lambda layer: 0.01 if isinstance(layer, nn.Linear) else (2 / fans(layer)[1]) ** 0.5,
}


@pytest.mark.parametrize("init", EXPECTED)
def test_first_weights(init):
    model = narrow("D", divisor=16)
    for layer in layers_of(model):
        nn.init.ones_(layer.bias)
    model.reset_parameters(init)
    assert len(layers_of(model)) == 16
    for layer in layers_of(model):
        assert spread(layer, EXPECTED[init](layer)) < 5


def layers_of(model) -> list:
    return [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def test_which_first_weights(monkeypatch):
    drawn = []
    monkeypatch.setattr(VGG, "reset_parameters", lambda self, init: drawn.append(init))
    for variant in CONFIGURATIONS:
        shape_of("vgg", variant)
    assert drawn == ["simonyan", "simonyan", "glorot", "glorot", "glorot", "glorot"]
    drawn.clear()
    for name in NUMBERED:
        shape_of(name), shape_of(f"{name}_bn"), shape_of("vgg", NUMBERED[name], True)
    assert set(drawn) == {"torchvision"}


@pytest.mark.parametrize("variant", ["A-LRN", "B", "C", "D", "E"])
def test_start_from_a(variant):
    a, model = narrow("A", divisor=8), narrow(variant, divisor=8)
    before = {name: array.copy() for name, array in a.state_dict().items()}
    assert models.start_from_a(model, a) is model
    assert all((array == before[name]).all() for name, array in a.state_dict().items())

    # Where the paper's names conv1_1, conv2_1, conv3_1, conv3_2 are, counted off the pooling layers.
    def first(net, stage, number):
        pools = [-1] + [i for i, layer in enumerate(net.features) if isinstance(layer, nn.MaxPool2d)]
        convolutions = [m for m in list(net.features)[pools[stage - 1] + 1 :] if isinstance(m, nn.Conv2d)]
        return convolutions[number - 1]

    places = [(1, 1), (2, 1), (3, 1), (3, 2)]
    taken = [(first(model, *place), first(a, *place)) for place in places]
    taken += [(model.classifier[i], a.classifier[i]) for i in (0, 3, 6)]
    for layer, source in taken:
        np.testing.assert_array_equal(layer.weight.numpy(), source.weight.numpy())
        np.testing.assert_array_equal(layer.bias.numpy(), source.bias.numpy())
        assert not np.shares_memory(layer.weight.data, source.weight.data)
    others = [layer for layer in layers_of(model) if not any(layer is ours for ours, _ in taken)]
    assert len(others) == len(layers_of(model)) - 7
    for layer in others:
        assert spread(layer, 0.1) < 5


def test_starting_from_something_else_changes_nothing():
    model = narrow("D")
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(ValueError, match="start_from_a: the paper starts from configuration 'A', got 'B'"):
        models.start_from_a(model, narrow("B"))
    with pytest.raises(TypeError, match="start_from_a: both networks must be VGG, got NiN"):
        models.start_from_a(model, models.nin())
    wider, fewer = narrow("A", divisor=16), slim(shape_of("vgg", "A"), 32, num_classes=4)
    for other, unfit in ((wider, "features.0.weight"), (fewer, "classifier.6.weight")):
        with pytest.raises(ValueError, match=f"the state does not fit VGG; unfit: {unfit} has shape"):
            models.start_from_a(model, other)
    assert all((array == before[name]).all() for name, array in model.state_dict().items())


# What every configuration does


@pytest.mark.parametrize(("variant", "batch_norm"), [*((v, False) for v in CONFIGURATIONS), ("D", True)])
def test_it_learns(variant, batch_norm):
    model = narrow(variant, batch_norm, divisor=16)
    x, target = images(4), tensor([0, 1, 2, 3])
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        manual_seed(0)  # the same dropout each time
        loss = model.loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_papers_first_weights_can_be_trained_at_a_small_rate():
    model = narrow("A", divisor=16)
    model.reset_parameters("simonyan")
    x, target = images(4), tensor([0, 1, 2, 3])
    optimizer = optim.SGD(model.eval().parameters(), lr=1e-5)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = model.loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


@pytest.mark.parametrize(("variant", "batch_norm"), [("A-LRN", False), ("C", False), ("A", True)])
def test_gradients_of_the_whole_network(variant, batch_norm):
    model, target = narrow(variant, batch_norm, divisor=64, dtype="float64"), tensor([3, 1])
    x = images(2, 32, "float64")

    def loss():
        manual_seed(0)  # the same dropout each time
        return model.loss(model(x), target)

    report = gradcheck(
        loss,
        [],
        parameters=dict(model.named_parameters()),
        together=1,
        directions=0,
        coordinates=1,
        elements=0,
    )
    assert all(row.count for row in report.inputs)


def test_modes():
    model = narrow("A")
    x = images(1)
    with no_grad():
        assert (model(x).numpy() != model(x).numpy()).any()
        model.eval()
        np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())


@pytest.mark.parametrize("batch_norm", [False, True])
def test_state_travels(batch_norm, tmp_path):
    first, second = narrow("B", batch_norm).eval(), narrow("B", batch_norm).eval()
    x = images(1)
    minicnn.save(tmp_path / "w.safetensors", first.state_dict())
    with no_grad():
        assert (first(x).numpy() != second(x).numpy()).any()
        second.load_state_dict(minicnn.load(tmp_path / "w.safetensors"))
        np.testing.assert_array_equal(first(x).numpy(), second(x).numpy())


def test_the_config_builds_it_again():
    model = shape_of("vgg", "C", num_classes=7)
    assert model.config == {"model": "vgg", "variant": "C", "batch_norm": False, "num_classes": 7}
    with minicnn.device("meta"):
        assert models.get_model(**model.config).classifier[6].weight.shape == (7, 4096)


def test_sizes_of_images():
    model = narrow("A").eval()
    for size in ((32, 32), (224, 224), (100, 260)):
        assert model(Tensor(np.zeros((1, 3, *size), dtype="float32"))).shape == (1, 5)
    with pytest.raises(ValueError, match=r"VGG: images must be \(N, 3, H, W\), got \(1, 1, 224, 224\)"):
        model(Tensor(np.zeros((1, 1, 224, 224), dtype="float32")))


def test_a_larger_map_is_averaged():
    model = narrow("A").eval()
    x = Tensor(np.random.default_rng(0).normal(size=(1, 3, 448, 448)).astype("float32"))
    with no_grad():
        maps = model.features(x).numpy()
        cells = maps.reshape(1, -1, 7, 2, 7, 2).mean((3, 5))
        expected = model.classifier(Tensor(cells.reshape(1, -1))).numpy()
        np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-4, atol=1e-5 * abs(expected).max())


def test_bad_arguments():
    with pytest.raises(
        ValueError, match=r"vgg: variant must be one of 'A', 'A-LRN', 'B', 'C', 'D', 'E', got 'F'"
    ):
        models.vgg("F")
    with pytest.raises(ValueError, match="vgg16: num_classes must be at least 1, got 0"):
        models.vgg16(num_classes=0)
    with (
        minicnn.device("meta"),
        pytest.raises(ValueError, match=r"vgg: init must be one of .*, got 'glorott'"),
    ):
        VGG(init="glorott")


def test_against_pytorch():
    torch = pytest.importorskip("torch")
    t = torch.nn
    model = narrow("A", True, divisor=16).eval()
    layers, channels = [], 3
    for width in (4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"):
        if width == "M":
            layers.append(t.MaxPool2d(2, 2))
        else:
            layers += [t.Conv2d(channels, width, 3, padding=1), t.BatchNorm2d(width), t.ReLU()]
            channels = width
    features = t.Sequential(*layers)
    dense = [t.Linear(32 * 49, 256), t.ReLU(), t.Dropout(), t.Linear(256, 256), t.ReLU(), t.Dropout()]
    classifier = t.Sequential(*dense, t.Linear(256, 5))
    theirs = t.ModuleDict({"features": features, "classifier": classifier}).eval()
    theirs.load_state_dict({name: torch.tensor(array) for name, array in model.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(2, 3, 96, 120)).astype("float32")
    with torch.no_grad():
        pooled = t.functional.adaptive_avg_pool2d(features(torch.tensor(x)), 7)
        expected = classifier(pooled.flatten(1)).numpy()
    with no_grad():
        np.testing.assert_allclose(model(Tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
