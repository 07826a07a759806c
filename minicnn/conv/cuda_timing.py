"""The fastest algorithm for a convolution on this GPU, found by running them.

Each that can compute a problem is run on arrays of its shapes, made for it: once to compile and load its kernels, then
a few times, or for ten milliseconds, between two events of CuPy's current stream; the least of these times counts.  One
that takes three times as long as the best so far is timed once only, and those that a count says are hopeless are not.
One that finds too little memory, or is refused, is passed over; one that fails in another way too, with a warning.

Nothing is waited for but the events, and what the stream had to do before.
"""

from __future__ import annotations

import functools
import math
import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import cupy  # pyright: ignore[reportMissingImports]  (an extra)

from ..backend import gpu
from ..backend.precision import tf32
from . import tuned
from .cuda import ALGORITHMS, by_count
from .problem import Direction, No, Problem

__all__ = ["fastest"]

Array = Any

RUNS = 5
LONG = 0.01  # seconds of runs that tell enough
HOPELESS = 3  # times the best so far
SLOW = ("direct", "implicit_gemm_v2", "implicit_gemm_v3", "implicit_gemm_v4")
SLOW_FLOPS = 10**9  # of a problem for which the slow ones are run only if the count takes one of them

_lock = threading.Lock()  # two algorithms at a time would both be slow


def fastest(problem: Problem, direction: Direction) -> str | No:
    """Return the name of the fastest algorithm: as pinned, as kept, or measured now; or why there is none.

    Without timing (:func:`minicnn.conv.autotune`), and where there is no memory for it, it is the one that a count of
    the work says.
    """
    key = tuned.key(problem, direction, tf32())
    if pinned := tuned.pinned(key):
        return pinned
    counted = by_count(problem, direction)
    if isinstance(counted, No) or 0 in problem.output_shape or not tuned.is_on():
        return counted
    store = tuned.store(_name(cupy.cuda.runtime.getDevice()), cupy.__version__)
    with _lock:
        known = store.known.get(key)
        if known is None or not ALGORITHMS[known].supports(problem, direction):  # by another minicnn's rules
            found = _measured(problem, direction, counted)
            if found is None:
                return counted
            store.keep(key, found)
        return store.known[key]


@functools.cache
def _name(device: int) -> str:
    return cupy.cuda.runtime.getDeviceProperties(device)["name"].decode()


def _measured(problem: Problem, direction: Direction, counted: str) -> str | None:
    """Return the name of the algorithm with the least time, or None if the memory is too small for any."""
    try:
        arguments = _arguments(problem, direction)
    except cupy.cuda.memory.OutOfMemoryError:
        return None
    times: dict[str, float] = {}
    for name in _candidates(problem, direction, counted):
        run = partial(getattr(ALGORITHMS[name], direction), *arguments)
        try:
            times[name] = seconds(run, HOPELESS * min(times.values(), default=math.inf))
        except (cupy.cuda.memory.OutOfMemoryError, TypeError, ValueError):
            continue
        except RuntimeError as error:  # a driver's, cuBLAS's or a compiler's
            warnings.warn(
                f"{problem}: {name} is passed over, for it failed: {error}", RuntimeWarning, stacklevel=2
            )
    return min(times, key=lambda name: times[name]) if times else None


def _candidates(problem: Problem, direction: Direction, counted: str) -> list[str]:
    """Return what to run, the one that is probably the fastest first."""
    slow = () if counted in SLOW or problem.flops < SLOW_FLOPS else SLOW
    others = [name for name in reversed(ALGORITHMS) if name != counted and name not in slow]
    return [counted, *(name for name in others if ALGORITHMS[name].supports(problem, direction))]


def seconds(run: Callable[[], Any], enough: float) -> float:
    """Return the least time of a few runs; of one only, if that takes more than `enough`."""
    run()
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    times: list[float] = []
    while len(times) < RUNS and sum(times) < LONG and min(times, default=0) <= enough:
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end) / 1000)
    return min(times)


def _arguments(problem: Problem, direction: Direction) -> tuple[Any, ...]:
    """Return what to call a direction with."""
    window, groups = problem.window, problem.groups
    x, w, y = (
        partial(_images, shape, problem.dtype)
        for shape in (problem.input_shape, problem.weight_shape, problem.output_shape)
    )
    if direction == "forward":
        return x(), w(), None, window, groups, y()
    if direction == "backward_data":
        return y(), w(), problem.input_shape, window, groups
    return x(), y(), window, groups


def _images(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array of numbers between −1 and 1, as different as those of real data: equal ones take less power."""
    n, c, height, width = shape
    numbers = gpu.arange(n * c * height * width, dtype=gpu.float32)
    numbers %= 1009
    numbers /= 504.5
    numbers -= 1
    return numbers.astype(dtype, copy=False).reshape(n, height, width, c).transpose(0, 3, 1, 2)
