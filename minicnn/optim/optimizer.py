"""What every optimiser is made of: groups of parameters, the rule's memory, and the step through them all.

An optimiser is its update rule: elementwise arithmetic on a parameter p, its gradient g and a few arrays that
the rule remembers between steps.  A subclass says which options it has (:meth:`Optimizer._check`), which
arrays it remembers (:meth:`Optimizer._memory`), and writes the rule down (:meth:`Optimizer._update`); the
rest is here.

Parameters are updated in place, so whoever holds a view of the array sees the new values.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from .. import backend
from ..tensor import Tensor
from .loading import loaded_groups, loaded_state
from .sweep import sweep

__all__ = ["Array", "Optimizer", "Options"]

Array = Any
Options = dict[str, Any]


class Optimizer:
    """The base of the optimisers.

    Parameters
    ----------
    params : iterable of Tensors, or of dicts
        A dict is one group: its Tensors under ``"params"``, and the options in which it differs from
        `defaults`.
    defaults : dict
        Every option of the rule, with the value for the groups that do not say otherwise.

    Attributes
    ----------
    param_groups : list of dicts
        Each with ``"params"`` and a value for every option.  To change one during training, assign it here.
    state : dict of Tensors to dicts
        What the rule remembers of each parameter: arrays of its shape, dtype and memory layout under
        PyTorch's names, and under ``"step"`` how many gradients went into them.

    Raises
    ------
    TypeError
        If `params` holds something else, or an option is of the wrong type.
    ValueError
        If there are no parameters, one occurs twice, an option is unknown or has a value that makes no sense.
    """

    def __init__(self, params: Iterable[Any], defaults: Options) -> None:
        self.defaults = dict(defaults)
        self._check(self.defaults)
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[Options] = []
        for group in self._as_groups(params):
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    # What a subclass defines

    def _check(self, options: Options) -> None:
        """Hold every option to its range, and put numbers in as floats."""
        raise NotImplementedError(f"{self._name} defines no _check")

    def _memory(self, options: Options) -> dict[str, float]:
        """Names of the arrays remembered with these options, and what each is filled with at first."""
        raise NotImplementedError(f"{self._name} defines no _memory")

    def _update(self, options: Options, step: int, *args: Any, **arrays: Any) -> None:
        """Update the array ``p`` from the gradient ``g`` and the remembered arrays, passed by their names.

        They are pieces of the whole, of one shape; all but ``g`` are updated in place.  `step` counts from 1.
        """
        raise NotImplementedError(f"{self._name} defines no _update")

    # What training calls

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Called first, to compute the loss and its gradients anew.

        Returns
        -------
        What `closure` returned, or None.

        Raises
        ------
        TypeError
            If a gradient, or what is remembered, is on another device than its parameter.
        ValueError
            If a gradient has another shape or dtype than its parameter.  No parameter has changed then.
        MemoryError
            If a GPU has no room for what is computed on the way.  No parameter has changed then either.
        """
        result = None if closure is None else closure()
        jobs = [
            (group, *self._arrays(p, group))
            for group in self.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        backend.of(*(arrays["p"] for *_, arrays in jobs), op=f"{self._name}.step")
        updates = ((partial(self._update, group, state["step"] + 1), arrays) for group, state, arrays in jobs)
        sweep(updates, f"{self._name}.step")
        for _, state, _ in jobs:
            state["step"] += 1
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, so that the next backward starts anew.

        Parameters
        ----------
        set_to_none : bool
            False fills the arrays with zeros instead.  A parameter that then gets no gradient is still moved
            by momentum and weight decay, while one whose gradient is None is left alone.
        """
        for p in self._parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                with backend.running(f"{self._name}.zero_grad", p.grad):
                    p.grad[...] = 0

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add a group of parameters, for example layers that were frozen until now.

        Parameters
        ----------
        param_group : dict
            As in the constructor.  It is copied.

        Raises
        ------
        TypeError, ValueError
            As the constructor.  The optimiser has not changed then.
        """
        if not isinstance(param_group, Mapping):
            kind = type(param_group).__name__
            raise TypeError(f"{self._name}: a parameter group must be a dict with 'params', got {kind}")
        if "params" not in param_group:
            raise ValueError(f"{self._name}: a parameter group must hold 'params', got {list(param_group)}")
        own = {name: value for name, value in param_group.items() if name != "params"}
        options = {**self.defaults, **own}
        self._check_known(options)
        self._check(options)
        self.param_groups.append({"params": self._new_parameters(param_group["params"]), **options})

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on later as if nothing had happened.

        Returns
        -------
        dict
            ``"param_groups"``, the groups with the parameters' numbers in place of the parameters; and
            ``"state"``, what is remembered of each parameter, by its number.  The arrays are the optimiser's
            own, as in PyTorch: copy them (:func:`copy.deepcopy`) to keep them as they are.
        """
        numbers = {p: i for i, p in enumerate(self._parameters())}
        groups = [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups]
        state = {}
        for group in self.param_groups:
            names = self._remembered(group)
            for p in group["params"]:
                if names and p in self.state:
                    entry = self.state[p]
                    state[numbers[p]] = {name: entry[name] for name in names if name in entry}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the options and the memory of another optimiser of this kind; arrays are copied.

        Parameters
        ----------
        state_dict : dict
            What :meth:`state_dict` returned, for parameters of the same shapes in the same order.

        Raises
        ------
        TypeError, ValueError
            If it does not fit.  The optimiser has not changed then.
        """
        op = f"{self._name}.load_state_dict"
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
            raise ValueError(f"{op}: a state dict must hold 'state' and 'param_groups'")
        groups = loaded_groups(op, state_dict["param_groups"], self.param_groups)
        for numbers, options in groups:
            self._check_known(options)
            if missing := self.defaults.keys() - options.keys():
                raise ValueError(f"{op}: the group of parameters {numbers} must have {sorted(missing)}")
            self._check(options)
        expected = {
            number: (p, self._remembered(options))
            for (numbers, options), own in zip(groups, self.param_groups, strict=True)
            for number, p in zip(numbers, own["params"], strict=True)
        }
        self.state = loaded_state(op, state_dict["state"], expected)
        for own, (_, options) in zip(self.param_groups, groups, strict=True):
            own.update(options)

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])

    # For the rules

    def _gradient(self, options: Options, p: Array, g: Array) -> Array:
        """Return what the rule takes for the gradient: ±g + λp in scratch memory, or g itself."""
        be, decay, up = backend.of(p), options["weight_decay"], options["maximize"]
        if not (decay or up):
            return g
        out = self._scratch("gradient", p)
        if not decay:
            return be.negative(g, out=out)
        be.multiply(p, decay, out=out)
        return be.subtract(out, g, out=out) if up else be.add(out, g, out=out)

    def _scratch(self, purpose: str, p: Array) -> Array:
        """Return an array like `p` with undefined contents."""
        return backend.of(p).scratch(f"optim {purpose}", p.shape, p.dtype)

    # Behind the scenes

    def _parameters(self) -> Iterator[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    def _remembered(self, options: Options) -> list[str]:
        """Names of all that is remembered of a parameter; nothing, if there are no arrays to remember."""
        memory = self._memory(options)
        return ["step", *memory] if memory else []

    def _check_known(self, options: Options) -> None:
        known = {*self.defaults, "initial_lr"}  # which the schedules note down there
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"the options are {sorted(self.defaults)}"
                raise ValueError(f"{self._name}: unknown option {name!r}; {hint}")

    def _as_groups(self, params: Any) -> list[Any]:
        if isinstance(params, Tensor | Mapping):
            kind = type(params).__name__
            raise TypeError(f"{self._name}: params must be an iterable of Tensors or dicts, got one {kind}")
        items = self._as_list(params)
        return items if items and isinstance(items[0], Mapping) else [{"params": items}]

    def _as_list(self, params: Any) -> list[Any]:
        if isinstance(params, set | frozenset) or not isinstance(params, Iterable):
            kind = type(params).__name__
            raise TypeError(f"{self._name}: params must be iterable in a fixed order, got a {kind}")
        return list(params)

    def _new_parameters(self, params: Any) -> list[Tensor]:
        """Return the parameters of a new group as a list, if they can be optimised and none is here yet."""
        tensors = [params] if isinstance(params, Tensor) else self._as_list(params)
        if not tensors:
            raise ValueError(f"{self._name}: a parameter group must have at least one parameter, got none")
        seen = set(self._parameters())
        for i, p in enumerate(tensors):
            if not isinstance(p, Tensor):
                kind = type(p).__name__
                raise TypeError(f"{self._name}: parameters must be Tensors, parameter {i} is a {kind}")
            if not p.is_leaf:
                raise ValueError(f"{self._name}: parameters must be leaf tensors, parameter {i} was computed")
            if p in seen:
                raise ValueError(f"{self._name}: parameter {i} of a group, of shape {p.shape}, occurs twice")
            seen.add(p)
        return tensors

    def _arrays(self, p: Tensor, group: Options) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return the state of a parameter, made now if need be, and all arrays that its update works on."""
        be, memory = backend.of(p.data), self._memory(group)
        fresh: dict[str, Any] = {"step": 0}
        state = self.state.setdefault(p, fresh) if memory else fresh
        for name, start in memory.items():
            if name not in state:
                with be.running(f"{self._name}.step", p.data):
                    state[name] = be.empty_like(p.data)
                    state[name][...] = start
        arrays = {"g": p.grad, **{name: state[name] for name in memory}}
        for name, array in arrays.items():
            self._must_fit(name, array, p)
        return state, {"p": p.data, **arrays}

    def _must_fit(self, name: str, array: Array, p: Tensor) -> None:
        what = "the gradient" if name == "g" else name
        if backend.of(array) is not backend.of(p.data) or backend.device_of(array) != p.device:
            raise TypeError(
                f"{self._name}.step: {what} must be on its parameter's device, {p.device}, got one on "
                f"{backend.device_of(array)}; a model is moved before the first step, or the state is loaded anew"
            )
        if array.shape != p.shape or array.dtype != p.dtype:
            raise ValueError(
                f"{self._name}.step: {what} must have its parameter's shape and dtype, {p.shape} {p.dtype}; "
                f"got {array.shape} {array.dtype}"
            )
