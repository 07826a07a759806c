"""How long a GPU would take, by its data sheet: the roofline of each operation, and what starting one costs.

An operation that does f FLOPs and reads and writes b bytes ends no sooner than its arithmetic and no sooner than its
traffic; and Python has to start it::

    seconds = OPERATION + max(f / (PART · peak FLOP/s), b / (PART · bandwidth))
    a copy between host and GPU: COPY + bytes / (PART · link)

Operations follow one another, so their times are added.  Three constants are assumptions, not measurements: that
kernels and copies reach half of what is published, that starting an operation costs what this project aims at, and what
a copy costs before its first byte.  Two things are left out.  A GPU with little to do reaches a smaller part of its
peak, so small batches may take longer than predicted.  Starting an operation and computing the one before it overlap,
so many small operations may take less.

References
----------
S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52 (4), 2009.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .gpus import Gpu

__all__ = ["COPY", "NOTHING", "OPERATION", "PART", "Work", "assumptions", "computing", "copying"]

PART = 0.5
"""Of each published peak that is reached."""
OPERATION = 15e-6
"""Seconds to start an operation: what this project aims at."""
COPY = 10e-6
"""Seconds of a copy of nothing."""


class Work(NamedTuple):
    """What one operation does.

    Attributes
    ----------
    flops : int
    bytes : int
        Read and written.
    """

    flops: int
    bytes: int

    @classmethod
    def sum(cls, works: Iterable[Work]) -> Work:
        """Add up.

        Examples
        --------
        >>> Work.sum([Work(1, 10), Work(2, 20)])
        Work(flops=3, bytes=30)
        """
        return cls(*map(sum, zip(NOTHING, *works, strict=True)))


NOTHING = Work(0, 0)


def computing(gpu: Gpu, works: Iterable[Work]) -> float:
    """Predict the seconds of these operations, one after the other.

    Examples
    --------
    >>> gpu = Gpu("made up", flops=2e12, bandwidth=2e11, link=2e10, source="")
    >>> f"{computing(gpu, [Work(flops=10**9, bytes=10**6), Work(flops=10**6, bytes=10**8)]):.6f}"
    '0.002030'
    """
    return sum(
        OPERATION + max(work.flops / (PART * gpu.flops), work.bytes / (PART * gpu.bandwidth))
        for work in works
    )


def copying(gpu: Gpu, sizes: Iterable[int]) -> float:
    """Predict the seconds of copies of so many bytes each, to the GPU or from it.

    Examples
    --------
    >>> gpu = Gpu("made up", flops=2e12, bandwidth=2e11, link=2e10, source="")
    >>> f"{copying(gpu, [10**8, 0]):.6f}"
    '0.010020'
    """
    return sum(COPY + size / (PART * gpu.link) for size in sizes)


def assumptions(gpu: Gpu) -> str:
    """Return in a sentence what a prediction rests on."""
    return (
        f"Predicted, not measured: {gpu.title} at {PART:.0%} of its published {gpu.flops / 1e12:g} TFLOP/s (float32), "
        f"{gpu.bandwidth / 1e9:,.0f} GB/s of memory and {gpu.link / 1e9:g} GB/s from or to the host, "
        f"{OPERATION * 1e6:g} µs an operation and {COPY * 1e6:g} µs a copy. Peaks: {gpu.source}; the rest is assumed."
    )
