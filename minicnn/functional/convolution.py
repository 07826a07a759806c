"""Convolution, its adjoint, and the windows both are made of."""

from __future__ import annotations

from ..geometry import Pair, Window2d, pair
from ..ops.conv2d import Conv2d
from ..ops.conv_transpose2d import ConvTranspose2d
from ..ops.unfold import Fold, Unfold
from ..tensor import Tensor
from .arguments import Data, as_batch, as_tensor, given, on_images, without_batch

__all__ = ["conv2d", "conv_transpose2d", "fold", "unfold"]


def conv2d(
    input: Data,
    weight: Data,
    bias: Data | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    relu: bool = False,
) -> Tensor:
    """Convolve images with a bank of kernels (cross-correlation, as everywhere in deep learning).

    Parameters
    ----------
    input : Tensor (N, C, H, W) or (C, H, W)
        Floating point.
    weight : Tensor (K, C/groups, R, S)
    bias : Tensor (K,), optional
    stride, dilation : int or pair, at least 1
    padding : int, pair, (top, bottom, left, right), 'same' or 'valid'
    groups : int
        Input and output channels are split into this many independent groups.
    algorithm : str
        One of :func:`minicnn.conv.algorithms`, or ``"auto"``, the fastest for each direction.
    relu : bool
        Take the result's positive part, in the same pass.

    Returns
    -------
    Tensor (N, K, P, Q) or (K, P, Q)
        In channels-last memory.

    Raises
    ------
    TypeError
        For a dtype that is not floating point, or differing ones.
    ValueError
        For a rank, channel count, kernel or setting that does not fit.

    Notes
    -----
    2·N·K·P·Q·R·S·C/groups FLOPs forward, as many for each of the two gradients, by the definition.  See
    :class:`minicnn.ops.conv2d.Conv2d`.

    A NaN or an infinity reaches every output that sees it.  With ``toeplitz``, ``fft`` and ``winograd``, which
    ``"auto"`` may take, it can also reach the neighbours that are computed with them.

    Examples
    --------
    >>> from minicnn import tensor
    >>> edge = tensor([[[[1.0, -1.0]]]])
    >>> conv2d(tensor([[[[0.0, 0.0, 1.0, 1.0]]]]), edge)
    tensor([[[[ 0., -1.,  0.]]]], dtype=float32)
    """
    x, w = as_tensor(input), as_tensor(weight)
    if w.ndim != 4:
        raise ValueError(f"conv2d: weight must be 4-D (K, C/groups, R, S), got shape {w.shape}")
    window = Window2d.of("conv2d", w.shape[2:], stride, padding, dilation)
    return on_images("conv2d", x, lambda x: Conv2d(window, groups, algorithm, relu)(x, w, *given(bias)))


def conv_transpose2d(
    input: Data,
    weight: Data,
    bias: Data | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> Tensor:
    """Apply the adjoint of a convolution: each input pixel spreads a weighted kernel over the output.

    Parameters
    ----------
    input : Tensor (N, C, H, W) or (C, H, W)
    weight : Tensor (C, K/groups, R, S)
    bias : Tensor (K,), optional
    stride, padding, dilation : int or pair
    output_padding : int or pair
        Rows and columns added at the end; below the stride or below the dilation.
    groups : int

    Returns
    -------
    Tensor (N, K, P, Q) or (K, P, Q)
        With P = (H − 1)·stride − 2·padding + dilation·(R − 1) + 1 + output_padding.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    References
    ----------
    V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4.

    Examples
    --------
    >>> from minicnn import tensor
    >>> conv_transpose2d(tensor([[[[1.0, 2.0]]]]), tensor([[[[1.0, 10.0]]]]), stride=(1, 2))
    tensor([[[[ 1., 10.,  2., 20.]]]], dtype=float32)
    """
    op = "conv_transpose2d"
    x, w = as_tensor(input), as_tensor(weight)
    if w.ndim != 4:
        raise ValueError(f"{op}: weight must be 4-D (C, K/groups, R, S), got shape {w.shape}")
    window = Window2d.of(op, w.shape[2:], stride, pair(op, "padding", padding, least=0), dilation)
    extra = pair(op, "output_padding", output_padding, least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, window.stride, window.dilation, strict=True)):
        raise ValueError(
            f"{op}: output_padding must be below the stride or the dilation, got {extra} with stride "
            f"{window.stride} and dilation {window.dilation}"
        )
    return on_images(op, x, lambda x: ConvTranspose2d(window, extra, groups)(x, w, *given(bias)))


def unfold(input: Data, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1) -> Tensor:
    """Write what each window of the images sees as a column (im2col).

    Parameters
    ----------
    input : Tensor (N, C, H, W) or (C, H, W)
    kernel_size, dilation, padding, stride : int or pair

    Returns
    -------
    Tensor (N, C·R·S, P·Q) or (C·R·S, P·Q)

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> unfold(tensor([[[[1.0, 2.0, 3.0]]]]), kernel_size=(1, 2))
    tensor([[[1., 2.], [2., 3.]]], dtype=float32)
    """
    window = Window2d.of("unfold", kernel_size, stride, pair("unfold", "padding", padding, least=0), dilation)
    return on_images("unfold", as_tensor(input), Unfold(window))


def fold(
    input: Data, output_size: Pair, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1
) -> Tensor:
    """Add columns back to the pixels their entries were taken from (col2im): the adjoint of :func:`unfold`.

    Parameters
    ----------
    input : Tensor (N, C·R·S, P·Q) or (C·R·S, P·Q)
    output_size : int or pair
        Of the images, (H, W).
    kernel_size, dilation, padding, stride : int or pair

    Returns
    -------
    Tensor (N, C, H, W) or (C, H, W)

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> fold(tensor([[[1.0, 2.0], [2.0, 3.0]]]), output_size=(1, 3), kernel_size=(1, 2))
    tensor([[[[1., 4., 3.]]]], dtype=float32)
    """
    x = as_tensor(input)
    if x.ndim not in (2, 3):
        raise ValueError(f"fold: input must be (N, C·R·S, L) or (C·R·S, L), got shape {x.shape}")
    window = Window2d.of("fold", kernel_size, stride, pair("fold", "padding", padding, least=0), dilation)
    function = Fold(window, pair("fold", "output_size", output_size, least=1))
    return function(x) if x.ndim == 3 else without_batch(function(as_batch(x)))
