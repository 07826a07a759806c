"""Whole operations on the GPU, each by the project's kernels (:mod:`.ladder`) in a launch or a few.

An operation of :mod:`minicnn.ops` comes here where :func:`takes`, or a function like it for that operation, says that
the kernels are made for its arrays.  Where they are not, its plain formulation runs, over CuPy::

    float32                          always
    float64, float16, bfloat16       up to 2³⁰ elements, about: the kernels number them with an int
    other dtypes, empty arrays       never

Arrays are logical (N, C, …), of any strides, and converted if they are not channels-last (:mod:`.gpu_rows`).  Results
are logical (N, C, …) over channels-last memory.  Of halves only what is stored is rounded: sums, statistics and the
factors of channels are float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cupy_device import launcher
from .gpu_rows import channels, is_packed, packed, rows
from .ladder.arguments import sums_dtype
from .ladder.batch_norm import batch_norm_backward as _batch_norm_backward
from .ladder.batch_norm import batch_norm_forward, batch_norm_inference
from .ladder.conv2d_backward_weight import conv2d_backward_bias
from .ladder.dropout import dropout as _dropout
from .ladder.lrn import lrn_backward as _lrn_backward
from .ladder.lrn import lrn_forward
from .ladder.sgd import sgd as _sgd
from .ladder.softmax_cross_entropy import softmax_cross_entropy as _softmax_cross_entropy

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_fixed",
    "channel_sum",
    "cross_entropy_takes",
    "dropout",
    "lrn",
    "lrn_backward",
    "lrn_takes",
    "sgd",
    "sgd_takes",
    "softmax_cross_entropy",
    "takes",
]

Array = Any

OTHERS = frozenset({"float64", "float16", "bfloat16"})  # the dtypes whose kernels have no indices of 64 bits
MOST = (1 << 30) - 256  # of their elements, so that an int counts these and as many threads
MOST_PIXELS = 1 << 22  # of halves, in local response normalisation: 256 threads a pixel at most
MOST_CHANNELS = 4096  # of halves there: a pixel's squares, products and margins in 48 KiB of shared memory
MOST_SAMPLES = 1 << 25  # of float64, in cross entropy: a warp each


def takes(x: Array) -> bool:
    """Whether the kernels are made for an array like x."""
    return x.size > 0 and (x.dtype == np.float32 or (x.dtype.name in OTHERS and x.size <= MOST))


# Local response normalisation


def lrn_takes(x: Array, size: int) -> bool:
    """Whether the kernels normalise an array like x over windows of so many channels."""
    if not takes(x) or x.dtype.itemsize > 2:
        return takes(x)
    count = x.shape[1]
    return x.size // count <= MOST_PIXELS and count + size <= MOST_CHANNELS


def lrn(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """Divide each number of x (N, C, …) by a power of the energy of the `size` channels around it."""
    of = rows(x)
    y = launcher().run(lrn_forward, _images(of), size=size, alpha=alpha, beta=beta, k=k)
    return channels(y.reshape(of.shape))


def lrn_backward(x: Array, g: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """Return ∂L/∂x from x and g = ∂L/∂y."""
    of, on = rows(x), launcher()
    dx = on.run(_lrn_backward, _images(of), _images(rows(g)), size=size, alpha=alpha, beta=beta, k=k)
    return channels(dx.reshape(of.shape))


def _images(of: Array) -> Array:
    """View rows (N, …, C) as images (N, H, W, C)."""
    return of if of.ndim == 4 else of.reshape(len(of), -1, 1, of.shape[-1])


# Batch normalisation


def batch_norm(
    x: Array,
    w: Array,
    b: Array,
    running_mean: Array | None,
    running_var: Array | None,
    momentum: float,
    eps: float,
    relu: bool,
) -> tuple[Array, Array, Array]:
    """Normalise x (N, C, …) by its own statistics, and move the running ones, in place.

    Returns
    -------
    y : array
    mean, var : (C,), of float32, or float64 if x is
        The batch's, the variance biased.
    """
    dtype, on = sums_dtype(x.dtype), launcher()
    given = {"running_mean": running_mean, "running_var": running_var}
    running = {name: one for name, one in given.items() if one is not None}
    moved = {name: packed(one, dtype) for name, one in running.items()}
    y, mean, var = on.run(
        batch_norm_forward,
        rows(x),
        packed(w, dtype),
        packed(b, dtype),
        **moved,
        momentum=momentum,
        eps=eps,
        relu=relu,
    )
    for name, one in moved.items():
        if one is not running[name]:
            running[name][...] = one
    return channels(y), mean, var


def batch_norm_fixed(x: Array, mean: Array, var: Array, w: Array, b: Array, eps: float, relu: bool) -> Array:
    """Normalise x (N, C, …) by given statistics."""
    of_channels = _of_channels(x, mean, var, w, b)
    return channels(launcher().run(batch_norm_inference, rows(x), *of_channels, eps=eps, relu=relu))


def batch_norm_backward(
    g: Array,
    x: Array,
    mean: Array,
    var: Array,
    w: Array,
    b: Array,
    eps: float,
    relu: bool,
    training: bool,
) -> tuple[Array, Array, Array]:
    """Return dx, dw and db from g = ∂L/∂y; with `training` the statistics are the batch's own, and depend on x."""
    of_channels, options = _of_channels(x, mean, var, w, b), {"eps": eps, "relu": relu, "training": training}
    dx, dw, db = launcher().run(_batch_norm_backward, rows(g), rows(x), *of_channels, **options)
    return channels(dx), dw, db


def _of_channels(x: Array, *arrays: Array) -> list[Array]:
    """Return arrays (C,) in the dtype that the kernels have them in beside x."""
    return [packed(array, sums_dtype(x.dtype)) for array in arrays]


# Sums of channels


def channel_sum(x: Array) -> Array:
    """Sum x (N, C, …) over all axes but the second, to (C,), as a convolution's bias needs it."""
    return launcher().run(conv2d_backward_bias, _images(rows(x)))


# Dropout


def dropout(x: Array, p: float, scale: float, seed: int) -> Array:
    """Set each element of x to 0 with probability p, and multiply the others by `scale`.

    What is dropped depends on the seed and on the element's place alone, counted with the channels last: not on x's
    dtype, nor on how it lies in memory.
    """
    if not x.size:
        return x.copy()
    return channels(launcher().run(_dropout, rows(x), p=p, seed=seed, scale=scale))


# Cross entropy


def cross_entropy_takes(z: Array) -> bool:
    """Whether the kernels are made for logits like z (N, C, …); halves are computed as float32."""
    few = z.size <= MOST_SAMPLES * z.shape[1]
    return takes(z) and (few or z.dtype != np.float64)


def softmax_cross_entropy(
    z: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
    gradient: bool,
) -> tuple[Array, Array | None]:
    """Return the cross entropy of logits z (N, C, …) against class numbers (N, …), and its gradient if it is wanted.

    Both are float32 where z is a half, so that a gradient is scaled before it is rounded.  A label outside [0, C)
    makes the loss and the gradient of its sample NaN, and the sum and the mean with them.
    """
    dtype = sums_dtype(z.dtype)
    of = rows(z.astype(dtype, copy=False))
    loss, dz = launcher().run(
        _softmax_cross_entropy,
        of.reshape(-1, of.shape[-1]),
        packed(target.reshape(-1), np.int64),
        weight=None if weight is None else packed(weight, dtype),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        gradient=gradient,
    )
    loss = loss.reshape(target.shape) if reduction == "none" else loss
    return loss, None if dz is None else channels(dz.reshape(of.shape))


# Gradient descent


def sgd_takes(p: Array, v: Array | None) -> bool:
    """Whether the kernel is made for parameters like p with such a velocity, which it changes where they are."""
    return takes(p) and p.dtype.itemsize > 2 and is_packed(p) and (v is None or is_packed(v))


def sgd(p: Array, g: Array, v: Array | None, nesterov: bool, **options: Any) -> None:
    """Take one step down the gradient, with the options of :func:`minicnn.backend.ladder.sgd.sgd`; p and v change."""
    launcher().run(_sgd, p, packed(g), v, nesterov=bool(nesterov), **options)
