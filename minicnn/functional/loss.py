"""Losses."""

from __future__ import annotations

import warnings
from typing import Any

from .. import backend
from ..ops.axes import check_broadcast
from ..ops.cross_entropy import CrossEntropy, NegativeLogLikelihood, SoftmaxCrossEntropy
from ..tensor import Tensor
from .arguments import Data, as_batch, as_tensor, floating, given, number, without_batch

__all__ = ["cross_entropy", "mse_loss", "nll_loss"]

NAN = float("nan")


def cross_entropy(
    input: Data,
    target: Data,
    weight: Data | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Negative log-likelihood of the targets under softmax(input).

    On a GPU nothing is brought to the host to look at it: there a label out of range raises no error, but makes the
    loss NaN.

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
        For a label out of range (on the CPU), or shapes that do not fit.

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
    z, t = floating(op, as_tensor(input)), as_tensor(target)
    if not 0 <= number(op, "label_smoothing", label_smoothing) <= 1:
        raise ValueError(f"{op}: label_smoothing must be in [0, 1], got {label_smoothing}")
    if z.ndim == 1:
        z, t = as_batch(z), as_batch(t)
        return _one_or_all(cross_entropy(z, t, weight, ignore_index, reduction, label_smoothing), reduction)
    _check_reduction(op, reduction)
    w = _class_weights(op, z, weight)
    smooth = label_smoothing / z.shape[1]
    if t.shape == z.shape and backend.is_float(t.dtype):
        a = (t * (1 - label_smoothing) + smooth) * _for_each_sample(z, w)
        return _reduced(CrossEntropy()(z, a), z.size // z.shape[1], reduction)
    be = _check_labels(op, z, t)
    if be.fused and be.fused.cross_entropy_takes(z.data):
        return SoftmaxCrossEntropy(ignore_index, label_smoothing, reduction)(z, t, *given(w))
    weights = _for_each_sample(z, w)
    hot, kept = _one_hot(op, z, t, ignore_index)
    a = (hot * (1 - label_smoothing) + smooth) * kept * weights
    total = (hot * weights).sum() if reduction == "mean" else None
    return _reduced(CrossEntropy()(z, a), total, reduction)


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
        As there.

    Examples
    --------
    >>> from minicnn import tensor
    >>> nll_loss(tensor([[-1.0, -2.0]]), tensor([1])).item()
    2.0
    """
    op = "nll_loss"
    z, t = floating(op, as_tensor(input)), as_tensor(target)
    if z.ndim == 1:
        return _one_or_all(nll_loss(as_batch(z), as_batch(t), weight, ignore_index, reduction), reduction)
    _check_reduction(op, reduction)
    weights = _for_each_sample(z, _class_weights(op, z, weight))
    _check_labels(op, z, t)
    hot, _ = _one_hot(op, z, t, ignore_index)
    a = hot * weights
    return _reduced(NegativeLogLikelihood()(z, a), a.sum() if reduction == "mean" else None, reduction)


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
    x, t = floating("mse_loss", as_tensor(input)), as_tensor(target)
    _check_reduction("mse_loss", reduction)
    be = backend.of(x.data, t.data, op="mse_loss")
    with be.running("mse_loss", x.data):
        check_broadcast("mse_loss", be, x.data, t.data)
    if x.shape != t.shape:
        warnings.warn(
            f"mse_loss: input {x.shape} and target {t.shape} differ and are broadcast", stacklevel=2
        )
    difference = x - t
    square = difference * difference
    return _reduced(square, square.size, reduction)


def _class_weights(op: str, z: Tensor, weight: Data | None) -> Tensor | None:
    """Return the class weights (C,) in the dtype of the logits (N, C, …), or None where all weigh the same."""
    if z.ndim < 2 or z.shape[1] < 1:
        raise ValueError(
            f"{op}: input must be (C,), (N, C) or (N, C, …) with at least one class, got {z.shape}"
        )
    if weight is None:
        return None
    channels, w = z.shape[1], as_tensor(weight).detach()
    if w.shape != (channels,):
        raise ValueError(f"{op}: weight must have shape ({channels},), one a class, got {w.shape}")
    return w.to(z.dtype)


def _for_each_sample(z: Tensor, w: Tensor | None) -> Tensor:
    """Return class weights, ones if there are none, so that they broadcast against the logits (N, C, …)."""
    be, channels = backend.of(z.data), z.shape[1]
    with be.running("class weights", z.data):
        w = Tensor(be.full(channels, 1, z.dtype)) if w is None else w
    return w.reshape(1, channels, *(1,) * (z.ndim - 2))


def _check_labels(op: str, z: Tensor, t: Tensor) -> Any:
    """Demand one class number a sample, whatever its value; return the backend of both."""
    be = backend.of(z.data, t.data, op=op)
    expected = (z.shape[0], *z.shape[2:])
    if be.is_float(t.dtype) or t.dtype.kind not in "iu":
        raise TypeError(
            f"{op}: target must be class numbers (int){_or_probabilities(op, z)}, got {t.dtype} {t.shape}"
        )
    if t.shape != expected:
        raise ValueError(f"{op}: target must have shape {expected} for input {z.shape}, got {t.shape}")
    return be


def _one_hot(op: str, z: Tensor, t: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return what each class of each sample counts for (N, C, …), and which samples count at all (N, 1, …).

    A label out of range is an error, but on a GPU, where to look for one would be to wait, it makes its sample NaN.
    """
    be = backend.of(z.data, t.data)
    with be.running(op, z.data):
        labels = t.data.astype(be.int64, copy=False)  # which any ignore_index can be compared with
        kept = labels != ignore_index
        wrong = kept & ((labels < 0) | (labels >= z.shape[1]))
        if not be.fused and wrong.any():
            raise ValueError(f"{op}: target must be in [0, {z.shape[1] - 1}], got {labels[wrong][0]}")
        labels, kept, wrong = (be.expand_dims(array, 1) for array in (labels, kept, wrong))
        classes = be.arange(z.shape[1]).reshape(1, -1, *(1,) * (z.ndim - 2))
        hot, kept = ((labels == classes) & kept).astype(z.dtype), kept.astype(z.dtype)
        return Tensor(be.where(wrong, NAN, hot) if be.fused else hot), Tensor(kept)


def _or_probabilities(op: str, z: Tensor) -> str:
    return f" or probabilities of shape {z.shape}" if op == "cross_entropy" else ""


def _check_reduction(op: str, reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{op}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def _reduced(losses: Tensor, count: Any, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / count


def _one_or_all(loss: Tensor, reduction: str) -> Tensor:
    """For a single sample, 'none' gives a scalar too."""
    return without_batch(loss) if reduction == "none" else loss
