"""Network in Network: its numbers, its poolings and poolless head, its first weights; both forms learn."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, manual_seed, models, nn, no_grad, optim, tensor
from minicnn.study import summary
from minicnn.testing import slim

VARIANTS = ("cifar", "imagenet")


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(2013)


def shape_of(variant: str, **options):
    """Return the network without memory for its weights."""
    with minicnn.device("meta"):
        return models.nin(variant, **options)


def narrow(variant: str, divisor: int = 16, **options):
    return slim(shape_of(variant), divisor, num_classes=5, **options)


def images(model, n: int, dtype: str = "float32") -> Tensor:
    """Return noise, each image on a colour of its own."""
    rng = np.random.default_rng(5)
    noise, colours = rng.normal(size=(n, *model.input_shape)), rng.normal(size=(n, 3, 1, 1))
    return Tensor((noise + 2 * colours).astype(dtype))


def convolutions(model) -> dict:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}


# The numbers


def test_totals():
    found = summary(shape_of("cifar"))
    assert (found.parameters, found.macs) == (966_986, 222_486_528)
    found = summary(shape_of("imagenet"))
    assert (found.parameters, found.macs) == (7_595_176, 1_105_996_320)
    assert (
        summary(shape_of("imagenet"), (3, 224, 224)).macs == 1_100_188_800
    )  # the crops of the authors' file


@pytest.mark.parametrize(
    ("variant", "maps", "pooled"),
    [
        (
            "cifar",
            [(192, 32), (160, 32), (96, 32), (192, 16), (192, 16), (192, 16), (192, 8), (192, 8), (10, 8)],
            [("MaxPool2d", 96, 16), ("AvgPool2d", 192, 8)],
        ),
        (
            "imagenet",
            [(96, 55)] * 3 + [(256, 27)] * 3 + [(384, 13)] * 3 + [(1024, 6), (1024, 6), (1000, 6)],
            [("MaxPool2d", 96, 27), ("MaxPool2d", 256, 13), ("MaxPool2d", 384, 6)],
        ),
    ],
)
def test_maps(variant, maps, pooled):
    rows = summary(shape_of(variant)).rows
    assert [row.output_shape for row in rows if row.kind == "Conv2d"] == [(k, p, p) for k, p in maps]
    assert [
        (row.kind, *row.output_shape[:2]) for row in rows if row.kind in ("MaxPool2d", "AvgPool2d")
    ] == pooled
    assert rows[-1].output_shape == (maps[-1][0], 1, 1)
    assert not any(row.kind == "Linear" for row in rows)


@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_follow_in_order(variant):
    perceptron = ["Conv2d", "ReLU"] * 3
    if variant == "cifar":
        expected = [*perceptron, "MaxPool2d", "Dropout", *perceptron, "AvgPool2d", "Dropout", *perceptron]
    else:
        expected = [*perceptron, "MaxPool2d"] * 2 + [*perceptron, "MaxPool2d", "Dropout", *perceptron]
    assert [row.kind for row in summary(shape_of(variant)).rows] == [*expected, "AdaptiveAvgPool2d"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_of_three_convolutions_are_1x1(variant):
    sizes = [layer.kernel_size[0] for layer in convolutions(shape_of(variant)).values()]
    assert sizes[1::3] + sizes[2::3] == [1] * (len(sizes) * 2 // 3)
    assert sizes[::3] == ([5, 5, 3] if variant == "cifar" else [11, 5, 3, 3])


def test_classes():
    assert shape_of("cifar").config == {"model": "nin", "variant": "cifar", "num_classes": None}
    for variant, classes in (("cifar", 10), ("imagenet", 1000)):
        for model in (shape_of(variant), shape_of(variant, num_classes=7)):
            wanted = model.config["num_classes"] or classes
            assert list(convolutions(model).values())[-1].out_channels == wanted
            with minicnn.device("meta"):
                again = models.get_model(**model.config)
            assert list(convolutions(again).values())[-1].out_channels == wanted


# What it computes


def test_scores_are_averages_of_maps():
    model = narrow("cifar").eval()
    x = images(model, 2)
    maps = model.features(x).numpy()
    assert maps.shape == (2, 5, 8, 8)
    assert maps.min() == 0  # after a ReLU
    np.testing.assert_allclose(model(x).numpy(), maps.mean((2, 3)), rtol=1e-5)


def test_an_average_at_the_border_is_of_pixels_only():
    pool = shape_of("cifar").features.pool2
    x = Tensor(np.ones((1, 1, 16, 16), dtype="float32"))
    np.testing.assert_array_equal(pool(x).numpy(), np.ones((1, 1, 8, 8)))


def test_first_weights_of_cifar():
    layers = convolutions(models.nin("cifar"))
    assert len(layers) == 9
    for layer in layers.values():
        values = layer.weight.numpy().astype(np.float64)
        std = (2 / values[0].size) ** 0.5
        assert abs(values.std() / std - 1) < 5 / (2 * values.size) ** 0.5
        assert (layer.bias.numpy() == 0).all()


def test_first_weights_of_imagenet():
    layers = list(convolutions(models.nin("imagenet")).values())
    expected = [0.01, 0.05, 0.05, 0.05, 0.05, 0.05, 0.01, 0.05, 0.05, 0.05, 0.05, 0.01]
    for layer, std in zip(layers, expected, strict=True):
        values = layer.weight.numpy().astype(np.float64)
        assert abs(values.std() / std - 1) < 5 / (2 * values.size) ** 0.5
        assert (layer.bias.numpy() == 0).all()


def test_inputs():
    assert shape_of("cifar").input_shape == (3, 32, 32)
    assert shape_of("cifar").resize is None
    model = shape_of("imagenet")
    np.testing.assert_allclose((1 - np.array(model.mean)) / model.std, 255 - 255 * np.array(model.mean))


# What both forms do


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_learns(variant):
    model = narrow(variant, 8)
    x, target = images(model, 4), tensor([0, 1, 2, 3])
    optimizer = optim.Adam(model.parameters(), lr=0.003)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        manual_seed(0)  # the same dropout each time
        loss = model.loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_modes(variant):
    model = narrow(variant)
    x = images(model, 1)
    with no_grad():
        assert (model(x).numpy() != model(x).numpy()).any()
        model.eval()
        np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())


def test_sizes_of_images():
    model = narrow("cifar").eval()
    for size in ((8, 8), (32, 32), (40, 57)):
        assert model(Tensor(np.zeros((1, 3, *size), dtype="float32"))).shape == (1, 5)
    with pytest.raises(ValueError, match=r"NiN: images must be \(N, 3, H, W\), got \(1, 1, 32, 32\)"):
        model(Tensor(np.zeros((1, 1, 32, 32), dtype="float32")))


def test_bad_arguments():
    with pytest.raises(ValueError, match="nin: variant must be one of 'cifar', 'imagenet', got 'cifar10'"):
        models.nin("cifar10")
    with pytest.raises(ValueError, match="nin: num_classes must be at least 1, got 0"):
        models.nin(num_classes=0)
