"""The networks, one paper a file.

A model's docstring says what it follows, by section and table of the paper, and where it deviates.

>>> model = get_model("lenet5", variant="modern")
>>> model.input_shape
(1, 32, 32)
"""

from __future__ import annotations

from .alexnet import alexnet
from .classifier import Classifier
from .fully_convolutional import to_fully_convolutional
from .googlenet import googlenet
from .inception_resnet_v2 import inception_resnet_v2
from .inception_v2 import inception_v2
from .inception_v3 import inception_v3
from .inception_v4 import inception_v4
from .lenet import lenet5
from .nin import nin
from .preact_resnet import (
    preact_resnet18,
    preact_resnet34,
    preact_resnet50,
    preact_resnet101,
    preact_resnet152,
    preact_resnet200,
    preact_resnet_cifar,
)
from .registry import get_model, list_models
from .resnet import plain18, plain34, resnet18, resnet34, resnet50, resnet101, resnet152
from .resnet_cifar import resnet_cifar
from .vgg import start_from_a, vgg, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

__all__ = [
    "Classifier",
    "alexnet",
    "get_model",
    "googlenet",
    "inception_resnet_v2",
    "inception_v2",
    "inception_v3",
    "inception_v4",
    "lenet5",
    "list_models",
    "nin",
    "plain18",
    "plain34",
    "preact_resnet18",
    "preact_resnet34",
    "preact_resnet50",
    "preact_resnet101",
    "preact_resnet152",
    "preact_resnet200",
    "preact_resnet_cifar",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet_cifar",
    "start_from_a",
    "to_fully_convolutional",
    "vgg",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]
