"""How long a convolution will take: the work that an algorithm describes, at the rates of this machine.

The model is linear.  A matrix product of (rows × inner) by (inner × columns) takes a time for each multiply-add, one
for each element of the three matrices, which must be read, packed or written, and one for getting there at all.  Where
BLAS does not pack (:mod:`minicnn.backend.small_products`) there is another time for a multiply-add, and that is all.  A
pass over memory takes a time for each byte and for each contiguous run of bytes; each call of NumPy takes a time in
which other threads wait, for the interpreter is locked; and so does waking the other threads, if there is work for
them::

    seconds = Σ over products, passes (count · rates) / threads that find work  +  calls · rate  +  waking

So the work is a vector of counts, :func:`counts`, and the rates are measured by solving for them
(:mod:`minicnn.conv.rates`).  What an algorithm's counts do not show, how well its pieces fit the caches or its calls
the threads, is one factor for each of its directions, the same on all machines.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..backend.small_products import ROWS, is_small
from .problem import Direction
from .work import Work

__all__ = ["DEFAULT", "FACTORS", "Rates", "counts", "expected", "seconds", "shared_counts"]


class Rates(NamedTuple):
    """Seconds of one thread for one of each, while the others work too; and how many threads there are.

    The choice of algorithms takes `threads` from here and not from :func:`minicnn.get_num_threads`, so that it does not
    depend on how many share the work today: the bits of a result do not either.
    """

    product: float  # getting into a matrix product, of several in one call
    multiply_add: float
    left: float  # an element of the left matrix
    right: float
    result: float
    small: float  # a multiply-add of a product that is not packed
    byte: float  # written in a pass
    run: float  # contiguous bytes of a pass, however many
    call: float  # of NumPy
    step: float  # of a Python loop
    sharing: float  # of work among threads
    threads: int


KINDS = len(Rates._fields) - 1  # of things that are counted

DEFAULT = Rates(
    product=2e-7,
    multiply_add=1.4e-11,
    left=1.3e-10,
    right=1.4e-10,
    result=3.7e-11,
    small=1e-11,
    byte=7.4e-11,
    run=5.2e-9,
    call=3.3e-6,
    step=4e-7,
    sharing=0.00017,
    threads=2,
)
"""Of a 2-core Intel Xeon with AVX-512: what is used where nothing may be measured."""


FACTORS = {
    "fft backward_data": 1.24,
    "fft backward_weight": 1.54,
    "fft forward": 1.26,
    "im2col_chunked backward_data": 0.88,
    "im2col_chunked backward_weight": 0.96,
    "im2col_chunked forward": 0.91,
    "per_offset backward_data": 0.84,
    "per_offset backward_weight": 0.99,
    "per_offset forward": 0.93,
    "toeplitz backward_data": 0.87,
    "toeplitz backward_weight": 1.04,
    "toeplitz forward": 0.7,
    "winograd_2x2 backward_data": 1.12,
    "winograd_2x2 backward_weight": 1.21,
    "winograd_2x2 forward": 1.13,
    "winograd_4x4 backward_data": 1.18,
    "winograd_4x4 backward_weight": 1.2,
    "winograd_4x4 forward": 1.22,
}
"""What an algorithm's seconds are multiplied with, 1 where nothing stands; from all models' convolutions at batch 8."""


def counts(work: Work) -> np.ndarray:
    """Return how many of each there are, in the order of :class:`Rates`.

    Examples
    --------
    >>> from minicnn.conv.work import Pass, Product
    >>> counts(Work((Product(2, 500, 400, 300),), (Pass(moved=800, run=80),), calls=3)).astype(int).tolist()
    [2, 120000000, 400000, 240000, 300000, 0, 800, 10, 3, 0, 0]
    """
    total = np.zeros(KINDS)
    for count, rows, inner, columns in work.products:
        total[0] += count
        if is_small(rows, inner, columns):
            total[5] += count * rows * inner * columns
            total[3] += count * -(-rows // ROWS) * inner * columns
        else:
            total[1] += count * rows * inner * columns
            total[2:5] += count * rows * inner, count * inner * columns, count * rows * columns
    for moved, run in work.passes:
        total[6:8] += moved, moved / max(run, 1)
    total[8:10] = work.calls, work.steps
    return total


def shared_counts(work: Work, threads: int) -> np.ndarray:
    """Return the counts that the busiest thread has, in effect: products and passes are shared, calls are not.

    And whether they are shared at all is the last count.

    Examples
    --------
    >>> from minicnn.conv.work import Pass
    >>> shared_counts(Work(passes=(Pass(moved=900, run=90),), tasks=3, calls=3), threads=2)[6:9]
    array([600.        ,   6.66666667,   3.        ])
    """
    total, tasks = counts(work), max(work.tasks, 1)
    total[:8] *= math.ceil(tasks / threads) / tasks
    total[10] = min(tasks, threads) > 1
    return total


def seconds(work: Work, rates: Rates) -> float:
    """Return the time that the model expects the work to take.

    Examples
    --------
    >>> seconds(Work(calls=10), DEFAULT._replace(call=0.5))
    5.0
    """
    return float(shared_counts(work, rates.threads) @ rates[:KINDS])


def expected(name: str, direction: Direction, work: Work, rates: Rates) -> float:
    """Return the seconds that the model expects an algorithm's direction to take for its work."""
    return FACTORS.get(f"{name} {direction}", 1.0) * seconds(work, rates)
