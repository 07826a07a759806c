"""AdamW: Adam with the weight decay kept apart from the gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import backend
from .adam import Adam
from .optimizer import Array, Options

__all__ = ["AdamW"]


class AdamW(Adam):
    """Adam on the bare gradient, and weight decay beside it.

    With the rate η and weight decay λ::

        p ← (1 − η λ) p
        p ← Adam's step with the gradient g alone      (−g to maximise)

    In :class:`~minicnn.optim.Adam` the decay goes through the division by √v, so that weights with large
    gradients decay less; here all decay at one rate.

    Parameters
    ----------
    params, lr, betas, eps, amsgrad, maximize
        As :class:`~minicnn.optim.Adam`'s.
    weight_decay : float, at least 0
        λ.

    Raises
    ------
    TypeError, ValueError
        See :class:`~minicnn.optim.Optimizer`.

    Notes
    -----
    As in PyTorch, λ is multiplied by η, the rate given.  In the paper it is multiplied only by the schedule's
    factor; with the initial rate η₀, its λ is η₀ λ here.

    References
    ----------
    I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from minicnn import tensor
    >>> p = tensor([2.0], requires_grad=True)
    >>> p.grad = np.zeros(1, np.float32)
    >>> AdamW([p], lr=0.5, weight_decay=0.5).step()
    >>> p.data
    array([1.5], dtype=float32)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    def _gradient(self, options: Options, p: Array, g: Array) -> Array:
        """Return ±g, after shrinking p itself."""
        if options["maximize"]:
            g = backend.of(p).negative(g, out=self._scratch("gradient", p))
        p *= 1 - options["lr"] * options["weight_decay"]
        return g
