"""Who looks on while Functions run: the engine's one opening for tools.

An anomaly detector, a profiler, anything that wants to know of every operation is an :class:`Observer`.  The engine
gives it each run to make, so it can look before and after, measure the time between, or notice an exception::

    outer observer ( inner observer ( function.forward(*arrays) ) )

Observers belong to a thread, as ``no_grad`` does: the operations that another thread calls are its own affair.  (The
threads that share the work *of* one operation call none.)  Where nobody looks on, this costs one look at an attribute.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .tensor import Function

__all__ = ["Observer", "current", "observed", "observing"]

Array = Any


class Observer:
    """One who looks on.  Override what is of interest; each method here only lets things take their course.

    An observer gets arrays.  To call operations of its own it must look away, ``with observing():``, or it observes
    them too, without end.

    Examples
    --------
    >>> from minicnn import tensor
    >>> class Printer(Observer):
    ...     def forward(self, function, run, *arrays):
    ...         print(function.name, *(array.shape for array in arrays))
    ...         return run(*arrays)
    >>> with observing(Printer(), *current.observers):
    ...     _ = tensor([1.0, 2.0]) * 3
    Multiply (2,) ()
    """

    def forward(self, function: Function, run: Callable[..., Array], *arrays: Array) -> Array:
        """Return ``run(*arrays)``, which is the function's ``forward``."""
        return run(*arrays)

    def backward(
        self, function: Function, run: Callable[[Array], list[Array | None]], g: Array
    ) -> list[Array | None]:
        """Return ``run(g)``: the gradients of the function's inputs, checked; None where none is needed."""
        return run(g)


class _Current(threading.local):
    observers: tuple[Observer, ...] = ()


current = _Current()
"""``current.observers``: those of this thread, the outermost first."""


@contextmanager
def observing(*observers: Observer) -> Iterator[None]:
    """Let these observers look on inside the block, and no others.

    To look on along with those that do already, pass ``*current.observers`` too.

    Parameters
    ----------
    *observers : Observer
        The outermost first: to it, what the others do is part of the run.
    """
    before = current.observers
    current.observers = observers
    try:
        yield
    finally:
        current.observers = before


def observed(
    phase: Literal["forward", "backward"], function: Function, run: Callable[..., Any], *arrays: Array
) -> Any:
    """Return ``run(*arrays)``, made by the observers."""
    for observer in reversed(current.observers):
        run = partial(getattr(observer, phase), function, run)
    return run(*arrays)
