"""A schedule that waits until training no longer gets better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, SupportsFloat

from ..check import number, whole
from ..optimizer import Optimizer
from .scheduler import Schedule

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(Schedule):
    """Multiply the rate by a factor when a measured value has not improved for some epochs.

    A value is better than the best so far, B, when it is (for ``"min"``) below B (1 − threshold) or, with
    ``threshold_mode="abs"``, below B − threshold; for ``"max"``, above B (1 + threshold) or B + threshold.

    Parameters
    ----------
    optimizer : Optimizer
    mode : ``"min"`` or ``"max"``
        Whether small values are good, like a loss, or large ones, like an accuracy.
    factor : float in [0, 1)
    patience : int, at least 0
        Epochs without improvement that are put up with; the rate falls at the next one.
    threshold : float, at least 0
    threshold_mode : ``"rel"`` or ``"abs"``
    cooldown : int, at least 0
        Epochs after a fall in which nothing is held against the values.
    min_lr : float, or a sequence of them, one a group; at least 0
        The rate falls no lower.
    eps : float, at least 0
        A fall by no more than this is left out.

    Attributes
    ----------
    best : float
        The best value so far.
    num_bad_epochs : int
        Epochs since then, or since the last fall.
    last_epoch : int
        How many values there have been.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind above.

    Examples
    --------
    >>> from minicnn import optim, tensor
    >>> optimizer = optim.SGD([tensor([1.0], requires_grad=True)], lr=0.5)
    >>> scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0, 1.0):
    ...     scheduler.step(loss)
    ...     print(scheduler.get_last_lr(), end=" ")
    [0.5] [0.5] [0.5] [0.25] [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(optimizer)
        self.mode = self._one_of("mode", mode, ("min", "max"))
        self.threshold_mode = self._one_of("threshold_mode", threshold_mode, ("rel", "abs"))
        self.factor = number(self._name, "factor", factor, least=0, below=1)
        self.threshold = number(self._name, "threshold", threshold, least=0)
        self.eps = number(self._name, "eps", eps, least=0)
        self.patience = whole(self._name, "patience", patience, least=0)
        self.cooldown = whole(self._name, "cooldown", cooldown, least=0)
        lowest = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * len(self._rates())
        self._a_group("min_lr", lowest)
        self.min_lrs = [number(self._name, "min_lr", rate, least=0) for rate in lowest]
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = self._rates()

    def step(self, metrics: SupportsFloat) -> None:
        """Take note of an epoch's value, and reduce the rates if patience has run out.

        Parameters
        ----------
        metrics : float, or a Tensor of one element
            NaN is no improvement.
        """
        self._a_group("min_lr", self.min_lrs)
        value = float(metrics)
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            self._reduce()
        self._last_lr = self._rates()

    def _is_better(self, value: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        change = sign * self.threshold
        bar = self.best * (1 + change) if self.threshold_mode == "rel" else self.best + change
        return value < bar if self.mode == "min" else value > bar

    def _reduce(self) -> None:
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            lower = max(group["lr"] * self.factor, least)
            if group["lr"] - lower > self.eps:
                group["lr"] = lower

    def _one_of(self, name: str, value: str, known: tuple[str, ...]) -> str:
        if value not in known:
            raise ValueError(f"{self._name}: {name} must be {' or '.join(map(repr, known))}, got {value!r}")
        return value
