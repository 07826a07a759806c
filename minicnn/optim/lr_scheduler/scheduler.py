"""What the schedules by epoch share: counting epochs and setting the groups' rates."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from ..check import whole
from ..optimizer import Optimizer

__all__ = ["LRScheduler", "Schedule"]


class Schedule:
    """Anything that changes an optimiser's learning rates as training goes on.

    Parameters
    ----------
    optimizer : Optimizer

    Raises
    ------
    TypeError
        If `optimizer` is none.
    """

    last_epoch: int
    _unsaved = ("optimizer",)

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{self._name}: optimizer must be an Optimizer, got a {type(optimizer).__name__}")
        self.optimizer = optimizer

    @property
    def _name(self) -> str:
        return type(self).__name__

    def get_last_lr(self) -> list[float]:
        """Return the rates as this schedule last left them, one a group."""
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on later: plain numbers, strings and lists.

        The rates themselves are the optimiser's, and in its state dict.
        """
        return {name: deepcopy(value) for name, value in vars(self).items() if name not in self._unsaved}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the settings and the progress of another schedule of this kind.

        Load the optimiser's state too, or its rates are those of a schedule at its start.

        Raises
        ------
        ValueError
            If the state is of another kind of schedule, or for another number of groups.  Nothing has changed
            then.
        """
        own = self.state_dict()
        if not isinstance(state_dict, Mapping) or state_dict.keys() != own.keys():
            got = sorted(state_dict) if isinstance(state_dict, Mapping) else type(state_dict).__name__
            raise ValueError(f"{self._name}.load_state_dict: the state must hold {sorted(own)}, got {got}")
        groups, loaded = len(own["_last_lr"]), len(state_dict["_last_lr"])
        if groups != loaded:
            raise ValueError(f"{self._name}.load_state_dict: rates of {loaded} groups do not fit {groups}")
        vars(self).update(deepcopy(dict(state_dict)))

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _set(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = rates

    def _a_group(self, name: str, values: list[Any]) -> list[Any]:
        """Return `values`, if there is one a group."""
        groups = len(self.optimizer.param_groups)
        if len(values) != groups:
            raise ValueError(f"{self._name}: {name} must have one value a group, {groups}; got {len(values)}")
        return values


class LRScheduler(Schedule):
    """The base of the schedules by epoch.  A subclass defines :meth:`get_lr`.

    Each epoch's rate is computed from the rate of the epoch before, as in PyTorch, and not from the epoch
    alone.  So several schedules on one optimiser combine, and a rate changed by hand is carried on.

    Parameters
    ----------
    optimizer : Optimizer
        Its rates at this moment are the *base rates*, those of epoch 0 before the schedule has touched them.
    last_epoch : int, at least -1
        -1 to begin.  To go on from an epoch that was reached before, with an optimiser whose state was
        loaded: that epoch less one.  :meth:`load_state_dict` does the same and needs no counting.

    Attributes
    ----------
    base_lrs : list of float
        One a group.
    last_epoch : int
        The epoch whose rates are set.

    Raises
    ------
    TypeError
        If `optimizer` is none.
    ValueError
        If `last_epoch` is not -1 and the optimiser has never had a schedule.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        super().__init__(optimizer)
        self.last_epoch = whole(self._name, "last_epoch", last_epoch, least=-1) + 1
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{self._name}: last_epoch={last_epoch} needs an optimiser that had a schedule; "
                    "there is no 'initial_lr' in this one's groups, load its state first"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self._set(self.get_lr() if self.last_epoch == 0 else self._rates())

    def get_lr(self) -> list[float]:
        """Compute the rates of epoch ``last_epoch``, one a group, from those before: the optimiser's."""
        raise NotImplementedError(f"{self._name} defines no get_lr")

    def step(self) -> None:
        """Go to the next epoch; call it after the optimiser's last step in this one."""
        self._a_group("base_lrs", self.base_lrs)
        self.last_epoch += 1
        self._set(self.get_lr())
