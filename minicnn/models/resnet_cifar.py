"""The residual networks of He et al. 2015 for CIFAR-10, of any depth 6n + 2.

The table of the paper's section 4.2, after a first 3×3 convolution of 16 channels::

    output      32×32   16×16   8×8    average pool, dense 10
    layers      1+2n    2n      2n     1
    channels    16      32      64

    depth  n    parameters   error in the paper's Table 6, %
       20  3       269,722   8.75
       32  5       464,154   7.51
       44  7       658,586   7.17
       56  9       853,018   6.97
      110  18    1,727,962   6.43
     1202  200  19,421,274   7.93

The parameters are those with shortcuts of option A, which have none, and those of the plain nets.  Option B has 2,752
more.

References
----------
K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, 2015: section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from .. import nn
from ..nn.check import one_of
from ..tensor import Tensor
from .classifier import CIFAR10_MEAN, Classifier
from .registry import register
from .residual import SHORTCUTS, BasicBlock, he_normal_, stage

__all__ = ["BLOCK_LAYERS", "ResNetCIFAR", "fitting_blocks", "resnet_cifar"]

BLOCK_LAYERS = {"basic": 2, "bottleneck": 3}
"""Convolutions in a block.  Three stages of n blocks, a first convolution and a dense layer make 6n + 2 or 9n + 2."""


def fitting_blocks(model: str, depth: int, blocks: Sequence[str]) -> list[str]:
    """Return which of these blocks a CIFAR network of this depth can be made of.

    Parameters
    ----------
    model : str
        Named in the errors.
    depth : int
        Layers with weights.
    blocks : sequence of {'basic', 'bottleneck'}
        Those to choose from.

    Raises
    ------
    TypeError
        If `depth` is no int.
    ValueError
        If none fits; the nearest depths that do are named.

    Examples
    --------
    >>> fitting_blocks("net", 164, ["basic", "bottleneck"]), fitting_blocks("net", 1001, ["basic", "bottleneck"])
    (['basic', 'bottleneck'], ['bottleneck'])
    """
    if isinstance(depth, bool) or not isinstance(depth, int):
        raise TypeError(f"{model}: depth must be an int, got {depth!r}")
    fitting = [block for block in blocks if _fits(depth, block)]
    if not fitting:
        rules = " or ".join(f"{3 * BLOCK_LAYERS[block]}n + 2 ({block} blocks)" for block in blocks)
        raise ValueError(f"{model}: depth must be {rules}, got {depth}; {_nearest(depth, blocks)}")
    return fitting


def _fits(depth: int, block: str) -> bool:
    return depth > 2 and (depth - 2) % (3 * BLOCK_LAYERS[block]) == 0


def _nearest(depth: int, blocks: Sequence[str]) -> str:
    """Name the depths next to this one that fit."""
    shallower = (d for d in range(depth - 1, 2, -1) if any(_fits(d, block) for block in blocks))
    deeper = (d for d in count(max(depth, 2)) if any(_fits(d, block) for block in blocks))
    below, above = next(shallower, None), next(deeper)
    return f"the nearest is {above}" if below is None else f"the nearest are {below} and {above}"


class ResNetCIFAR(Classifier):
    """A residual network of 6n + 2 layers for images of 32×32, or the plain one.

    Follows section 4.2: its table; basic blocks; global average pooling; the first weights of "Delving Deep into
    Rectifiers", N(0, 2/fan_in), and biases of 0; pixels from 0 to 255 less their mean.

    Deviates in that a mean for each colour is subtracted from the pixels, not one for each pixel of the picture.

    Parameters
    ----------
    depth : int
        6n + 2, n at least 1.
    shortcut : {'A', 'B', 'C'} or None
        The paper uses A here; None makes the plain net.
    num_classes : int

    Raises
    ------
    ValueError
        If `depth` is not 6n + 2.
    """

    input_shape = (3, 32, 32)
    any_size = True
    mean, std = CIFAR10_MEAN, (1 / 255,)  # pixels from 0 to 255, less the mean

    def __init__(self, depth: int, shortcut: str | None = "A", num_classes: int = 10) -> None:
        super().__init__()
        fitting_blocks("resnet_cifar", depth, ["basic"])
        n = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)  # 16@32×32
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = stage(BasicBlock, 16, 16, n, 1, shortcut=shortcut)  # 16@32×32
        self.layer2 = stage(BasicBlock, 16, 32, n, 2, shortcut=shortcut)  # 32@16×16
        self.layer3 = stage(BasicBlock, 32, 64, n, 2, shortcut=shortcut)  # 64@8×8
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        he_normal_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


@register
def resnet_cifar(
    depth: int, shortcut: str = "A", residual: bool = True, *, num_classes: int = 10
) -> Classifier:
    """Build a residual or plain network for CIFAR-10, of any depth 6n + 2.

    Parameters
    ----------
    depth : int
        The paper's are 20, 32, 44, 56, 110 and 1202.
    shortcut : {'A', 'B', 'C'}
        As :func:`~minicnn.models.resnet18`'s; the paper uses A here.
    residual : bool
        False leaves the shortcuts out.
    num_classes : int

    Raises
    ------
    TypeError
        If `depth` is no int.
    ValueError
        If `depth` is not 6n + 2, there is no such shortcut, or `num_classes` is below 1.

    Examples
    --------
    >>> model = resnet_cifar(20)
    >>> sum(p.size for p in model.parameters())
    269722
    >>> resnet_cifar(21)
    Traceback (most recent call last):
    ...
    ValueError: resnet_cifar: depth must be 6n + 2 (basic blocks), got 21; the nearest are 20 and 26
    """
    one_of(SHORTCUTS, "resnet_cifar", "shortcut", shortcut)
    return ResNetCIFAR(depth, shortcut if residual else None, num_classes)
