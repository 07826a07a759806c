"""GoogLeNet, twice: as the paper has it, and as torchvision has it; and the Inception module before its reduction.

The paper's Table 1, with the numbers of 1×1 convolutions that reduce a branch's input written before it::

    layer          output        #1×1   3×3: reduce  #   5×5: reduce  #   pool: proj
    convolution    64@112×112     7×7/2
    max pool       64@56×56       3×3/2
    convolution   192@56×56                     64  192
    max pool      192@28×28       3×3/2
    inception 3a  256@28×28         64          96  128            16   32           32
    inception 3b  480@28×28        128         128  192            32   96           64
    max pool      480@14×14       3×3/2
    inception 4a  512@14×14        192          96  208            16   48           64
    inception 4b  512@14×14        160         112  224            24   64           64
    inception 4c  512@14×14        128         128  256            24   64           64
    inception 4d  528@14×14        112         144  288            32   64           64
    inception 4e  832@14×14        256         160  320            32  128          128
    max pool      832@7×7         3×3/2
    inception 5a  832@7×7          256         160  320            32  128          128
    inception 5b 1024@7×7          384         192  384            48  128          128
    average pool 1024@1×1         7×7
    dropout      1024
    linear       1000

    variant                                     torchvision        paper
    parameters without the auxiliary heads        6,624,904    6,998,552
    parameters with them                         13,004,888   13,378,280
    multiply-adds without them                      1.498 G      1.583 G

The table's first row also prints 2.7 K parameters and 34 M multiply-adds.  A convolution of 7×7 from 3 to 64 channels
has 9,408 weights and takes 118 M.  The printed figures are those of a separable one: 8 maps of 7×7 for each colour,
then 1×1 to 64, which is 24·49 + 24·64 = 2,712 weights at 112² places, 34 M.  Ioffe and Szegedy say of the
successor's first layer that it was made so (see :mod:`~minicnn.models.inception_v2`); this paper does not, nor does
its Figure 3.

References
----------
C. Szegedy, W. Liu, Y. Jia, P. Sermanet, S. Reed, D. Anguelov, D. Erhan, V. Vanhoucke and A. Rabinovich, "Going Deeper
with Convolutions", arXiv 1409.4842, 2014: section 4 and Figure 2 (the module), section 5, Table 1 and Figure 3 (the
network and its auxiliary heads).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import functional as F
from .. import nn
from ..geometry import Pair
from ..nn.check import one_of
from ..tensor import Tensor
from .classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier
from .conv_bn import ConvBN
from .registry import register
from .transform_input import transform_input as to_tensorflow_range

__all__ = [
    "AUXILIARY_WEIGHT",
    "TABLE_1",
    "AuxiliaryHead",
    "ConvReLU",
    "GoogLeNet",
    "GoogLeNetOutput",
    "GoogLeNetPaper",
    "GoogLeNetTorchvision",
    "Inception",
    "NaiveInception",
    "googlenet",
]

TABLE_1: dict[str, tuple[int, int, int, int, int, int, int]] = {
    # in  #1×1 red3 #3×3 red5 #5×5 proj
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}

AUXILIARY_WEIGHT = 0.3
"""What an auxiliary head's loss counts for (section 5)."""

Conv = Callable[..., nn.Module]
"""Makes a convolution and what belongs to it, called as :class:`ConvReLU` is."""


class GoogLeNetOutput(NamedTuple):
    """What a GoogLeNet with auxiliary heads returns in training mode: three times a score for each class (N, K)."""

    logits: Tensor
    aux1: Tensor
    aux2: Tensor


class ConvReLU(nn.Module):
    """Convolution with a bias, then ReLU: what every convolution of the paper is.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding : int or pair

    Examples
    --------
    >>> [name for name, _ in ConvReLU(3, 8, 3).named_parameters()]
    ['conv.weight', 'conv.bias']
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1, padding: Pair = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, K, P, Q)."""
        return self.relu(self.conv(x))


class NaiveInception(nn.Module):
    """The module of Figure 2(a): patches of three sizes, and the largest neighbour, side by side.

    Follows section 4.  Why it stayed an idea: pooling passes all its channels on, so a module's output has more
    channels than its input, always, and a 5×5 over that many is costly.  Figure 2(b), :class:`Inception`, puts a
    1×1 convolution to fewer channels before each.

    Parameters
    ----------
    in_channels : int
    ch1x1, ch3x3, ch5x5 : int
        Channels of each branch; `in_channels` more come from the pooling.
    conv : callable

    Examples
    --------
    From 192 channels to 96 by 5×5, and the same by way of 32 channels (biases left out):

    >>> direct = NaiveInception(192, 64, 128, 96).branch3
    >>> reduced = Inception(192, 64, 96, 128, 32, 96, 64).branch3
    >>> [sum(p.size for p in branch.parameters() if p.ndim > 1) for branch in (direct, reduced)]
    [460800, 82944]
    """

    def __init__(self, in_channels: int, ch1x1: int, ch3x3: int, ch5x5: int, conv: Conv = ConvReLU) -> None:
        super().__init__()
        self.branch1 = conv(in_channels, ch1x1, 1)
        self.branch2 = conv(in_channels, ch3x3, 3, padding=1)
        self.branch3 = conv(in_channels, ch5x5, 5, padding=2)
        self.branch4 = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, ch1x1 + ch3x3 + ch5x5 + C, H, W)."""
        return F.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Inception(nn.Module):
    """The module of Figure 2(b): as :class:`NaiveInception`, with 1×1 convolutions that reduce the channels.

    Parameters
    ----------
    in_channels, ch1x1, ch3x3red, ch3x3, ch5x5red, ch5x5, pool_proj : int
        A row of Table 1.
    conv : callable
    kernel_5x5 : int
        The kernel of the branch with the largest patches.

    Examples
    --------
    >>> from minicnn import Tensor, device
    >>> with device("meta"):
    ...     Inception(*TABLE_1["3a"]).branch3
    Sequential(
      (0): ConvReLU(
        (conv): Conv2d(192, 16, kernel_size=(1, 1), stride=(1, 1))
        (relu): ReLU()
      )
      (1): ConvReLU(
        (conv): Conv2d(16, 32, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))
        (relu): ReLU()
      )
    )
    """

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch5x5red: int,
        ch5x5: int,
        pool_proj: int,
        conv: Conv = ConvReLU,
        kernel_5x5: int = 5,
    ) -> None:
        super().__init__()
        self.branch1 = conv(in_channels, ch1x1, 1)
        self.branch2 = nn.Sequential(conv(in_channels, ch3x3red, 1), conv(ch3x3red, ch3x3, 3, padding=1))
        self.branch3 = nn.Sequential(
            conv(in_channels, ch5x5red, 1), conv(ch5x5red, ch5x5, kernel_5x5, padding=kernel_5x5 // 2)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), conv(in_channels, pool_proj, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, ch1x1 + ch3x3 + ch5x5 + pool_proj, H, W)."""
        return F.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class AuxiliaryHead(nn.Module):
    """The classifier that section 5 puts on 4a and on 4d, so that the layers below get a gradient from close by.

    Parameters
    ----------
    in_channels, num_classes : int
    pool : Module
        Makes 4×4 of the 14×14 that arrive.
    conv : callable
    """

    def __init__(self, in_channels: int, num_classes: int, pool: nn.Module, conv: Conv) -> None:
        super().__init__()
        self.pool = pool
        self.conv = conv(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, 14, 14) into a score for each class (N, K)."""
        x = self.conv(self.pool(x))  # 128@4×4
        x = F.relu(self.fc1(x.flatten(1)))  # 1024
        return self.fc2(self.dropout(x))


class GoogLeNet(Classifier):
    """Table 1, and the heads of Figure 3: what the variants share.

    Parameters
    ----------
    num_classes : int
    aux_logits : bool
        Whether there are auxiliary heads.  They work in training mode only; without them the network returns the
        logits in both modes.
    conv : callable
        Makes every convolution.
    kernel_5x5 : int
        The kernel of the branches with the largest patches.
    """

    input_shape = (3, 224, 224)
    resize = 256

    def __init__(self, num_classes: int, aux_logits: bool, conv: Conv, kernel_5x5: int) -> None:
        super().__init__()
        self.aux_logits = aux_logits

        def inception(row: str) -> Inception:
            return Inception(*TABLE_1[row], conv=conv, kernel_5x5=kernel_5x5)

        self.conv1 = conv(3, 64, 7, stride=2, padding=3)  # 64@112×112
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # 64@56×56
        self.conv2 = conv(64, 64, 1)
        self.conv3 = conv(64, 192, 3, padding=1)  # 192@56×56
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # 192@28×28
        self.inception3a = inception("3a")  # 256@28×28
        self.inception3b = inception("3b")  # 480@28×28
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # 480@14×14
        self.inception4a = inception("4a")  # 512@14×14
        self.inception4b = inception("4b")  # 512@14×14
        self.inception4c = inception("4c")  # 512@14×14
        self.inception4d = inception("4d")  # 528@14×14
        self.inception4e = inception("4e")  # 832@14×14
        self.maxpool4 = nn.MaxPool2d(3, stride=2, ceil_mode=True)  # 832@7×7
        self.inception5a = inception("5a")  # 832@7×7
        self.inception5b = inception("5b")  # 1024@7×7
        if aux_logits:
            self.aux1 = AuxiliaryHead(512, num_classes, self.auxiliary_pool(), conv)
            self.aux2 = AuxiliaryHead(528, num_classes, self.auxiliary_pool(), conv)
        self.avgpool = nn.AdaptiveAvgPool2d(1)  # 1024@1×1
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(1024, num_classes)

    def auxiliary_pool(self) -> nn.Module:
        """Return what a head starts with: the mean over 5×5 pixels, 3 apart."""
        return nn.AvgPool2d(5, stride=3)

    def stem(self, x: Tensor) -> Tensor:
        """Return what the first module gets, 192@28×28."""
        x = self.maxpool1(self.conv1(x))  # 64@56×56
        return self.maxpool2(self.conv3(self.conv2(x)))

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutput:
        """Return a score for each class (N, K); in training mode those of the auxiliary heads too."""
        with_heads = self.training and self.aux_logits
        x = self.inception3b(self.inception3a(self.stem(x)))  # 480@28×28
        x = self.inception4a(self.maxpool3(x))  # 512@14×14
        aux1 = self.aux1(x) if with_heads else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))  # 528@14×14
        aux2 = self.aux2(x) if with_heads else None
        x = self.maxpool4(self.inception4e(x))  # 832@7×7
        x = self.inception5b(self.inception5a(x))  # 1024@7×7
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return GoogLeNetOutput(logits, aux1, aux2) if aux1 is not None and aux2 is not None else logits

    def loss(self, output: Any, target: Tensor) -> Tensor:
        """Return the cross entropy, plus 0.3 times that of each auxiliary head where there are any (section 5)."""
        if not isinstance(output, GoogLeNetOutput):
            return F.cross_entropy(output, target)
        auxiliary = F.cross_entropy(output.aux1, target) + F.cross_entropy(output.aux2, target)
        return F.cross_entropy(output.logits, target) + AUXILIARY_WEIGHT * auxiliary

    def scores(self, output: Any) -> Tensor:
        """Return the logits; auxiliary heads have no say."""
        return output.logits if isinstance(output, GoogLeNetOutput) else output


class GoogLeNetPaper(GoogLeNet):
    """GoogLeNet of 2014: 5×5 branches, biases, response normalisation, dropout of 40 %.

    Follows Table 1; Figure 3, response normalisation after the first pooling and before the second; section 5, ReLU
    after every convolution, the structure of the auxiliary heads and their weight of 0.3.  Poolings that the
    window does not divide get a last, smaller window (ceil mode): 56, 28, 14 and 7 ask for it.

    Deviates, or chooses where the paper is silent:

    - the first layer is the 7×7 convolution of Figure 3, not the cheaper one whose figures Table 1 prints, see
      above;
    - response normalisation is over 5 maps with k = 1, α = 10⁻⁴ and β = 0.75 as in the model of that name in
      BVLC's Caffe; the paper gives no constants;
    - so are first weights: uniform with variance 1 / fan-in, biases 0.2, those of the three layers that return the
      scores 0; the paper does not say;
    - from the pixels, here on a scale of 0 to 255, ImageNet's mean colour is subtracted ("mean subtraction").

    Parameters
    ----------
    num_classes : int
    aux_logits : bool
        With auxiliary heads, whose dense layer takes 4×4 pixels only, images must be 224×224.
    """

    smallest = 31
    mean, std = IMAGENET_MEAN, (1 / 255,)  # pixels from 0 to 255, less the mean

    def __init__(self, num_classes: int = 1000, aux_logits: bool = True) -> None:
        super().__init__(num_classes, aux_logits, ConvReLU, kernel_5x5=5)
        self.any_size = not aux_logits
        self.norm1 = nn.LocalResponseNorm(5)
        self.norm2 = nn.LocalResponseNorm(5)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw first weights as BVLC's Caffe does."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.lecun_uniform_(parameter)
            else:
                is_last = name in ("fc.bias", "aux1.fc2.bias", "aux2.fc2.bias")
                nn.init.constant_(parameter, 0.0 if is_last else 0.2)

    def stem(self, x: Tensor) -> Tensor:
        """Return what the first module gets, 192@28×28."""
        x = self.norm1(self.maxpool1(self.conv1(x)))  # 64@56×56
        return self.maxpool2(self.norm2(self.conv3(self.conv2(x))))


class GoogLeNetTorchvision(GoogLeNet):
    """GoogLeNet as torchvision has it: batch normalisation, and 3×3 where the paper has 5×5.

    Follows torchvision's names, so its weights load as they are, its ε of 10⁻³, its dropout of 20 % and 70 % in the
    heads, and its first weights: N(0, 0.01²) for convolutions and dense layers (drawn by a truncated normal whose
    cut, at ±2, is never reached); biases as dense layers draw them.

    Deviates from the paper in all of that; the fourth pooling is 2×2, the heads start with an adaptive average to
    4×4, and there is no response normalisation.  The 3×3 is an error that trained weights have made permanent.

    Parameters
    ----------
    num_classes : int
    aux_logits : bool
    transform_input : bool
        Whether images, normalised by ImageNet's mean and deviation as usual, are to be turned into pixels from −1 to
        1 first.  torchvision's trained weights need it.
    """

    any_size, smallest = True, 15
    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False
    ) -> None:
        super().__init__(num_classes, aux_logits, ConvBN, kernel_5x5=3)
        self.transform_input = transform_input
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.dropout = nn.Dropout(0.2)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw first weights as torchvision does."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.01)

    def auxiliary_pool(self) -> nn.Module:
        """Return what a head starts with: a mean that leaves 4×4 pixels of any number."""
        return nn.AdaptiveAvgPool2d(4)

    def stem(self, x: Tensor) -> Tensor:
        """Return what the first module gets, 192@28×28."""
        return super().stem(to_tensorflow_range(x) if self.transform_input else x)


@register
def googlenet(
    variant: str = "torchvision",
    *,
    num_classes: int = 1000,
    aux_logits: bool = True,
    transform_input: bool = False,
) -> GoogLeNet:
    """Build GoogLeNet in one of its variants.

    In training mode it returns a :class:`GoogLeNetOutput`, in evaluation mode or without auxiliary heads the logits.

    Parameters
    ----------
    variant : {'torchvision', 'paper'}
        :class:`GoogLeNetTorchvision` or :class:`GoogLeNetPaper`.
    num_classes : int
    aux_logits : bool
        Whether there are auxiliary heads.
    transform_input : bool
        Of the torchvision variant only.

    Raises
    ------
    ValueError
        If there is no such variant, or the paper's is to transform its input.

    Examples
    --------
    >>> import minicnn
    >>> with minicnn.device("meta"):
    ...     model = googlenet("paper", aux_logits=False)
    >>> sum(p.size for p in model.parameters())
    6998552
    """
    one_of(["torchvision", "paper"], "googlenet", "variant", variant)
    if variant == "torchvision":
        return GoogLeNetTorchvision(num_classes, aux_logits, transform_input)
    if transform_input:
        raise ValueError(
            "googlenet: transform_input belongs to weights of the torchvision variant, got variant='paper'"
        )
    return GoogLeNetPaper(num_classes, aux_logits)
