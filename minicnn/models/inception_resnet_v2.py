"""Inception-ResNet-v2: cheaper Inception modules, each of which adds its output to its input.

The paper's Figure 15 with the modules for v2, and the network as its authors published it, which is the one here::

    paper                                      here
    output          module             figure  output          module
     384@35×35      stem               3        192@35×35      stem of Inception v3
                                                320@35×35      module of Inception v3, wider
     384@35×35      Inception-ResNet-A 16 ×5    320@35×35      the same ×10, scaled by 0.17
    1152@17×17      Reduction-A        7       1088@17×17      the same
    1152@17×17      Inception-ResNet-B 17 ×10  1088@17×17      the same ×20, scaled by 0.10
    2144@8×8        Reduction-B        18      2080@8×8        the same
    2144@8×8        Inception-ResNet-C 19 ×5   2080@8×8        the same ×9, scaled by 0.20
                                               2080@8×8        once more, not scaled, without its ReLU
                                               1536@8×8        1×1
    2144@1×1        average pool               1536@1×1        the same
    2144            dropout, 20 %              1536            the same
    1000            linear                     1000            the same
                                               parameters      55,843,464
                                               multiply-adds   13.156 G

The paper contradicts itself on the left column's numbers.  Reduction-A makes 384 + 384 + 384 = 1152 maps, but Figure
17 adds 1154 to them; Reduction-B makes 1152 + 384 + 288 + 320 = 2144, but Figure 19 adds 2048.

References
----------
C. Szegedy, S. Ioffe, V. Vanhoucke and A. Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual Connections
on Learning", arXiv 1602.07261, 2016: sections 3.2 and 3.3, Figures 7 and 15 to 20, Table 1, section 4 (training).

The authors' program, ``research/slim/nets/inception_resnet_v2.py`` of TensorFlow's models.
"""

from __future__ import annotations

import math

from .. import functional as F
from .. import nn
from ..nn.check import number_in
from ..tensor import Tensor
from .classifier import Classifier
from .inception_v4 import TABLE_1, Branches, ReductionA, average, conv, conv_v, pool_v
from .registry import register

__all__ = [
    "InceptionResNetA",
    "InceptionResNetB",
    "InceptionResNetC",
    "InceptionResNetV2",
    "Mixed5b",
    "ReductionB",
    "ScaledResidual",
    "Stem",
    "inception_resnet_v2",
]


class Stem(nn.Sequential):
    """The stem of Inception v3: 3@299×299 to 192@35×35."""

    def __init__(self) -> None:
        super().__init__(
            conv_v(3, 32, 3, stride=2),  # 32@149×149
            conv_v(32, 32, 3),  # 32@147×147
            conv(32, 64, 3),  # 64@147×147
            pool_v(),  # 64@73×73
            conv(64, 80, 1),  # 80@73×73
            conv_v(80, 192, 3),  # 192@71×71
            pool_v(),  # 192@35×35
        )


class Mixed5b(Branches):
    """The first module of Inception v3, wider: 192@35×35 to 320@35×35."""

    def __init__(self) -> None:
        super().__init__(
            [conv(192, 96, 1)],
            [conv(192, 48, 1), conv(48, 64, 5)],
            [conv(192, 64, 1), conv(64, 96, 3), conv(96, 96, 3)],
            [average(), conv(192, 64, 1)],
        )


class ScaledResidual(nn.Module):
    """Figure 20: ReLU(x + scale · up(branches(x))).

    `up` is the 1×1 convolution, without normalisation or ReLU, that brings the branches' channels to those of x
    (section 3.2).  The scale keeps training from dying where there are a thousand channels or more (section 3.3).

    Parameters
    ----------
    branches : Branches
    channels : int
        Of what the branches return.
    out_channels : int
        Of x.
    scale : float
    relu : bool
        False leaves the ReLU out.
    """

    def __init__(
        self, branches: Branches, channels: int, out_channels: int, scale: float, relu: bool = True
    ) -> None:
        super().__init__()
        self.branches = branches
        self.up = nn.Conv2d(channels, out_channels, 1)
        self.scale, self.relu = scale, relu

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into the same shape."""
        x = x + self.scale * self.up(self.branches(x))
        return F.relu(x) if self.relu else x

    def extra_repr(self) -> str:
        """Return what is no module."""
        return f"scale={self.scale}, relu={self.relu}"


class InceptionResNetA(ScaledResidual):
    """Figure 16: 320@35×35, where the figure has 384."""

    def __init__(self, scale: float) -> None:
        branches = Branches(
            [conv(320, 32, 1)],
            [conv(320, 32, 1), conv(32, 32, 3)],
            [conv(320, 32, 1), conv(32, 48, 3), conv(48, 64, 3)],
        )
        super().__init__(branches, 128, 320, scale)


class InceptionResNetB(ScaledResidual):
    """Figure 17: 1088@17×17, where the figure has 1154."""

    def __init__(self, scale: float) -> None:
        branches = Branches(
            [conv(1088, 192, 1)],
            [conv(1088, 128, 1), conv(128, 160, (1, 7)), conv(160, 192, (7, 1))],
        )
        super().__init__(branches, 384, 1088, scale)


class ReductionB(Branches):
    """Figure 18: 1088@17×17 to 2080@8×8."""

    def __init__(self) -> None:
        super().__init__(
            [conv(1088, 256, 1), conv_v(256, 384, 3, stride=2)],
            [conv(1088, 256, 1), conv_v(256, 288, 3, stride=2)],
            [conv(1088, 256, 1), conv(256, 288, 3), conv_v(288, 320, 3, stride=2)],
            [pool_v()],
        )


class InceptionResNetC(ScaledResidual):
    """Figure 19: 2080@8×8, where the figure has 2048."""

    def __init__(self, scale: float, relu: bool = True) -> None:
        branches = Branches(
            [conv(2080, 192, 1)],
            [conv(2080, 192, 1), conv(192, 224, (1, 3)), conv(224, 256, (3, 1))],
        )
        super().__init__(branches, 448, 2080, scale, relu)


class InceptionResNetV2(Classifier):
    """Inception-ResNet-v2.

    Follows the authors' program layer by layer, and with it Figures 7 and 16 to 20, Table 1, the filter expansion
    without normalisation (section 3.2) and dropout that keeps 0.8.

    Deviates from the paper as the module's table shows: the stem is not Figure 3, so all sums have 64 channels fewer;
    there are twice as many modules; the last one is not scaled and has no ReLU; a 1×1 convolution comes before the
    pooling.  The scales are between 0.1 and 0.3, as section 3.3 recommends; it gives no number for each grid.

    Chooses, as that program does, where the paper is silent: the border does not count in the 3×3 average, batch
    normalisation's ε is 10⁻³, first weights are Glorot-uniform and biases 0.  There is no auxiliary classifier, as in
    Figure 15, though that program can train with one.

    Training and loss are those of :class:`~minicnn.models.inception_v4.InceptionV4`.

    Parameters
    ----------
    num_classes : int
    scale : float, optional
        One factor for all modules.  Default: 0.17, 0.10 and 0.20 for the three grids, and 1 for the last module.
    """

    input_shape = (3, 299, 299)
    any_size, smallest = True, 75
    resize = 342
    mean = std = (0.5, 0.5, 0.5)  # pixels from −1 to 1

    def __init__(self, num_classes: int = 1000, scale: float | None = None) -> None:
        super().__init__()
        a, b, c, last = (0.17, 0.10, 0.20, 1.0) if scale is None else (scale,) * 4
        self.stem = Stem()  # 192@35×35
        self.mixed_5b = Mixed5b()  # 320@35×35
        self.inception_a = nn.Sequential(*(InceptionResNetA(a) for _ in range(10)))  # 320@35×35
        self.reduction_a = ReductionA(320, *TABLE_1["Inception-ResNet-v2"])  # 1088@17×17
        self.inception_b = nn.Sequential(*(InceptionResNetB(b) for _ in range(20)))  # 1088@17×17
        self.reduction_b = ReductionB()  # 2080@8×8
        self.inception_c = nn.Sequential(
            *(InceptionResNetC(c) for _ in range(9)), InceptionResNetC(last, relu=False)
        )  # 2080@8×8
        self.conv = conv(2080, 1536, 1)  # 1536@8×8
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # 1536@1×1
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1536, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw first weights as the authors' program does."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.inception_a(self.mixed_5b(self.stem(x)))  # 320@35×35
        x = self.inception_b(self.reduction_a(x))  # 1088@17×17
        x = self.inception_c(self.reduction_b(x))  # 2080@8×8
        x = self.avgpool(self.conv(x))  # 1536@1×1
        return self.fc(self.dropout(x.flatten(1)))


@register
def inception_resnet_v2(*, num_classes: int = 1000, scale: float | None = None) -> InceptionResNetV2:
    """Build Inception-ResNet-v2.

    Parameters
    ----------
    num_classes : int
    scale : float, optional
        What every module's residual is multiplied by, in place of the published 0.17, 0.10, 0.20 and 1: with 1 one
        can see what the scaling is good for.

    Raises
    ------
    TypeError, ValueError
        If `num_classes` is below 1, or `scale` is not a number of at least 0.

    Examples
    --------
    >>> import minicnn
    >>> with minicnn.device("meta"):
    ...     model = inception_resnet_v2()
    >>> sum(p.size for p in model.parameters())
    55843464
    """
    if scale is not None:
        number_in(0, math.inf, "inception_resnet_v2", "scale", scale)
    return InceptionResNetV2(num_classes, scale)
