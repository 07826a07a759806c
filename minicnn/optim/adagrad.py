"""Adagrad: gradients divided by the root of the sum of all their squares so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import backend
from .check import number
from .optimizer import Array, Optimizer, Options

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """Divide each gradient by the length of its own history.

    With the gradient g, the rate η, its decay δ and weight decay λ, at step t from 1 on::

        g ← g + λ p                             (−g + λ p to maximise)
        s ← s + g²                              s = s₀ at first
        p ← p − η / (1 + (t − 1) δ) · g / (√s + ε)

    Parameters
    ----------
    params : iterable of Tensors, or of dicts
        See :class:`~minicnn.optim.Optimizer`.
    lr : float, at least 0
        η.
    lr_decay : float, at least 0
        δ.
    weight_decay : float, at least 0
        λ.
    initial_accumulator_value : float, at least 0
        s₀.
    eps : float, at least 0
        ε.
    maximize : bool
        Go up instead.

    Raises
    ------
    TypeError, ValueError
        See :class:`~minicnn.optim.Optimizer`.

    Notes
    -----
    The paper's diagonal update with its δ for ε, and H = ε I + √diag(Σ g gᵀ); δ and s₀ here are PyTorch's
    additions.

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 12, 2011, figure 1.

    Examples
    --------
    >>> from minicnn import tensor
    >>> p = tensor([1.0, 1.0], requires_grad=True)
    >>> (p * tensor([0.001, -1000.0])).sum().backward()
    >>> Adagrad([p], lr=0.25).step()
    >>> p.data.round(4)
    array([0.75, 1.25], dtype=float32)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Options) -> None:
        for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            options[name] = number("Adagrad", name, options[name], least=0)

    def _memory(self, options: Options) -> dict[str, float]:
        return {"sum": options["initial_accumulator_value"]}

    def _update(self, options: Options, step: int, p: Array, g: Array, sum: Array) -> None:
        be, temporary = backend.of(p), self._scratch("temporary", p)
        g = self._gradient(options, p, g)
        sum += be.square(g, out=temporary)
        divisor = be.sqrt(sum, out=temporary)
        divisor += options["eps"]
        change = be.divide(g, divisor, out=temporary)
        change *= options["lr"] / (1 + (step - 1) * options["lr_decay"])
        p -= change
