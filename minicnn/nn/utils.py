"""What training does to a whole network's gradients and parameters at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .. import backend
from ..tensor import Tensor
from .check import number_in
from .module import Module
from .normalization import BatchNorm2d

__all__ = ["clip_grad_norm_", "set_batch_norm_momentum", "weight_decay_groups"]


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Shrink all gradients by one factor, where needed, so that their common Euclidean norm is at most `max_norm`.

    Parameters
    ----------
    parameters : Tensor, or iterable of Tensors
        Those without a gradient do not count.
    max_norm : float, above 0

    Returns
    -------
    float
        The norm before.  On a GPU this waits for it: one transfer to the host.

    Raises
    ------
    ValueError
        If `max_norm` is not above 0.

    References
    ----------
    R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
    algorithm 1; Inception v3 is trained with it ("Rethinking the Inception Architecture", section 8).

    Examples
    --------
    >>> from minicnn import tensor
    >>> w = tensor([0.0, 0.0], requires_grad=True)
    >>> (w * tensor([3.0, 4.0])).sum().backward()
    >>> clip_grad_norm_([w], max_norm=1.0), w.grad
    (5.0, array([0.6, 0.8], dtype=float32))
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be above 0, got {max_norm}")
    if isinstance(parameters, Tensor):  # iterable too, but its rows have no gradients
        parameters = [parameters]
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None and parameter.grad.size]
    if not grads:
        return 0.0
    with backend.running("clip_grad_norm_", *grads):
        # Norm by norm, and hypot of them: a sum of squares in float32 would overflow long before its root.
        norm = math.hypot(*_norms(grads))
        if norm > max_norm and math.isfinite(norm):
            for grad in grads:
                grad *= max_norm / norm
    return norm


def _norms(grads: list[Any]) -> list[float]:
    """Return the norm of each array, all of them in one transfer if they are on a GPU."""
    be = backend.of(*grads)
    return be.to_numpy(be.concatenate([_norm(be, grad) for grad in grads])).tolist()


def _norm(be: Any, grad: Any) -> Any:
    """Return the norm as an array (1,) of float64, by way of numbers of which the largest is 1."""
    largest = be.abs(grad).max().reshape(1)
    unit = be.where((largest > 0) & (largest < be.inf), largest, 1)  # ∞ stays ∞, and NaN NaN
    squares = be.square(grad / unit).sum().reshape(1)
    return unit.astype("float64") * be.sqrt(squares.astype("float64"))


def weight_decay_groups(model: Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split a network's parameters for an optimiser: weights, which decay, and the rest, which does not.

    What has one axis (biases, and the scales and shifts of normalisations) is few in number and not what
    overfits; pulling a scale to 0 only works against the normalisation.

    Parameters
    ----------
    model : Module
    weight_decay : float

    Returns
    -------
    list of two dicts
        As the optimisers of :mod:`minicnn.optim` take them.

    References
    ----------
    T. He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks", CVPR 2019, section
    3.1.  (The paper of ResNet lets all of them decay.)

    Examples
    --------
    >>> from minicnn import nn
    >>> groups = weight_decay_groups(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), 1e-4)
    >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
    [(1, 0.0001), (3, 0.0)]
    """
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def set_batch_norm_momentum(model: Module, momentum: float | None) -> None:
    """Set the weight of the newest batch in all running statistics of a network.

    The papers' releases differ: 0.1 in Torch and PyTorch, 0.0003 in Inception's TensorFlow ("decay" 0.9997 there is
    the weight of the old).  None makes the statistics plain averages: run the finished network in training mode
    over some batches more, as ResNet's authors did for their release, and they are exact.

    Examples
    --------
    >>> from minicnn import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    >>> set_batch_norm_momentum(net, 0.01)
    >>> net[1].momentum
    0.01
    """
    if momentum is not None:
        momentum = number_in(0, 1, "set_batch_norm_momentum", "momentum", momentum)
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.momentum = momentum
