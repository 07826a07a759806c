"""Inception v4: the modules of v3 made uniform, each grid size with one kind of module, and nothing else.

The paper's Figure 9, from the picture up::

    output          module        figure
     384@35×35      stem          3
     384@35×35      Inception-A   4        ×4
    1024@17×17      Reduction-A   7
    1024@17×17      Inception-B   5        ×7
    1536@8×8        Reduction-B   8
    1536@8×8        Inception-C   6        ×3
    1536@1×1        average pool
    1536            dropout, 20 %
    1000            linear
    parameters      42,679,816
    multiply-adds   12.254 G

A figure shows branches that start from the same images and end in one stack of maps.  The classes below are written
the same way: a list is a branch, read from left to right.

References
----------
C. Szegedy, S. Ioffe, V. Vanhoucke and A. Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections
on Learning", arXiv 1602.07261, 2016: section 3.1, Figures 3 to 9, Table 1, section 4 (training).

The authors' program, ``research/slim/nets/inception_v4.py`` of TensorFlow's models, where the figures leave a doubt.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import functional as F
from .. import nn
from ..geometry import Pair, pair
from ..tensor import Tensor
from .classifier import Classifier
from .conv_bn import ConvBN
from .registry import register

__all__ = [
    "TABLE_1",
    "Branches",
    "InceptionA",
    "InceptionB",
    "InceptionC",
    "InceptionV4",
    "ReductionA",
    "ReductionB",
    "Stem",
    "average",
    "conv",
    "conv_v",
    "inception_v4",
    "pool_v",
]

TABLE_1 = {  # of Reduction-A
    # network               k    l    m    n
    "Inception-v4": (192, 224, 256, 384),
    "Inception-ResNet-v2": (256, 256, 384, 384),
}


def conv(in_channels: int, out_channels: int, kernel_size: Pair) -> ConvBN:
    """Make a convolution of a figure without a "V": zeros around keep the grid's size."""
    rows, columns = pair("conv", "kernel_size", kernel_size, least=1)
    return ConvBN(in_channels, out_channels, kernel_size, padding=(rows // 2, columns // 2))


def conv_v(in_channels: int, out_channels: int, kernel_size: Pair, stride: int = 1) -> ConvBN:
    """Make a convolution of a figure with a "V": nothing is put around."""
    return ConvBN(in_channels, out_channels, kernel_size, stride)


def pool_v() -> nn.MaxPool2d:
    """Make the figures' max pooling: 3×3, stride 2, "V"."""
    return nn.MaxPool2d(3, stride=2)


def average() -> nn.AvgPool2d:
    """Make the figures' average pooling: 3×3, which keeps the grid's size; the border does not count."""
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


class Branches(nn.Module):
    """Send the same input through branches and stack what comes out, channel by channel.

    Parameters
    ----------
    *branches : sequence of Module
        The layers of each.

    Examples
    --------
    >>> from minicnn import tensor
    >>> Branches([], [nn.ReLU()])(tensor([[[[-1.0]]]])).data.ravel().tolist()
    [-1.0, 0.0]
    """

    def __init__(self, *branches: Sequence[nn.Module]) -> None:
        super().__init__()
        for i, layers in enumerate(branches):
            self.add_module(f"branch{i}", nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, sum of the branches' channels, P, Q)."""
        return F.cat([branch(x) for branch in self.children()], 1)


class Stem(nn.Sequential):
    """Figure 3: 3@299×299 to 384@35×35."""

    def __init__(self) -> None:
        super().__init__(
            conv_v(3, 32, 3, stride=2),  # 32@149×149
            conv_v(32, 32, 3),  # 32@147×147
            conv(32, 64, 3),  # 64@147×147
            Branches(  # 160@73×73
                [pool_v()],
                [conv_v(64, 96, 3, stride=2)],
            ),
            Branches(  # 192@71×71
                [conv(160, 64, 1), conv_v(64, 96, 3)],
                [conv(160, 64, 1), conv(64, 64, (1, 7)), conv(64, 64, (7, 1)), conv_v(64, 96, 3)],
            ),
            Branches(  # 384@35×35
                [conv_v(192, 192, 3, stride=2)],
                [pool_v()],
            ),
        )


class InceptionA(Branches):
    """Figure 4: 384@35×35."""

    def __init__(self) -> None:
        super().__init__(
            [conv(384, 96, 1)],
            [conv(384, 64, 1), conv(64, 96, 3)],
            [conv(384, 64, 1), conv(64, 96, 3), conv(96, 96, 3)],
            [average(), conv(384, 96, 1)],
        )


class ReductionA(Branches):
    """Figure 7: C@35×35 to (n + m + C)@17×17.

    Parameters
    ----------
    in_channels : int
    k, l, m, n : int
        A row of Table 1.
    """

    def __init__(self, in_channels: int, k: int, l: int, m: int, n: int) -> None:
        super().__init__(
            [conv_v(in_channels, n, 3, stride=2)],
            [conv(in_channels, k, 1), conv(k, l, 3), conv_v(l, m, 3, stride=2)],
            [pool_v()],
        )


class InceptionB(Branches):
    """Figure 5: 1024@17×17."""

    def __init__(self) -> None:
        super().__init__(
            [conv(1024, 384, 1)],
            [conv(1024, 192, 1), conv(192, 224, (1, 7)), conv(224, 256, (7, 1))],
            [
                conv(1024, 192, 1),
                conv(192, 192, (7, 1)),
                conv(192, 224, (1, 7)),
                conv(224, 224, (7, 1)),
                conv(224, 256, (1, 7)),
            ],
            [average(), conv(1024, 128, 1)],
        )


class ReductionB(Branches):
    """Figure 8: 1024@17×17 to 1536@8×8."""

    def __init__(self) -> None:
        super().__init__(
            [conv(1024, 192, 1), conv_v(192, 192, 3, stride=2)],
            [
                conv(1024, 256, 1),
                conv(256, 256, (1, 7)),
                conv(256, 320, (7, 1)),
                conv_v(320, 320, 3, stride=2),
            ],
            [pool_v()],
        )


class InceptionC(Branches):
    """Figure 6: 1536@8×8."""

    def __init__(self) -> None:
        super().__init__(
            [conv(1536, 256, 1)],
            [conv(1536, 384, 1), Branches([conv(384, 256, (1, 3))], [conv(384, 256, (3, 1))])],
            [
                conv(1536, 384, 1),
                conv(384, 448, (3, 1)),
                conv(448, 512, (1, 3)),
                Branches([conv(512, 256, (1, 3))], [conv(512, 256, (3, 1))]),
            ],
            [average(), conv(1536, 256, 1)],
        )


class InceptionV4(Classifier):
    """Inception v4.

    Follows Figure 9, the modules of Figures 3 to 8, Table 1; batch normalisation and ReLU after every convolution;
    dropout that keeps 0.8.

    Deviates, or chooses where the paper is in doubt, as the authors' own program does:

    - Figure 3 has no stride at its last convolution; only 2 leads to the 35×35 it is drawn with;
    - a 7×7 taken apart is a 1×7 and a 7×1; Figure 5 prints a 1×7 after the other in its shorter branch;
    - of a 1×n and an n×1 in a row, which comes first is that program's choice;
    - the border does not count in 3×3 averages; batch normalisation's ε is 10⁻³;
    - first weights are He-normal in convolutions and Glorot-uniform in the last layer, its biases 0; the paper says
      nothing;
    - there is no auxiliary classifier, as in Figure 9, though that program can train with one.

    The paper trained with 20 replicas: RMSprop with decay 0.9 and ε = 1, a rate of 0.045 that is multiplied by 0.94
    every second epoch, and evaluated the parameters' running average (section 4).  It does not mention label
    smoothing, so the loss here is the plain cross entropy.

    Parameters
    ----------
    num_classes : int
    """

    input_shape = (3, 299, 299)
    any_size, smallest = True, 75
    resize = 342
    mean = std = (0.5, 0.5, 0.5)  # pixels from −1 to 1

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = Stem()  # 384@35×35
        self.inception_a = nn.Sequential(*(InceptionA() for _ in range(4)))  # 384@35×35
        self.reduction_a = ReductionA(384, *TABLE_1["Inception-v4"])  # 1024@17×17
        self.inception_b = nn.Sequential(*(InceptionB() for _ in range(7)))  # 1024@17×17
        self.reduction_b = ReductionB()  # 1536@8×8
        self.inception_c = nn.Sequential(*(InceptionC() for _ in range(3)))  # 1536@8×8
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # 1536@1×1
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1536, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw first weights as the authors' program does."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.xavier_uniform_(self.fc.weight)
        if self.fc.bias is not None:
            nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.inception_a(self.stem(x))  # 384@35×35
        x = self.inception_b(self.reduction_a(x))  # 1024@17×17
        x = self.inception_c(self.reduction_b(x))  # 1536@8×8
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


@register
def inception_v4(*, num_classes: int = 1000) -> InceptionV4:
    """Build Inception v4.

    Parameters
    ----------
    num_classes : int

    Raises
    ------
    ValueError
        If `num_classes` is below 1.

    Examples
    --------
    >>> import minicnn
    >>> with minicnn.device("meta"):
    ...     model = inception_v4()
    >>> sum(p.size for p in model.parameters())
    42679816
    """
    return InceptionV4(num_classes)
