"""A ladder function run on paper, to learn what it starts: arrays without memory, on a device that takes notes.

Each array is a :class:`Symbol`, with a shape, a dtype and a place, and a launcher on :class:`Paper` checks its launches
as it does on a device.  Views, copies, assignments and ``+=`` are noted too.  Whatever else a function does with its
arrays, to compute with them or to ask for a value, raises an error of some kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .cuda_source import Kernel

if TYPE_CHECKING:
    from .launch import Device

__all__ = ["Memory", "Packed", "Paper", "Step", "Symbol", "Unrecordable", "Varying"]

Memory = tuple[tuple[int, ...], Any]
"""A C-contiguous array's shape and dtype."""

APART = 1 << 48  # bytes from one memory to the next on paper: more than one has


class Unrecordable(Exception):
    """A function asks for what is not known on paper."""


class Symbol:
    """An array on paper: what is known of it without its memory.

    Parameters
    ----------
    paper : Paper
        Where what is done to it is noted.
    base : int
        The number of the memory that it lies in.
    ghost : np.ndarray
        Of its shape and strides, over memory that is not there and that nobody touches.
    origin : int
        The address at which the ghost of all that memory begins.
    """

    def __init__(self, paper: Paper, base: int, ghost: np.ndarray, origin: int) -> None:
        self.base, self.offset = base, ghost.ctypes.data - origin
        self.shape, self.strides, self.ndim = ghost.shape, ghost.strides, ghost.ndim
        self.size, self.nbytes, self.dtype = ghost.size, ghost.nbytes, ghost.dtype
        self.flags = ghost.flags
        self._paper, self._ghost, self._origin = paper, ghost, origin

    def reshape(self, *shape: Any) -> Symbol:
        """Return it in another shape."""
        if not self.flags.c_contiguous:
            raise Unrecordable("the result may be a copy")
        return self._view(self._ghost.reshape(*shape))

    def swapaxes(self, one: int, other: int) -> Symbol:
        """Return it with two axes exchanged."""
        return self._view(self._ghost.swapaxes(one, other))

    def copy(self) -> Symbol:
        """Note a copy, and return it."""
        new = self._paper.empty(self.shape, self.dtype)
        new[...] = self
        return new

    def __getitem__(self, key: Any) -> Symbol:
        parts = [part for part in (key if isinstance(key, tuple) else (key,)) if part is not ...]
        if not all(part is None or isinstance(part, int | slice) for part in parts):
            raise Unrecordable("the result may be a copy")
        return self._view(self._ghost[*parts, ...])  # without the dots, all indices would read a number

    def __setitem__(self, key: Any, value: Any) -> None:
        self._paper.note(_assign, self[key], value)

    def __iadd__(self, value: Any) -> Symbol:
        self._paper.note(_add, self, value)
        return self

    def __len__(self) -> int:
        return len(self._ghost)

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise Unrecordable("the values are not known")

    def __bool__(self) -> bool:
        raise Unrecordable("the values are not known")

    def __eq__(self, other: object) -> bool:
        raise Unrecordable("the values are not known")

    def _view(self, ghost: np.ndarray) -> Symbol:
        return Symbol(self._paper, self.base, ghost, self._origin)


class Varying:
    """A number on paper: it may be handed to a kernel, and nothing else.

    Parameters
    ----------
    which : int
        Of the call's varying numbers.
    """

    def __init__(self, which: int) -> None:
        self.which = which

    def __bool__(self) -> bool:
        raise Unrecordable("the value is not known")

    def __eq__(self, other: object) -> bool:
        raise Unrecordable("the value is not known")


class Packed(NamedTuple):
    """A varying number in a launch: which one of the call's, and what checks and packs it."""

    which: int
    pack: Callable[[Any], Any]


class Step(NamedTuple):
    """Something to start: ``start(arguments)``.

    If `shaped`, the shapes and strides of arrays matter; if not, only where they begin and end.
    """

    start: Callable[[tuple[Any, ...]], Any]
    arguments: tuple[Any, ...]
    shaped: bool


class Paper:
    """A :class:`.launch.Device` on paper: what is started on it is noted.

    Parameters
    ----------
    device : Device
        The one that it stands for.

    Attributes
    ----------
    memories : list of (shape, dtype)
        The function's arrays, and all others.
    steps : list of Step
    written : set of int
        The memories that some kernel writes to.
    """

    def __init__(self, device: Device) -> None:
        self.capability = device.capability
        self.multiprocessors = device.multiprocessors
        self.shared_memory = device.shared_memory
        self.memories: list[Memory] = []
        self.steps: list[Step] = []
        self.written: set[int] = set()
        self._device = device

    def holds(self, array: Any) -> bool:
        """Whether this is an array on paper."""
        return isinstance(array, Symbol)

    def address(self, array: Symbol) -> int:
        """Return an address that is the array's own."""
        return (array.base + 1) * APART + array.offset

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Symbol:
        """Note a memory, and return all of it, C-contiguous."""
        self.memories.append((shape, np.dtype(dtype)))
        memory = np.empty(1, dtype)
        strides = [memory.itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape))]
        ghost = as_strided(memory, shape, strides)
        return Symbol(self, len(self.memories) - 1, ghost, memory.ctypes.data)

    def view(
        self, array: Symbol, offset: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...]
    ) -> Symbol:
        """Refuse: that is for replays."""
        raise Unrecordable("a symbol's views are its own")

    def matmul(self, a: Symbol, b: Symbol, out: Symbol) -> Symbol:
        """Note a product."""
        self.note(self._device.matmul, a, b, out)
        return out

    def note(self, compute: Callable[..., Any], *operands: Any) -> None:
        """Note something to compute with arrays as they are, and with numbers that do not vary."""
        if not all(isinstance(one, Symbol | int | float) for one in operands):
            raise Unrecordable("the operands are not all arrays on paper and numbers")
        self.steps.append(Step(lambda values: compute(*values), operands, shaped=True))

    def function(self, kernel: Kernel, expression: str) -> Callable[..., None]:
        """Return what notes a launch."""
        function = self._device.function(kernel, expression)

        def start(grid: Any, block: Any, arguments: tuple[Any, ...], shared_mem: int) -> None:
            for parameter, argument in zip(kernel.parameters, arguments, strict=True):
                if isinstance(argument, Symbol) and not parameter.const:
                    self.written.add(argument.base)
            replay = partial(function, grid, block, shared_mem=shared_mem)
            self.steps.append(Step(replay, arguments, shaped=False))

        return start


def _assign(target: Any, value: Any) -> None:
    target[...] = value


def _add(target: Any, value: Any) -> None:
    target += value
