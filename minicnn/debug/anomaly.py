"""Which operation made the first NaN or infinity, and from what.

Every operation called inside the block is looked at when it has run: its output in forward, the gradients of its
inputs in backward.  So the first that is not finite is met where it arises, and there are only a few ways to come by
it: the operation made it, or was given it from outside; in backward also, finite gradients summed to it.
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


class AnomalyError(FloatingPointError):
    """An operation yielded NaN or an infinity: raised inside :func:`detect_anomaly`.

    A FloatingPointError, as NumPy's ``errstate(all="raise")`` gives, and so an ArithmeticError.
    """


@contextmanager
def detect_anomaly(*, allow_inf: bool = False) -> Iterator[None]:
    """Raise at the first operation that yields NaN or ±Inf, as a ``with`` block or as a decorator.

    The error names the operation, whether it was its output or the gradient of an input, how many elements and the
    first of them, shapes, dtypes and ranges of all that went in, and where it was called: the lines of the program
    (not those of this package, of the standard library, of installed packages) and the path of modules.

    Parameters
    ----------
    allow_inf : bool
        Let ±Inf pass, as the value it is, and look for NaN alone: for programs that mask with −∞.

    Raises
    ------
    AnomalyError
        In forward, where an operation's output is not finite.  If one of its inputs was not either, that input is
        named instead: it came from outside the block, or was written to since.
        In backward, where an operation's gradients are not finite, or the gradient it is given: that is one passed to
        ``backward(gradient)``, or a sum of finite ones.  So is a sum in the ``grad`` of a leaf.

    Notes
    -----
    What an operation *yields* counts.  A −∞ that it takes and deals with is none of ours: ``cross_entropy`` of logits
    with −∞ passes, but ``x + mask`` yields −∞ and wants `allow_inf`.

    Put forward and backward inside: of an operation called outside, backward knows neither place nor ranges.
    The block holds for the current thread, as ``no_grad`` does.  Blocks nest, and the innermost decides.
    Arrays on the meta device have no values and pass.  On the CPU all arrays are read twice more, and the call stack
    once an operation: for finding an error, not for training with.

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
    inputs: tuple[Extent, ...]


_calls: WeakKeyDictionary[Function, _Call] = WeakKeyDictionary()  # forward and backward may be in two blocks


class _Detector(Observer):
    def __init__(self, allow_inf: bool) -> None:
        self._kinds = ("NaN",) if allow_inf else ("NaN", "Inf", "-Inf")
        self._reached: set[int] = set()  # numbers of the functions that gradients are on their way to

    def forward(self, function: Function, run: Callable[..., Array], *arrays: Array) -> Array:
        be, at = function.be, (function, "forward")
        if be is backend.meta:
            return run(*arrays)
        inputs = tuple(Extent.of(be, a) for a in arrays)
        _calls[function] = _Call(Origin(), inputs)
        y = run(*arrays)
        output = Extent.of(be, be.asarray(y))
        if self._odd(output):
            for i, extent in enumerate(inputs):
                if self._odd(extent):
                    where = f"input {i}{_name(arrays[i])}, made outside this block or written to since"
                    raise self._error(*at, where, extent, {"output": output})
            raise self._error(*at, "the output", output, {"output": output})
        return y

    def backward(
        self, function: Function, run: Callable[[Array], list[Array | None]], g: Array
    ) -> list[Array | None]:
        be, at = function.be, (function, "backward")
        if be is backend.meta:
            return run(g)
        upstream = Extent.of(be, g)
        ranges = {"gradient of the output": upstream}
        if self._odd(upstream):
            summed = function.number in self._reached
            where = "the sum of the output's gradients" if summed else "the gradient given to backward()"
            raise self._error(*at, where, upstream, ranges)
        results = run(g)
        for i, dx in enumerate(results):
            if dx is not None and self._odd(found := Extent.of(be, dx)):
                name = f"gradient of input {i}"
                raise self._error(*at, f"the {name}", found, {name: found, **ranges})
        self._reached.discard(function.number)
        self._reached.update(edge.number for edge in function.edges or () if isinstance(edge, Function))
        self._look_at_leaves(function, results)
        return results

    def _look_at_leaves(self, function: Function, results: list[Array | None]) -> None:
        """Foresee what the engine is about to add to the ``grad`` of leaves."""
        be, sums = function.be, {}
        for leaf, dx in zip(function.edges or (), results, strict=True):
            if not isinstance(leaf, Tensor) or dx is None:
                continue
            before = sums.get(leaf, leaf.grad)
            sums[leaf] = total = dx if before is None else before + dx
            if self._odd(after := Extent.of(be, total)):
                held, added = Extent.of(be, before), Extent.of(be, dx)
                where = (
                    "what a leaf's grad held before" if self._odd(held) else "the sum of a leaf's gradients"
                )
                ranges = {"grad": held, "added to it": added}
                raise self._error(function, "backward", where, held if self._odd(held) else after, ranges)

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
        given = zip(function.dtypes, function.shapes, strict=True)
        yield from (f"input {i}: {dtype} {shape}" for i, (dtype, shape) in enumerate(given))
        yield "called outside detect_anomaly(), so where and from which values is not known"
    else:
        yield from (f"input {i}: {extent}" for i, extent in enumerate(call.inputs))
        yield from call.origin.lines()


def _name(array: Array) -> str:
    """Return the name of the parameter or buffer whose array this is, if the model being called has it."""
    for model in modules_inside()[:1]:
        for name, tensor in chain(model.named_parameters(), model.named_buffers()):
            if tensor.data is array:
                return f" ({name})"
    return ""
