"""Inception v2, also called BN-Inception: GoogLeNet with batch normalisation, its 5×5 made of two 3×3.

The table of the paper's appendix, Figure 5, the numbers of 1×1 convolutions that reduce a branch's input written
before it::

    layer          output        #1×1   3×3: reduce  #   double 3×3: reduce  #   pool + proj
    convolution    64@112×112     7×7/2
    max pool       64@56×56       3×3/2
    convolution   192@56×56                     64  192
    max pool      192@28×28       3×3/2
    inception 3a  256@28×28         64          64   64                 64   96   avg +  32
    inception 3b  320@28×28         64          64   96                 64   96   avg +  64
    inception 3c  576@14×14       stride 2     128  160                 64   96   max
    inception 4a  576@14×14        224          64   96                 96  128   avg + 128
    inception 4b  576@14×14        192          96  128                 96  128   avg + 128
    inception 4c  608@14×14        160         128  160                128  160   avg + 128
    inception 4d  608@14×14         96         128  192                160  192   avg + 128
    inception 4e 1056@7×7         stride 2     128  192                192  256   max
    inception 5a 1024@7×7          352         192  320                160  224   avg + 128
    inception 5b 1024@7×7          352         192  320                192  224   max + 128
    average pool 1024@1×1         7×7
    linear       1000
    parameters   11,295,240
    multiply-adds   2.033 G

The outputs are what the other columns add up to, and the paper contradicts itself in several places:

- it prints 576 for the outputs of 4c and 4d and 1024 for 4e's, where its columns give 608, 608 and 1056.  With 96 for
  the projections of 4c and 4d, as TensorFlow's models have, the outputs would be right, and the parameters 11,204,936.
- it prints the sizes of 3c and 4e before their stride, 28×28 and 14×14;
- section 4.2 counts 13.6 million parameters, and the appendix 25 % more than GoogLeNet's, which would be 8.7 million.
  The 30 % more multiply-adds that the appendix speaks of are there: GoogLeNet takes 1.583 G.

Programs that print 2.05 G count biases, normalisation and ReLU too.

References
----------
S. Ioffe and C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
Shift", arXiv 1502.03167, 2015: section 4.2 and the appendix with Figure 5.

R. Cadene, "pretrained-models.pytorch", https://github.com/Cadene/pretrained-models.pytorch, bninception: the network
of the published weights, whose layers these are.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from .. import functional as F
from .. import nn
from ..tensor import Tensor
from .classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier
from .conv_bn import ConvBN
from .registry import register

__all__ = ["FIGURE_5", "InceptionV2", "InceptionV2Module", "Row", "StridedInceptionV2Module", "inception_v2"]

_conv = partial(ConvBN, eps=1e-5, bias=True)


class Row(NamedTuple):
    """A module of Figure 5: its input channels, and those of its convolutions."""

    in_channels: int
    ch1x1: int
    ch3x3red: int
    ch3x3: int
    double3x3red: int
    double3x3: int
    pool: str
    proj: int


FIGURE_5 = {
    # in  #1×1 red3 #3×3 redd #dbl pool  proj
    "3a": Row(192, 64, 64, 64, 64, 96, "avg", 32),
    "3b": Row(256, 64, 64, 96, 64, 96, "avg", 64),
    "3c": Row(320, 0, 128, 160, 64, 96, "max", 0),
    "4a": Row(576, 224, 64, 96, 96, 128, "avg", 128),
    "4b": Row(576, 192, 96, 128, 96, 128, "avg", 128),
    "4c": Row(576, 160, 128, 160, 128, 160, "avg", 128),
    "4d": Row(608, 96, 128, 192, 160, 192, "avg", 128),
    "4e": Row(608, 0, 128, 192, 192, 256, "max", 0),
    "5a": Row(1056, 352, 192, 320, 160, 224, "avg", 128),
    "5b": Row(1024, 352, 192, 320, 192, 224, "max", 128),
}


class InceptionV2Module(nn.Module):
    """A module without stride: 1×1, 3×3, 3×3 twice, and pooling, side by side.

    Parameters
    ----------
    row : Row
        Of :data:`FIGURE_5`.
    """

    def __init__(self, row: Row) -> None:
        super().__init__()
        c = row.in_channels
        pool = nn.AvgPool2d(3, 1, padding=1) if row.pool == "avg" else nn.MaxPool2d(3, 1, padding=1)
        self.branch1x1 = _conv(c, row.ch1x1, 1)
        self.branch3x3 = _branch3x3(row, stride=1)
        self.branch3x3dbl = _branch3x3dbl(row, stride=1)
        self.branch_pool = nn.Sequential(pool, _conv(c, row.proj, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, ch1x1 + ch3x3 + double3x3 + proj, H, W)."""
        return F.cat([self.branch1x1(x), self.branch3x3(x), self.branch3x3dbl(x), self.branch_pool(x)], 1)


class StridedInceptionV2Module(nn.Module):
    """3c and 4e, which halve the image: no 1×1, and the pooling passes all its channels on.

    Parameters
    ----------
    row : Row
        Of :data:`FIGURE_5`.
    """

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.branch3x3 = _branch3x3(row, stride=2)
        self.branch3x3dbl = _branch3x3dbl(row, stride=2)
        self.branch_pool = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, ch3x3 + double3x3 + C, ⌈H/2⌉, ⌈W/2⌉)."""
        # Odd sides get a last window, as the convolutions have one.  After a ReLU, 0 is no larger than any pixel.
        pooled = self.branch_pool(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)))
        return F.cat([self.branch3x3(x), self.branch3x3dbl(x), pooled], 1)


def _branch3x3(row: Row, stride: int) -> nn.Module:
    return nn.Sequential(
        _conv(row.in_channels, row.ch3x3red, 1), _conv(row.ch3x3red, row.ch3x3, 3, stride, padding=1)
    )


def _branch3x3dbl(row: Row, stride: int) -> nn.Module:
    return nn.Sequential(
        _conv(row.in_channels, row.double3x3red, 1),
        _conv(row.double3x3red, row.double3x3, 3, padding=1),
        _conv(row.double3x3, row.double3x3, 3, stride, padding=1),
    )


class InceptionV2(Classifier):
    """Inception v2: every convolution is followed by batch normalisation, then by ReLU.

    Follows Figure 5, its poolings included; section 4.2, no dense layer but the last, and so none of GoogLeNet's
    auxiliary heads, which the paper does not mention; section 4.2.1, no dropout and no response normalisation.

    Deviates, or chooses where the paper is silent:

    - the first convolution is an ordinary one, as in the published weights; the paper's is separable, with 8 maps of
      7×7 for each colour (appendix);
    - convolutions keep a bias, again as there; section 3.2 leaves it out, for normalisation cancels it;
    - ε is 10⁻⁵ and the newest batch weighs 0.1 in the running statistics; the paper gives neither;
    - first weights are those all layers draw; the paper does not say;
    - the input's colours get ImageNet's mean 0 and deviation 1.

    Parameters
    ----------
    num_classes : int
    """

    input_shape = (3, 224, 224)
    any_size, smallest = True, 7
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    resize = 256

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = _conv(3, 64, 7, stride=2, padding=3)  # 64@112×112
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)  # 64@56×56
        self.conv2 = _conv(64, 64, 1)
        self.conv3 = _conv(64, 192, 3, padding=1)  # 192@56×56
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)  # 192@28×28
        self.inception3a = InceptionV2Module(FIGURE_5["3a"])  # 256@28×28
        self.inception3b = InceptionV2Module(FIGURE_5["3b"])  # 320@28×28
        self.inception3c = StridedInceptionV2Module(FIGURE_5["3c"])  # 576@14×14
        self.inception4a = InceptionV2Module(FIGURE_5["4a"])  # 576@14×14
        self.inception4b = InceptionV2Module(FIGURE_5["4b"])  # 576@14×14
        self.inception4c = InceptionV2Module(FIGURE_5["4c"])  # 608@14×14
        self.inception4d = InceptionV2Module(FIGURE_5["4d"])  # 608@14×14
        self.inception4e = StridedInceptionV2Module(FIGURE_5["4e"])  # 1056@7×7
        self.inception5a = InceptionV2Module(FIGURE_5["5a"])  # 1024@7×7
        self.inception5b = InceptionV2Module(FIGURE_5["5b"])  # 1024@7×7
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # 1024@1×1
        self.fc = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.maxpool1(self.conv1(x))  # 64@56×56
        x = self.maxpool2(self.conv3(self.conv2(x)))  # 192@28×28
        x = self.inception3c(self.inception3b(self.inception3a(x)))  # 576@14×14
        x = self.inception4c(self.inception4b(self.inception4a(x)))  # 608@14×14
        x = self.inception4e(self.inception4d(x))  # 1056@7×7
        x = self.inception5b(self.inception5a(x))  # 1024@7×7
        return self.fc(self.avgpool(x).flatten(1))


@register
def inception_v2(*, num_classes: int = 1000) -> InceptionV2:
    """Build Inception v2, :class:`InceptionV2`.

    Parameters
    ----------
    num_classes : int

    Examples
    --------
    >>> import minicnn
    >>> with minicnn.device("meta"):
    ...     model = inception_v2()
    >>> sum(p.size for p in model.parameters())
    11295240
    """
    return InceptionV2(num_classes)
