"""Every architecture the package has, in each of its forms: what a test of all of them goes through."""

from __future__ import annotations

from typing import Any

__all__ = ["ARCHITECTURES", "architecture_name"]

_BOTH = [{"variant": "torchvision"}, {"variant": "paper"}]
_SHORTCUTS = [
    {"variant": "paper", "shortcut": "A"},
    {"variant": "paper", "shortcut": "C"},
]  # B is the default

ARCHITECTURES: dict[str, list[dict[str, Any]]] = {
    "lenet5": [{"variant": "modern"}, {"variant": "paper"}, {"variant": "d2l"}],
    "alexnet": [*_BOTH, {"variant": "single"}],
    "vgg": [
        {"variant": "A-LRN"},
        {"variant": "C"},
        {"variant": "C", "batch_norm": True},
    ],  # the others follow
    "vgg11": [{}],
    "vgg11_bn": [{}],
    "vgg13": [{}],
    "vgg13_bn": [{}],
    "vgg16": [{}],
    "vgg16_bn": [{}],
    "vgg19": [{}],
    "vgg19_bn": [{}],
    "nin": [{"variant": "cifar"}, {"variant": "imagenet"}],
    "googlenet": _BOTH,
    "inception_v2": [{}],
    "inception_v3": [{}],
    "inception_v4": [{}],
    "inception_resnet_v2": [{}],
    "resnet18": [*_BOTH, *_SHORTCUTS],
    "resnet34": [*_BOTH, *_SHORTCUTS],
    "resnet50": _BOTH,
    "resnet101": _BOTH,
    "resnet152": _BOTH,
    "plain18": [{}],
    "plain34": [{}],
    "resnet_cifar": [
        *({"depth": depth} for depth in (20, 32, 44, 56, 110, 1202)),
        {"depth": 20, "shortcut": "B"},
        {"depth": 20, "shortcut": "C"},
        {"depth": 20, "residual": False},
    ],
    "preact_resnet18": [{}],
    "preact_resnet34": [{}],
    "preact_resnet50": [{}],
    "preact_resnet101": [{}],
    "preact_resnet152": [{}],
    "preact_resnet200": [{}],
    "preact_resnet_cifar": [{"depth": 110}, {"depth": 164}, {"depth": 1001}],
}
"""The arguments, by the names of :func:`minicnn.models.list_models`, that make networks which compute differently."""


def architecture_name(model: str, options: dict[str, Any]) -> str:
    """Return a model's name with what it is built with.

    Examples
    --------
    >>> architecture_name("resnet_cifar", {"depth": 20, "shortcut": "B"})
    'resnet_cifar depth=20 shortcut=B'
    """
    return " ".join([model, *(f"{name}={value}" for name, value in options.items())])
