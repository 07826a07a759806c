"""The residual blocks of He et al. 2015: what the networks for ImageNet and for CIFAR-10 are stacked from.

A block adds to its input what two or three convolutions make of it, so they need to learn only what is to
change::

    basic                               bottleneck

    x ───────────────────────────┐      x ─────────────────────────────────────────────────┐
    └ 3×3 ─ BN ─ ReLU ─ 3×3 ─ BN ┴+─ ReLU  └ 1×1 ─ BN ─ ReLU ─ 3×3 ─ BN ─ ReLU ─ 1×1 ─ BN ┴+─ ReLU

Where the branch halves the image or changes the channels, x cannot be added as it is.  The paper's section
4.1 has three answers: A, take every second pixel and add channels of zeros; B, project x by a 1×1
convolution; C, project x in every block, fit or not.

References
----------
K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, 2015:
section 3.2 (shortcuts), section 3.3 (options A and B), section 4.1 (option C, bottlenecks), Figure 5.

K. He, X. Zhang, S. Ren and J. Sun, "Delving Deep into Rectifiers", ICCV 2015, eq. 10 (the first weights).
"""

from __future__ import annotations

from typing import Any, ClassVar

from .. import functional as F
from .. import nn
from ..tensor import Tensor

__all__ = [
    "SHORTCUTS",
    "BasicBlock",
    "Bottleneck",
    "ResidualBlock",
    "he_normal_",
    "stage",
    "zero_padded",
]

SHORTCUTS = ("A", "B", "C")


def zero_padded(x: Tensor, channels: int, stride: int) -> Tensor:
    """Return option A's shortcut: every `stride`-th row and column of x, then channels of zeros.

    Where the shape stays the same this is x itself.

    Parameters
    ----------
    x : Tensor (N, C, H, W)
    channels : int, at least C
    stride : int

    Examples
    --------
    >>> from minicnn import tensor
    >>> zero_padded(tensor([[[[1.0, 2.0, 3.0]]]]), 2, 2)
    tensor([[[[1., 3.]],
             [[0., 0.]]]], dtype=float32)
    """
    if stride > 1:
        x = x[:, :, ::stride, ::stride]
    missing = channels - x.shape[1]
    return F.pad(x, (0, 0, 0, 0, 0, missing)) if missing else x


class ResidualBlock(nn.Module):
    """y = ReLU(F(x) + shortcut(x)): what both blocks share; a plain net's is y = ReLU(F(x)).

    A subclass defines `branch`, which is F, and `last_norm`, the normalisation F ends with.
    """

    expansion: ClassVar[int]  # output channels, in widths of the block
    downsample: nn.Sequential | None  # torchvision's name; it is the projection

    def _add_shortcut(self, in_channels: int, out_channels: int, stride: int, option: str | None) -> None:
        """Choose the way past the branch: option A, B or C, or None for no way."""
        changes = stride != 1 or in_channels != out_channels
        projects = option == "C" or (option == "B" and changes)
        self.residual, self.stride = option is not None, stride
        self.downsample = _projection(in_channels, out_channels, stride) if projects else None

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The normalisation whose γ scales the whole branch."""
        raise NotImplementedError(f"{self._name} defines no last_norm")

    def branch(self, x: Tensor) -> Tensor:
        """Compute F(x): (N, C, H, W) → (N, K, P, Q)."""
        raise NotImplementedError(f"{self._name} defines no branch")

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, K, P, Q)."""
        out = self.branch(x)
        if not self.residual:
            return F.relu(out)
        shortcut = self.downsample(x) if self.downsample else zero_padded(x, out.shape[1], self.stride)
        return F.relu(out + shortcut)


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions; of the paper's Figure 5 the left one.

    Parameters
    ----------
    in_channels : int
    width : int
        Channels of both convolutions.
    stride : int
        Of the first one.
    shortcut : {'A', 'B', 'C'} or None
        None makes it a piece of a plain net.
    stride_on_1x1 : bool
        For bottlenecks; there is no 1×1 here.

    Examples
    --------
    >>> [name for name, _ in BasicBlock(16, 32, stride=2).named_children()]
    ['conv1', 'bn1', 'relu1', 'conv2', 'bn2', 'downsample']
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        shortcut: str | None = "B",
        stride_on_1x1: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self._add_shortcut(in_channels, width, stride, shortcut)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The second one."""
        return self.bn2

    def branch(self, x: Tensor) -> Tensor:
        """Compute F(x)."""
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(ResidualBlock):
    """1×1 down to a quarter of the channels, 3×3 there, 1×1 up again; of the paper's Figure 5 the right one.

    Parameters
    ----------
    in_channels : int
    width : int
        Channels of the 3×3; four times as many come out.
    stride : int
    shortcut : {'A', 'B', 'C'} or None
    stride_on_1x1 : bool
        Whether the stride is the first 1×1's, as in the paper, or the 3×3's, which sees every pixel then.

    Examples
    --------
    >>> from minicnn import tensor
    >>> Bottleneck(8, 4, stride=2)(tensor([[[[1.0] * 6] * 6] * 8])).shape
    (1, 16, 3, 3)
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        shortcut: str | None = "B",
        stride_on_1x1: bool = False,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_on_1x1 else (1, stride)
        out_channels = self.expansion * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self._add_shortcut(in_channels, out_channels, stride, shortcut)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The third one."""
        return self.bn3

    def branch(self, x: Tensor) -> Tensor:
        """Compute F(x)."""
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


def stage(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    width: int,
    count: int,
    stride: int,
    **options: Any,
) -> nn.Sequential:
    """Stack the blocks of one image size; the first takes the stride and the change of channels.

    Parameters
    ----------
    block : BasicBlock or Bottleneck
    in_channels, width : int
    count : int
        Of blocks, at least 1.
    stride : int
    **options
        What else `block` takes.

    Examples
    --------
    >>> blocks = stage(Bottleneck, 64, 128, 4, stride=2)
    >>> blocks[0].conv1.in_channels, blocks[1].conv1.in_channels
    (64, 512)
    """
    first = block(in_channels, width, stride, **options)
    rest = (block(block.expansion * width, width, **options) for _ in range(count - 1))
    return nn.Sequential(first, *rest)


def he_normal_(model: nn.Module) -> None:
    """Draw a network's first weights as the paper does (section 3.4): N(0, 2/fan_in), and biases of 0.

    The paper refers to "Delving Deep into Rectifiers", whose eq. 10 this is, and does not except the dense layer.

    Parameters
    ----------
    model : Module
        Its convolutions and dense layers are drawn.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Return the shortcut of options B and C: eq. 2's W_s, as a 1×1 convolution."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )
