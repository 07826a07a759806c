"""What all networks have in common: their arguments, the images they take, what they are after fusing."""

import json

import numpy as np
import pytest
from test_nn_fuse import lived_in, norms

import minicnn
from minicnn import Tensor, backend, models, nn, no_grad
from minicnn.testing import slim

NAMES = models.list_models()
NEEDED = {"resnet_cifar": {"depth": 20}, "preact_resnet_cifar": {"depth": 29}}


def shape_of(name, **options):
    with minicnn.device("meta"):
        return models.get_model(name, **{**NEEDED.get(name, {}), **options})


def images(*shape):
    return Tensor(backend.meta.empty(shape, np.float32))


# Arguments


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [0, -1, True, 2.5, "3"])
def test_classes_are_counted_from_one(name, wrong):
    with pytest.raises((TypeError, ValueError), match=f"{name}: num_classes must be .*, got {wrong!r}"):
        shape_of(name, num_classes=wrong)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "nin"])
def test_no_number_of_classes_is_none(name):
    with pytest.raises(TypeError, match=f"{name}: num_classes must be an int, got None"):
        shape_of(name, num_classes=None)


@pytest.mark.parametrize("name", NAMES)
def test_the_config_is_fit_for_a_file(name):
    numpy = {key: np.int64(value) for key, value in NEEDED.get(name, {}).items()}
    model = shape_of(name, **numpy, num_classes=np.int64(10))
    config = json.loads(json.dumps(model.config))
    assert config == model.config
    assert shape_of(config.pop("model"), **config).config == model.config


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "resnet_cifar",
            {"depth": 20, "dept": 20},
            "resnet_cifar: got an unexpected keyword argument 'dept'",
        ),
        ("vgg16", {"variant": "D"}, "vgg16: got an unexpected keyword argument 'variant'"),
        ("googlenet", {"aux_logits": "no"}, "googlenet: aux_logits must be True or False, got 'no'"),
        ("vgg", {"batch_norm": "bn"}, "vgg: batch_norm must be True or False, got 'bn'"),
        ("resnet18", {"zero_init_residual": 2}, "resnet18: zero_init_residual must be True or False, got 2"),
    ],
)
def test_a_wrong_argument_names_the_network(name, options, message):
    with pytest.raises(TypeError, match=message):
        shape_of(name, **options)


def test_what_is_missing_or_too_much_names_the_network():
    with pytest.raises(TypeError, match="preact_resnet_cifar: missing a required argument: 'depth'"):
        models.get_model("preact_resnet_cifar")
    with pytest.raises(TypeError, match="vgg16: too many positional arguments"):
        models.vgg16(10)


# Images


SMALLEST = [
    ("alexnet", {}, 63),
    ("vgg11", {}, 32),
    ("vgg", {"variant": "C"}, 32),
    ("nin", {}, 4),
    ("nin", {"variant": "imagenet"}, 39),
    ("googlenet", {}, 15),
    ("googlenet", {"variant": "paper", "aux_logits": False}, 31),
    ("inception_v2", {}, 7),
    ("inception_v3", {}, 75),
    ("inception_v4", {}, 75),
    ("inception_resnet_v2", {}, 75),
    ("resnet18", {}, 1),
    ("preact_resnet18", {}, 1),
    ("resnet_cifar", {}, 1),
    ("preact_resnet_cifar", {}, 1),
]


@pytest.mark.parametrize(("name", "options", "side"), SMALLEST)
def test_any_size_is_any_size_from_the_smallest_on(name, options, side):
    model = shape_of(name, **options, num_classes=5).eval()
    for height in (side, *range(side + 1, side + 34, 3), 299):
        assert model(images(1, 3, height, side)).shape == (1, 5)
        assert model(images(1, 3, side, height)).shape == (1, 5)
    kind = type(model).__name__
    with pytest.raises(
        ValueError, match=f"{kind}: images must be at least {side}×{side}, got {side}×{side - 1}"
    ):
        model(images(1, 3, side, side - 1))
    with pytest.raises(ValueError, match="must"):  # and no layer would have taken it
        model.forward(images(1, 3, side, side - 1))


@pytest.mark.parametrize("name", ["alexnet", "lenet5"])
def test_images_are_checked_however_they_are_passed(name):
    model = shape_of(name, variant="paper").eval()
    kind = type(model).__name__
    wrong = images(2, 3, 100, 100)
    for call in (lambda: model(wrong), lambda: model(x=wrong), lambda: model(wrong.data)):
        with pytest.raises(ValueError, match=rf"{kind}: images must be \(N, .*\), got \(2, 3, 100, 100\)"):
            call()


# Fused


FAMILIES = [
    ("vgg11_bn", {}),
    ("googlenet", {"aux_logits": False}),
    ("inception_v2", {}),
    ("inception_v3", {"aux_logits": False}),
    ("inception_v4", {}),
    ("inception_resnet_v2", {}),
    ("resnet18", {"variant": "paper", "shortcut": "A"}),
    ("resnet50", {}),
    ("plain18", {}),
    ("preact_resnet_cifar", {"depth": 20}),
    ("preact_resnet_cifar", {"depth": 29}),
]


@pytest.mark.parametrize(("name", "options"), FAMILIES)
def test_a_fused_network_returns_the_same(name, options):
    model = shape_of(name, **options)
    model.input_shape = (3, *(min(side, max(64, model.smallest)) for side in model.input_shape[1:]))
    rng = np.random.default_rng(0)
    model = lived_in(slim(model, 16, num_classes=5, dtype="float64", generator=rng), rng).eval()
    x = Tensor(rng.normal(size=(2, *model.input_shape)))
    with no_grad():
        fused = nn.fuse(model)
        scores, again = model(x).numpy(), nn.fuse(fused)(x).numpy()
        np.testing.assert_allclose(fused(x).numpy(), scores, rtol=1e-9, atol=1e-9 * abs(scores).max())
    np.testing.assert_array_equal(again, fused(x).numpy())
    after_a_sum = (
        len(model.layer1) * 3 if name.startswith("preact") else 0
    )  # no convolution comes before these
    assert norms(fused) == after_a_sum


def test_a_fused_network_does_not_pretend_to_be_the_one_its_config_builds():
    assert shape_of("resnet18").config
    assert nn.fuse(shape_of("resnet18")).config == {}
    assert nn.fuse(shape_of("vgg11")).config == {"model": "vgg11", "num_classes": 1000}
