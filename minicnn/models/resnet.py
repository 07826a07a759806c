"""The residual networks of He et al. 2015 for ImageNet, and the plain ones they are held against.

The paper's Table 1; [k×k, c] is a convolution of c channels, followed by batch normalisation::

    output     18              34              50              101             152
    112×112    7×7, 64, stride 2
     56×56     3×3 max pool, stride 2
               [3×3,  64]      [3×3,  64]      [1×1,  64]      [1×1,  64]      [1×1,  64]
               [3×3,  64] ×2   [3×3,  64] ×3   [3×3,  64]      [3×3,  64]      [3×3,  64]
                                               [1×1, 256] ×3   [1×1, 256] ×3   [1×1, 256] ×3
     28×28     [3×3, 128]      [3×3, 128]      [1×1, 128]      [1×1, 128]      [1×1, 128]
               [3×3, 128] ×2   [3×3, 128] ×4   [3×3, 128]      [3×3, 128]      [3×3, 128]
                                               [1×1, 512] ×4   [1×1, 512] ×4   [1×1, 512] ×8
     14×14     [3×3, 256]      [3×3, 256]      [1×1, 256]      [1×1, 256]      [1×1, 256]
               [3×3, 256] ×2   [3×3, 256] ×6   [3×3, 256]      [3×3, 256]      [3×3, 256]
                                               [1×1,1024] ×6   [1×1,1024] ×23  [1×1,1024] ×36
      7×7      [3×3, 512]      [3×3, 512]      [1×1, 512]      [1×1, 512]      [1×1, 512]
               [3×3, 512] ×2   [3×3, 512] ×3   [3×3, 512]      [3×3, 512]      [3×3, 512]
                                               [1×1,2048] ×3   [1×1,2048] ×3   [1×1,2048] ×3
      1×1      average pool, dense 1000
    parameters 11,689,512      21,797,672      25,557,032      44,549,160      60,192,808
    10⁹ multiply-adds
     paper        1.814           3.664           3.858           7.570          11.282
     torchvision  1.814           3.664           4.089           7.801          11.514

The parameters are those of option B (see :mod:`~minicnn.models.residual`).  plain-18 has 11,515,688 and plain-34
21,623,848, as ResNet-34 has with option A.

References
----------
K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, 2015: Table 1,
sections 3.3, 3.4 and 4.1.

P. Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", arXiv 1706.02677, 2017, section 5.1
(the last γ of a block starts at 0).
"""

from __future__ import annotations

from .. import nn
from ..nn.check import one_of
from ..tensor import Tensor
from .classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier
from .registry import register
from .residual import SHORTCUTS, BasicBlock, Bottleneck, ResidualBlock, he_normal_, stage

__all__ = [
    "TABLE_1",
    "PlainNet",
    "ResNet",
    "ResNetPaper",
    "ResNetTorchvision",
    "plain18",
    "plain34",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
]

TABLE_1: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    # layers   block  in conv2_x  3_x  4_x  5_x
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(Classifier):
    """One column of Table 1: what the variants share.

    Parameters
    ----------
    depth : int
        Layers with weights, as Table 1 counts them: without projections.
    num_classes : int
    shortcut : {'A', 'B', 'C'} or None
        None leaves the shortcuts out.
    stride_on_1x1 : bool
        Where a bottleneck halves the image: in its first 1×1, or in its 3×3.
    """

    input_shape = (3, 224, 224)
    any_size = True
    resize = 256

    def __init__(
        self, depth: int, num_classes: int = 1000, shortcut: str | None = "B", stride_on_1x1: bool = False
    ) -> None:
        super().__init__()
        block, (n2, n3, n4, n5) = TABLE_1[depth]
        e, options = block.expansion, {"shortcut": shortcut, "stride_on_1x1": stride_on_1x1}
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)  # 64@112×112
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)  # 64@56×56
        self.layer1 = stage(block, 64, 64, n2, 1, **options)  # 64e@56×56
        self.layer2 = stage(block, 64 * e, 128, n3, 2, **options)  # 128e@28×28
        self.layer3 = stage(block, 128 * e, 256, n4, 2, **options)  # 256e@14×14
        self.layer4 = stage(block, 256 * e, 512, n5, 2, **options)  # 512e@7×7
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * e, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class ResNetTorchvision(ResNet):
    """A ResNet with torchvision's names and arithmetic, so that its weights load as they are.

    Follows Table 1, and torchvision for what comes first: convolutions from N(0, 2/fan_out), the dense layer as layers
    draw themselves; pixels of mean 0 and deviation 1.

    Deviates from the paper in the stride of a bottleneck, which its 3×3 takes, and in what comes first.

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152}
    num_classes : int
    shortcut : {'A', 'B', 'C'}
        torchvision's is B.
    """

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, depth: int, num_classes: int = 1000, shortcut: str = "B") -> None:
        super().__init__(depth, num_classes, shortcut)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class ResNetPaper(ResNet):
    """A ResNet as the paper has it: the first 1×1 of a bottleneck takes the stride; pixels from 0 to 255.

    Follows Table 1; section 4.1 for the shortcuts; section 3.4 for the first weights, those of "Delving Deep into
    Rectifiers", eq. 10: N(0, 2/fan_in), and biases of 0.

    Deviates in that a mean for each colour is subtracted from the pixels, not one for each pixel of the picture.

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152}
    num_classes : int
    shortcut : {'A', 'B', 'C'}
        The paper's Table 3 has 34 layers with each option, and 50, 101 and 152 with B.
    """

    mean, std = IMAGENET_MEAN, (1 / 255,)  # pixels from 0 to 255, less the mean

    def __init__(self, depth: int, num_classes: int = 1000, shortcut: str | None = "B") -> None:
        super().__init__(depth, num_classes, shortcut, stride_on_1x1=True)
        he_normal_(self)


class PlainNet(ResNetPaper):
    """The same layers with nothing going past them (section 3.3, "Plain Network"; Figure 3, middle).

    Follows and deviates as :class:`ResNetPaper`.

    Parameters
    ----------
    depth : {18, 34}
    num_classes : int
    """

    def __init__(self, depth: int, num_classes: int = 1000) -> None:
        super().__init__(depth, num_classes, shortcut=None)


_VARIANTS: dict[str, type[ResNetTorchvision] | type[ResNetPaper]] = {
    "torchvision": ResNetTorchvision,
    "paper": ResNetPaper,
}


def _resnet(
    depth: int, variant: str, num_classes: int, shortcut: str, zero_init_residual: bool
) -> Classifier:
    name = f"resnet{depth}"
    build = _VARIANTS[one_of(list(_VARIANTS), name, "variant", variant)]
    model = build(depth, num_classes, one_of(SHORTCUTS, name, "shortcut", shortcut))
    if zero_init_residual:
        for module in model.modules():
            if isinstance(module, ResidualBlock):
                nn.init.zeros_(module.last_norm.weight)  # type: ignore[arg-type]  (it has one)
    return model


@register
def resnet18(
    variant: str = "torchvision",
    *,
    num_classes: int = 1000,
    shortcut: str = "B",
    zero_init_residual: bool = False,
) -> Classifier:
    """Build the residual network of 18 layers.

    Parameters
    ----------
    variant : {'torchvision', 'paper'}
        :class:`ResNetTorchvision` or :class:`ResNetPaper`.
    num_classes : int
    shortcut : {'A', 'B', 'C'}
        How x passes a block that changes its shape: A, every second pixel, and channels of zeros; B, projected; C,
        projected in every block.
    zero_init_residual : bool
        Start the last γ of each block at 0, which makes the block the identity at first (Goyal et al. 2017, section
        5.1).

    Raises
    ------
    ValueError
        If there is no such variant or shortcut, or `num_classes` is below 1.

    Examples
    --------
    >>> model = resnet18("paper", shortcut="A", num_classes=10)
    >>> sum(p.size for p in model.parameters())
    11007818
    """
    return _resnet(18, variant, num_classes, shortcut, zero_init_residual)


@register
def resnet34(
    variant: str = "torchvision",
    *,
    num_classes: int = 1000,
    shortcut: str = "B",
    zero_init_residual: bool = False,
) -> Classifier:
    """Build the residual network of 34 layers; arguments and errors are those of :func:`resnet18`."""
    return _resnet(34, variant, num_classes, shortcut, zero_init_residual)


@register
def resnet50(
    variant: str = "torchvision",
    *,
    num_classes: int = 1000,
    shortcut: str = "B",
    zero_init_residual: bool = False,
) -> Classifier:
    """Build the residual network of 50 layers; arguments and errors are those of :func:`resnet18`."""
    return _resnet(50, variant, num_classes, shortcut, zero_init_residual)


@register
def resnet101(
    variant: str = "torchvision",
    *,
    num_classes: int = 1000,
    shortcut: str = "B",
    zero_init_residual: bool = False,
) -> Classifier:
    """Build the residual network of 101 layers; arguments and errors are those of :func:`resnet18`."""
    return _resnet(101, variant, num_classes, shortcut, zero_init_residual)


@register
def resnet152(
    variant: str = "torchvision",
    *,
    num_classes: int = 1000,
    shortcut: str = "B",
    zero_init_residual: bool = False,
) -> Classifier:
    """Build the residual network of 152 layers; arguments and errors are those of :func:`resnet18`."""
    return _resnet(152, variant, num_classes, shortcut, zero_init_residual)


@register
def plain18(*, num_classes: int = 1000) -> Classifier:
    """Build the plain network of 18 layers, which is to show what ResNet-18 gains.

    Parameters
    ----------
    num_classes : int

    Raises
    ------
    ValueError
        If `num_classes` is below 1.

    Examples
    --------
    >>> sum(p.size for p in plain18(num_classes=1000).parameters())
    11515688
    """
    return PlainNet(18, num_classes)


@register
def plain34(*, num_classes: int = 1000) -> Classifier:
    """Build the plain network of 34 layers: deeper than plain-18, and worse in the paper's Table 2."""
    return PlainNet(34, num_classes)
