"""The block all networks of the Inception family since batch normalisation are made of."""

from __future__ import annotations

from .. import nn
from ..geometry import Pair
from ..tensor import Tensor

__all__ = ["ConvBN"]


class ConvBN(nn.Module):
    """Convolution, batch normalisation, ReLU.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding : int or pair
    eps, momentum : float
        Of the normalisation; the family's eps is 10⁻³.
    bias : bool
        Whether the convolution has one.  It changes nothing: the normalisation subtracts it again with the mean, and
        adds a shift of its own.

    Examples
    --------
    >>> [name for name, _ in ConvBN(3, 8, 3).named_parameters()]
    ['conv.weight', 'bn.weight', 'bn.bias']
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        eps: float = 1e-3,
        momentum: float = 0.1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.bn = nn.BatchNorm2d(out_channels, eps, momentum)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, K, P, Q)."""
        return self.relu(self.bn(self.conv(x)))
