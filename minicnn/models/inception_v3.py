"""Inception v3: the 5×5 and 7×7 convolutions of Inception modules, taken apart.

The layers, and where the paper's Table 1 has something else in their place::

    layer           patch, stride     output        Table 1, where it differs
    Conv2d_1a_3x3   3×3, 2            32@149×149
    Conv2d_2a_3x3   3×3               32@147×147
    Conv2d_2b_3x3   3×3, padded       64@147×147
    maxpool1        3×3, 2            64@73×73
    Conv2d_3b_1x1   1×1               80@73×73      3×3: 80@71×71
    Conv2d_4a_3x3   3×3              192@71×71      3×3, stride 2: 192@35×35
    maxpool2        3×3, 2           192@35×35      convolution 3×3: 288@35×35
    Mixed_5b        Figure 5         256@35×35      three modules of 288
    Mixed_5c, 5d    Figure 5         288@35×35
    Mixed_6a        Figure 10        768@17×17
    Mixed_6b to 6e  Figure 6         768@17×17      five modules
    AuxLogits       Figure 8         classes
    Mixed_7a        Figure 10       1280@8×8
    Mixed_7b, 7c    Figure 7        2048@8×8
    avgpool, fc     8×8              classes
    parameters      23,834,568; 27,161,264 with AuxLogits
    multiply-adds   5.713 G

References
----------
C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception Architecture for Computer
Vision", arXiv 1512.00567, 2015: Table 1, Figures 5 to 8 and 10, section 4 (auxiliary classifier), section 6 (layout),
section 7 (label smoothing), section 8 (training).

The layers' sizes, which the paper leaves to a file of its own, are those of TensorFlow's models
(``research/slim/nets/inception_v3.py``) and of torchvision (``models/inception.py``).
"""

from __future__ import annotations

from typing import NamedTuple

from .. import functional as F
from .. import nn
from ..tensor import Tensor
from .classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier
from .conv_bn import ConvBN
from .registry import register
from .transform_input import transform_input as to_tensorflow_range

__all__ = [
    "AUXILIARY_WEIGHT",
    "LABEL_SMOOTHING",
    "InceptionA",
    "InceptionAux",
    "InceptionB",
    "InceptionC",
    "InceptionD",
    "InceptionE",
    "InceptionV3",
    "InceptionV3Output",
    "inception_v3",
]

LABEL_SMOOTHING = 0.1
"""The part of each label that all classes share (section 7)."""

AUXILIARY_WEIGHT = 0.4
"""What the auxiliary classifier's loss counts for; TensorFlow's training program has it, the paper states none."""

_STD = 0.1  # of the first weights, but for these
_STD_OF = {"AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}


class InceptionV3Output(NamedTuple):
    """What Inception v3 with its auxiliary classifier returns in training mode: two scores for each class (N, K)."""

    logits: Tensor
    aux_logits: Tensor


class InceptionA(nn.Module):
    """Figure 5, with one 5×5 left whole.

    Parameters
    ----------
    in_channels, pool_features : int
    """

    def __init__(self, in_channels: int, pool_features: int) -> None:
        super().__init__()
        self.branch1x1 = ConvBN(in_channels, 64, 1)

        self.branch5x5_1 = ConvBN(in_channels, 48, 1)
        self.branch5x5_2 = ConvBN(48, 64, 5, padding=2)

        self.branch3x3dbl_1 = ConvBN(in_channels, 64, 1)
        self.branch3x3dbl_2 = ConvBN(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvBN(96, 96, 3, padding=1)

        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.branch_pool = ConvBN(in_channels, pool_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, 224 + pool_features, H, W)."""
        branch1x1 = self.branch1x1(x)
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        branch_pool = self.branch_pool(self.pool(x))
        return F.cat([branch1x1, branch5x5, branch3x3dbl, branch_pool], 1)


class InceptionB(nn.Module):
    """Figure 10: the grid is halved by a convolution and a pooling side by side.

    Parameters
    ----------
    in_channels : int
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = ConvBN(in_channels, 384, 3, stride=2)

        self.branch3x3dbl_1 = ConvBN(in_channels, 64, 1)
        self.branch3x3dbl_2 = ConvBN(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvBN(96, 96, 3, stride=2)

        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, 35, 35) into (N, 480 + C, 17, 17)."""
        branch3x3 = self.branch3x3(x)
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return F.cat([branch3x3, branch3x3dbl, self.pool(x)], 1)


class InceptionC(nn.Module):
    """Figure 6 with n = 7: a 7×7 as 1×7 and 7×1, once and twice.

    Parameters
    ----------
    in_channels, channels_7x7 : int
    """

    def __init__(self, in_channels: int, channels_7x7: int) -> None:
        super().__init__()
        c7 = channels_7x7
        self.branch1x1 = ConvBN(in_channels, 192, 1)

        self.branch7x7_1 = ConvBN(in_channels, c7, 1)
        self.branch7x7_2 = ConvBN(c7, c7, (1, 7), padding=(0, 3))
        self.branch7x7_3 = ConvBN(c7, 192, (7, 1), padding=(3, 0))

        self.branch7x7dbl_1 = ConvBN(in_channels, c7, 1)
        self.branch7x7dbl_2 = ConvBN(c7, c7, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = ConvBN(c7, c7, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = ConvBN(c7, c7, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = ConvBN(c7, 192, (1, 7), padding=(0, 3))

        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.branch_pool = ConvBN(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, 768, H, W)."""
        branch1x1 = self.branch1x1(x)
        branch7x7 = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        branch7x7dbl = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        branch7x7dbl = self.branch7x7dbl_5(self.branch7x7dbl_4(branch7x7dbl))
        branch_pool = self.branch_pool(self.pool(x))
        return F.cat([branch1x1, branch7x7, branch7x7dbl, branch_pool], 1)


class InceptionD(nn.Module):
    """Figure 10 again, with a 7×7 taken apart in one branch.

    Parameters
    ----------
    in_channels : int
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = ConvBN(in_channels, 192, 1)
        self.branch3x3_2 = ConvBN(192, 320, 3, stride=2)

        self.branch7x7x3_1 = ConvBN(in_channels, 192, 1)
        self.branch7x7x3_2 = ConvBN(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = ConvBN(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = ConvBN(192, 192, 3, stride=2)

        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, 17, 17) into (N, 512 + C, 8, 8)."""
        branch3x3 = self.branch3x3_2(self.branch3x3_1(x))
        branch7x7x3 = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return F.cat([branch3x3, self.branch7x7x3_4(branch7x7x3), self.pool(x)], 1)


class InceptionE(nn.Module):
    """Figure 7: a 1×3 and a 3×1 see the same, and both go on.

    Parameters
    ----------
    in_channels : int
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1x1 = ConvBN(in_channels, 320, 1)

        self.branch3x3_1 = ConvBN(in_channels, 384, 1)
        self.branch3x3_2a = ConvBN(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = ConvBN(384, 384, (3, 1), padding=(1, 0))

        self.branch3x3dbl_1 = ConvBN(in_channels, 448, 1)
        self.branch3x3dbl_2 = ConvBN(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = ConvBN(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = ConvBN(384, 384, (3, 1), padding=(1, 0))

        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.branch_pool = ConvBN(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, 2048, H, W)."""
        branch1x1 = self.branch1x1(x)
        y = self.branch3x3_1(x)
        branch3x3 = [self.branch3x3_2a(y), self.branch3x3_2b(y)]
        y = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branch3x3dbl = [self.branch3x3dbl_3a(y), self.branch3x3dbl_3b(y)]
        branch_pool = self.branch_pool(self.pool(x))
        return F.cat([branch1x1, *branch3x3, *branch3x3dbl, branch_pool], 1)


class InceptionAux(nn.Module):
    """Figure 8: the auxiliary classifier.

    Parameters
    ----------
    in_channels, num_classes : int

    Raises
    ------
    ValueError
        When called on a grid of fewer than 17×17.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv0 = ConvBN(in_channels, 128, 1)
        self.conv1 = ConvBN(128, 768, 5)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, 17, 17) into a score for each class (N, K)."""
        if min(x.shape[2:]) < 17:
            raise ValueError(
                "InceptionAux: the auxiliary classifier needs a grid of at least 17×17, that of images of 299×299, got "
                f"{x.shape[2]}×{x.shape[3]}; aux_logits=False builds the network without it"
            )
        x = self.conv0(self.pool(x))  # 128@5×5
        x = self.avgpool(self.conv1(x))  # 768@1×1
        return self.fc(x.flatten(1))


class InceptionV3(Classifier):
    """Inception v3 as torchvision has it, under that library's names: its weights load as they are.

    Follows Table 1 and Figures 5, 6, 7, 8 and 10 in that form; batch normalisation everywhere, in the auxiliary
    classifier too (section 4); label smoothing by 0.1 (section 7).

    Deviates from the paper, as the weights do:

    - in the layers the module's table sets beside Table 1: the stem has two pools and a 1×1, the first module has
      256 channels, and there are four modules of Figure 6;
    - in the first three modules a 5×5 stays whole: of Figure 5's branches the longer one is as drawn, the other a 1×1
      and a 5×5.  In the first reduction (Figure 10) the shorter branch has no 1×1;
    - dropout by 0.5 before the last layer, torchvision's; TensorFlow's model drops 0.2;
    - the 3×3 average pools count the zeros around the image, as torchvision's do; TensorFlow's do not;
    - the auxiliary loss weighs 0.4, as in TensorFlow's training program; sections 4 and 8 state no weight.

    The paper contradicts itself on the figures: for the modules on 17×17 and 8×8 section 6 names Figures 5 and 6, Table
    1 Figures 6 and 7.

    First weights are torchvision's: normal with deviation 0.1, 0.01 in the auxiliary 5×5 and 0.001 in the auxiliary
    dense layer, cut off at ±2.  (torchvision states the 0.01 but draws 0.1: it puts the number on the block, and reads
    it off the convolution inside.  TensorFlow's model has 0.01.)

    The paper trained with 50 replicas of batches of 32, for 100 epochs: RMSprop with decay 0.9 and ε = 1, a rate of
    0.045 that is multiplied by 0.94 every second epoch, gradients clipped at 2, and evaluated the parameters' running
    average (section 8).

    Any image of 75 pixels or more will do; the auxiliary classifier, so training with it, needs a last grid of 17×17,
    299 pixels.

    Parameters
    ----------
    num_classes : int
    aux_logits : bool
        Whether there is an auxiliary classifier.  It runs in training only.
    transform_input : bool
        Take images that are normalised by ImageNet's mean and deviation, as torchvision's programs do, and turn them
        into what the weights expect, pixels from −1 to 1.  Without it, images come as those; `mean` and `std` say
        which.
    """

    input_shape = (3, 299, 299)
    any_size, smallest = True, 75
    resize = 342
    mean = std = (0.5, 0.5, 0.5)

    AuxLogits: InceptionAux | None

    def __init__(
        self, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False
    ) -> None:
        super().__init__()
        self.transform_input = transform_input
        if transform_input:
            self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
        self.Conv2d_1a_3x3 = ConvBN(3, 32, 3, stride=2)  # 32@149×149
        self.Conv2d_2a_3x3 = ConvBN(32, 32, 3)  # 32@147×147
        self.Conv2d_2b_3x3 = ConvBN(32, 64, 3, padding=1)  # 64@147×147
        self.maxpool1 = nn.MaxPool2d(3, stride=2)  # 64@73×73
        self.Conv2d_3b_1x1 = ConvBN(64, 80, 1)  # 80@73×73
        self.Conv2d_4a_3x3 = ConvBN(80, 192, 3)  # 192@71×71
        self.maxpool2 = nn.MaxPool2d(3, stride=2)  # 192@35×35
        self.Mixed_5b = InceptionA(192, pool_features=32)  # 256@35×35
        self.Mixed_5c = InceptionA(256, pool_features=64)  # 288@35×35
        self.Mixed_5d = InceptionA(288, pool_features=64)  # 288@35×35
        self.Mixed_6a = InceptionB(288)  # 768@17×17
        self.Mixed_6b = InceptionC(768, channels_7x7=128)  # 768@17×17
        self.Mixed_6c = InceptionC(768, channels_7x7=160)  # 768@17×17
        self.Mixed_6d = InceptionC(768, channels_7x7=160)  # 768@17×17
        self.Mixed_6e = InceptionC(768, channels_7x7=192)  # 768@17×17
        self.AuxLogits = InceptionAux(768, num_classes) if aux_logits else None
        self.Mixed_7a = InceptionD(768)  # 1280@8×8
        self.Mixed_7b = InceptionE(1280)  # 2048@8×8
        self.Mixed_7c = InceptionE(2048)  # 2048@8×8
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # 2048@1×1
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw first weights as torchvision means to."""
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=_STD_OF.get(name, _STD))

    def forward(self, x: Tensor) -> Tensor | InceptionV3Output:
        """Return a score for each class (N, K); in training with the auxiliary classifier, both classifiers'."""
        if self.transform_input:
            x = to_tensorflow_range(x)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # 64@147×147
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(x)))  # 192@71×71
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(self.maxpool2(x))))  # 288@35×35
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))  # 768@17×17
        x = self.Mixed_6e(self.Mixed_6d(x))  # 768@17×17
        aux_logits = self.AuxLogits(x) if self.AuxLogits is not None and self.training else None
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # 2048@8×8
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return logits if aux_logits is None else InceptionV3Output(logits, aux_logits)

    def loss(self, output: Tensor | InceptionV3Output, target: Tensor) -> Tensor:
        """Return section 7's cross entropy with smoothed labels, plus 0.4 times the auxiliary classifier's.

        Each label counts for 0.9, and all classes share the rest: q'(k) = 0.9 [k = y] + 0.1/K.
        """
        if isinstance(output, InceptionV3Output):
            return self.loss(output.logits, target) + AUXILIARY_WEIGHT * self.loss(output.aux_logits, target)
        return F.cross_entropy(output, target, label_smoothing=LABEL_SMOOTHING)

    def scores(self, output: Tensor | InceptionV3Output) -> Tensor:
        """Return the logits (N, K), without the auxiliary classifier's."""
        return output.logits if isinstance(output, InceptionV3Output) else output


@register
def inception_v3(
    *, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False
) -> InceptionV3:
    """Build Inception v3.

    Parameters
    ----------
    num_classes : int
    aux_logits : bool
        Whether there is an auxiliary classifier.  In training the network then returns a named tuple (`logits`,
        `aux_logits`).
    transform_input : bool
        Whether images come normalised by ImageNet's mean and deviation, as torchvision's programs have them; see
        :class:`InceptionV3`.

    Raises
    ------
    ValueError
        If `num_classes` is below 1.

    Examples
    --------
    >>> import minicnn
    >>> with minicnn.device("meta"):
    ...     model = inception_v3()
    >>> sum(p.size for p in model.parameters())
    27161264
    """
    return InceptionV3(num_classes, aux_logits, transform_input)
