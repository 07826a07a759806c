"""Pooling layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .. import functional as F
from ..geometry import Pair, Window2d, pair
from ..tensor import Tensor
from .module import Module

__all__ = ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "MaxPool2d"]


class MaxPool2d(Module):
    """Take the largest value of each window.

    Parameters
    ----------
    kernel_size : int or pair
    stride : int or pair, optional
        Default: `kernel_size`.
    padding : int or pair
        −∞ around the image; at most half the kernel.
    dilation : int or pair
    return_indices : bool
        Also return where each maximum is, h·W + w.
    ceil_mode : bool
        Round the output size up: a last window may hang over the end, unless it would start in the padding.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.MaxPool2d(2)(tensor([[[[1.0, 4.0], [3.0, 2.0]]]]))
    tensor([[[[4.]]]], dtype=float32)
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        Window2d.of(
            "MaxPool2d", kernel_size, self.stride, padding, dilation
        )  # raises here, not at the first call
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        return F.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """Average each window.

    Parameters
    ----------
    kernel_size : int or pair
    stride : int or pair, optional
        Default: `kernel_size`.
    padding : int or pair
        Zeros around the image; at most half the kernel.
    ceil_mode : bool
        As in :class:`MaxPool2d`.
    count_include_pad : bool
        Whether the padding counts as pixels in the average.
    divisor_override : int, optional
        Divide the sum by this instead.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.AvgPool2d(2)(tensor([[[[1.0, 4.0], [3.0, 2.0]]]]))
    tensor([[[[2.5]]]], dtype=float32)
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        Window2d.of("AvgPool2d", kernel_size, self.stride, padding)  # raises here, not at the first call
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Average rectangular cells so that the output has a given size.

    Parameters
    ----------
    output_size : int or pair
        None keeps the input's size along that axis.

    Raises
    ------
    TypeError, ValueError
        If `output_size` is neither, or below 1.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.AdaptiveAvgPool2d(1)(tensor([[[[1.0, 4.0], [3.0, 2.0]]]]))
    tensor([[[[2.5]]]], dtype=float32)
    """

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        self.output_size = _adaptive_size("AdaptiveAvgPool2d", output_size)

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Module):
    """Take the maximum of rectangular cells so that the output has a given size.

    Parameters
    ----------
    output_size : int or pair
        None keeps the input's size along that axis.
    return_indices : bool
        Also return where each maximum is, h·W + w.

    Raises
    ------
    TypeError, ValueError
        If `output_size` is neither, or below 1.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.AdaptiveMaxPool2d((1, None))(tensor([[[[1.0, 4.0], [3.0, 2.0]]]]))
    tensor([[[[3., 4.]]]], dtype=float32)
    """

    def __init__(self, output_size: int | Sequence[int | None] | None, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = _adaptive_size("AdaptiveMaxPool2d", output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


def _adaptive_size(layer: str, size: Any) -> Any:
    """Return `size` as it was given, once it is sure that every number in it is at least 1."""
    sizes = size if isinstance(size, Iterable) else (size,)
    pair(layer, "output_size", [1 if n is None else n for n in sizes], least=1)
    return size
