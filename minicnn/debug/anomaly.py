"""Which operation made the first NaN or infinity, and from what.

Every operation called inside the block is looked at when it has run: its output in forward, the gradients of its
inputs in backward.  So the first value that is not finite is met where it arises, and it can have come about in only a
few ways: the operation made it, or was given it by something that is no operation (data, an optimizer's step); in
backward also, finite gradients summed to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .. import backend
from ..observer import Observer, current, observing
from ..tensor import Function, Tensor
from .extent import Extent
from .origin import Origin, modules_inside

__all__ = ["AnomalyError", "detect_anomaly"]

Array = Any

_MOST = 8  # inputs shown


class AnomalyError(FloatingPointError):
    """An operation yielded NaN or an infinity: raised inside :func:`detect_anomaly`.

    A FloatingPointError, as NumPy's ``errstate(all="raise")`` gives, and so an ArithmeticError.
    """


@contextmanager
def detect_anomaly(*, allow_inf: bool = False) -> Iterator[None]:
    """Raise at the first operation that yields NaN or ±Inf, as a ``with`` block or as a decorator.

    The error names the operation, whether it was its output or the gradient of an input, how many elements and the
    first of them; shape, dtype and range (of the finite elements) of what went in and came out; and where the operation
    was called: the lines of the program (not those of this package, of the standard library, of installed packages)
    and the path of modules.

    Parameters
    ----------
    allow_inf : bool
        Let ±Inf pass, as the value it is, and look for NaN alone: for programs that mask with −∞.

    Raises
    ------
    AnomalyError
        In forward, where an operation's output is not finite.  If one of its inputs was not either, that input is
        named instead, and no operation in the block made it so: it is data, a constant, or a parameter after an
        optimizer's step, say.
        In backward, where the gradient of an input is not finite; or the gradient of the output, which was passed to
        ``backward(gradient)`` or is a sum of finite ones; or the ``grad`` of a leaf that a gradient is added to.

    Notes
    -----
    What an operation *yields* counts.  A −∞ that it takes and deals with is none of ours: ``cross_entropy`` of logits
    with −∞ passes, but ``x + mask`` yields −∞ and wants `allow_inf`.

    Put forward and backward inside: of an operation called outside, backward knows neither place nor ranges.
    The block holds for the current thread, as ``no_grad`` does.  Blocks nest, and the innermost decides.  Decorating a
    generator or a coroutine does nothing, for it runs after the call: put a block inside.
    Arrays on the meta device have no values and pass.  Elsewhere each operation reads its arrays twice more, and the
    call stack, which may halve the speed: for finding an error, not for training with.

    Examples
    --------
    >>> from minicnn import tensor
    >>> x = tensor([0.0, 4.0], requires_grad=True)
    >>> with detect_anomaly():
    ...     x.sqrt().sum().backward()
    Traceback (most recent call last):
    ...
    minicnn.debug.anomaly.AnomalyError: Sqrt, backward: Inf in the gradient of input 0: 1 of 2 ... at (0,)
      gradient of input 0: float32 (2,), 0.25 … 0.25, 1 Inf
      gradient of the output: float32 (2,), 1 … 1
      input 0: float32 (2,), 0 … 4
      called at <doctest minicnn.debug.anomaly.detect_anomaly[2]>:2 in <module>: x.sqrt().sum().backward()
    """
    others = (o for o in current.observers if not isinstance(o, _Detector))
    with observing(_Detector(allow_inf), *others):  # outermost: it sees what all others leave
        yield


class _Call(NamedTuple):
    """What is known of an operation from its forward pass."""

    origin: Origin
    given: dict[str, Extent]  # by what it is called: "input 0", or the attribute that holds it


_calls: WeakKeyDictionary[Function, _Call] = WeakKeyDictionary()  # forward and backward may be in two blocks


class _Detector(Observer):
    def __init__(self, allow_inf: bool) -> None:
        self._kinds = ("NaN",) if allow_inf else ("NaN", "Inf", "-Inf")
        self._reached: set[int] = set()  # numbers of the functions that gradients are on their way to

    def forward(self, function: Function, run: Callable[..., Array], *arrays: Array) -> Array:
        be = function.be
        if be is backend.meta:
            return run(*arrays)
        given = {f"input {i}": array for i, array in enumerate(arrays)}
        # What __init__ kept: the statistics of batch normalisation, labels.
        given |= {name: value for name, value in vars(function).items() if be.is_array(value)}
        call = _calls[function] = _Call(Origin(), {name: Extent.of(be, a) for name, a in given.items()})
        y = run(*arrays)
        output = Extent.of(be, be.asarray(y))
        if self._odd(output):
            for name, extent in call.given.items():
                if self._odd(extent):
                    where = f"{name}{_owner(given[name])}, not made by an operation in this block"
                    raise self._error(function, "forward", where, extent, {"output": output})
            raise self._error(function, "forward", "the output", output, {"output": output})
        return y

    def backward(
        self, function: Function, run: Callable[[Array], list[Array | None]], g: Array
    ) -> list[Array | None]:
        be = function.be
        if be is backend.meta:
            return run(g)
        upstream = Extent.of(be, g)
        ranges = {"gradient of the output": upstream}
        if self._odd(upstream):
            summed = function.number in self._reached
            where = "the sum of the output's gradients" if summed else "the gradient given to backward()"
            raise self._error(function, "backward", where, upstream, ranges)
        results = run(g)
        for i, dx in enumerate(results):
            if dx is not None and self._odd(found := Extent.of(be, dx)):
                name = f"gradient of input {i}"
                raise self._error(function, "backward", f"the {name}", found, {name: found, **ranges})
        self._reached.discard(function.number)
        self._reached.update(edge.number for edge in function.edges or () if isinstance(edge, Function))
        self._look_at_leaves(function, results)
        return results

    def _look_at_leaves(self, function: Function, results: list[Array | None]) -> None:
        """Foresee what the engine is about to add to the ``grad`` of leaves."""
        be, sums = function.be, {}
        for i, (leaf, dx) in enumerate(zip(function.edges or (), results, strict=True)):
            if not isinstance(leaf, Tensor) or dx is None:
                continue
            before = sums.get(leaf, leaf.grad)
            sums[leaf] = total = dx if before is None else before + dx
            if before is not None and self._odd(after := Extent.of(be, total)):
                held, added = Extent.of(be, before), Extent.of(be, dx)
                when, odd = ("before adding to it", held) if self._odd(held) else ("once added to", after)
                ranges = {"grad": held, "added to it": added}
                raise self._error(function, "backward", f"the grad of input {i}, {when}", odd, ranges)

    def _odd(self, extent: Extent) -> list[str]:
        """Return the kinds of elements there that must not be."""
        return [kind for kind in self._kinds if kind in extent.odd]

    def _error(
        self, function: Function, phase: str, where: str, extent: Extent, ranges: dict[str, Extent]
    ) -> AnomalyError:
        """Return the error that there is something odd in `extent`."""
        kinds = self._odd(extent)
        number, first = sum(extent.odd[k].number for k in kinds), min(extent.odd[k].first for k in kinds)
        size = math.prod(extent.shape)
        headline = (
            f"{function.name}, {phase}: {' and '.join(kinds)} in {where}: {number:,} of {size:,} elements, the first "
            f"at {first}"
        )
        told = (f"{name}: {extent}" for name, extent in ranges.items())
        return AnomalyError("\n  ".join([headline, *told, *_history(function)]))


def _history(function: Function) -> Iterator[str]:
    """Tell what went into the function, and where it was called."""
    call = _calls.get(function)
    if call is None:
        inputs = enumerate(zip(function.shapes, function.dtypes, strict=True))
        given = {f"input {i}": Extent(shape, dtype, None, None, {}) for i, (shape, dtype) in inputs}
        place = iter(["called outside detect_anomaly(), so where and from which values is not known"])
    else:
        given, place = call.given, call.origin.lines()
    first = set(sorted(given, key=lambda name: not given[name].odd)[:_MOST])
    yield from (f"{name}: {extent}" for name, extent in given.items() if name in first)
    if len(given) > _MOST:
        yield f"and {len(given) - _MOST} more inputs"
    yield from place


def _owner(array: Array) -> str:
    """Return, in brackets, the name of the parameter or buffer whose array this is, if a model being called has it."""
    for model in modules_inside():
        for name, tensor in chain(model.named_parameters(), model.named_buffers()):
            if tensor.data is array:
                return f" ({name})"
    return ""
