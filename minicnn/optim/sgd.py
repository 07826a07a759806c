"""Stochastic gradient descent, plain, with momentum, and with Nesterov's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import backend
from .check import number
from .optimizer import Array, Optimizer, Options

__all__ = ["SGD"]


class SGD(Optimizer):
    """Go down the gradient, with a velocity that remembers earlier gradients.

    With the gradient g, the rate η, momentum μ, dampening τ and weight decay λ::

        g ← g + λ p                      (−g + λ p to maximise)
        v ← μ v + (1 − τ) g              v = g at the first step
        p ← p − η v                      Nesterov: p ← p − η (g + μ v);  μ = 0: p ← p − η g

    Parameters
    ----------
    params : iterable of Tensors, or of dicts
        See :class:`~minicnn.optim.Optimizer`.
    lr : float, at least 0
        η.
    momentum : float, at least 0
        μ.
    dampening : float
        τ.
    weight_decay : float, at least 0
        λ.
    nesterov : bool
        Needs momentum, and no dampening.
    maximize : bool
        Go up instead.

    Raises
    ------
    TypeError, ValueError
        See :class:`~minicnn.optim.Optimizer`.

    Notes
    -----
    This is PyTorch's form.  Sutskever et al. keep η inside the velocity, v ← μ v − η g and p ← p + v: the
    same as long as η is constant, but here a new η acts on the whole velocity at once.  Their Nesterov step
    takes the gradient at the point p + μ v ahead; here p *is* that point (Bengio et al., section 3), and
    their p is never seen.

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum in deep
    learning", ICML 2013, equations 1 to 4.
    Y. Bengio, N. Boulanger-Lewandowski, R. Pascanu, "Advances in optimizing recurrent networks", ICASSP 2013.

    Examples
    --------
    >>> from minicnn import tensor
    >>> p = tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([p], lr=0.125, momentum=0.5)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (p * p).sum().backward()
    ...     optimizer.step()
    >>> p.data
    array([0.4375], dtype=float32)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, options: Options) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            options[name] = number("SGD", name, options[name], least=0)
        options["dampening"] = number("SGD", "dampening", options["dampening"])
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError(
                "SGD: nesterov needs momentum above 0 and dampening 0, got "
                f"momentum={options['momentum']}, dampening={options['dampening']}"
            )

    def _memory(self, options: Options) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if options["momentum"] else {}

    def _update(
        self, options: Options, step: int, p: Array, g: Array, momentum_buffer: Array | None = None
    ) -> None:
        be = backend.of(p)
        if be.fused and be.fused.sgd_takes(p, momentum_buffer):
            rule = {name: options[name] for name in self.defaults}
            be.fused.sgd(p, g, momentum_buffer, **rule, first=step == 1)
        else:
            self._plain(options, step, p, g, momentum_buffer)

    def _plain(self, options: Options, step: int, p: Array, g: Array, momentum_buffer: Array | None) -> None:
        """Follow the rule line by line; on a GPU one kernel does it all where it can."""
        be, temporary = backend.of(p), self._scratch("temporary", p)
        momentum, direction = options["momentum"], self._gradient(options, p, g)
        if momentum_buffer is not None:
            fresh = direction
            if options["dampening"] and step > 1:
                fresh = be.multiply(direction, 1 - options["dampening"], out=temporary)
            momentum_buffer *= momentum
            momentum_buffer += fresh
            if options["nesterov"]:
                be.multiply(momentum_buffer, momentum, out=temporary)
                direction = be.add(direction, temporary, out=temporary)
            else:
                direction = momentum_buffer
        p -= be.multiply(direction, options["lr"], out=temporary)
