"""The operations as functions on tensors, under PyTorch's names and with PyTorch's arguments.

Each function checks its arguments, so that every mistake is answered with the function's name, the rule and the values,
and applies one operation of :mod:`minicnn.ops`, whose docstring holds the mathematics and the backward pass.
Images are (N, C, H, W); where PyTorch takes a single image (C, H, W), so do these.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from . import backend
from .conv.check import check_dtypes
from .geometry import Pair, Window2d, pair
from .ops.adaptive_pool2d import AdaptiveAvgPool2d, AdaptiveMaxPool2d
from .ops.avg_pool2d import AvgPool2d
from .ops.axes import check_broadcast
from .ops.batch_norm import BatchNorm, BatchNormInference
from .ops.cat import Cat
from .ops.conv2d import Conv2d
from .ops.conv_transpose2d import ConvTranspose2d
from .ops.cross_entropy import CrossEntropy, NegativeLogLikelihood
from .ops.dropout import Dropout
from .ops.linear import Linear
from .ops.local_response_norm import LocalResponseNorm
from .ops.max_pool2d import MaxPool2d
from .ops.pad import MODES, Pad
from .ops.relu import ReLU
from .ops.sigmoid import Sigmoid
from .ops.softmax import LogSoftmax, Softmax
from .ops.tanh import Tanh
from .ops.unfold import Fold, Unfold
from .random import default_generator
from .tensor import Tensor, tensor

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool2d",
    "batch_norm",
    "cat",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "flatten",
    "fold",
    "linear",
    "local_response_norm",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "pad",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
    "unfold",
]

Data = Any
"""A Tensor, or what :func:`minicnn.tensor` makes one of."""


# Convolution


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
        One of :func:`minicnn.conv.algorithms`, or ``"auto"``.

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
    2·N·K·P·Q·R·S·C/groups FLOPs forward, as many for each of the two gradients.  See
    :class:`minicnn.ops.conv2d.Conv2d`.

    Examples
    --------
    >>> from minicnn import tensor
    >>> edge = tensor([[[[1.0, -1.0]]]])
    >>> conv2d(tensor([[[[0.0, 0.0, 1.0, 1.0]]]]), edge)
    tensor([[[[ 0., -1.,  0.]]]], dtype=float32)
    """
    x, w = _tensor(input), _tensor(weight)
    if w.ndim != 4:
        raise ValueError(f"conv2d: weight must be 4-D (K, C/groups, R, S), got shape {w.shape}")
    window = Window2d.of("conv2d", w.shape[2:], stride, padding, dilation)
    return _on_images("conv2d", x, lambda x: Conv2d(window, groups, algorithm)(x, w, *_given(bias)))


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
    x, w = _tensor(input), _tensor(weight)
    if w.ndim != 4:
        raise ValueError(f"{op}: weight must be 4-D (C, K/groups, R, S), got shape {w.shape}")
    window = Window2d.of(op, w.shape[2:], stride, pair(op, "padding", padding, least=0), dilation)
    extra = pair(op, "output_padding", output_padding, least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, window.stride, window.dilation, strict=True)):
        raise ValueError(
            f"{op}: output_padding must be below the stride or the dilation, got {extra} with stride "
            f"{window.stride} and dilation {window.dilation}"
        )
    return _on_images(op, x, lambda x: ConvTranspose2d(window, extra, groups)(x, w, *_given(bias)))


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
    return _on_images("unfold", _tensor(input), Unfold(window))


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
    x = _tensor(input)
    if x.ndim not in (2, 3):
        raise ValueError(f"fold: input must be (N, C·R·S, L) or (C·R·S, L), got shape {x.shape}")
    window = Window2d.of("fold", kernel_size, stride, pair("fold", "padding", padding, least=0), dilation)
    function = Fold(window, pair("fold", "output_size", output_size, least=1))
    return function(x) if x.ndim == 3 else _without_batch(function(_as_batch(x)))


# Pooling


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
    x = _tensor(input)
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
    x = _floating(op, _tensor(input))
    return _on_images(op, x, AvgPool2d(window, count_include_pad, divisor_override))


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
    x = _floating(op, _tensor(input))
    return _on_images(op, x, lambda x: AdaptiveAvgPool2d(_adaptive_size(op, x, output_size))(x))


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
    op, x = "adaptive_max_pool2d", _tensor(input)
    size = _adaptive_size(op, x, output_size)
    return _pooled(op, x, AdaptiveMaxPool2d(size), return_indices)


# Normalisation


def local_response_norm(
    input: Data, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide each value by a power of the energy of `size` neighbouring channels.

    y_c = x_c / (k + (alpha / size) Σ x_j²)^beta, the sum over `size` channels around c.  AlexNet's paper does not
    divide α by n: for its α = 10⁻⁴ and n = 5 pass ``alpha=5e-4``.

    Parameters
    ----------
    input : Tensor (N, C, …), at least 3-D
        Floating point.
    size : int
        Channels in a window, at least 1; an even window reaches one channel further down than up.
    alpha, beta, k : float

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> local_response_norm(tensor([[[2.0]]]), size=1, alpha=1.0, beta=1.0)
    tensor([[[0.4]]], dtype=float32)
    """
    op = "local_response_norm"
    x = _floating(op, _tensor(input))
    if x.ndim < 3:
        raise ValueError(f"{op}: input must be at least 3-D (N, C, …), got shape {x.shape}")
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise ValueError(f"{op}: size must be an int of at least 1, got {size!r}")
    numbers = (_number(op, name, value) for name, value in (("alpha", alpha), ("beta", beta), ("k", k)))
    return LocalResponseNorm(operator.index(size), *numbers)(x)


def batch_norm(
    input: Data,
    running_mean: Data | None,
    running_var: Data | None,
    weight: Data | None = None,
    bias: Data | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel to mean 0 and variance 1, then scale and shift it.

    In training the statistics are the batch's, and the running ones, where given, are moved towards them *in place*:
    ``running = (1 − momentum) · running + momentum · batch``.  The batch is normalised with the biased variance; the
    unbiased one goes into `running_var`.  In evaluation the running statistics are used.

    Parameters
    ----------
    input : Tensor (N, C) or (N, C, …)
        Floating point; in training with more than one value a channel.
    running_mean, running_var : Tensor or array (C,), optional in training
    weight, bias : Tensor (C,), optional
    training : bool
    momentum : float
        The weight of the *new* statistic.
    eps : float
        Added to the variance.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> batch_norm(tensor([[1.0], [3.0]]), None, None, training=True, eps=0.0)
    tensor([[-1.], [ 1.]], dtype=float32)
    """
    op = "batch_norm"
    x = _floating(op, _tensor(input))
    if x.ndim < 2:
        raise ValueError(f"{op}: input must be at least 2-D (N, C, …), got shape {x.shape}")
    momentum, eps = _number(op, "momentum", momentum), _number(op, "eps", eps)
    be, channels = backend.of(x.data), x.shape[1]
    mean = _per_channel(op, "running_mean", running_mean, channels)
    var = _per_channel(op, "running_var", running_var, channels)
    w = _per_channel(op, "weight", be.full(channels, 1, x.dtype) if weight is None else weight, channels)
    b = _per_channel(op, "bias", be.zeros(channels, x.dtype) if bias is None else bias, channels)
    check_dtypes(op, input=x, running_mean=mean, running_var=var, weight=w, bias=b)
    if not training:
        if mean is None or var is None:
            raise ValueError(f"{op}: running_mean and running_var must be given unless training=True")
        return BatchNormInference(mean.data, var.data, eps)(x, w, b)
    count = x.size // max(channels, 1)
    if count < 2:
        raise ValueError(f"{op}: training needs more than one value a channel, got input {x.shape}")
    function = BatchNorm(eps)
    y = function(x, w, b)
    for running, batch in ((mean, function.mean), (var, function.var * (count / (count - 1)))):
        if running is not None:
            running.data *= 1 - momentum
            running.data += momentum * batch
    return y


def dropout(
    input: Data,
    p: float = 0.5,
    training: bool = True,
    *,
    scale_at_test: bool = False,
    generator: Any = None,
) -> Tensor:
    """Set each element to 0 with probability `p`, in training; scale so that the expectation stays.

    Parameters
    ----------
    input : Tensor of any shape
        Floating point.
    p : float in [0, 1]
    training : bool
    scale_at_test : bool
        False: what is kept in training is divided by 1 − p ("inverted" dropout), and evaluation changes nothing.
        True, the form in the papers: training scales nothing, evaluation multiplies by 1 − p.
    generator : numpy.random.Generator, optional
        Default: the one that :func:`minicnn.manual_seed` starts.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> dropout(tensor([2.0, 4.0]), p=0.5, training=False, scale_at_test=True)
    tensor([1., 2.], dtype=float32)
    """
    x = _floating("dropout", _tensor(input))
    if not 0 <= _number("dropout", "p", p) <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    if not training:
        return x * (1 - p) if scale_at_test else x
    scale = 1 if scale_at_test or p == 1 else 1 / (1 - p)
    return Dropout(p, scale, generator or default_generator())(x)


# Activations


def relu(input: Data) -> Tensor:
    """max(x, 0), elementwise; the subgradient at 0 is 0.

    >>> from minicnn import tensor
    >>> relu(tensor([-1.0, 2.0]))
    tensor([0., 2.], dtype=float32)
    """
    return ReLU()(_tensor(input))


def sigmoid(input: Data) -> Tensor:
    """1 / (1 + e⁻ˣ), elementwise, without overflow.

    >>> from minicnn import tensor
    >>> sigmoid(tensor([0.0, -1000.0]))
    tensor([0.5, 0. ], dtype=float32)
    """
    return Sigmoid()(_tensor(input))


def tanh(input: Data) -> Tensor:
    """Hyperbolic tangent, elementwise.

    >>> from minicnn import tensor
    >>> tanh(tensor([0.0]))
    tensor([0.], dtype=float32)
    """
    return Tanh()(_tensor(input))


def softmax(input: Data, dim: int) -> Tensor:
    """e^xᵢ / Σ e^xⱼ along an axis, without overflow.

    Raises
    ------
    TypeError, ValueError
        If `dim` is no axis of the input.

    Examples
    --------
    >>> from minicnn import tensor
    >>> softmax(tensor([1000.0, 1000.0]), dim=0)
    tensor([0.5, 0.5], dtype=float32)
    """
    return Softmax(dim)(_tensor(input))


def log_softmax(input: Data, dim: int) -> Tensor:
    """Logarithm of :func:`softmax`, exact where the softmax itself would round to 0.

    Raises
    ------
    TypeError, ValueError
        If `dim` is no axis of the input.

    Examples
    --------
    >>> from minicnn import tensor
    >>> log_softmax(tensor([0.0, 1000.0]), dim=0)
    tensor([-1000., 0.], dtype=float32)
    """
    return LogSoftmax(dim)(_tensor(input))


# Linear


def linear(input: Data, weight: Data, bias: Data | None = None) -> Tensor:
    """x Wᵀ + b over the last axis.

    Parameters
    ----------
    input : Tensor (…, in)
    weight : Tensor (out, in), or (in,) for a single output without an axis
    bias : Tensor (out,), or () with a 1-D weight, optional

    Raises
    ------
    ValueError
        If the sizes do not fit.

    Examples
    --------
    >>> from minicnn import tensor
    >>> linear(tensor([1.0, 2.0]), tensor([[3.0, 4.0]]), tensor([0.5]))
    tensor([11.5], dtype=float32)
    """
    x, w, b = _tensor(input), _tensor(weight), _given(bias)
    if w.ndim not in (1, 2) or not x.ndim or x.shape[-1] != w.shape[-1]:
        raise ValueError(f"linear: input (…, in) and weight (out, in) must fit, got {x.shape} and {w.shape}")
    check_dtypes("linear", input=x, weight=w, bias=b[0] if b else None)
    if b and b[0].shape != w.shape[:-1]:
        raise ValueError(f"linear: bias must have shape {w.shape[:-1]}, got {b[0].shape}")
    if w.ndim == 2:
        return Linear()(x, w, *b)
    return linear(x, _as_batch(w), *(_as_batch(t) for t in b)).reshape(x.shape[:-1])


# Losses


def cross_entropy(
    input: Data,
    target: Data,
    weight: Data | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Negative log-likelihood of the targets under softmax(input).

    Parameters
    ----------
    input : Tensor (C,), (N, C) or (N, C, d₁, …)
        Logits.
    target : Tensor
        Class numbers, int, of the input's shape without its class axis; or probabilities of the input's shape.
    weight : Tensor (C,), optional
        A factor for each class.
    ignore_index : int
        Samples with this class number count for nothing.
    reduction : {'mean', 'sum', 'none'}
        The mean over class numbers is weighted: Σ loss / Σ weight[target].  Over probabilities it is over the samples.
    label_smoothing : float in [0, 1]
        How much of each target distribution is replaced by the uniform one.

    Returns
    -------
    Tensor
        A scalar, or with 'none' one loss a sample.

    Raises
    ------
    TypeError, ValueError
        For a label out of range, or shapes that do not fit.

    References
    ----------
    C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015, section 7 (label smoothing).

    Examples
    --------
    >>> from minicnn import tensor
    >>> loss = cross_entropy(tensor([[0.0, 0.0], [5.0, 5.0]]), tensor([0, 1]))
    >>> print(f"{loss.item():.6f}")
    0.693147
    """
    op = "cross_entropy"
    z, t = _floating(op, _tensor(input)), _tensor(target)
    if not 0 <= _number(op, "label_smoothing", label_smoothing) <= 1:
        raise ValueError(f"{op}: label_smoothing must be in [0, 1], got {label_smoothing}")
    if z.ndim == 1:
        z, t = _as_batch(z), _as_batch(t)
        return _one_or_all(cross_entropy(z, t, weight, ignore_index, reduction, label_smoothing), reduction)
    weights = _class_weights(op, z, weight)
    smooth = label_smoothing / z.shape[1] if z.ndim > 1 and z.shape[1] else 0.0
    if t.shape == z.shape and backend.of(t.data).is_float(t.dtype):
        a = (t * (1 - label_smoothing) + smooth) * weights
        samples = z.size // max(z.shape[1], 1)
        return _reduced(op, CrossEntropy()(z, a), samples, reduction)
    hot, kept = _one_hot(op, z, t, ignore_index)
    a = (hot * (1 - label_smoothing) + smooth) * kept * weights
    total = (hot * weights).sum() if reduction == "mean" else None
    return _reduced(op, CrossEntropy()(z, a), total, reduction)


def nll_loss(
    input: Data,
    target: Data,
    weight: Data | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of class numbers, given log-probabilities.

    The parameters are those of :func:`cross_entropy`, which is this after :func:`log_softmax`.

    Raises
    ------
    TypeError, ValueError
        For a label out of range, or shapes that do not fit.

    Examples
    --------
    >>> from minicnn import tensor
    >>> nll_loss(tensor([[-1.0, -2.0]]), tensor([1])).item()
    2.0
    """
    op = "nll_loss"
    z, t = _floating(op, _tensor(input)), _tensor(target)
    if z.ndim == 1:
        return _one_or_all(nll_loss(_as_batch(z), _as_batch(t), weight, ignore_index, reduction), reduction)
    weights = _class_weights(op, z, weight)
    hot, _ = _one_hot(op, z, t, ignore_index)
    a = hot * weights
    return _reduced(op, NegativeLogLikelihood()(z, a), a.sum() if reduction == "mean" else None, reduction)


def mse_loss(input: Data, target: Data, reduction: str = "mean") -> Tensor:
    """Squared difference (input − target)².

    Parameters
    ----------
    input, target : Tensor
        Of one shape; others are broadcast, with a warning, for that is rarely meant.
    reduction : {'mean', 'sum', 'none'}

    Raises
    ------
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> from minicnn import tensor
    >>> mse_loss(tensor([1.0, 2.0]), tensor([1.0, 4.0])).item()
    2.0
    """
    x, t = _floating("mse_loss", _tensor(input)), _tensor(target)
    check_broadcast("mse_loss", backend.of(x.data), x, t)
    if x.shape != t.shape:
        warnings.warn(
            f"mse_loss: input {x.shape} and target {t.shape} differ and are broadcast", stacklevel=2
        )
    difference = x - t
    square = difference * difference
    return _reduced("mse_loss", square, square.size, reduction)


# Shape


def pad(input: Data, pad: Sequence[int], mode: str = "constant", value: float | None = 0) -> Tensor:
    """Extend or cut a tensor at its borders.

    Parameters
    ----------
    input : Tensor
    pad : sequence of int
        (before, after) for the last axis, then for the one before it, and so on.  A negative number cuts.
    mode : {'constant', 'reflect', 'replicate', 'circular'}
        All but 'constant' want both numbers for the image axes of the input: the last axis of a 2-D or 3-D tensor,
        the last two of a 3-D or 4-D one, or the last three of a 4-D or 5-D one.
    value : float
        The constant.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> pad(tensor([[1.0, 2.0, 3.0]]), (2, 1), mode="reflect")
    tensor([[3., 2., 1., 2., 3., 2.]], dtype=float32)
    """
    x = _tensor(input)
    amounts = _pad_amounts(x, pad, mode)
    if mode != "constant" and value not in (0, None):
        raise ValueError(f"pad: value goes with mode='constant' only, got {value} with mode={mode!r}")
    return Pad(amounts, mode, 0 if value is None else value)(x)


def flatten(input: Data, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the axes from `start_dim` to `end_dim`, both included, into one.

    Raises
    ------
    TypeError, ValueError
        If there are no such axes, or they are in the wrong order.

    Examples
    --------
    >>> from minicnn import tensor
    >>> flatten(tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), 1).shape
    (2, 2)
    """
    return _tensor(input).flatten(start_dim, end_dim)


def cat(tensors: Sequence[Data], dim: int = 0) -> Tensor:
    """Join tensors one after the other along an axis.

    Raises
    ------
    TypeError, ValueError
        If there are none, or their other axes differ.

    Examples
    --------
    >>> from minicnn import tensor
    >>> cat([tensor([1.0]), tensor([2.0, 3.0])])
    tensor([1., 2., 3.], dtype=float32)
    """
    if isinstance(tensors, Tensor) or not isinstance(tensors, Sequence):
        raise TypeError(f"cat: tensors must be a sequence of tensors, got {type(tensors).__name__}")
    if not tensors:
        raise ValueError("cat: there must be at least one tensor")
    return Cat(dim)(*(_tensor(t) for t in tensors))


# What several of them share


def _tensor(value: Data) -> Tensor:
    return value if isinstance(value, Tensor) else tensor(value)


def _given(value: Data | None) -> tuple[Tensor, ...]:
    """Return an optional argument as the arguments to pass on: one or none."""
    return () if value is None else (_tensor(value),)


def _number(op: str, name: str, value: Any) -> float:
    """Return a real number as it is."""
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise TypeError(f"{op}: {name} must be a number, got {value!r}")
    return value


def _floating(op: str, x: Tensor) -> Tensor:
    if not backend.of(x.data).is_float(x.dtype):
        raise TypeError(f"{op}: input must be floating point, got {x.dtype}; convert it first")
    return x


def _as_batch(x: Tensor) -> Tensor:
    """Make a batch of one."""
    return x.reshape(1, *x.shape)


def _without_batch(x: Tensor) -> Tensor:
    """Undo :func:`_as_batch`."""
    return x.reshape(x.shape[1:])


def _on_images(op: str, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `function`, made for batches, to a batch (N, C, H, W) or to a single image (C, H, W)."""
    if x.ndim not in (3, 4):
        raise ValueError(f"{op}: input must be (N, C, H, W) or (C, H, W), got shape {x.shape}")
    return function(x) if x.ndim == 4 else _without_batch(function(_as_batch(x)))


def _pooled(op: str, x: Tensor, function: Any, return_indices: bool) -> Any:
    y = _on_images(op, x, function)
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


def _per_channel(op: str, name: str, value: Data | None, channels: int) -> Tensor | None:
    if value is None:
        return None
    # An array is wrapped, not copied: running statistics are changed in place.
    t = Tensor(value) if hasattr(value, "dtype") and not isinstance(value, Tensor) else _tensor(value)
    if t.shape != (channels,):
        raise ValueError(f"{op}: {name} must have shape ({channels},), one a channel, got {t.shape}")
    return t


def _class_weights(op: str, z: Tensor, weight: Data | None) -> Tensor:
    """Return the class weights so that they broadcast against the logits (N, C, …)."""
    if z.ndim < 2 or z.shape[1] < 1:
        raise ValueError(
            f"{op}: input must be (C,), (N, C) or (N, C, …) with at least one class, got {z.shape}"
        )
    channels = z.shape[1]
    be = backend.of(z.data)
    w = Tensor(be.full(channels, 1, z.dtype)) if weight is None else _tensor(weight).detach()
    if w.shape != (channels,):
        raise ValueError(f"{op}: weight must have shape ({channels},), one a class, got {w.shape}")
    return w.to(z.dtype).reshape(1, channels, *(1,) * (z.ndim - 2))


def _one_hot(op: str, z: Tensor, t: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return what each class of each sample counts for (N, C, …), and which samples count at all (N, 1, …)."""
    be = backend.of(z.data, t.data)
    expected = (z.shape[0], *z.shape[2:])
    if be.is_float(t.dtype) or t.dtype.kind not in "iu":
        raise TypeError(
            f"{op}: target must be class numbers (int){_or_probabilities(op, z)}, got {t.dtype} {t.shape}"
        )
    if t.shape != expected:
        raise ValueError(f"{op}: target must have shape {expected} for input {z.shape}, got {t.shape}")
    kept = t.data != ignore_index
    wrong = kept & ((t.data < 0) | (t.data >= z.shape[1]))
    if wrong.any():
        raise ValueError(f"{op}: target must be in [0, {z.shape[1] - 1}], got {t.data[wrong][0]}")
    classes = be.arange(z.shape[1]).reshape(1, -1, *(1,) * (z.ndim - 2))
    hot = (be.expand_dims(t.data, 1) == classes) & be.expand_dims(kept, 1)
    return Tensor(hot.astype(z.dtype)), Tensor(be.expand_dims(kept, 1).astype(z.dtype))


def _or_probabilities(op: str, z: Tensor) -> str:
    return f" or probabilities of shape {z.shape}" if op == "cross_entropy" else ""


def _reduced(op: str, losses: Tensor, count: Any, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction != "mean":
        raise ValueError(f"{op}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return losses.sum() / count


def _one_or_all(loss: Tensor, reduction: str) -> Tensor:
    """For a single sample, 'none' gives a scalar too."""
    return _without_batch(loss) if reduction == "none" else loss


def _pad_amounts(x: Tensor, pad: Sequence[int], mode: str) -> list[tuple[int, int]]:
    """Return (before, after) for every axis, the first axis first."""
    if mode not in MODES:
        raise ValueError(f"pad: mode must be one of {', '.join(map(repr, MODES))}, got {mode!r}")
    if not isinstance(pad, Sequence) or isinstance(pad, str):
        raise TypeError(f"pad: the amounts must be a sequence of ints, got {pad!r}")
    if any(isinstance(n, bool) or not hasattr(n, "__index__") for n in pad):
        raise TypeError(f"pad: the amounts must be ints, got {tuple(pad)}")
    numbers = [operator.index(n) for n in pad]
    axes = len(numbers) // 2
    if len(numbers) % 2 or axes > x.ndim:
        raise ValueError(
            f"pad: there must be two amounts for each of at most {x.ndim} axes, got {tuple(pad)}"
        )
    if mode != "constant" and (axes not in (1, 2, 3) or x.ndim not in (axes + 1, axes + 2)):
        raise ValueError(
            f"pad: mode {mode!r} takes 2, 4 or 6 amounts for a tensor of one or two axes more, got "
            f"{len(numbers)} for input {x.shape}"
        )
    last_first = [(numbers[2 * i], numbers[2 * i + 1]) for i in range(axes)]
    amounts = [(0, 0)] * (x.ndim - axes) + last_first[::-1]
    for n, (before, after) in zip(x.shape, amounts, strict=True):
        _check_pad(x, n, before, after, mode)
    return amounts


def _check_pad(x: Tensor, n: int, before: int, after: int, mode: str) -> None:
    where = f"; amounts ({before}, {after}) on an axis of {n}, input {x.shape}"
    if n + before + after < 0 or -before > n or -after > n:
        raise ValueError(f"pad: an axis cannot be cut by more than its length{where}")
    left = n + min(before, 0) + min(after, 0)
    most = {"reflect": n - 1, "circular": left, "replicate": math.inf if n else 0}.get(mode, math.inf)
    if max(before, after) > max(most, 0):
        raise ValueError(f"pad: mode {mode!r} can add at most {max(most, 0)}{where}")
