"""Times by the GPU's own clock: calls in turns, each with cold caches and without waiting for Python.

A call is timed between two events in the GPU's queue.  Before the first, the GPU reads an array several times as large
as its second-level cache, so that every call finds its arrays in memory, where a network's other layers would have left
them.  That takes it long enough for Python to queue the whole call meanwhile; where it did not, the sample does not
count, and the next one reads more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

FEWEST, MOST = 3, 15  # samples of a call
SHARE = 0.04  # seconds of samples of a call that is quick enough for more than the fewest
MOST_PASSES = 32  # over the cold array: a call that synchronises would never be queued in time
NOTHING = 0.02  # of a call: what waiting for Python may add to it
LEAST_COLD = 1 << 26  # bytes that are read before a call, if the cache is smaller than a quarter of it

Call = Callable[[], Any]


class Stopwatch:
    """Seconds of a call on CuPy's current device and stream.

    Parameters
    ----------
    cupy : module
    cache : int
        Bytes of the second-level cache.
    """

    def __init__(self, cupy: Any, cache: int) -> None:
        self.cuda = cupy.cuda
        self.cold = cupy.ones(max(4 * cache, LEAST_COLD) // 4, "float32")
        self.passes: WeakKeyDictionary[Call, int] = WeakKeyDictionary()  # that each call turned out to need

    def seconds(self, call: Call) -> float:
        """Of one call, which ran before: what it compiles and loads is no part of it."""
        while True:
            passes = self.passes.setdefault(call, 1)
            seconds, waited = self._once(call, passes)
            if waited <= NOTHING * seconds or passes >= MOST_PASSES:
                return seconds
            self.passes[call] = 2 * passes

    def _once(self, call: Call, passes: int) -> tuple[float, float]:
        """Seconds on the device, and for how many of them it may have waited for Python."""
        start, end = self.cuda.Event(), self.cuda.Event()
        for _ in range(passes):
            self.cold.max()
        start.record()
        began = time.perf_counter()
        call()
        queued = time.perf_counter() - began
        late = start.done
        end.record()
        end.synchronize()
        return self.cuda.get_elapsed_time(start, end) / 1e3, queued if late else 0.0


def in_turns(calls: Mapping[str, Call], seconds: Callable[[Call], float]) -> dict[str, list[float]]:
    """Return samples of each call; they take turns, and each round begins with another."""
    samples = {name: [seconds(call)] for name, call in calls.items()}
    wanted = {name: min(max(int(SHARE / first), FEWEST), MOST) for name, (first,) in samples.items()}
    names = list(calls)
    while names:
        names = [name for name in (*names[1:], names[0]) if len(samples[name]) < wanted[name]]
        for name in names:
            samples[name].append(seconds(calls[name]))
    return samples
