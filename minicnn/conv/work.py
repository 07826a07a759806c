"""What an algorithm does, counted: its matrix products, its copies, its workspace.

An algorithm describes its work for a problem with the terms below; :mod:`minicnn.conv.model` turns them into seconds,
with the rates it has measured on this machine.  The counts follow from the shapes alone, and tests hold them to what
the algorithm really does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Pass", "Product", "Work"]


class Product(NamedTuple):
    """`count` matrix products of (rows × inner) by (inner × columns), each by one thread."""

    count: int  # type: ignore[assignment]  (a tuple's method, which nobody calls here)
    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """Additions and multiplications of them all."""
        return 2 * self.count * self.rows * self.inner * self.columns


class Pass(NamedTuple):
    """Elementwise work, copies and additions: `moved` bytes written, in contiguous runs of `run` bytes each."""

    moved: int
    run: int


@dataclass(frozen=True)
class Work:
    """All that one direction of an algorithm does for one problem.

    Attributes
    ----------
    products : tuple of Product
    passes : tuple of Pass
    tasks : int
        Pieces that the threads can share; with fewer than there are threads, some have nothing to do.
    calls : int
        Calls of NumPy, all tasks together: on small arrays most of the time is spent getting there.
    shared : int
        Bytes of workspace that all threads use together, the result not counted.
    private : int
        Bytes of workspace that each thread has for itself.
    steps : int
        Turns of loops that Python itself interprets.

    Examples
    --------
    >>> work = Work(products=(Product(2, 10, 20, 30),), tasks=2)
    >>> work.flops
    24000
    """

    products: tuple[Product, ...] = ()
    passes: tuple[Pass, ...] = ()
    tasks: int = 1
    calls: int = 0
    shared: int = 0
    private: int = 0
    steps: int = 0

    @property
    def flops(self) -> int:
        """Additions and multiplications of all the products."""
        return sum(product.flops for product in self.products)

    def workspace(self, threads: int) -> int:
        """Bytes of workspace with this many threads."""
        return self.shared + self.private * max(min(threads, self.tasks), 1)
