"""Modules made of a sequence of modules."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from .module import Module

__all__ = ["ModuleList", "Sequential"]


class _Sequence(Module):
    """Modules in a row.  An index may be negative; a slice is a new sequence of the same modules."""

    def append(self, module: Module) -> Self:
        """Add a module at the end, named by the length so far, or by the next number that is free."""
        numbers = map(str, itertools.count(len(self)))
        self._put(next(name for name in numbers if name not in self._kinds), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __getitem__(self, index: Any) -> Any:
        return getattr(self, self._name_of(index))

    def __setitem__(self, index: int, module: Module) -> None:
        self._put(self._name_of(index), module)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self._own("module"))

    def _put(self, name: str, module: Any) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"{self._name}: item {name} must be a Module, got {type(module).__qualname__}")
        self.add_module(name, module)

    def _name_of(self, index: Any) -> str:
        if isinstance(index, bool) or not hasattr(index, "__index__"):
            raise TypeError(f"{self._name}: an index must be an int or a slice, got {index!r}")
        names = [name for name, _ in self._own("module")]
        if not -len(names) <= index < len(names):
            raise IndexError(f"{self._name}: index {index} is outside a sequence of {len(names)}")
        return names[index]


class Sequential(_Sequence):
    """Apply modules one after the other, each to the output of the one before.

    Parameters
    ----------
    *modules : Module
        Named ``"0"``, ``"1"``, …; or one dict of names and modules.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    >>> net(tensor([[1.0, 2.0, 3.0, 4.0]])).shape
    (1, 3)
    >>> net[0]
    Linear(in_features=4, out_features=3, bias=True)

    A slice keeps the names.

    >>> nn.Sequential({"fc": nn.Linear(4, 3), "act": nn.ReLU()})[1:]
    Sequential(
      (act): ReLU()
    )
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self._put(name, module)
        else:
            for module in modules:
                self.append(module)  # type: ignore[arg-type]  (append refuses what is no Module)

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self._own("module"))[index]))
        return super().__getitem__(index)


class ModuleList(_Sequence):
    """A list of modules whose parameters are registered; what they compute is up to its owner.

    Parameters
    ----------
    modules : iterable of Module

    Examples
    --------
    >>> from minicnn import nn
    >>> blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    >>> len(blocks), [name for name, _ in blocks.named_parameters()][:2]
    (3, ['0.weight', '0.bias'])
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        return ModuleList(list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)
