"""Dense evaluation: the same scores on the original's size, and on a larger one those of all its parts."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, manual_seed, models, nn, no_grad
from minicnn.models.fully_convolutional import DenseHeadClassifier
from minicnn.study import summary
from minicnn.testing import slim


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(2014)


class Tiny(DenseHeadClassifier):
    """Without padding, so that a part of a larger image gives what it gives alone."""

    input_shape, map_size = (2, 13, 13), 3
    mean, std, resize = (0.5, 0.25), (2.0, 4.0), 20

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 4, 5, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU()
        )
        self.classifier = nn.Sequential(
            {
                "drop": nn.Dropout(0.5),
                "hidden": nn.Linear(6 * 3 * 3, 8, bias=bias),
                "relu": nn.ReLU(),
                "out": nn.Linear(8, 5, bias=bias),
            }
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def noise(*shape: int, dtype: str = "float32") -> Tensor:
    return Tensor(np.random.default_rng(3).normal(size=shape).astype(dtype))


def narrow(name: str, *args, divisor: int = 32):
    with minicnn.device("meta"):
        model = getattr(models, name)(*args)
    return slim(model, divisor, num_classes=5).eval()


NETWORKS = [("vgg", "A"), ("vgg", "A-LRN"), ("vgg", "C"), ("vgg", "B", True)]
NETWORKS += [("alexnet", variant) for variant in ("torchvision", "paper", "single")]


@pytest.mark.parametrize("network", NETWORKS)
def test_equal_on_the_originals_size(network):
    model = narrow(*network, divisor=24 if network[0] == "alexnet" else 32)
    dense = models.to_fully_convolutional(model)
    x = noise(2, *model.input_shape)
    with no_grad():
        scores = model(x).numpy()
        np.testing.assert_allclose(dense(x).numpy(), scores, rtol=1e-4, atol=1e-5 * abs(scores).max())
        assert dense.score_map(x).shape == (2, 5, 1, 1)


def test_on_a_larger_image_the_scores_of_its_crops():
    model = Tiny().eval().to("float64")
    for buffer in ("running_mean", "running_var"):
        getattr(model.features[1], buffer).data[:] = np.random.default_rng(0).uniform(0.5, 2, 4)
    dense = models.to_fully_convolutional(model)
    x = noise(2, 2, 21, 25, dtype="float64")
    with no_grad():
        score_map = dense.score_map(x).numpy()
        assert score_map.shape == (2, 5, 5, 7)
        for p in range(5):
            for q in range(7):
                crop = x[:, :, 2 * p : 2 * p + 13, 2 * q : 2 * q + 13]
                np.testing.assert_allclose(score_map[:, :, p, q], model(crop).numpy(), rtol=1e-10)
        np.testing.assert_allclose(dense(x).numpy(), score_map.mean((2, 3)), rtol=1e-10)


@pytest.mark.parametrize("network", [("vgg", "A"), ("alexnet", "torchvision"), ("alexnet", "paper")])
def test_on_a_larger_image_the_scores_of_all_parts_of_the_map(network):
    """Their convolutions pad, so a crop of the image sees zeros where its part of the map saw pixels."""
    model = narrow(*network, divisor=24)
    dense = models.to_fully_convolutional(model)
    x = noise(1, 3, 260, 330)
    with no_grad():
        maps, score_map = model.features(x), dense.score_map(x).numpy()
        side = model.map_size
        rows, columns = maps.shape[2] - side + 1, maps.shape[3] - side + 1
        assert score_map.shape == (1, 5, rows, columns)
        assert columns > rows > 1
        for p in range(rows):
            for q in range(columns):
                part = model.classifier(maps[:, :, p : p + side, q : q + side].flatten(1)).numpy()
                np.testing.assert_allclose(
                    score_map[:, :, p, q], part, rtol=1e-4, atol=1e-5 * abs(part).max()
                )
        np.testing.assert_allclose(dense(x).numpy(), score_map.mean((2, 3)), rtol=1e-5)


def test_the_original_stays_and_shares_nothing():
    model = Tiny()
    before = copy.deepcopy(model.state_dict())
    dense = models.to_fully_convolutional(model)
    for parameter in (*dense.parameters(), *dense.buffers()):
        parameter.data[...] = 0
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert isinstance(model.classifier.hidden, nn.Linear)


def test_names_and_layers_stay():
    model = Tiny(bias=False)
    dense = models.to_fully_convolutional(model)
    assert list(dense.state_dict()) == list(model.state_dict())
    assert dense.classifier.hidden.weight.shape == (8, 6, 3, 3)
    assert dense.classifier.out.weight.shape == (5, 8, 1, 1)
    assert [type(layer).__name__ for layer in dense.classifier] == ["Dropout", "Conv2d", "ReLU", "Conv2d"]
    assert (dense.input_shape, dense.resize) == ((2, 13, 13), 20)
    assert (dense.mean, dense.std) == ((0.5, 0.25), (2.0, 4.0))


def test_mode_and_dtype_stay():
    model = Tiny()
    assert models.to_fully_convolutional(model).training
    dense = models.to_fully_convolutional(model.eval().to("float64"))
    assert not any(module.training for module in dense.modules())
    assert {str(parameter.dtype) for parameter in dense.parameters()} == {"float64"}


def test_it_can_be_trained():
    dense = models.to_fully_convolutional(Tiny())
    dense.loss(dense(noise(2, 2, 20, 20)), minicnn.tensor([0, 4])).backward()
    assert all(abs(parameter.grad).max() > 0 for parameter in dense.parameters() if parameter.ndim == 4)


def test_published_sizes_cost_the_same():
    for name, macs in (("vgg16", 15_470_264_320), ("alexnet", 714_188_480)):
        with minicnn.device("meta"):
            model = getattr(models, name)()
        found = summary(models.to_fully_convolutional(model))
        assert found.macs == macs
        assert found.parameters == sum(parameter.size for parameter in model.parameters())


def test_images_must_not_be_smaller():
    dense = models.to_fully_convolutional(Tiny())
    for size in ((12, 13), (13, 12)):
        with pytest.raises(
            ValueError, match=f"FullyConvolutional: images must be at least 13×13, got {size[0]}×"
        ):
            dense(noise(1, 2, *size))
    for call in (dense, dense.score_map):
        with pytest.raises(ValueError, match=r"FullyConvolutional: images must be \(N, 2, H, W\)"):
            call(noise(1, 3, 20, 20))


@pytest.mark.parametrize("build", [models.nin, models.lenet5, nn.Sequential])
def test_other_networks_are_refused(build):
    with pytest.raises(
        TypeError, match=r"to_fully_convolutional: .* dense layers over a flattened map, as AlexNet"
    ):
        models.to_fully_convolutional(build())
