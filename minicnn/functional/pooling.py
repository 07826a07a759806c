"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..geometry import Pair, Window2d, pair
from ..ops.adaptive_pool2d import AdaptiveAvgPool2d, AdaptiveMaxPool2d
from ..ops.avg_pool2d import AvgPool2d
from ..ops.max_pool2d import MaxPool2d
from ..tensor import Tensor
from .arguments import Data, as_tensor, floating, on_images

__all__ = ["adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d"]


def max_pool2d(
    input: Data,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Take the largest value of each window; the padding is −∞.

    Parameters
    ----------
    input : Tensor (N, C, H, W) or (C, H, W)
    kernel_size : int or pair
    stride : int or pair, optional
        Default: `kernel_size`.
    padding : int or pair
        At most half the kernel.
    dilation : int or pair
    ceil_mode : bool
        Round the output size up: a last window may hang over the end, unless it would start in the padding.
    return_indices : bool
        Also return where each maximum is, h·W + w (int64).

    Returns
    -------
    Tensor (N, C, P, Q) or (C, P, Q), or a pair of them

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> max_pool2d(tensor([[[[1.0, 4.0], [3.0, 2.0]]]]), 2)
    tensor([[[[4.]]]], dtype=float32)
    """
    window = _pool_window("max_pool2d", kernel_size, stride, padding, dilation, ceil_mode)
    x = as_tensor(input)
    if x.dtype == bool:
        raise TypeError("max_pool2d: input must be numbers, got bool")
    return _pooled("max_pool2d", x, MaxPool2d(window, return_indices), return_indices)


def avg_pool2d(
    input: Data,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Average each window.

    Parameters
    ----------
    input : Tensor (N, C, H, W) or (C, H, W)
        Floating point.
    kernel_size : int or pair
    stride : int or pair, optional
        Default: `kernel_size`.
    padding : int or pair
        Zeros around the image; at most half the kernel.
    ceil_mode : bool
        Round the output size up, as in :func:`max_pool2d`.
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
    >>> from minicnn import tensor
    >>> avg_pool2d(tensor([[[[1.0, 4.0], [3.0, 2.0]]]]), 2)
    tensor([[[[2.5]]]], dtype=float32)
    """
    op = "avg_pool2d"
    window = _pool_window(op, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override is not None and (not hasattr(divisor_override, "__index__") or divisor_override == 0):
        raise ValueError(f"{op}: divisor_override must be an int other than 0, got {divisor_override!r}")
    x = floating(op, as_tensor(input))
    return on_images(op, x, AvgPool2d(window, count_include_pad, divisor_override))


def adaptive_avg_pool2d(input: Data, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Average rectangular cells so that the output has a given size.

    Parameters
    ----------
    input : Tensor (N, C, H, W) or (C, H, W)
        Floating point.
    output_size : int or pair
        None keeps the input's size along that axis.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> adaptive_avg_pool2d(tensor([[[[1.0, 4.0], [3.0, 2.0]]]]), 1)
    tensor([[[[2.5]]]], dtype=float32)
    """
    op = "adaptive_avg_pool2d"
    x = floating(op, as_tensor(input))
    return on_images(op, x, lambda x: AdaptiveAvgPool2d(_adaptive_size(op, x, output_size))(x))


def adaptive_max_pool2d(
    input: Data, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """Take the maximum of rectangular cells so that the output has a given size.

    Parameters
    ----------
    input : Tensor (N, C, H, W) or (C, H, W)
    output_size : int or pair
        None keeps the input's size along that axis.
    return_indices : bool
        Also return where each maximum is, h·W + w (int64).

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> adaptive_max_pool2d(tensor([[[[1.0, 4.0], [3.0, 2.0]]]]), (1, None))
    tensor([[[[3., 4.]]]], dtype=float32)
    """
    op, x = "adaptive_max_pool2d", as_tensor(input)
    size = _adaptive_size(op, x, output_size)
    return _pooled(op, x, AdaptiveMaxPool2d(size), return_indices)


def _pooled(op: str, x: Tensor, function: Any, return_indices: bool) -> Any:
    y = on_images(op, x, function)
    return (y, Tensor(function.indices.reshape(y.shape))) if return_indices else y


def _pool_window(
    op: str, kernel_size: Pair, stride: Pair | None, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Window2d:
    """Return the window of a pooling function; its stride is its kernel unless given."""
    stride = kernel_size if stride is None else stride
    window = Window2d.of(op, kernel_size, stride, pair(op, "padding", padding, least=0), dilation, ceil_mode)
    top, _, left, _ = window.padding
    if top > window.extent[0] // 2 or left > window.extent[1] // 2:
        raise ValueError(
            f"{op}: padding must be at most half the kernel, got padding {(top, left)} for a kernel covering "
            f"{window.extent}"
        )
    return window


def _adaptive_size(op: str, x: Tensor, size: Any) -> tuple[int, int]:
    sizes = size if isinstance(size, Sequence) else (size, size)
    filled = [n if m is None else m for m, n in zip(sizes, x.shape[-2:], strict=False)]
    if len(sizes) != 2 or len(filled) != 2:
        raise ValueError(f"{op}: output_size must be an int or a pair, got {size!r} for input {x.shape}")
    if min(x.shape[-2:]) < 1:
        raise ValueError(f"{op}: input must have at least one pixel, got shape {x.shape}")
    return pair(op, "output_size", filled, least=1)
