"""What is known of one run of an operation, forward or backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Phase", "Record"]

Phase = Literal["forward", "backward"]


@dataclass(frozen=True)
class Record:
    """One run of an operation.

    Attributes
    ----------
    operation : str
        The Function's name, such as ``"Conv2d"``.
    phase : {'forward', 'backward'}
    path : tuple of str
        Where the module is that called it: the outermost module's class and the names from there on, such as
        ``("VGG", "features", "0")``.  Where there are several outermost modules of a class, a number tells them apart:
        ``"Linear 2"``.  Empty for an operation that no module called.
    kind : str
        The class of that module; empty without one.
    shapes : tuple of tuples of int
        Of the operation's inputs, parameters among them.
    seconds : float
        That it took itself: without the operations that it called, which have records of their own.
    flops : int
        Additions and multiplications, as :func:`~minicnn.profiler.counts.flops` counts them.
    bytes : int
        Of the arrays read and written, each counted once and whole.  Forward: the inputs and the output; backward: the
        gradient of the output, what the operation has kept, and the gradients of the inputs.  0 where what comes out is
        a view of what went in, for then nothing is touched; FLOPs are 0 then too.
    """

    operation: str
    phase: Phase
    path: tuple[str, ...]
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    seconds: float
    flops: int
    bytes: int
