"""VGG: the six configurations of the paper's Table 1, with batch normalisation or without.

Each stage of 3×3 convolutions ends in a 2×2 max-pooling.  The code's :data:`TABLE_1` is the paper's: "64" is its
conv3-64, 64 maps by 3×3, and "1-256" its conv1-256::

                     A        A-LRN    B        C        D        E
    layers           11       11       13       16       16       19
    multiply-adds    7.61 G   7.61 G   11.31 G  11.77 G  15.47 G  19.63 G
    parameters       132.9 M  132.9 M  133.0 M  133.6 M  138.4 M  143.7 M

The paper prints 133, 133, 133, 134, 138 and 144 million (its Table 2).

References
----------
K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015:
section 2.1 and Tables 1 and 2 (the networks), section 3.1 (first weights, dropout).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import nn
from ..nn.check import one_of
from ..tensor import Tensor
from .alexnet import response_norm
from .classifier import IMAGENET_MEAN, IMAGENET_STD
from .fully_convolutional import DenseHeadClassifier
from .registry import register

__all__ = [
    "TABLE_1",
    "VGG",
    "start_from_a",
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

TABLE_1 = {  # five stages; the pooling after each, and the three dense layers, are the same for all
    "A":     ("64",     "128",     "256 256",         "512 512",         "512 512"),
    "A-LRN": ("64 LRN", "128",     "256 256",         "512 512",         "512 512"),
    "B":     ("64 64",  "128 128", "256 256",         "512 512",         "512 512"),
    "C":     ("64 64",  "128 128", "256 256 1-256",   "512 512 1-512",   "512 512 1-512"),
    "D":     ("64 64",  "128 128", "256 256 256",     "512 512 512",     "512 512 512"),
    "E":     ("64 64",  "128 128", "256 256 256 256", "512 512 512 512", "512 512 512 512"),
}  # fmt: skip


class VGG(DenseHeadClassifier):
    """A network of Table 1.

    Follows section 2.1: 3×3 convolutions, in C also 1×1, that keep the size; ReLU after each; in A-LRN the response
    normalisation of AlexNet after the first; 2×2 max-pooling; three dense layers, with dropout of half of the first
    two (section 3.1).  The names are torchvision's, whose weights load unchanged.

    Deviates from the paper in the input, whose colours get ImageNet's mean 0 and deviation 1 (the paper only
    subtracts the mean), and, as torchvision, in taking images of any size, whose last map is averaged to 7×7.  The
    paper has no batch normalisation; it stands between a convolution and its ReLU here.

    Parameters
    ----------
    variant : {'A', 'A-LRN', 'B', 'C', 'D', 'E'}
    batch_norm : bool
    num_classes : int
    init : {'torchvision', 'simonyan', 'glorot'}
        First weights: He's with fan-out in convolutions and N(0, 0.01²) in dense layers; or the paper's N(0, 10⁻²),
        or Glorot and Bengio's, in both.  All biases start at 0.

    Raises
    ------
    ValueError
        If there is no such `variant` or `init`.
    """

    input_shape = (3, 224, 224)
    any_size, smallest = True, 32
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    resize = 256
    map_size = 7

    def __init__(
        self,
        variant: str = "D",
        batch_norm: bool = False,
        num_classes: int = 1000,
        init: str = "torchvision",
    ) -> None:
        super().__init__()
        self.variant = one_of(list(TABLE_1), "vgg", "variant", variant)
        self.features = nn.Sequential(*_features(TABLE_1[variant], batch_norm))
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),  # 0
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),  # 3
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, num_classes),  # 6
        )
        self.reset_parameters(init)

    def reset_parameters(self, init: str) -> None:
        """Draw first weights."""
        one_of(["torchvision", "simonyan", "glorot"], "vgg", "init", init)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                _draw(layer, init)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.avgpool(self.features(x))  # (N, 512, 7, 7)
        return self.classifier(x.flatten(1))


def _draw(layer: Any, init: str) -> None:
    """Draw a layer's first weights."""
    nn.init.zeros_(layer.bias)
    if init == "simonyan":
        nn.init.simonyan2014_normal_(layer.weight)
    elif init == "glorot":
        nn.init.xavier_uniform_(layer.weight)
    elif isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.normal_(layer.weight, 0.0, 0.01)


def _features(stages: tuple[str, ...], batch_norm: bool) -> Iterator[nn.Module]:
    """Yield the layers of a column of Table 1."""
    channels = 3
    for stage in stages:
        for name in stage.split():
            if name == "LRN":
                yield response_norm()
                continue
            size, maps = (1, int(name[2:])) if name.startswith("1-") else (3, int(name))
            yield nn.Conv2d(channels, maps, size, padding=size // 2)
            if batch_norm:
                yield nn.BatchNorm2d(maps)
            yield nn.ReLU()
            channels = maps
        yield nn.MaxPool2d(2)


_TAKEN_FROM_A = (1, 1), (2, 1), (3, 1), (3, 2)  # stage, and which convolution of it


def start_from_a(model: VGG, a: VGG) -> VGG:
    """Give a deeper network its first weights as section 3.1 does: those of a trained A where it has the layer.

    The first four convolutions and the dense layers are A's; the convolutions between are drawn from N(0, 10⁻²),
    with biases 0.  The paper's "first four" cannot be meant by their number: the second convolution of B has 64
    inputs and 64 outputs, that of A 64 and 128.  They go where Table 1 has them: the first of stages 1, 2 and 3, and
    the second of stage 3.

    Parameters
    ----------
    model : VGG
        Changed, and returned.
    a : VGG
        Configuration A, with as many classes.

    Raises
    ------
    TypeError
        If one of them is no VGG.
    ValueError
        If `a` is another configuration, or the shapes differ; nothing is changed then.

    Examples
    --------
    >>> import minicnn
    >>> with minicnn.device("meta"):
    ...     model = start_from_a(vgg("D"), vgg("A"))
    """
    for network in (model, a):
        if not isinstance(network, VGG):
            raise TypeError(f"start_from_a: both networks must be VGG, got {type(network).__name__}")
    if a.variant != "A":
        raise ValueError(f"start_from_a: the paper starts from configuration 'A', got {a.variant!r}")
    theirs, ours = _convolutions(a), _convolutions(model)
    sources = {ours.pop(place): theirs[place] for place in _TAKEN_FROM_A}
    sources |= {name: name for name in ("classifier.0", "classifier.3", "classifier.6")}
    state = a.state_dict()
    taken = {
        f"{name}.{part}": state[f"{source}.{part}"]
        for name, source in sources.items()
        for part in ("weight", "bias")
    }
    model.load_state_dict(taken, strict=False)
    layers = dict(model.named_modules())
    for name in ours.values():
        _draw(layers[name], "simonyan")
    return model


def _convolutions(model: VGG) -> dict[tuple[int, int], str]:
    """Return the names of the convolutions by their places in Table 1: the stage, and the number within it."""
    names: dict[tuple[int, int], str] = {}
    stage, number = 1, 1
    for name, layer in model.features.named_children():
        if isinstance(layer, nn.Conv2d):
            names[stage, number] = f"features.{name}"
            number += 1
        elif isinstance(layer, nn.MaxPool2d):
            stage, number = stage + 1, 1
    return names


@register
def vgg(variant: str = "A", batch_norm: bool = False, *, num_classes: int = 1000) -> VGG:
    """Build a configuration of Table 1 as the paper trains it; for torchvision's first weights see :func:`vgg16`.

    A and A-LRN start from N(0, 10⁻²), as section 3.1 says.  10⁻² is the variance there, not the deviation: scores
    in the millions come out at first, and the learning rate has to be small accordingly.  The deeper ones start
    from a trained A, see :func:`start_from_a`.  Until then they have the weights of Glorot and Bengio, with which,
    the section ends, they can be trained without it.

    Batch normalisation is not in the paper; with it, the first weights are torchvision's.

    Parameters
    ----------
    variant : {'A', 'A-LRN', 'B', 'C', 'D', 'E'}
    batch_norm : bool
    num_classes : int

    Raises
    ------
    ValueError
        If there is no such variant.

    Examples
    --------
    >>> import minicnn
    >>> with minicnn.device("meta"):
    ...     model = vgg("C")
    >>> sum(p.size for p in model.parameters())
    133638952
    """
    paper = "simonyan" if variant in ("A", "A-LRN") else "glorot"
    return VGG(variant, batch_norm, num_classes, "torchvision" if batch_norm else paper)


@register
def vgg11(*, num_classes: int = 1000) -> VGG:
    """Build configuration A with the first weights of torchvision."""
    return VGG("A", False, num_classes, "torchvision")


@register
def vgg13(*, num_classes: int = 1000) -> VGG:
    """Build configuration B with the first weights of torchvision."""
    return VGG("B", False, num_classes, "torchvision")


@register
def vgg16(*, num_classes: int = 1000) -> VGG:
    """Build configuration D with the first weights of torchvision."""
    return VGG("D", False, num_classes, "torchvision")


@register
def vgg19(*, num_classes: int = 1000) -> VGG:
    """Build configuration E with the first weights of torchvision."""
    return VGG("E", False, num_classes, "torchvision")


@register
def vgg11_bn(*, num_classes: int = 1000) -> VGG:
    """Build configuration A with batch normalisation."""
    return VGG("A", True, num_classes, "torchvision")


@register
def vgg13_bn(*, num_classes: int = 1000) -> VGG:
    """Build configuration B with batch normalisation."""
    return VGG("B", True, num_classes, "torchvision")


@register
def vgg16_bn(*, num_classes: int = 1000) -> VGG:
    """Build configuration D with batch normalisation."""
    return VGG("D", True, num_classes, "torchvision")


@register
def vgg19_bn(*, num_classes: int = 1000) -> VGG:
    """Build configuration E with batch normalisation."""
    return VGG("E", True, num_classes, "torchvision")
