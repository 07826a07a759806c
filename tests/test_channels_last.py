"""Images stay in channels-last memory from the first convolution to the last, forward and backward."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, tensor
from minicnn import functional as F
from minicnn.observer import Observer, observing
from minicnn.testing import slim

NETWORKS = ["vgg11_bn", "googlenet", "inception_v3", "resnet18", "preact_resnet18", "nin"]


_HEAD = 4 * 4  # pixels: GoogLeNet's auxiliary heads flatten images so small right after a convolution


class Layouts(Observer):
    """Notes each operation that gets images whose channels are not side by side."""

    def __init__(self):
        self.elsewhere = []
        self.images = 0

    def note(self, function, arrays):
        for array in arrays:
            if array.ndim == 4 and array.shape[1] > 1 and array.shape[2] * array.shape[3] > _HEAD:
                self.images += 1
                if array.strides[1] != array.itemsize and 0 not in array.strides:
                    self.elsewhere.append((function.name, array.shape, array.strides))

    def forward(self, function, run, *arrays):
        self.note(function, [a for i, a in enumerate(arrays) if i == 0 or function.name != "Conv2d"])
        return run(*arrays)

    def backward(self, function, run, g):
        self.note(function, [g])
        return run(g)


@pytest.mark.parametrize("name", NETWORKS)
def test_images_stay_in_channels_last_memory(name):
    check(name, 16, "cpu")


@pytest.mark.usefixtures("cuda")
def test_on_a_gpu_too():
    check("resnet18", 64, "cuda")


@pytest.mark.usefixtures("cuda")
def test_images_joined_on_a_gpu_stay_so():
    x = tensor(np.zeros((2, 3, 3, 5), np.float32).transpose(0, 3, 1, 2), device="cuda")
    assert F.cat([x, x], 1).data.strides == (360, 4, 120, 40)
    assert F.cat([x, x], 2).data.strides == (360, 4, 60, 20)


def check(name, divisor, device):
    with minicnn.device("meta"):
        model = models.get_model(name, num_classes=4)
    model = slim(model, divisor, device=device)
    x = Tensor(np.zeros((2, *model.input_shape[1:], model.input_shape[0]), np.float32).transpose(0, 3, 1, 2))
    layouts = Layouts()
    with observing(layouts):
        model.loss(model.train()(x.to(device)), tensor([0, 1], device=device)).backward()
    assert layouts.images > 20
    # The gradient that comes back through a flatten is in the order of its features; one operation takes it from there.
    behind_a_flatten = {"AdaptiveAvgPool2d", "AvgPool2d", "MaxPool2d", "Dropout"}
    assert {name for name, *_ in layouts.elsewhere} <= behind_a_flatten
    assert len(layouts.elsewhere) <= 3  # GoogLeNet has three heads
