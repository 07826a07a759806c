"""Memory that nobody has written yet, filled with NaN, so that reading it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..backend.workspace import poisoned
from ..observer import Observer, current, observing

__all__ = ["poison_workspace"]

Array = Any


@contextmanager
def poison_workspace() -> Iterator[None]:
    """Hand out uninitialised memory full of NaN, as a ``with`` block or as a decorator.

    An operation that reads a buffer before writing it, or leaves a part of its output unwritten, mostly computes what
    was expected: the memory held the right numbers from the call before, or zeros.  Inside this block it computes NaN:

    - ``scratch`` buffers (of ``minicnn.backend.workspace``) are filled at every request, and all that an operation was
      given once more when its ``forward`` or ``backward`` is done, so a view kept from one to the other is NaN too;
    - ``be.empty``, ``be.empty_like`` and ``be.empty_images`` are filled (but not what ``numpy.empty`` itself gives);
    - the memory is filled with bytes 0xFF, which are NaN in every floating-point type, and −1 or the largest number in
      the integer ones.

    With :func:`detect_anomaly` the first operation that reads such memory is named.  A correct program computes the
    same bits inside as outside.

    Notes
    -----
    The block holds for the context that entered it, that is its thread, and for the worker threads on the operations
    that it calls.  Buffers are its own: those of other threads, and those used before and after, are not touched.

    Examples
    --------
    >>> from minicnn import Function, tensor
    >>> class Forgetful(Function):
    ...     def forward(self, x):
    ...         y = self.be.empty(x.shape, x.dtype)
    ...         y[1:] = x[1:]
    ...         return y
    >>> with poison_workspace():
    ...     Forgetful()(tensor([1.0, 2.0]))
    tensor([nan,  2.], dtype=float32)
    """
    with filled_workspace(0xFF):
        yield


@contextmanager
def filled_workspace(byte: int) -> Iterator[None]:
    """Hand out all uninitialised memory full of this byte."""
    # Innermost of the observers, so that the others see what it leaves.
    with poisoned(byte), observing(*current.observers, _Poisoning(byte)):
        yield


class _Poisoning(Observer):
    """Gives each run buffers of its own, which are full of poison again when it is done."""

    def __init__(self, byte: int) -> None:
        self._byte = byte

    def forward(self, function: Any, run: Callable[..., Array], *arrays: Array) -> Array:
        with poisoned(self._byte):
            return run(*arrays)

    def backward(
        self, function: Any, run: Callable[[Array], list[Array | None]], g: Array
    ) -> list[Array | None]:
        with poisoned(self._byte):
            return run(g)
