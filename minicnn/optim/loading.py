"""Taking over a saved optimiser: everything is checked, and copied, before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import backend
from ..tensor import Tensor
from .check import whole

__all__ = ["loaded_groups", "loaded_state"]


def loaded_groups(
    op: str, groups: Any, own: Sequence[Mapping[str, Any]]
) -> list[tuple[list[Any], dict[str, Any]]]:
    """Return the parameters' numbers and the options of each saved group.

    Parameters
    ----------
    op : str
        Named in the errors.
    groups : list of dicts
        ``"param_groups"`` of a state dict.
    own : list of dicts
        The optimiser's groups.

    Raises
    ------
    ValueError
        If there are not as many groups, or not as many parameters in one of them.
    """
    if not isinstance(groups, Sequence) or len(groups) != len(own):
        got = len(groups) if isinstance(groups, Sequence) else type(groups).__name__
        raise ValueError(f"{op}: there must be {len(own)} parameter groups, got {got}")
    loaded = []
    for i, (group, mine) in enumerate(zip(groups, own, strict=True)):
        if not isinstance(group, Mapping) or not isinstance(group.get("params"), Sequence):
            raise ValueError(f"{op}: group {i} must be a dict with a list of 'params'")
        numbers, expected = list(group["params"]), len(mine["params"])
        if len(numbers) != expected:
            raise ValueError(f"{op}: group {i} must have {expected} parameters, got {len(numbers)}")
        loaded.append((numbers, {name: value for name, value in group.items() if name != "params"}))
    return loaded


def loaded_state(
    op: str, state: Any, expected: Mapping[Any, tuple[Tensor, list[str]]]
) -> dict[Tensor, dict[str, Any]]:
    """Return what is remembered of each parameter, as copies on its device, in its dtype and memory layout.

    Parameters
    ----------
    op : str
        Named in the errors.
    state : dict
        ``"state"`` of a state dict.
    expected : dict of numbers to (Tensor, list of str)
        The parameters by their saved numbers, and the names of what is remembered of each.

    Raises
    ------
    TypeError, ValueError
        If an entry belongs to no parameter, lacks a name or has one too many, or an array has another shape.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"{op}: 'state' must be a dict, got a {type(state).__name__}")
    loaded = {}
    for number, entry in state.items():
        if number not in expected:
            raise ValueError(f"{op}: parameter {number!r} of 'state' is in no group")
        p, names = expected[number]
        if not isinstance(entry, Mapping) or entry.keys() != set(names):
            got = sorted(entry) if isinstance(entry, Mapping) else type(entry).__name__
            raise ValueError(f"{op}: the state of parameter {number} must hold {sorted(names)}, got {got}")
        loaded[p] = {name: _value(op, number, name, entry[name], p) for name in names}
    return loaded


def _value(op: str, number: Any, name: str, value: Any, p: Tensor) -> Any:
    if name == "step":
        return whole(op, f"step of parameter {number}", value, least=0)
    be = backend.of(value)
    if value.shape != p.shape or not be.is_float(value.dtype):
        raise ValueError(
            f"{op}: {name} of parameter {number} must be floating-point numbers of shape {p.shape}; "
            f"got {value.dtype}, shape {value.shape}"
        )
    with backend.on(p.device) as own:
        copy = own.empty_like(p.data)
        copy[...] = backend.to_device(value, p.device)
    return copy
