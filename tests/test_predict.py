"""From a picture and a file of weights to the names of classes, each step held to NumPy and Pillow."""

import json
import os
import re

import numpy as np
import pytest
from PIL import Image, ImageOps

import minicnn
from minicnn import models, nn
from minicnn.backend import device
from minicnn.cli import main
from minicnn.data import imagenet
from minicnn.models import Classifier, registry
from minicnn.models.classifier import IMAGENET_MEAN, IMAGENET_STD
from minicnn.models.transform_input import transform_input as to_tensorflow_range
from minicnn.training import load_pretrained, load_trained, predict_crops, prepare_picture
from minicnn.training.pretrained import _guessed
from minicnn.training.trained import describe

BILINEAR = Image.Resampling.BILINEAR


class Tiny(Classifier):
    """The smallest network for photographs: linear, with an auxiliary head that is as useless as small."""

    input_shape, resize = (3, 6, 6), 8
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)

    def __init__(self, num_classes, aux_logits, transform_input):
        super().__init__()
        self.transform_input = transform_input
        self.fc = nn.Linear(3 * 6 * 6, num_classes)
        self.aux = nn.Linear(3 * 6 * 6, num_classes) if aux_logits else None

    def forward(self, x):
        return self.fc((to_tensorflow_range(x) if self.transform_input else x).flatten(1))


class Small(Classifier):
    """A network that looks at pictures as a whole, as those for CIFAR do."""

    input_shape = (3, 5, 7)

    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(3 * 5 * 7, num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


def tiny(variant="torchvision", *, num_classes=1000, aux_logits=True, transform_input=False):
    return Tiny(num_classes, aux_logits, transform_input)


def small(*, num_classes=None):
    return Small(num_classes or 4)


@pytest.fixture(autouse=True)
def registered(monkeypatch, tmp_path):
    """Know two small models for the time of a test, and work in an empty folder."""
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
    registry.register(tiny)
    registry.register(small)
    monkeypatch.chdir(tmp_path)
    minicnn.manual_seed(0)


def build(name, **config):
    return models.get_model(name, **config)


def weights(model, path="w.safetensors", metadata=None):
    """Save a model's state dict and return it."""
    state = {name: np.array(value) for name, value in model.state_dict().items()}
    minicnn.save(path, state, metadata)
    return state


def photograph(path, height=30, width=40, seed=0):
    """A picture that is not the same turned, mirrored or with its colours exchanged."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height))
    image.save(path)
    return image


def softmax(scores):
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def seen_by_tiny(image):
    """The image a Tiny is shown, (3, H, W) of any size, from the pixels by the book."""
    pixels = np.asarray(image, np.float64).transpose(2, 0, 1) / 255
    return (pixels - np.reshape(Tiny.mean, (3, 1, 1))) / np.reshape(Tiny.std, (3, 1, 1))


def tiny_says(state, image):
    return softmax(state["fc.weight"] @ seen_by_tiny(image).ravel() + state["fc.bias"])


def one_crop(image):
    """The middle 6×6 of an image whose shorter side became 8."""
    scaled = image.resize(
        (int(8 / min(image.size) * image.width), int(8 / min(image.size) * image.height)), BILINEAR
    )
    left, top = (scaled.width - 6) // 2, (scaled.height - 6) // 2
    return scaled.crop((left, top, left + 6, top + 6))


def run(*arguments):
    return main([str(argument) for argument in arguments])


def blocks(out):
    """What predict printed: {path: [(name, per cent), …]}."""
    found = {}
    for line in out.splitlines():
        if line.endswith(":"):
            found[line[:-1]] = current = []
        else:
            percent, name = re.fullmatch(r" +(\d+\.\d)%  (.*)", line).groups()
            current.append((name, float(percent)))
    return found


# The command


def test_top_5_with_imagenet_s_names(capsys):
    state = weights(build("tiny", aux_logits=False, transform_input=False), metadata={"config": TOLD})
    images = {path: photograph(path, seed=seed) for seed, path in enumerate(["cat.png", "dog.png"])}
    assert run("predict", "--model", "tiny", "--weights", "w.safetensors", *images) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = blocks(out)
    assert list(found) == ["cat.png", "dog.png"]
    for path, image in images.items():
        p = tiny_says(state, one_crop(image))
        best = np.argsort(-p)[:5]
        assert [name for name, _ in found[path]] == [imagenet.CLASSES[i] for i in best]
        np.testing.assert_allclose([percent for _, percent in found[path]], 100 * p[best], atol=0.0501)
    assert found["cat.png"] != found["dog.png"]


TOLD = {"model": "tiny", "variant": "torchvision", "num_classes": 1000, "aux_logits": False}


def test_ten_crops_are_averaged(capsys):
    state = weights(build("tiny", aux_logits=False), metadata={"config": TOLD})
    state["fc.weight"] *= 20  # far from linear
    minicnn.save("w.safetensors", state, {"config": TOLD})
    image = photograph("cat.png")
    assert run("predict", "--model", "tiny", "--weights", "w.safetensors", "--crops", 10, "cat.png") == 0
    square = image.resize((10, 8), BILINEAR).crop((1, 0, 9, 8))
    five = [square.crop((x, y, x + 6, y + 6)) for x, y in [(0, 0), (2, 0), (0, 2), (2, 2), (1, 1)]]
    p = np.mean([tiny_says(state, crop) for crop in five + [ImageOps.mirror(crop) for crop in five]], axis=0)
    found = blocks(capsys.readouterr().out)["cat.png"]
    assert [name for name, _ in found] == [imagenet.CLASSES[i] for i in np.argsort(-p)[:5]]
    np.testing.assert_allclose([percent for _, percent in found], 100 * np.sort(p)[:-6:-1], atol=0.0501)


def test_the_144_crops_are_averaged(capsys):
    state = weights(
        build("tiny", num_classes=7, aux_logits=False), metadata={"config": {**TOLD, "num_classes": 7}}
    )
    image = photograph("cat.png", 64, 64)
    assert run("predict", "--model", "tiny", "--weights", "w.safetensors", "--crops", 144, "cat.png") == 0
    crops = minicnn.data.transforms.GoogLeNetCrops(6)(np.asarray(image).transpose(2, 0, 1)[None])
    p = np.mean([tiny_says(state, crop.transpose(1, 2, 0)) for crop in crops], axis=0)
    found = dict(blocks(capsys.readouterr().out)["cat.png"])
    for i in np.argsort(-p)[:5]:
        assert found[f"class {i}"] == pytest.approx(100 * p[i], abs=0.0501)


def test_a_variant_and_other_arguments_reach_the_model(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "minicnn.training.load_pretrained",
        lambda name, path, **config: asked.append((name, path, config)) or load_pretrained("small", path),
    )
    weights(build("small"))
    photograph("cat.png")
    line = "predict --model tiny --weights w.safetensors --variant paper --set num_classes=3 cat.png"
    assert run(*line.split()) == 0
    assert asked == [("tiny", "w.safetensors", {"variant": "paper", "num_classes": 3})]


def test_a_picture_taken_as_a_whole(capsys):
    state = weights(build("small"))
    image = photograph("cat.png")
    assert run("predict", "--model", "small", "--weights", "w.safetensors", "cat.png") == 0
    x = np.asarray(image.resize((7, 5), BILINEAR), np.float64).transpose(2, 0, 1) / 255
    p = softmax(state["fc.weight"] @ x.ravel() + state["fc.bias"])
    found = dict(blocks(capsys.readouterr().out)["cat.png"])
    assert list(found) == [f"class {i}" for i in np.argsort(-p)]  # four classes: no fifth
    assert list(found.values()) == pytest.approx(100 * np.sort(p)[::-1], abs=0.0501)


def test_a_checkpoint_for_colours_gets_photographs(capsys):
    """What `minicnn train` leaves, of a network for CIFAR: not a digit's preparation, and its own names."""
    model = build("small", num_classes=3)
    pets = minicnn.data.Dataset(
        np.zeros((1, 3, 5, 7), np.uint8), np.zeros(1, np.int64), ("cat", "dog", "cow"), "pets"
    )
    weights(model, metadata=describe(model, pets, "pets"))
    photograph("a.png")
    assert load_trained("w.safetensors").classes == ("cat", "dog", "cow")
    assert run("predict", "--checkpoint", "w.safetensors", "a.png") == 0
    by_checkpoint = capsys.readouterr().out
    assert {name for name, _ in blocks(by_checkpoint)["a.png"]} == {"cat", "dog", "cow"}
    assert run("predict", "--model", "small", "--weights", "w.safetensors", "a.png") == 0
    assert capsys.readouterr().out == by_checkpoint


def test_a_network_for_digits_gets_digits(capsys):
    minicnn.save("w.safetensors", models.lenet5().state_dict())
    image = Image.new("L", (60, 60), "white")
    image.paste("black", (28, 10, 33, 50))
    image.save("one.png")
    assert run("predict", "--model", "lenet5", "--weights", "w.safetensors", "one.png") == 0
    assert re.fullmatch(r"one\.png: class \d \(.*%\), class \d .*\n", capsys.readouterr().out)


MISTAKES = {
    "--model tiny cat.png": "predict: --model needs --weights",
    "--weights w.safetensors cat.png": "predict: --weights needs --model",
    "--variant paper cat.png": "predict: --variant needs --model",
    "--set depth=3 cat.png": "predict: --set needs --model",
    "--model tiny --weights w.safetensors --checkpoint x cat.png": "--checkpoint names its network itself",
    "--model tni --weights w.safetensors cat.png": "no model 'tni'; did you mean",
    "--model tiny --weights none cat.png": "no file 'none'",
    "--model tiny --weights cat.png cat.png": "cat.png",
    "--model tiny --weights w.safetensors none.png": "read_picture: there is no file 'none.png'",
    "--model tiny --weights w.safetensors w.safetensors": "is no readable picture",
    "--model tiny --weights w.safetensors --crops 5 cat.png": "--crops: invalid choice: 5",
    "--model tiny --weights w.safetensors --set depth=3 cat.png": "tiny: .* 'depth'",
    "--model tiny --weights w.safetensors --set name=3 cat.png": "tiny: (?!tiny).* 'name'",
    "--model tiny --weights w.safetensors --set num_classes=99999999999999 cat.png": "not enough memory; .+",
    "--model tiny --weights w.safetensors pipe": "'pipe' is no readable picture .it is no regular file",
    "--model tiny --weights nan.safetensors cat.png": "Tiny's are not; look for nan",
    "--model small --weights w.safetensors cat.png": "does not fit Small",
    "--model small --weights small.safetensors --crops 10 cat.png": "Small looks at pictures as a whole",
    "--model lenet5 --weights digits.safetensors --crops 10 cat.png": "--crops is for photographs",
    "--model small --weights told.safetensors cat.png": "has the weights of tiny .*, not of small",
}


@pytest.mark.parametrize(("line", "message"), MISTAKES.items(), ids=str)
def test_a_mistake_is_one_line_and_status_2(line, message, capsys):
    photograph("cat.png")
    weights(build("tiny"))
    weights(build("small"), "small.safetensors")
    weights(models.lenet5(), "digits.safetensors")
    weights(build("tiny"), "told.safetensors", {"config": TOLD})
    state = build("tiny").state_dict()
    minicnn.save("nan.safetensors", {name: np.full_like(value, np.nan) for name, value in state.items()})
    os.mkfifo("pipe")
    assert run("predict", *line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"minicnn: .*{message}.*\n", err), err


# Preparation


@pytest.mark.parametrize("size", [(30, 40), (40, 30), (8, 8), (6, 9)])
def test_a_picture_is_prepared_by_the_book(size):
    image = photograph("cat.png", *size)
    x = prepare_picture(Tiny(2, False, False))(minicnn.data.read_picture("cat.png")[None])
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[0], seen_by_tiny(one_crop(image)), atol=1e-5)


def test_the_number_of_crops_is_one_of_the_papers():
    with pytest.raises(ValueError, match="crops must be one of 1, 10, 144, got 5"):
        prepare_picture(Tiny(2, False, False), 5)
    with pytest.raises(ValueError, match="LeNet5Modern looks at 1 channel"):
        prepare_picture(models.lenet5())


# Averaging


class Asked(Classifier):
    """Returns the pixels as scores, and notes in which mode and how many at a time it was asked."""

    input_shape = (3, 1, 1)

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, x):
        self.batches.append((len(x), self.training))
        return x.flatten(1)


def test_softmaxes_are_averaged_over_the_crops_of_each_image():
    scores = np.random.default_rng(0).normal(scale=3, size=(5, 10, 3)).astype(np.float32)
    model = Asked()
    found = predict_crops(model, scores.reshape(50, 3, 1, 1), crops=10)
    np.testing.assert_allclose(found, softmax(scores).mean(1), rtol=1e-5)
    assert sum(count for count, _ in model.batches) == 50
    assert (
        max(count for count, _ in model.batches) <= 16
    )  # 144 crops of a large network do not fit into memory
    assert not any(training for _, training in model.batches)
    assert model.training  # as it was


@pytest.mark.parametrize(("count", "crops"), [(5, 10), (0, 1), (3, 0)])
def test_crops_must_come_out_even(count, crops):
    with pytest.raises(
        ValueError, match=f"^predict_crops: there must be {crops} crops .* got {count} in all"
    ):
        predict_crops(Asked(), np.zeros((count, 3, 1, 1), np.float32), crops)


# Weights of others


def says(trained, x):
    return trained.model(minicnn.tensor(x)).numpy()


def test_a_foreign_file_tells_the_number_of_classes_and_whether_there_are_heads():
    for num_classes, aux_logits in [(1000, True), (2, True), (1000, False), (2, False)]:
        weights(build("tiny", num_classes=num_classes, aux_logits=aux_logits))
        trained = load_pretrained("tiny", "w.safetensors")
        assert trained.model.config["num_classes"] == num_classes
        assert trained.model.config["aux_logits"] == aux_logits
        assert trained.classes == (imagenet.CLASSES if num_classes == 1000 else ("class 0", "class 1"))
        assert not trained.model.training


def test_transform_input_is_on_for_weights_of_torchvision():
    weights(build("tiny"))
    assert load_pretrained("tiny", "w.safetensors").model.transform_input
    assert not load_pretrained("tiny", "w.safetensors", transform_input=False).model.transform_input
    assert not load_pretrained("tiny", "w.safetensors", variant="paper").model.transform_input
    assert load_pretrained(
        "tiny", "w.safetensors", variant="paper", transform_input=True
    ).model.transform_input


@pytest.mark.parametrize("flag", [False, True])
def test_transform_input_survives_save_and_reload(flag):
    weights(build("tiny", num_classes=5))
    first = load_pretrained("tiny", "w.safetensors", transform_input=flag)
    weights(first.model, "again.safetensors", {"config": dict(first.model.config)})
    again = load_pretrained("tiny", "again.safetensors")
    assert again.model.config == first.model.config
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(says(again, x), says(first, x))
    other = load_pretrained(
        "tiny", "again.safetensors", transform_input=not flag
    )  # the caller has the last word
    assert np.abs(says(other, x) - says(first, x)).max() > 0.01


def test_transformed_pixels_are_tensorflow_s():
    """Normalised by ImageNet's figures, then transformed: pixels from −1 to 1."""
    state = weights(build("tiny", num_classes=3))
    trained = load_pretrained("tiny", "w.safetensors")
    pixels = np.random.default_rng(0).random((1, 3, 6, 6))
    x = (pixels - np.reshape(IMAGENET_MEAN, (3, 1, 1))) / np.reshape(IMAGENET_STD, (3, 1, 1))
    expected = (2 * pixels - 1).reshape(1, -1) @ state["fc.weight"].T + state["fc.bias"]
    np.testing.assert_allclose(says(trained, x.astype(np.float32)), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@pytest.mark.parametrize("aux_logits", [True, False])
def test_torchvision_s_files_of_the_real_networks(name, aux_logits):
    with device("meta"):
        names = models.get_model(name, num_classes=7, aux_logits=aux_logits).state_dict()
    state = {key: np.broadcast_to(np.float32(0), value.shape) for key, value in names.items()}
    expected = {"transform_input": True, "num_classes": 7, **({} if aux_logits else {"aux_logits": False})}
    assert _guessed({"model": name}, state) == expected


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg11", "resnet50", "inception_v4", "inception_resnet_v2", "preact_resnet18"]
)
def test_the_number_of_classes_is_told_by_any_network_s_weights(name):
    """Classes as many as another layer has outputs are no trouble."""
    for num_classes in (2, 64, 1000):
        with device("meta"):
            names = models.get_model(name, num_classes=num_classes).state_dict()
        state = {key: np.broadcast_to(np.float32(0), value.shape) for key, value in names.items()}
        expected = {} if num_classes == 1000 else {"num_classes": num_classes}
        assert _guessed({"model": name}, state) == expected


def test_names_in_the_file_win():
    weights(build("small"), metadata={"classes": ["a", "b", "c", "d"], "data": "letters"})
    trained = load_pretrained("small", "w.safetensors")
    assert (trained.classes, trained.data) == (("a", "b", "c", "d"), "letters")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"config": TOLD}, "has the weights of tiny .*, not of small"),
        ({"config": 3}, "does not name its model by a text"),
        ({"config": {"depth": 3}}, "does not name its model by a text"),
        ({"config": {"model": "small", "depth": 2}}, "^small: .*'depth'"),
        ({"config": {"model": "tiny", "variant": 3}}, r"has the weights of tiny \(3\), not of small"),
        ({"config": {"model": "small", "num_classes": 10**13}}, "a larger network than its weights are of"),
        ({"classes": ["\x1b[2J", "b", "c", "d"]}, "does not name the network's 4 classes"),
        ({"classes": ["a", "b"]}, "does not name the network's 4 classes"),
        ({"classes": "abcd"}, "does not name the network's 4 classes"),
        ({"classes": [1, 2, 3, 4]}, "does not name the network's 4 classes"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_metadata_that_do_not_fit(metadata, message):
    weights(build("small"), metadata=metadata)
    with pytest.raises(ValueError, match=message):
        load_pretrained("small", "w.safetensors")


def test_weights_of_another_network_are_refused_whole():
    weights(models.lenet5())
    with pytest.raises(
        ValueError, match=r"does not fit Tiny; missing: fc\.weight, fc\.bias; unexpected: c1\."
    ):
        load_pretrained("tiny", "w.safetensors")
