"""Convolutional layers."""

from __future__ import annotations

import math
from typing import Any

from .. import functional as F
from ..geometry import Pair, Window2d, pair
from ..tensor import Tensor
from . import init
from .check import int_of_at_least, one_of
from .module import Module
from .parameter import Parameter, new_parameter

__all__ = ["Conv2d", "ConvTranspose2d"]

_PADDING_MODES = ["zeros", "reflect", "replicate", "circular"]


class _Conv(Module):
    """What the convolution and its transpose share: the arguments, checked, and the parameters."""

    bias: Parameter | None
    padding: Any  # 'same', 'valid', (vertical, horizontal) or (top, bottom, left, right)
    output_padding = (0, 0)
    padding_mode = "zeros"
    relu = False

    def __init__(
        self, in_channels: int, out_channels: int, window: Window2d, padding: Any, groups: int
    ) -> None:
        super().__init__()
        self.in_channels = int_of_at_least(1, self._name, "in_channels", in_channels)
        self.out_channels = int_of_at_least(1, self._name, "out_channels", out_channels)
        self.groups = int_of_at_least(1, self._name, "groups", groups)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(
                    f"{self._name}: {name}={getattr(self, name)} must be divisible by groups={self.groups}"
                )
        self.kernel_size, self.stride, self.dilation = window.kernel, window.stride, window.dilation
        self.padding = padding if isinstance(padding, str) else _shortest(window.padding)

    def _add_parameters(self, rows: int, columns: int, bias: bool, device: str | None, dtype: Any) -> None:
        """Make the weight (rows, columns/groups, R, S) and the bias, and draw their values."""
        self.weight = new_parameter((rows, columns // self.groups, *self.kernel_size), device, dtype)
        self.register_parameter("bias", new_parameter((self.out_channels,), device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias from U(−1/√n, 1/√n) with n = ``weight[0].size``, PyTorch's default."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        unusual = {
            "padding": (self.padding, (0, 0)),
            "dilation": (self.dilation, (1, 1)),
            "output_padding": (self.output_padding, (0, 0)),
            "groups": (self.groups, 1),
            "bias": (self.bias is not None, True),
            "padding_mode": (self.padding_mode, "zeros"),
            "relu": (self.relu, False),
        }
        parts = [f"{self.in_channels}, {self.out_channels}"]
        parts += [f"kernel_size={self.kernel_size}", f"stride={self.stride}"]
        parts += [f"{name}={value}" for name, (value, usual) in unusual.items() if value != usual]
        return ", ".join(parts)


class Conv2d(_Conv):
    """Convolve images with learned kernels and add a bias to each output channel.

    Parameters
    ----------
    in_channels, out_channels : int
        Both divisible by `groups`.
    kernel_size, stride, dilation : int or pair
    padding : int, pair, (top, bottom, left, right), 'same' or 'valid'
    groups : int
        Input and output channels are split into this many independent groups.
    bias : bool
    padding_mode : {'zeros', 'reflect', 'replicate', 'circular'}
        What the padding is filled with.
    device, dtype : optional
        Of the parameters; default ``"cpu"`` and float32.

    Attributes
    ----------
    weight : Parameter (out_channels, in_channels/groups, R, S)
        Over channels-last memory: the convolution multiplies it without copying.
    bias : Parameter (out_channels,), or None
    relu : bool
        Whether a ReLU follows in the same pass, False until :func:`fuse` sets it.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> layer = nn.Conv2d(1, 6, kernel_size=5, padding=2)
    >>> layer
    Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))
    >>> layer(tensor([[[[1.0, 2.0, 3.0]]]])).shape
    (1, 6, 1, 3)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        window = Window2d.of("Conv2d", kernel_size, stride, padding, dilation)
        super().__init__(in_channels, out_channels, window, padding, groups)
        self.padding_mode = one_of(_PADDING_MODES, "Conv2d", "padding_mode", padding_mode)
        top, bottom, left, right = window.padding
        self._border = left, right, top, bottom  # in the order of functional.pad
        self._add_parameters(self.out_channels, self.in_channels, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._border, self.padding_mode), 0
        window = self.stride, padding, self.dilation
        return F.conv2d(input, self.weight, self.bias, *window, self.groups, relu=self.relu)


class ConvTranspose2d(_Conv):
    """Spread each input pixel over the output with learned kernels: the adjoint of a convolution.

    Parameters
    ----------
    in_channels, out_channels : int
        Both divisible by `groups`.
    kernel_size, stride, padding, dilation : int or pair
        Those of the convolution that this is the adjoint of.
    output_padding : int or pair
        Rows and columns added at the end; below the stride or below the dilation.
    groups : int
    bias : bool
    padding_mode : 'zeros'
    device, dtype : optional
        Of the parameters; default ``"cpu"`` and float32.

    Attributes
    ----------
    weight : Parameter (in_channels, out_channels/groups, R, S)
    bias : Parameter (out_channels,), or None

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.ConvTranspose2d(1, 3, kernel_size=2, stride=2)(tensor([[[[1.0, 2.0]]]])).shape
    (1, 3, 2, 4)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        around = pair("ConvTranspose2d", "padding", padding, least=0)
        window = Window2d.of("ConvTranspose2d", kernel_size, stride, around, dilation)
        super().__init__(in_channels, out_channels, window, around, groups)
        self.output_padding = pair("ConvTranspose2d", "output_padding", output_padding, least=0)
        one_of(["zeros"], "ConvTranspose2d", "padding_mode", padding_mode)
        self._add_parameters(self.in_channels, self.out_channels, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv_transpose2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


def _shortest(padding: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Return (vertical, horizontal) for padding that is the same on both sides, else all four."""
    top, bottom, left, right = padding
    return (top, left) if (top, left) == (bottom, right) else padding
