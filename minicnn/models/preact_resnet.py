"""Residual networks with pre-activation: what passes a block passes it unchanged.

In He et al. 2015 a ReLU follows each addition, so nothing passes through the network unharmed.  The successor moves
normalisation and ReLU in front of the convolutions::

    basic                                    bottleneck

    x ────────────────────────────────┐      x ─────────────────────────────────────────────────────┐
    └ BN ─ ReLU ─ 3×3 ─ BN ─ ReLU ─ 3×3 ┴+     └ BN ─ ReLU ─ 1×1 ─ BN ─ ReLU ─ 3×3 ─ BN ─ ReLU ─ 1×1 ┴+

Where no unit changes the shape, the trunk is then a mere sum (the paper's eqs. 4 and 5), and some of the gradient gets
from any unit to any other untouched:

    x_L = x_l + Σ F_i(x_i),    ∂loss/∂x_l = ∂loss/∂x_L · (1 + ∂/∂x_l Σ F_i(x_i)),    i from l to L − 1

Three details of the appendix: the first unit's activation stands right after the first convolution, before the ways
part; one more activation follows the last addition; a projection, which a unit that changes the shape needs, sees the
activated input.

The networks, by the number of units in each stage::

    ImageNet   18   2, 2,  2, 2  basic        11,687,720 parameters
               34   3, 4,  6, 3  basic        21,795,880
               50   3, 4,  6, 3  bottleneck   25,549,352
              101   3, 4, 23, 3  bottleneck   44,541,480
              152   3, 8, 36, 3  bottleneck   60,185,128
              200   3, 24, 36, 3 bottleneck   64,666,152
    CIFAR     110   18, 18, 18   basic         1,727,962
              164   18, 18, 18   bottleneck    1,703,258
             1001   111, 111, 111 bottleneck  10,327,706

The paper prints 1.7 M for 110 and for 164 layers, and 10.2 M for 1001; the latter holds for what convolutions and dense
layer have, 10,178,490, without the γ and β of the normalisations.

References
----------
K. He, X. Zhang, S. Ren and J. Sun, "Identity Mappings in Deep Residual Networks", arXiv 1603.05027, 2016: section 3,
Figure 4(e), appendix.

X. Ming's re-implementation, published by the authors: https://github.com/KaimingHe/resnet-1k-layers
"""

from __future__ import annotations

from typing import ClassVar

from .. import functional as F
from .. import nn
from ..nn.check import one_of
from ..tensor import Tensor
from .classifier import CIFAR10_MEAN, IMAGENET_MEAN, Classifier
from .registry import register
from .residual import he_normal_, zero_padded
from .resnet_cifar import BLOCK_LAYERS, fitting_blocks

_DEEPEST_BASIC = 110  # layers, of the paper's networks

__all__ = [
    "BLOCKS",
    "PreActBasicBlock",
    "PreActBlock",
    "PreActBottleneck",
    "PreActResNet",
    "PreActResNetCIFAR",
    "preact_resnet18",
    "preact_resnet34",
    "preact_resnet50",
    "preact_resnet101",
    "preact_resnet152",
    "preact_resnet200",
    "preact_resnet_cifar",
]


class PreActBlock(nn.Module):
    """y = shortcut(x) + F(ReLU(BN(x))): what both units share.

    Where the shape stays, the shortcut is x itself.  Else it is a 1×1 convolution of ReLU(BN(x)), or without projection
    every second pixel of x, and channels of zeros.  A subclass defines `branch`, which is F.

    Parameters
    ----------
    in_channels, out_channels : int
    stride : int
    project : bool
        Whether a change of shape is a projection's work.
    activated : bool
        Whether x has been through BN and ReLU already.
    """

    expansion: ClassVar[int]  # output channels, in widths of the unit
    bn1: nn.BatchNorm2d | None
    downsample: nn.Conv2d | None

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, project: bool, activated: bool
    ) -> None:
        super().__init__()
        self.stride = stride
        self.bn1 = None if activated else nn.BatchNorm2d(in_channels)
        projects = project and (stride != 1 or in_channels != out_channels)
        self.downsample = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if projects else None

    def branch(self, x: Tensor) -> Tensor:
        """Compute F of the activated input: (N, C, H, W) → (N, K, P, Q)."""
        raise NotImplementedError(f"{self._name} defines no branch")

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, K, P, Q)."""
        active = x if self.bn1 is None else F.relu(self.bn1(x))
        out = self.branch(active)
        if self.downsample is None:
            return zero_padded(x, out.shape[1], self.stride) + out
        return self.downsample(active) + out


class PreActBasicBlock(PreActBlock):
    """Two 3×3 convolutions, each after BN and ReLU.

    Parameters
    ----------
    in_channels : int
    width : int
        Channels of both convolutions.
    stride : int
        Of the first one.
    project, activated : bool
        As :class:`PreActBlock` has them.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> unit = PreActBasicBlock(1, 1)
    >>> x = tensor([[[[-1.0, 2.0]]]])
    >>> _ = nn.init.zeros_(unit.conv2.weight)
    >>> unit(x)
    tensor([[[[-1.,  2.]]]], dtype=float32, requires_grad=True)
    """

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, stride: int = 1, project: bool = True, activated: bool = False
    ) -> None:
        super().__init__(in_channels, width, stride, project, activated)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def branch(self, x: Tensor) -> Tensor:
        """Compute F."""
        return self.conv2(self.relu2(self.bn2(self.conv1(x))))


class PreActBottleneck(PreActBlock):
    """1×1, 3×3 and 1×1 convolutions, each after BN and ReLU; the first takes the stride.

    Parameters
    ----------
    in_channels : int
    width : int
        Channels of the 3×3; four times as many come out.
    stride : int
    project, activated : bool
        As :class:`PreActBlock` has them.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, stride: int = 1, project: bool = True, activated: bool = False
    ) -> None:
        out_channels = self.expansion * width
        super().__init__(in_channels, out_channels, stride, project, activated)
        self.conv1 = nn.Conv2d(in_channels, width, 1, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu3 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)

    def branch(self, x: Tensor) -> Tensor:
        """Compute F."""
        x = self.conv2(self.relu2(self.bn2(self.conv1(x))))
        return self.conv3(self.relu3(self.bn3(x)))


BLOCKS = {
    # layers         unit  in stage 1  2  3  4
    18: (PreActBasicBlock, (2, 2, 2, 2)),
    34: (PreActBasicBlock, (3, 4, 6, 3)),
    50: (PreActBottleneck, (3, 4, 6, 3)),
    101: (PreActBottleneck, (3, 4, 23, 3)),
    152: (PreActBottleneck, (3, 8, 36, 3)),
    200: (PreActBottleneck, (3, 24, 36, 3)),
}


class PreActResNet(Classifier):
    """A residual network with pre-activation for ImageNet.

    Follows Figure 4(e) and the appendix, in the layout of He et al. 2015, Table 1, with units of the new kind in
    conv2_x to conv5_x; for ResNet-200 section 5, 16 bottlenecks more than ResNet-152 has, at 28×28; and He et al. 2015
    in what this paper leaves to it: projections where the shape changes, a bottleneck's stride on its first 1×1, the
    first weights, pixels from 0 to 255.

    Deviates, or chooses where the paper is silent:

    - the max pool of ImageNet's networks comes after the activation that follows the first convolution;
    - from the pixels a mean for each colour is subtracted, not one for each pixel of the picture.

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152, 200}
    num_classes : int
    """

    input_shape = (3, 224, 224)
    any_size = True
    resize = 256
    mean, std = IMAGENET_MEAN, (1 / 255,)  # pixels from 0 to 255, less the mean

    def __init__(self, depth: int, num_classes: int = 1000) -> None:
        super().__init__()
        block, (n1, n2, n3, n4) = BLOCKS[depth]
        e = block.expansion
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)  # 64@112×112
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)  # 64@56×56
        self.layer1 = _stage(block, 64, 64, n1, 1, activated=True)  # 64e@56×56
        self.layer2 = _stage(block, 64 * e, 128, n2, 2)  # 128e@28×28
        self.layer3 = _stage(block, 128 * e, 256, n3, 2)  # 256e@14×14
        self.layer4 = _stage(block, 256 * e, 512, n4, 2)  # 512e@7×7
        self.bn2 = nn.BatchNorm2d(512 * e)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * e, num_classes)
        he_normal_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.maxpool(self.relu1(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(F.relu(self.bn2(x))).flatten(1))


class PreActResNetCIFAR(Classifier):
    """A residual network with pre-activation for images of 32×32.

    Follows Figure 4(e) and the appendix.  Of basic units it has 6n + 2 layers, 16, 32 and 64 channels, and shortcuts
    of option A, as He et al. 2015 in section 4.2.  Of bottlenecks it has 9n + 2 layers, 64, 128 and 256 channels, and
    projections, with the stride on the first 1×1, as the authors' code has it.

    Deviates, or chooses where the paper is silent:

    - option A passes x on as it came, not activated: nothing happens to it on the way;
    - the first weights are those of He et al. 2015, N(0, 2/fan_in); the authors' code has N(0, 2/fan_out);
    - from the pixels a mean for each colour is subtracted, not one for each pixel of the picture.

    Parameters
    ----------
    depth : int
    block : {'basic', 'bottleneck'}
    num_classes : int

    Raises
    ------
    ValueError
        If no number of such units makes up that depth.
    """

    input_shape = (3, 32, 32)
    any_size = True
    mean, std = CIFAR10_MEAN, (1 / 255,)  # pixels from 0 to 255, less the mean

    def __init__(self, depth: int, block: str, num_classes: int = 10) -> None:
        super().__init__()
        fitting_blocks("preact_resnet_cifar", depth, [block])
        n = (depth - 2) // (3 * BLOCK_LAYERS[block])
        unit = PreActBasicBlock if block == "basic" else PreActBottleneck
        e, project = unit.expansion, block == "bottleneck"
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)  # 16@32×32
        self.bn1 = nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.layer1 = _stage(unit, 16, 16, n, 1, project, activated=True)  # 16e@32×32
        self.layer2 = _stage(unit, 16 * e, 32, n, 2, project)  # 32e@16×16
        self.layer3 = _stage(unit, 32 * e, 64, n, 2, project)  # 64e@8×8
        self.bn2 = nn.BatchNorm2d(64 * e)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * e, num_classes)
        he_normal_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(F.relu(self.bn2(x))).flatten(1))


def _stage(
    unit: type[PreActBasicBlock] | type[PreActBottleneck],
    in_channels: int,
    width: int,
    count: int,
    stride: int,
    project: bool = True,
    activated: bool = False,
) -> nn.Sequential:
    """Stack the units of one image size; the first takes the stride and the change of channels."""
    first = unit(in_channels, width, stride, project, activated)
    rest = (unit(unit.expansion * width, width) for _ in range(count - 1))
    return nn.Sequential(first, *rest)


@register
def preact_resnet18(*, num_classes: int = 1000) -> Classifier:
    """Build the 18-layer :class:`PreActResNet`.

    Parameters
    ----------
    num_classes : int

    Raises
    ------
    ValueError
        If `num_classes` is below 1.

    Examples
    --------
    >>> sum(p.size for p in preact_resnet18().parameters())
    11687720
    """
    return PreActResNet(18, num_classes)


@register
def preact_resnet34(*, num_classes: int = 1000) -> Classifier:
    """Build the 34-layer :class:`PreActResNet`."""
    return PreActResNet(34, num_classes)


@register
def preact_resnet50(*, num_classes: int = 1000) -> Classifier:
    """Build the 50-layer :class:`PreActResNet`."""
    return PreActResNet(50, num_classes)


@register
def preact_resnet101(*, num_classes: int = 1000) -> Classifier:
    """Build the 101-layer :class:`PreActResNet`."""
    return PreActResNet(101, num_classes)


@register
def preact_resnet152(*, num_classes: int = 1000) -> Classifier:
    """Build the 152-layer :class:`PreActResNet`."""
    return PreActResNet(152, num_classes)


@register
def preact_resnet200(*, num_classes: int = 1000) -> Classifier:
    """Build the 200-layer :class:`PreActResNet`."""
    return PreActResNet(200, num_classes)


@register
def preact_resnet_cifar(depth: int, *, block: str | None = None, num_classes: int = 10) -> Classifier:
    """Build a residual network with pre-activation for CIFAR, of any depth 6n + 2 or 9n + 2.

    Parameters
    ----------
    depth : int
        The paper's are 110, 164 and 1001.
    block : {'basic', 'bottleneck'}, optional
        What it is made of.  Default: what fits the depth; if both do, basic units up to 110 layers, the paper's deepest
        such network, and bottlenecks beyond.
    num_classes : int

    Raises
    ------
    TypeError
        If `depth` is no int.
    ValueError
        If `depth` is neither, or not what `block` wants; if there is no such block; if `num_classes` is below 1.

    Examples
    --------
    >>> sum(p.size for p in preact_resnet_cifar(164).parameters())
    1703258
    >>> preact_resnet_cifar(165)
    Traceback (most recent call last):
    ...
    ValueError: preact_resnet_cifar: depth must be 6n + 2 (basic blocks) or 9n + 2 (bottleneck blocks), got 165; the
    nearest are 164 and 170
    """
    name, blocks = "preact_resnet_cifar", list(BLOCK_LAYERS)
    if block is not None:
        blocks = [one_of(blocks, name, "block", block)]
    fitting = fitting_blocks(name, depth, blocks)
    return PreActResNetCIFAR(depth, fitting[0] if depth <= _DEEPEST_BASIC else fitting[-1], num_classes)
