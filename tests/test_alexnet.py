"""AlexNet: the paper's numbers layer by layer, its order of layers, its constants; every variant learns."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, manual_seed, models, nn, no_grad, optim, tensor
from minicnn.models.alexnet import AlexNetPaper, response_norm
from minicnn.study import summary
from minicnn.testing import slim

VARIANTS = ("torchvision", "paper", "single")


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(2012)


def shape_of(variant: str, **options):
    """Return the network without memory for its weights."""
    with minicnn.device("meta"):
        return models.alexnet(variant, **options)


def narrow(variant: str, divisor: int = 24, **options):
    return slim(shape_of(variant), divisor, num_classes=5, **options)


def images(model, n: int, dtype: str = "float32") -> Tensor:
    """Return noise, each image on a colour of its own."""
    rng = np.random.default_rng(5)
    noise, colours = rng.normal(size=(n, *model.input_shape)), rng.normal(size=(n, 3, 1, 1))
    return Tensor((noise + 2 * colours).astype(dtype))


# The numbers


@pytest.mark.parametrize(
    ("variant", "parameters", "macs"),
    [
        ("torchvision", 61_100_840, 714_188_480),
        ("paper", 60_965_224, 724_406_816),
        ("single", 62_378_344, 1_135_256_096),
    ],
)
def test_totals(variant, parameters, macs):
    found = summary(shape_of(variant))
    assert (found.parameters, found.macs) == (parameters, macs)


def test_the_paper_layer_by_layer():
    rows = {row.name.split(".")[1]: row for row in summary(shape_of("paper")).rows}
    weighted = {name: (row.output_shape, row.parameters) for name, row in rows.items() if row.parameters}
    assert weighted == {
        "conv1": ((96, 55, 55), 96 * (3 * 121 + 1)),
        "conv2": ((256, 27, 27), 256 * (48 * 25 + 1)),
        "conv3": ((384, 13, 13), 384 * (256 * 9 + 1)),
        "conv4": ((384, 13, 13), 384 * (192 * 9 + 1)),
        "conv5": ((256, 13, 13), 256 * (192 * 9 + 1)),
        "fc6": ((4096,), 4096 * (9216 + 1)),
        "fc7": ((4096,), 4096 * (4096 + 1)),
        "fc8": ((1000,), 1000 * (4096 + 1)),
    }
    pooled = [rows[name].output_shape for name in ("pool1", "pool2", "pool5")]
    assert pooled == [(96, 27, 27), (256, 13, 13), (256, 6, 6)]
    assert rows["conv2"].receptive_field == (51, 51)  # 11 + 2·4 by the pooling, + 4·8 by 5×5 windows


def test_the_papers_order():
    dense = ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    normalised = ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    rows = summary(shape_of("paper")).rows
    assert [row.kind for row in rows] == normalised * 2 + ["Conv2d", "ReLU"] * 3 + ["MaxPool2d", *dense]


@pytest.mark.parametrize("variant", ["torchvision", "single"])
def test_maps_of_the_others(variant):
    rows = summary(shape_of(variant)).rows
    widths = (64, 192, 384, 256, 256) if variant == "torchvision" else (96, 256, 384, 384, 256)
    shapes = [row.output_shape for row in rows if row.kind in ("Conv2d", "Linear")]
    sizes = (55, 27, 13, 13, 13)
    assert shapes == [*zip(widths, sizes, sizes, strict=True), (4096,), (4096,), (1000,)]
    assert not any(row.kind == "LocalResponseNorm" for row in rows)
    assert [row.kind for row in rows].count("Dropout") == 2


def test_the_names_are_torchvisions():
    shapes = {name: array.shape for name, array in shape_of("torchvision").state_dict().items()}
    convolutions = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3)}
    convolutions |= {8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    dense = {1: (4096, 9216), 4: (4096, 4096), 6: (1000, 4096)}
    expected = {f"features.{i}.weight": shape for i, shape in convolutions.items()}
    expected |= {f"classifier.{i}.weight": shape for i, shape in dense.items()}
    expected |= {name.replace("weight", "bias"): shape[:1] for name, shape in expected.items()}
    assert shapes == expected
    assert list(shapes)[:3] == ["features.0.weight", "features.0.bias", "features.3.weight"]


# The paper's layers


def test_response_norm_does_not_divide_alpha_by_n():
    x = np.random.default_rng(0).uniform(50, 150, (2, 9, 3, 2))  # so large that α matters as much as k
    y = response_norm()(Tensor(x)).numpy()
    for c in range(9):
        energy = (x[:, max(0, c - 2) : c + 3] ** 2).sum(1)
        np.testing.assert_allclose(y[:, c], x[:, c] / (2 + 1e-4 * energy) ** 0.75, rtol=1e-12)


def test_the_two_gpus():
    """The maps of one half of conv2, conv4 and conv5 depend on one half of the maps before; conv3 sees all."""
    model = narrow("paper")
    for name in ("conv2", "conv3", "conv4", "conv5"):
        layer = getattr(model.features, name)
        x = np.random.default_rng(0).normal(size=(1, layer.in_channels, 13, 13)).astype("float32")
        other = x.copy()
        other[:, layer.in_channels // 2 :] = 0
        first, second = np.split(layer(Tensor(x)).numpy() != layer(Tensor(other)).numpy(), 2, axis=1)
        assert first.any() == (name == "conv3")
        assert second.any()


def test_first_weights_of_the_paper():
    model = narrow("paper", 8)
    model.reset_parameters()
    weights, biases = {}, {}
    for path, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            name = path.split(".")[1]
            weights[name], biases[name] = layer.weight.numpy(), layer.bias.numpy()
    ones = {name for name, values in biases.items() if (values == 1).all()}
    zeros = {name for name, values in biases.items() if (values == 0).all()}
    assert ones == {"conv2", "conv4", "conv5", "fc6", "fc7"}
    assert zeros == {"conv1", "conv3", "fc8"}
    for values in weights.values():
        assert abs(values.std() / 0.01 - 1) < 5 / values.size**0.5
        assert abs(values.mean()) < 0.05 / values.size**0.5
    drawn = np.concatenate([values.ravel() for values in weights.values()])
    assert abs((drawn**4).mean() / 0.01**4 - 3) < 0.1  # normal, not uniform


def test_dropout_of_the_paper_halves_at_test_time():
    model, x = narrow("paper").eval(), Tensor(np.ones((2, 40), dtype="float32"))
    for layer in (model.classifier.drop6, model.classifier.drop7):
        np.testing.assert_array_equal(layer(x).numpy(), 0.5)
        assert set(layer.train()(x).numpy().ravel()) == {0, 1}


def test_input_of_the_paper_is_on_a_scale_of_255():
    mean, std = np.array(AlexNetPaper.mean), np.array(AlexNetPaper.std)
    np.testing.assert_allclose((1 - mean) / std, 255 - 255 * mean)


# What every variant does


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_learns(variant):
    model = narrow(variant, 16)
    x, target = images(model, 4), tensor([0, 1, 2, 3])
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    before = model.eval().loss(model(x), target).item()
    model.train()
    for _ in range(10):
        optimizer.zero_grad()
        model.loss(model(x), target).backward()
        optimizer.step()
    assert model.eval().loss(model(x), target).item() < 0.8 * before


@pytest.mark.parametrize("variant", VARIANTS)
def test_modes(variant):
    model = narrow(variant)
    x = images(model, 1)
    with no_grad():
        assert (model(x).numpy() != model(x).numpy()).any()
        model.eval()
        np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_config_builds_it_again(variant):
    model = shape_of(variant, num_classes=2)
    assert model.config == {"model": "alexnet", "variant": variant, "num_classes": 2}
    with minicnn.device("meta"):
        again = models.get_model(**model.config)
    assert type(again) is type(model)
    assert next(reversed(list(again.parameters()))).shape == (2,)


def test_sizes_of_images():
    model = narrow("torchvision").eval()
    for size in ((63, 63), (224, 224), (200, 260)):
        x = Tensor(np.zeros((1, 3, *size), dtype="float32"))
        assert model(x).shape == (1, 5)
    for variant in ("paper", "single"):
        with pytest.raises(ValueError, match=r"images must be \(N, 3, 227, 227\), got \(1, 3, 224, 224\)"):
            narrow(variant)(Tensor(np.zeros((1, 3, 224, 224), dtype="float32")))
    with pytest.raises(ValueError, match=r"images must be \(N, 3, H, W\), got \(1, 1, 224, 224\)"):
        model(Tensor(np.zeros((1, 1, 224, 224), dtype="float32")))


def test_a_larger_map_is_averaged():
    model = narrow("torchvision").eval()
    x = Tensor(np.random.default_rng(0).normal(size=(1, 3, 415, 415)).astype("float32"))
    with no_grad():
        maps = model.features(x).numpy()
        cells = maps.reshape(1, -1, 6, 2, 6, 2).mean((3, 5))
        expected = model.classifier(Tensor(cells.reshape(1, -1))).numpy()
        np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-4, atol=1e-5 * abs(expected).max())


def test_bad_arguments():
    with pytest.raises(
        ValueError, match=r"alexnet: variant must be .*'single', got 'papr'; did you mean 'paper'"
    ):
        models.alexnet("papr")
    with pytest.raises(ValueError, match="alexnet: num_classes must be at least 1, got 0"):
        models.alexnet(num_classes=0)


def test_the_torchvision_form_against_pytorch():
    torch = pytest.importorskip("torch")
    t = torch.nn
    model = narrow("torchvision", 8).eval()
    widths = [model.features[i].out_channels for i in (0, 3, 6, 8, 10)]
    a, b, c, d, e = widths
    features = t.Sequential(
        t.Conv2d(3, a, 11, 4, 2), t.ReLU(), t.MaxPool2d(3, 2), t.Conv2d(a, b, 5, 1, 2), t.ReLU(), t.MaxPool2d(3, 2),
        t.Conv2d(b, c, 3, 1, 1), t.ReLU(), t.Conv2d(c, d, 3, 1, 1), t.ReLU(), t.Conv2d(d, e, 3, 1, 1), t.ReLU(),
        t.MaxPool2d(3, 2),
    )  # fmt: skip
    classifier = t.Sequential(
        t.Dropout(),
        t.Linear(e * 36, 512),
        t.ReLU(),
        t.Dropout(),
        t.Linear(512, 512),
        t.ReLU(),
        t.Linear(512, 5),
    )
    theirs = t.ModuleDict({"features": features, "classifier": classifier}).eval()
    theirs.load_state_dict({name: torch.tensor(array) for name, array in model.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(2, 3, 195, 240)).astype("float32")
    with torch.no_grad():
        pooled = t.functional.adaptive_avg_pool2d(features(torch.tensor(x)), 6)
        expected = classifier(pooled.flatten(1)).numpy()
    with no_grad():
        np.testing.assert_allclose(model(Tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
