"""Schedules that depend on the epoch alone.

Each class states its *closed form*, the rate η of epoch t for the base rate η₀; ``get_lr`` computes it from
the rate of epoch t − 1 (see :class:`LRScheduler`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from ..check import number, whole
from ..optimizer import Optimizer
from .scheduler import LRScheduler, Schedule

__all__ = ["CosineAnnealingLR", "LambdaLR", "LinearLR", "MultiStepLR", "PolynomialLR", "StepLR"]


class StepLR(LRScheduler):
    """Multiply the rate by γ every so many epochs: η = η₀ γ^⌊t / step_size⌋.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int, at least 1
    gamma : float
        γ.
    last_epoch : int
        See :class:`LRScheduler`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind above.

    Examples
    --------
    >>> from minicnn import optim, tensor
    >>> optimizer = optim.SGD([tensor([1.0], requires_grad=True)], lr=0.5)
    >>> scheduler = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for epoch in range(5):
    ...     print(scheduler.get_last_lr(), end=" ")
    ...     scheduler.step()
    [0.5] [0.5] [0.25] [0.25] [0.125]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = whole("StepLR", "step_size", step_size, least=1)
        self.gamma = number("StepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Compute the rates of epoch ``last_epoch``."""
        falls = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [rate * self.gamma if falls else rate for rate in self._rates()]


class MultiStepLR(LRScheduler):
    """Multiply the rate by γ at each milestone: η = η₀ γⁿ, where n milestones are at most t.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : iterable of int, each at least 0
        Epochs; one that is listed twice counts twice.
    gamma : float
        γ.
    last_epoch : int
        See :class:`LRScheduler`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind above.

    Examples
    --------
    >>> from minicnn import optim, tensor
    >>> optimizer = optim.SGD([tensor([1.0], requires_grad=True)], lr=0.5)
    >>> scheduler = MultiStepLR(optimizer, milestones=[1, 4], gamma=0.5)
    >>> for epoch in range(5):
    ...     print(scheduler.get_last_lr(), end=" ")
    ...     scheduler.step()
    [0.5] [0.25] [0.25] [0.25] [0.125]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if not isinstance(milestones, Iterable):
            raise TypeError(f"MultiStepLR: milestones must be ints, got {milestones!r}")
        self.milestones = [whole("MultiStepLR", "a milestone", m, least=0) for m in milestones]
        self.gamma = number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Compute the rates of epoch ``last_epoch``."""
        factor = self.gamma ** self.milestones.count(self.last_epoch)
        return [rate * factor for rate in self._rates()]


class LinearLR(LRScheduler):
    """Change the rate's factor linearly, as for a warm-up: η = η₀ (a + (b − a) min(t, T) / T).

    Parameters
    ----------
    optimizer : Optimizer
    start_factor : float, above 0 and at most 1
        a.
    end_factor : float, from 0 to 1
        b.
    total_iters : int, at least 1
        T.
    last_epoch : int
        See :class:`LRScheduler`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind above.

    Examples
    --------
    >>> from minicnn import optim, tensor
    >>> optimizer = optim.SGD([tensor([1.0], requires_grad=True)], lr=0.5)
    >>> scheduler = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> for epoch in range(4):
    ...     print(scheduler.get_last_lr(), end=" ")
    ...     scheduler.step()
    [0.25] [0.375] [0.5] [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = number("LinearLR", "start_factor", start_factor)
        self.end_factor = number("LinearLR", "end_factor", end_factor)
        if not 0 < self.start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor must be above 0 and at most 1, got {start_factor!r}")
        if not 0 <= self.end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor must be from 0 to 1, got {end_factor!r}")
        self.total_iters = whole("LinearLR", "total_iters", total_iters, least=1)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Compute the rates of epoch ``last_epoch``."""
        if self.last_epoch == 0:
            factor = self.start_factor
        elif self.last_epoch > self.total_iters:
            factor = 1.0
        else:
            rise = self.end_factor - self.start_factor
            factor = 1 + rise / (self.total_iters * self.start_factor + (self.last_epoch - 1) * rise)
        return [rate * factor for rate in self._rates()]


class PolynomialLR(LRScheduler):
    """Let the rate fall to zero along a polynomial: η = η₀ (1 − min(t, T) / T)^power.

    Parameters
    ----------
    optimizer : Optimizer
    total_iters : int, at least 1
        T.
    power : float, at least 0
    last_epoch : int
        See :class:`LRScheduler`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind above.

    Examples
    --------
    >>> from minicnn import optim, tensor
    >>> optimizer = optim.SGD([tensor([1.0], requires_grad=True)], lr=0.5)
    >>> scheduler = PolynomialLR(optimizer, total_iters=4, power=1.0)
    >>> for epoch in range(6):
    ...     print([round(rate, 6) for rate in scheduler.get_last_lr()], end=" ")
    ...     scheduler.step()
    [0.5] [0.375] [0.25] [0.125] [0.0] [0.0]
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = whole("PolynomialLR", "total_iters", total_iters, least=1)
        self.power = number("PolynomialLR", "power", power, least=0)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Compute the rates of epoch ``last_epoch``."""
        t, total = self.last_epoch, self.total_iters
        if t == 0 or t > total:
            return self._rates()
        factor = ((1 - t / total) / (1 - (t - 1) / total)) ** self.power
        return [rate * factor for rate in self._rates()]


class CosineAnnealingLR(LRScheduler):
    """Let the rate swing down, and up again if one goes on: η = ηₘ + (η₀ − ηₘ)(1 + cos(π t / T)) / 2.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int, at least 1
        T, the epoch at which the rate is lowest.
    eta_min : float
        ηₘ, the lowest rate.
    last_epoch : int
        See :class:`LRScheduler`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind above.

    References
    ----------
    I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation
    5; there are no restarts here.

    Examples
    --------
    >>> from minicnn import optim, tensor
    >>> optimizer = optim.SGD([tensor([1.0], requires_grad=True)], lr=0.5)
    >>> scheduler = CosineAnnealingLR(optimizer, T_max=4)
    >>> for epoch in range(6):
    ...     print([round(rate, 3) for rate in scheduler.get_last_lr()], end=" ")
    ...     scheduler.step()
    [0.5] [0.427] [0.25] [0.073] [0.0] [0.073]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_max = whole("CosineAnnealingLR", "T_max", T_max, least=1)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Compute the rates of epoch ``last_epoch``."""
        t, total, least = self.last_epoch, self.T_max, self.eta_min
        if t == 0:
            return self._rates()
        if (t - 1 - total) % (2 * total) == 0:  # up from the bottom, where the ratio below would be x / 0
            rise = (1 - math.cos(math.pi / total)) / 2
            rates = zip(self._rates(), self.base_lrs, strict=True)
            return [rate + (base - least) * rise for rate, base in rates]
        ratio = (1 + math.cos(math.pi * t / total)) / (1 + math.cos(math.pi * (t - 1) / total))
        return [ratio * (rate - least) + least for rate in self._rates()]


class LambdaLR(LRScheduler):
    """Multiply the base rate by a function of the epoch: η = η₀ f(t).

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable, or a sequence of them, one a group
        f, from the epoch to a factor.  It is in no state dict.
    last_epoch : int
        See :class:`LRScheduler`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind above.

    Examples
    --------
    >>> from minicnn import optim, tensor
    >>> optimizer = optim.SGD([tensor([1.0], requires_grad=True)], lr=0.5)
    >>> scheduler = LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> for epoch in range(2):
    ...     print(scheduler.get_last_lr(), end=" ")
    ...     scheduler.step()
    [0.5] [0.25]
    """

    _unsaved = ("optimizer", "lr_lambdas")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        Schedule.__init__(self, optimizer)
        functions = [lr_lambda] * len(optimizer.param_groups) if callable(lr_lambda) else list(lr_lambda)
        self.lr_lambdas = self._a_group("lr_lambda", functions)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Compute the rates of epoch ``last_epoch``."""
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]
