"""Network in Network: small perceptrons sliding over the image, and no dense layer at all.

An mlpconv layer is a convolution and two 1×1 convolutions, a ReLU after each: to every place of the map, a
perceptron of three layers over what the window sees (section 3.1, equation 2).  The last one ends in a map for each
class, whose average is the score (section 3.2)::

                cifar (the paper's)                     imagenet (its authors' for Caffe)
    input         3@32×32                                 3@227×227
    mlpconv1     96@32×32   5×5: 192, 160, 96            96@55×55    11×11/4: 96, 96, 96
    pool1        96@16×16   maximum 3×3/2, dropout       96@27×27    maximum 3×3/2
    mlpconv2    192@16×16   5×5: 192, 192, 192          256@27×27    5×5: 256, 256, 256
    pool2       192@8×8     average 3×3/2, dropout      256@13×13    maximum 3×3/2
    mlpconv3     10@8×8     3×3: 192, 192, classes      384@13×13    3×3: 384, 384, 384
    pool3                                               384@6×6      maximum 3×3/2, dropout
    mlpconv4                                           1000@6×6      3×3: 1024, 1024, classes
    average      10                                    1000
    parameters      966,986                               7,595,176
    multiply-adds   222 M                                 1.11 G

References
----------
M. Lin, Q. Chen and S. Yan, "Network In Network", ICLR 2014: sections 3.1 to 3.3 and Figure 2 (the network), 4.1 and
4.2 (CIFAR-10).  It leaves the sizes of the layers to the authors' configuration files, those for cuda-convnet and
Caffe, which are what `cifar` and `imagenet` were taken from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import nn
from ..nn.check import one_of
from ..tensor import Tensor
from .classifier import CIFAR10_MEAN, CIFAR10_STD, IMAGENET_MEAN, Classifier
from .registry import register

__all__ = ["FORMS", "NiN", "nin"]


class _Row(NamedTuple):
    """An mlpconv layer, and the pooling after it."""

    kernel_size: int
    stride: int
    padding: int
    channels: tuple[int, ...]  # of the three convolutions; in the last layer, the third has one a class
    pool: type[nn.MaxPool2d | nn.AvgPool2d] | None = None  # only the last layer has none
    dropout: bool = False
    stds: tuple[float, ...] = ()  # of the three convolutions' first weights; He's where there are none


class _Form(NamedTuple):
    """A network: its layers, its classes, and the images it is made for."""

    rows: tuple[_Row, ...]
    num_classes: int
    input_shape: tuple[int, int, int]
    smallest: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None


FORMS = {
    "cifar": _Form(
        (
            _Row(5, 1, 2, (192, 160, 96), nn.MaxPool2d, dropout=True),
            _Row(5, 1, 2, (192, 192, 192), nn.AvgPool2d, dropout=True),
            _Row(3, 1, 1, (192, 192)),
        ),
        num_classes=10,
        input_shape=(3, 32, 32),
        smallest=4,
        mean=CIFAR10_MEAN,
        std=CIFAR10_STD,
    ),
    "imagenet": _Form(
        (
            _Row(11, 4, 0, (96, 96, 96), nn.MaxPool2d, stds=(0.01, 0.05, 0.05)),
            _Row(5, 1, 2, (256, 256, 256), nn.MaxPool2d, stds=(0.05, 0.05, 0.05)),
            _Row(3, 1, 1, (384, 384, 384), nn.MaxPool2d, dropout=True, stds=(0.01, 0.05, 0.05)),
            _Row(3, 1, 1, (1024, 1024), stds=(0.05, 0.05, 0.01)),
        ),
        num_classes=1000,
        input_shape=(3, 227, 227),
        smallest=39,
        mean=IMAGENET_MEAN,
        std=(1 / 255,),  # pixels from 0 to 255, less the mean
        resize=256,
    ),
}


class NiN(Classifier):
    """Network in Network.

    Follows section 3: equation 2, whose ReLU also ends the last mlpconv layer, so that no score is negative; the
    average over each class's map; section 4.1: dropout after each mlpconv layer but the last.  The poolings are
    Caffe's, whose last window may hang over the end.

    Deviates, or chooses where the paper is silent:

    - its first weights are set by hand, it does not say to what; those of `cifar` are He's, made for ReLUs, those of
      `imagenet` as in the authors' file: N(0, 0.05²), but 0.01² in the first convolutions of mlpconv1 and mlpconv3
      and in the very last.  Biases are 0;
    - CIFAR's pixels get mean 0 and deviation 1 a colour, in place of contrast normalisation and ZCA whitening;
    - `imagenet` is not in the paper.  As in the authors' file there is one dropout only, and from the pixels, on a
      scale of 0 to 255, the mean is subtracted: the colour's here, a mean image's there.  The input is AlexNet's
      227×227, theirs is 224×224, which makes maps of 54×54 and 1.10 G multiply-adds.  Any size does.

    Parameters
    ----------
    variant : {'cifar', 'imagenet'}
    num_classes : int, optional
        Default: 10 or 1000.

    Raises
    ------
    ValueError
        If there is no such variant.
    """

    any_size = True

    def __init__(self, variant: str = "cifar", num_classes: int | None = None) -> None:
        super().__init__()
        form = FORMS[one_of(list(FORMS), "nin", "variant", variant)]
        self.input_shape, self.smallest, self.resize = form.input_shape, form.smallest, form.resize
        self.mean, self.std = form.mean, form.std
        layers: dict[str, nn.Module] = {}
        channels = 3
        for i, row in enumerate(form.rows, 1):
            outputs = row.channels if row.pool else (*row.channels, num_classes or form.num_classes)
            layers[f"mlpconv{i}"] = _mlpconv(channels, outputs, row)
            if row.pool:
                layers[f"pool{i}"] = row.pool(3, 2, ceil_mode=True)
            if row.dropout:
                layers[f"drop{i}"] = nn.Dropout(0.5)
            channels = outputs[-1]
        self.features = nn.Sequential(layers)
        self.average = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.features(x)  # (N, K, P, Q): a map for each class
        return self.average(x).flatten(1)


def _mlpconv(in_channels: int, channels: Sequence[int], row: _Row) -> nn.Sequential:
    """Return a convolution and two 1×1 convolutions, a ReLU after each."""
    first, second, third = channels
    convolutions: list[Any] = [
        nn.Conv2d(in_channels, first, row.kernel_size, row.stride, row.padding),
        nn.Conv2d(first, second, 1),
        nn.Conv2d(second, third, 1),
    ]
    layers: dict[str, nn.Module] = {}
    for i, layer in enumerate(convolutions, 1):
        if row.stds:
            nn.init.normal_(layer.weight, 0.0, row.stds[i - 1])
        else:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        layers |= {f"conv{i}": layer, f"relu{i}": nn.ReLU()}
    return nn.Sequential(layers)


@register
def nin(variant: str = "cifar", *, num_classes: int | None = None) -> NiN:
    """Build Network in Network for CIFAR or for ImageNet.

    Parameters
    ----------
    variant : {'cifar', 'imagenet'}
    num_classes : int, optional
        Default: the variant's own, 10 or 1000.

    Raises
    ------
    ValueError
        If there is no such variant.

    Examples
    --------
    >>> model = nin()
    >>> model.input_shape, sum(p.size for p in model.parameters())
    ((3, 32, 32), 966986)
    """
    return NiN(variant, num_classes)
