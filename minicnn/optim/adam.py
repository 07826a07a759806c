"""Adam: steps scaled by running estimates of the gradient's first two moments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .. import backend
from .check import number
from .optimizer import Array, Optimizer, Options

__all__ = ["Adam"]


class Adam(Optimizer):
    """Divide the mean gradient by the root of the mean squared one, both means running.

    With the gradient g, the rate η and weight decay λ, at step t from 1 on::

        g ← g + λ p                                     (−g + λ p to maximise)
        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²                          AMSGrad: w ← max(w, v), which takes v's place below
        p ← p − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

    m and v start at 0; the divisors undo the pull towards it.

    Parameters
    ----------
    params : iterable of Tensors, or of dicts
        See :class:`~minicnn.optim.Optimizer`.
    lr : float, at least 0
        η.
    betas : pair of floats in [0, 1)
        β₁ and β₂.
    eps : float, at least 0
        ε.
    weight_decay : float, at least 0
        λ.  It goes through the division like the gradient; :class:`~minicnn.optim.AdamW` keeps it out.
    amsgrad : bool
        Never let the divisor shrink.
    maximize : bool
        Go up instead.

    Raises
    ------
    TypeError, ValueError
        See :class:`~minicnn.optim.Optimizer`.

    Notes
    -----
    As in PyTorch, AMSGrad takes the maximum before v is corrected.  Reddi et al. correct neither m nor v.

    References
    ----------
    D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
    S. Reddi, S. Kale, S. Kumar, "On the Convergence of Adam and Beyond", ICLR 2018, algorithm 2.

    Examples
    --------
    The first step is η in the gradient's direction, whatever its length:

    >>> from minicnn import tensor
    >>> p = tensor([1.0, 1.0], requires_grad=True)
    >>> (p * tensor([0.001, -1000.0])).sum().backward()
    >>> Adam([p], lr=0.25).step()
    >>> p.data.round(4)
    array([0.75, 1.25], dtype=float32)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Options) -> None:
        for name in ("lr", "eps", "weight_decay"):
            options[name] = number(self._name, name, options[name], least=0)
        betas = options["betas"]
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ValueError(f"{self._name}: betas must be two numbers, got {betas!r}")
        options["betas"] = tuple(
            number(self._name, f"betas[{i}]", beta, least=0, below=1) for i, beta in enumerate(betas)
        )

    def _memory(self, options: Options) -> dict[str, float]:
        means = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
        return {**means, "max_exp_avg_sq": 0.0} if options["amsgrad"] else means

    def _update(
        self,
        options: Options,
        step: int,
        p: Array,
        g: Array,
        exp_avg: Array,
        exp_avg_sq: Array,
        max_exp_avg_sq: Array | None = None,
    ) -> None:
        be, temporary = backend.of(p), self._scratch("temporary", p)
        beta1, beta2 = options["betas"]
        g = self._gradient(options, p, g)
        exp_avg *= beta1
        exp_avg += be.multiply(g, 1 - beta1, out=temporary)
        be.square(g, out=temporary)
        temporary *= 1 - beta2
        exp_avg_sq *= beta2
        exp_avg_sq += temporary
        if max_exp_avg_sq is not None:
            exp_avg_sq = be.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
        divisor = be.sqrt(exp_avg_sq, out=temporary)
        divisor /= math.sqrt(1 - beta2**step)
        divisor += options["eps"]
        change = be.divide(exp_avg, divisor, out=temporary)
        change *= options["lr"] / (1 - beta1**step)
        p -= change
