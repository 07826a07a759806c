"""RMSprop: gradients divided by their running root mean square."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import backend
from .check import number
from .optimizer import Array, Optimizer, Options

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """Divide each gradient by the root of its running mean square, or of its running variance.

    With the gradient g, the rate η, smoothing α, momentum μ and weight decay λ::

        g ← g + λ p                             (−g + λ p to maximise)
        v ← α v + (1 − α) g²
        m ← α m + (1 − α) g                     centered only, else m = 0
        b ← μ b + g / (√(v − m²) + ε)
        p ← p − η b

    Parameters
    ----------
    params : iterable of Tensors, or of dicts
        See :class:`~minicnn.optim.Optimizer`.
    lr : float, at least 0
        η.
    alpha : float in [0, 1)
        α.
    eps : float, at least 0
        ε.
    weight_decay : float, at least 0
        λ.
    momentum : float, at least 0
        μ.
    centered : bool
        Divide by the standard deviation instead of the root mean square.
    maximize : bool
        Go up instead.

    Raises
    ------
    TypeError, ValueError
        See :class:`~minicnn.optim.Optimizer`.

    Notes
    -----
    This is PyTorch's form, whose α is 0.99 where Hinton's is 0.9.  Graves has ε inside the root and η inside
    b.

    Where the gradient hardly varies, v − m² is all rounding error, and PyTorch takes the root of a negative
    number or divides by ε alone.  Here v − m² is held to at least the rounding error of v.

    References
    ----------
    G. Hinton, "Neural Networks for Machine Learning", Coursera 2012, lecture 6e.
    A. Graves, "Generating Sequences With Recurrent Neural Networks", 2013, equations 38 to 41 (the centred
    form).

    Examples
    --------
    >>> from minicnn import tensor
    >>> p = tensor([1.0, 1.0], requires_grad=True)
    >>> (p * tensor([0.001, -1000.0])).sum().backward()
    >>> RMSprop([p], lr=0.125, alpha=0.75).step()
    >>> p.data.round(4)
    array([0.75, 1.25], dtype=float32)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Options) -> None:
        for name in ("lr", "eps", "weight_decay", "momentum"):
            options[name] = number("RMSprop", name, options[name], least=0)
        options["alpha"] = number("RMSprop", "alpha", options["alpha"], least=0, below=1)

    def _memory(self, options: Options) -> dict[str, float]:
        memory = {"square_avg": 0.0}
        if options["centered"]:
            memory["grad_avg"] = 0.0
        if options["momentum"]:
            memory["momentum_buffer"] = 0.0
        return memory

    def _update(
        self,
        options: Options,
        step: int,
        p: Array,
        g: Array,
        square_avg: Array,
        grad_avg: Array | None = None,
        momentum_buffer: Array | None = None,
    ) -> None:
        be, temporary = backend.of(p), self._scratch("temporary", p)
        variance = None if grad_avg is None else self._scratch("variance", p)
        alpha = options["alpha"]
        g = self._gradient(options, p, g)
        be.square(g, out=temporary)
        temporary *= 1 - alpha
        square_avg *= alpha
        square_avg += temporary
        if grad_avg is not None:
            grad_avg *= alpha
            grad_avg += be.multiply(g, 1 - alpha, out=temporary)
            square_avg = self._variance(square_avg, grad_avg, variance, temporary)
        divisor = be.sqrt(square_avg, out=temporary)
        divisor += options["eps"]
        change = be.divide(g, divisor, out=temporary)
        if momentum_buffer is not None:
            momentum_buffer *= options["momentum"]
            momentum_buffer += change
            change = momentum_buffer
        p -= be.multiply(change, options["lr"], out=temporary)

    def _variance(self, square_avg: Array, grad_avg: Array, variance: Array, least: Array) -> Array:
        """Return v − m², at least the rounding error of v; the last two are scratch."""
        be = backend.of(square_avg)
        be.square(grad_avg, out=variance)
        be.subtract(square_avg, variance, out=variance)
        be.multiply(square_avg, be.finfo(square_avg.dtype).eps, out=least)
        return be.maximum(variance, least, out=variance)
