"""Operations recorded once and replayed: what a ladder function does on the host depends on shapes and options only.

A function of :mod:`.ladder` checks its arguments, chooses a version and an instance, counts blocks and packs numbers,
and :meth:`.launch.Launcher.launch` checks all of it once more.  That takes longer than many a kernel.  A call like an
earlier one needs only

* new memory for the result and the temporaries,
* the same kernels and matrix products, with this call's arrays in place of that one's,
* the same views of the memory as its result.

This is a :class:`Plan`.  It is made by running the function once on paper: with a :class:`Symbol` for each array, which
has a shape and a place but no memory, on a device of :class:`Paper`, which notes what it is to start.  A function that
asks more of a symbol than can be noted has no plan, and runs as it stands.

What a plan takes for granted is part of the key it is found by, or is held to at each call: the arrays are the
device's, C-contiguous and aligned; the same ones of them are the same memory; none that is written overlaps another.
Where that is not so, the function itself runs, and its launches are checked one by one.

Some numbers change at every call: a seed, an offset, a learning rate.  A plan knows them by name only
(:class:`Varying`), and each call checks and packs its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, combinations, count, repeat
from math import prod
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..geometry import Window2d
from .paper import Memory, Packed, Paper, Symbol, Unrecordable, Varying

if TYPE_CHECKING:
    from .launch import Device, Launcher

__all__ = ["ALIGNMENT", "MOST_PLANS", "VARYING", "Plans"]

Array = Any

ALIGNMENT = 16  # bytes: the most that one instruction loads
MOST_PLANS = 4096  # of a launcher; a network's training step takes some hundreds
VARYING = frozenset({"seed", "offset", "lr"})  # options of ladder functions that change from call to call
NUMBERS = (int, float, np.number)
PLAIN = frozenset({int, float, bool, str, type(None)})  # types of options, alone and in tuples
OTHERS = (Window2d, np.dtype, np.number, np.bool_, type)

Call = tuple[tuple[Any, ...], list[Array], list[int], list[Any]]
"""The key of a call's plan, its arrays and where they begin, and its varying numbers."""

New = list[tuple[int, int, tuple[Any, ...]]]
"""A register to fill, the register of the memory that it lies in, and arguments of the device's ``view``.

Where both are one, the memory itself is new, and these are arguments of ``empty``.
"""


class Layout:
    """Which register of a plan holds what: first the memories, each its own number, then all else.

    Parameters
    ----------
    memories : list of (shape, dtype)
    given : int
        How many of them are the call's arrays.
    results : tuple of Symbol and None
        What is returned; new memory has the shape that it is returned in.
    """

    def __init__(self, memories: list[Memory], given: int, results: tuple[Symbol | None, ...]) -> None:
        self.memories = memories
        for one in results:
            if one is not None and one.base >= given and self._is_all(one, shaped=False):
                memories[one.base] = one.shape, one.dtype
        self.registers: list[Any] = [None] * len(memories)
        self.numbers: list[tuple[int, Packed]] = []
        self.over: dict[int, list[int]] = {base: [base] for base in range(given)}
        """The registers over each memory: itself and its views."""
        self._views: dict[tuple[int, tuple[Any, ...]], int] = {}

    def prepared(
        self, values: Iterable[Any], shaped: bool
    ) -> tuple[New, Callable[[list[Any]], tuple[Any, ...]]]:
        """Return what is new with these values, and what takes their registers."""
        new: New = []
        places = [self._place(one, shaped, new) for one in values]
        if len(places) == 1:
            return new, lambda registers: (registers[places[0]],)
        return new, itemgetter(*places)

    def _place(self, one: Any, shaped: bool, new: New) -> int:
        if isinstance(one, Packed):
            self.numbers.append((len(self.registers), one))
        if not isinstance(one, Symbol):
            self.registers.append(one)
            return len(self.registers) - 1
        if one.base not in self.over:
            self.over[one.base] = [one.base]
            new.append((one.base, one.base, self.memories[one.base]))
        if self._is_all(one, shaped):
            return one.base
        view = one.base, (one.offset, one.shape, one.dtype, one.strides)
        if view not in self._views:
            self._views[view] = len(self.registers)
            self.over[one.base].append(len(self.registers))
            new.append((len(self.registers), *view))
            self.registers.append(None)
        return self._views[view]

    def _is_all(self, one: Symbol, shaped: bool) -> bool:
        """Whether a symbol is all of its memory, in the memory's shape if that matters."""
        shape, dtype = self.memories[one.base]
        alike = one.shape == shape if shaped else one.size == prod(shape)
        return alike and one.dtype == dtype and one.flags.c_contiguous


class Plan:
    """What a call starts, and what it returns.

    Parameters
    ----------
    device : Device
    paper : Paper
        What the function started.
    given : int
        How many of its memories are the call's arrays.
    result : Symbol, None, or a tuple of them
        What the function returned.

    Raises
    ------
    Unrecordable
        If the result is something else.
    """

    def __init__(self, device: Device, paper: Paper, given: int, result: Any) -> None:
        results = result if isinstance(result, tuple) else (result,)
        if not all(one is None or isinstance(one, Symbol) for one in results):
            raise Unrecordable("only arrays can be returned")
        layout = Layout(paper.memories, given, results)
        prepared = [layout.prepared(step.arguments, step.shaped) for step in paper.steps]
        self._new, taken = layout.prepared(results, shaped=True)
        self._result = taken if isinstance(result, tuple) else lambda registers: taken(registers)[0]
        self._steps = [
            (new, taken, step.start, done)
            for step, (new, taken), done in zip(
                paper.steps, prepared, _done(paper, layout, given, results), strict=True
            )
        ]
        self._device, self._given = device, given
        self._registers, self._numbers = layout.registers, layout.numbers
        sizes = [dtype.itemsize * prod(shape) for shape, dtype in paper.memories[:given]]
        self._apart = [
            (one, sizes[one], other, sizes[other])
            for one, other in combinations(range(given), 2)
            if {one, other} & paper.written
        ]

    def fits(self, places: Sequence[int]) -> bool:
        """Whether none of the arrays that are written, which begin at these places, overlaps another one."""
        for one, length, other, size in self._apart:
            start, begin = places[one], places[other]
            # The same memory is no surprise: it was the same on paper.
            if start < begin + size and begin < start + length and start != begin:
                return False
        return True

    def __call__(self, arrays: Sequence[Array], numbers: Sequence[Any]) -> Any:
        """Start everything, for these arrays and varying numbers, and return the result."""
        registers = self._registers.copy()
        registers[: self._given] = arrays
        for place, (which, pack) in self._numbers:
            registers[place] = pack(numbers[which])
        for new, taken, start, done in self._steps:
            self._make(new, registers)
            start(taken(registers))
            # What is done with goes back before the kernels have run.  A pool of device memory, as CuPy's, hands it to
            # later work of the same stream only, which runs after them.
            for place in done:
                registers[place] = None
        self._make(self._new, registers)
        return self._result(registers)

    def _make(self, new: New, registers: list[Any]) -> None:
        for place, base, what in new:
            if place == base:
                registers[place] = self._device.empty(*what)
            else:
                registers[place] = self._device.view(registers[base], *what)


def _done(paper: Paper, layout: Layout, given: int, results: tuple[Symbol | None, ...]) -> list[list[int]]:
    """Return, for each step, the registers over memory that is used there for the last time."""
    last = {
        one.base: number
        for number, step in enumerate(paper.steps)
        for one in step.arguments
        if isinstance(one, Symbol)
    }
    kept = {one.base for one in results if one is not None} | {*range(given)}
    done: list[list[int]] = [[] for _ in paper.steps]
    for base in last.keys() - kept:
        done[last[base]] += layout.over[base]
    return done


class Plans:
    """The plans of a launcher: as many as it may keep, the oldest dropped first."""

    def __init__(self) -> None:
        self._plans: dict[tuple[Any, ...], Plan | None] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return sum(plan is not None for plan in self._plans.values())

    def run(
        self, on: Launcher, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """Return ``function(on, *arguments, **options)``, by a plan where there is one or can be."""
        call = _call(on.device, function, arguments, options)
        if call is None:
            return function(on, *arguments, **options)
        key, arrays, places, numbers = call
        plan = self._plans.get(key) or self._first(on, function, arguments, options, call)
        if plan is not None and plan.fits(places):
            return plan(arrays, numbers)
        result = function(on, *arguments, **options)
        if plan is None:
            self._keep(key, None)  # only now that it is no error, for that might be gone the next time
        return result

    def _first(
        self,
        on: Launcher,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        call: Call,
    ) -> Plan | None:
        """Return a plan for a call that has none, unless it is known that there can be none."""
        key, arrays, places, _ = call
        if key in self._plans:
            return None
        plan = _plan(on, function, arguments, options, arrays, places)
        if plan is not None:
            self._keep(key, plan)
        return plan

    def _keep(self, key: tuple[Any, ...], plan: Plan | None) -> None:
        with self._lock:
            self._plans[key] = plan
            while len(self._plans) > MOST_PLANS:
                del self._plans[next(iter(self._plans))]


def _call(
    device: Device, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Call | None:
    """Return what a plan is found by and works on, or None where something is given that no plan is for.

    That is a list, say, or an array that is not contiguous.
    Options that are equal and of one type are the same to a plan: 0.0 is −0.0, but True is not 1.
    """
    key: list[Any] = [function]
    arrays: list[Array] = []
    places: list[int] = []
    numbers: list[Any] = []
    for name, value in chain(zip(repeat(""), arguments), options.items()):
        kind = type(value)
        if name in VARYING and _is_number(value):
            key += name, kind
            numbers.append(value)
        elif kind in PLAIN:
            key += name, kind, value
        elif device.holds(value):
            place = device.address(value)
            if place % ALIGNMENT or not value.flags.c_contiguous:
                return None
            key += name, value.dtype, value.shape
            arrays.append(value)
            places.append(place)
        elif kind is tuple and PLAIN.issuperset(types := tuple(map(type, value))):
            key += name, types, value
        elif isinstance(value, OTHERS):
            key += name, kind, value
        else:
            return None
    if len({*places}) < len(places):
        firsts = _firsts(places)
        if any(
            (arrays[i].shape, arrays[i].dtype) != (a.shape, a.dtype)
            for i, a in zip(firsts, arrays, strict=True)
        ):
            return None
        key.append(firsts)
    return tuple(key), arrays, places, numbers


def _plan(
    on: Launcher,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    arrays: list[Array],
    places: list[int],
) -> Plan | None:
    """Run a function on paper; return its plan, or None if it has none."""
    paper = Paper(on.device)
    symbols = [paper.empty(array.shape, array.dtype) for array in arrays]
    by_id = {id(array): symbols[first] for array, first in zip(arrays, _firsts(places), strict=True)}
    number = count()
    try:
        result = function(
            type(on)(paper),
            *(by_id.get(id(value), value) for value in arguments),
            **{
                name: Varying(next(number))
                if name in VARYING and _is_number(value)
                else by_id.get(id(value), value)
                for name, value in options.items()
            },
        )
        return Plan(on.device, paper, len(arrays), result)
    except Exception:
        # Whatever it was, the function itself says it better, or does it all the same.
        return None


def _firsts(places: Sequence[int]) -> tuple[int, ...]:
    """Return, for each array, which one is the first at its place."""
    return tuple(places.index(place) for place in places)


def _is_number(value: Any) -> bool:
    return isinstance(value, NUMBERS) and not isinstance(value, bool)
