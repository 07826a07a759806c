"""Modules: things that hold parameters, and that hold modules which hold parameters.

A module's state stands in its ordinary attributes.  When a Parameter or a Module is assigned to one, or a
tensor is registered as a buffer, the module notes the name and the kind, in order of definition::

    net            "conv1": module    "fc": module
    net.conv1      "weight": parameter    "bias": parameter

Everything else is a walk over these notes.  The path to an array, joined by dots, is its name in the state
dict: ``conv1.weight``, as in PyTorch, so that weights travel between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

from .. import backend
from ..tensor import Tensor
from .hooks import Hooks, RemovableHandle
from .parameter import Parameter
from .state import IncompatibleKeys, load

__all__ = ["Module"]

Array = Any


class Module:
    """The base of every layer and network.

    Subclass it, define the parts in ``__init__`` and compute in ``forward``.  Call the module, not its
    ``forward``: the call also runs the hooks.

    Attributes
    ----------
    training : bool
        Whether layers such as dropout behave as in training; set by :meth:`train` and :meth:`eval`.

    Examples
    --------
    >>> from minicnn import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden = nn.Linear(4, 3)
    ...         self.out = nn.Linear(3, 2, bias=False)
    ...     def forward(self, x):
    ...         return self.out(self.hidden(x))
    >>> net = Net()
    >>> [name for name, _ in net.named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight']
    >>> sum(p.size for p in net.parameters())
    21
    >>> net
    Net(
      (hidden): Linear(in_features=4, out_features=3, bias=True)
      (out): Linear(in_features=3, out_features=2, bias=False)
    )
    """

    optional_state: ClassVar[frozenset[str]] = frozenset()
    """Names of this class's parameters and buffers that a state dict may lack."""

    training: bool = True
    _kinds: dict[str, str]  # name → "parameter", "module" or "buffer", in order of definition

    def __init__(self) -> None:
        self._kinds = {}
        self._transient: set[str] = set()  # names of the buffers that are not saved
        self._forward_pre_hooks: Hooks = {}
        self._forward_hooks: Hooks = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; a subclass must define it."""
        raise NotImplementedError(f"{self._name} defines no forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the pre-hooks, ``forward`` and the hooks."""
        for hook in list(self._forward_pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        output = self.forward(*args, **kwargs)
        for hook in list(self._forward_hooks.values()):
            changed = hook(self, args, output)
            if changed is not None:
                output = changed
        return output

    @property
    def _name(self) -> str:
        return type(self).__name__

    # Definition

    def __setattr__(self, name: str, value: Any) -> None:
        kind = _kind(value)
        if kind and "_kinds" not in vars(self):
            raise AttributeError(f"{self._name}: call super().__init__() before assigning {kind} {name!r}")
        registered = vars(self).get("_kinds", {}).get(name)
        if registered and value is not None and kind != registered:
            raise TypeError(
                f"{self._name}: {name!r} is registered as a {registered}; assign one, or None, or delete it "
                f"first; got {type(value).__qualname__}"
            )
        part = registered or (kind if kind != "buffer" else None)  # a tensor alone is a plain attribute
        if part:
            self._hold(name, part, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._kinds.pop(name, None)
        self._transient.discard(name)

    def _hold(self, name: str, kind: str, value: Any) -> None:
        """Assign a part and note its name; an impossible one changes nothing."""
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"{self._name}: a {kind}'s name must be a string without dots, got {name!r}")
        if hasattr(Module, name):
            raise ValueError(f"{self._name}: a {kind} cannot be named {name!r}, every module has one already")
        if isinstance(value, Module) and any(module is self for module in value.modules()):
            raise ValueError(f"{self._name}: assigning {name!r} would make this module a part of itself")
        super().__setattr__(name, value)
        self._kinds[name] = kind

    def _register(self, name: str, kind: str, value: Any) -> None:
        """Hold `value`, which may be None, as a part of this kind."""
        if value is not None and _kind(value) != kind:
            raise TypeError(f"{self._name}: {name!r} must be a {kind}, got {type(value).__qualname__}")
        if self._kinds.get(name, kind) != kind:
            raise ValueError(f"{self._name}: {name!r} is registered as a {self._kinds[name]} already")
        self._hold(name, kind, value)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None keeps the name for one, as ``bias=False`` does."""
        self._register(name, "parameter", param)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child, as assigning it to the attribute does."""
        self._register(name, "module", module)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the state but is not learned, such as a running mean.

        Parameters
        ----------
        name : str
        tensor : Tensor or None
        persistent : bool
            Whether it is part of :meth:`state_dict`.
        """
        self._register(name, "buffer", tensor)
        (self._transient.discard if persistent else self._transient.add)(name)

    # What is in it

    def _own(self, kind: str) -> Iterator[tuple[str, Any]]:
        """Names and values of one kind that this module itself holds, in order of definition."""
        held = vars(self)
        return ((n, held[n]) for n, k in self._kinds.items() if k == kind and held[n] is not None)

    def _all(
        self, kind: str, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in module._own(kind):
                if not (remove_duplicate and value in seen):
                    seen.add(value)
                    yield _join(path, name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield dotted names and parameters, this module's before its children's; a shared one only once."""
        return self._all("parameter", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, each once, in the order of :meth:`named_parameters`."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield dotted names and buffers, as :meth:`named_parameters`."""
        return self._all("buffer", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield names and modules directly inside this one; a module under two names only once."""
        seen = set()
        for name, module in self._own("module"):
            if module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yield the modules directly inside this one, each once."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """Yield dotted names and modules: this one (`prefix`) and all inside it, parents before children.

        Examples
        --------
        >>> from minicnn import nn
        >>> [name for name, _ in nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh())).named_modules()]
        ['', '0', '1', '1.0']
        """
        seen = set()
        waiting = [(prefix, self)]  # a stack: the next one last
        while waiting:
            path, module = waiting.pop()
            if not (remove_duplicate and module in seen):
                seen.add(module)
                yield path, module
                children = [(_join(path, name), child) for name, child in module._own("module")]
                waiting += reversed(children)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all inside it, each once."""
        return (module for _, module in self.named_modules())

    # Its state

    def _state(self, prefix: str) -> dict[str, Tensor]:
        return {
            _join(path, name): tensor
            for path, module in self.named_modules(prefix, remove_duplicate=False)
            for kind in ("parameter", "buffer")
            for name, tensor in module._own(kind)
            if name not in module._transient
        }

    def state_dict(self, prefix: str = "") -> dict[str, Array]:
        """Return the arrays of all parameters and persistent buffers by their dotted names.

        They are the arrays themselves, not copies, as in PyTorch: training on changes them.  Copy those that
        are to stay: ``{name: array.copy() for name, array in net.state_dict().items()}``.

        Examples
        --------
        >>> from minicnn import nn
        >>> {name: array.shape for name, array in nn.Sequential(nn.Linear(3, 2)).state_dict().items()}
        {'0.weight': (2, 3), '0.bias': (2,)}
        """
        return {name: tensor.data for name, tensor in self._state(prefix).items()}

    def load_state_dict(self, state: Mapping[str, Array | Tensor], strict: bool = True) -> IncompatibleKeys:
        """Copy arrays into the parameters and buffers of the same names: all of them or, on an error, none.

        The module's arrays stay where they are, with their memory layout, device and dtype; one float type is
        converted to another.

        Parameters
        ----------
        state : mapping of dotted names to arrays or Tensors
        strict : bool
            Whether a missing or unexpected name is an error.  ``num_batches_tracked`` may always be missing:
            older checkpoints have none.

        Returns
        -------
        named tuple (missing_keys, unexpected_keys)

        Raises
        ------
        TypeError
            If `state` is no mapping.
        ValueError
            Listing missing and unexpected names, wrong shapes and dtypes.
        """
        optional = {
            _join(path, name)
            for path, module in self.named_modules(remove_duplicate=False)
            for name in module.optional_state
        }
        return load(self._name, self._state(""), optional, state, strict)

    def to(self, target: Any) -> Self:
        """Move all parameters and buffers to a device, or convert those of a float dtype to another.

        They stay the same tensors, over other arrays, so an optimiser that holds them goes on.

        Parameters
        ----------
        target : str such as ``"cpu"``, or dtype

        Raises
        ------
        TypeError, ValueError
            If `target` is neither a device there is nor a floating-point dtype.
        """
        convert = _conversion(target)
        for tensor in [*self.parameters(), *self.buffers()]:
            tensor.data = convert(tensor.data)
            if tensor.grad is not None:
                tensor.grad = convert(tensor.grad)
        return self

    def cpu(self) -> Self:
        """Move all parameters and buffers to host memory."""
        return self.to("cpu")

    def cuda(self) -> Self:
        """Move all parameters and buffers to the GPU."""
        return self.to("cuda")

    # Its mode

    def train(self, mode: bool = True) -> Self:
        """Set this module and all inside it to training mode, or with False to evaluation mode."""
        self.training = bool(mode)
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Set this module and all inside it to evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether the parameters are learned; False freezes them."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or with ``set_to_none=False`` make them zeros."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                with backend.running("zero_grad", parameter.grad):
                    parameter.grad = backend.of(parameter.grad).zeros_like(parameter.grad)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` on all modules inside this one and at last on itself, say to initialise the weights."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # Hooks

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; a result that is not None replaces `args`.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` takes the hook away.
        """
        return RemovableHandle(self._forward_pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; a result that is not None replaces `output`.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` takes the hook away.

        Examples
        --------
        >>> from minicnn import nn, tensor
        >>> net = nn.Sequential(nn.Flatten(), nn.ReLU())
        >>> handle = net[0].register_forward_hook(lambda module, args, output: print(output.shape))
        >>> _ = net(tensor([[[1.0, 2.0], [3.0, 4.0]]]))
        (1, 4)
        >>> handle.remove()
        """
        return RemovableHandle(self._forward_hooks, hook)

    # Its picture

    def extra_repr(self) -> str:
        """Return what stands between the parentheses when the module is printed."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._own("module")]
        if not children:
            return f"{self._name}({extra})"
        return "\n  ".join([f"{self._name}(", *filter(None, [extra]), *children]) + "\n)"


def _kind(value: Any) -> str | None:
    if isinstance(value, Module):
        return "module"
    if isinstance(value, Parameter):
        return "parameter"
    return "buffer" if isinstance(value, Tensor) else None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _conversion(target: Any) -> Callable[[Array], Array]:
    if backend.is_device(target):
        return lambda array: backend.to_device(array, target)

    def convert(array: Array) -> Array:
        if not backend.of(array).is_float(array.dtype):
            return array
        with backend.on(backend.device_of(array)):
            return array.astype(target, copy=False)

    try:
        known = backend.get("cpu").is_float(target)
    except TypeError:
        known = False
    if not known:
        raise TypeError(f"to: expected a device such as 'cpu' or a floating-point dtype, got {target!r}")
    return convert
