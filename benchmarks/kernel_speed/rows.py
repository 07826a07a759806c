"""One row of the benchmark: an operation on a layer, each version and each peer compared and then timed in turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from .timing import Call, in_turns

Array = Any

TOLERANCE = {"fp32": 1e-4, "tf32": 2e-3, "bf16": 1e-2, "fp16": 2e-3}
"""How far a result may be from float64's, as a part of its norm: by the numbers that are multiplied."""
WORST = 30
"""How many times the tolerance any single number may be off, as a part of the root mean square of all."""
PIECE = 1 << 26
"""Numbers that are compared at a time: in float64 a result may take a lot of memory."""


@dataclass
class Case:
    """An operation on arrays that are there.

    Attributes
    ----------
    expected : tuple of arrays
        In float64, or of integers, or as they are where nothing is computed.  Peers may return only the first of them.
    versions : dict
        Version → call that returns the outputs, an array or a tuple.
    flops, bytes : int
        What the operation must do at least: by its definition; each input read and each output written once.
    units : dict
        Version → what multiplies: "tf32" …; "fp32" where it is not said.
    rounding : str
        What the results are rounded to.
    peers : dict
        (name, unit) → a call, whose result :attr:`arrays` makes what the versions return.
    arrays : callable
    reset : callable
        Is called before each comparison, where an operation changes its arrays.
    """

    expected: tuple[Array, ...]
    versions: dict[str, Call]
    flops: int
    bytes: int
    units: Mapping[str, str] = field(default_factory=dict)
    rounding: str = "fp32"
    peers: Mapping[tuple[str, str], Call] = field(default_factory=dict)
    arrays: Callable[[Any], Any] = lambda result: result
    reset: Callable[[], None] = lambda: None


class Wrong(Exception):
    """A result that is not what it must be, in one line."""


def measure(
    case: Case,
    device: Any,
    trying: Callable[[str], None] = lambda name: None,
    given_up: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the row's results.

    Parameters
    ----------
    case : Case
    device : hardware.Gpu, or what has the same methods
    trying : callable
        Is told the name of each version and peer before it is called for the first time: it may be its end.
    given_up : mapping
        Those not to try, and why.
    """
    results: dict[str, dict[str, Any]] = {}
    right: dict[str, Call] = {}
    for name, unit, call in _candidates(case):
        results[name] = {"unit": unit}
        if given_up and name in given_up:
            results[name]["failed"] = given_up[name]
            continue
        trying(name)
        try:
            results[name]["error"] = _compared(case, device, name, unit, call)
            right[name] = call
        except ValueError as error:  # a version says what it cannot do
            results[name]["refused"] = line(error)
        except Wrong as error:
            results[name]["wrong"] = line(error)
        except Exception as error:
            results[name]["failed"] = f"{type(error).__name__}: {line(error)}"
            device.synchronize()  # raises, if the GPU cannot go on
    if device.seconds:
        trying("turns")
        for name, samples in in_turns(right, device.seconds).items():
            results[name]["samples_us"] = [rounded(1e6 * sample) for sample in samples]
    versions = {name: results[name] for name in case.versions}
    peers = {name: results[name] for name, _ in case.peers}
    return {
        "gflop": rounded(case.flops / 1e9),
        "mbytes": rounded(case.bytes / 1e6),
        "versions": versions,
        "peers": peers,
    }


def _candidates(case: Case) -> Iterator[tuple[str, str, Call]]:
    """Yield each version and each peer with what it multiplies by."""
    for name, call in case.versions.items():
        yield name, case.units.get(name, "fp32"), call
    for (name, unit), call in case.peers.items():
        yield name, unit, call


def _compared(case: Case, device: Any, name: str, unit: str, call: Call) -> float:
    """Return the error of one version or peer, or raise what is wrong."""
    case.reset()
    with device.poisoned():
        result = call()
    found = result if name in case.versions else case.arrays(result)
    found = found if isinstance(found, tuple) else (found,)
    expected = case.expected if name in case.versions else case.expected[: len(found)]
    return compared(device.xp, found, expected, max(TOLERANCE[unit], TOLERANCE[case.rounding]))


def compared(xp: Any, found: tuple[Array, ...], expected: tuple[Array, ...], tolerance: float) -> float:
    """Return the largest error of the outputs, as a part of their norms.

    Raises
    ------
    Wrong
        If a number is off by more than the tolerance allows, or an integer at all.
    """
    if [y.shape for y in found] != [y.shape for y in expected]:
        raise Wrong(f"shapes {[y.shape for y in found]} where {[y.shape for y in expected]} are right")
    return max(_error(xp, y, right, tolerance) for y, right in zip(found, expected, strict=True))


def _error(xp: Any, found: Array, expected: Array, tolerance: float) -> float:
    if expected.dtype.kind in "biu":
        wrong = int((found != expected).sum())
        if wrong:
            raise Wrong(f"{wrong:,} of {expected.size:,} integers are others")
        return 0.0
    squares, size, worst = 0.0, 0.0, 0.0
    flat, right = found.reshape(-1), expected.reshape(-1)
    for start in range(0, right.size, PIECE):
        exact = right[start : start + PIECE].astype("float64")
        off = flat[start : start + PIECE].astype("float64") - exact
        squares += float((off * off).sum())
        size += float((exact * exact).sum())
        worst = max(worst, float(abs(off).max()))
    scale = math.sqrt(size / max(right.size, 1))
    error = math.sqrt(squares / size) if size else squares
    if not (error <= tolerance and worst <= WORST * tolerance * scale):  # NaN is never right
        raise Wrong(
            f"{error:.1e} of its norm off, a number by up to {worst:.1e}; allowed are {tolerance:.0e} of the norm and "
            f"{WORST * tolerance * scale:.1e}"
        )
    return rounded(error)


def with_rates(row: dict[str, Any], peaks: Mapping[str, float | None]) -> dict[str, Any]:
    """Return the row with the median of each, and what it means as a part of the device's peaks."""
    rated = {
        kind: {name: _rated(result, row, peaks) for name, result in row[kind].items()}
        for kind in ("versions", "peers")
        if kind in row
    }
    return row | rated


def _rated(result: dict[str, Any], row: dict[str, Any], peaks: Mapping[str, float | None]) -> dict[str, Any]:
    if "samples_us" not in result:
        return result
    microseconds = median(result["samples_us"])
    gflops, gbs = (row[amount] / microseconds * scale for amount, scale in (("gflop", 1e6), ("mbytes", 1e3)))
    peak = peaks.get(f"{result['unit']}_tflops")
    return result | {
        "median_us": rounded(microseconds),
        "gflops": rounded(gflops),
        "gbs": rounded(gbs),
        "percent_of_flops": rounded(gflops / peak / 10) if peak else None,
        "percent_of_bandwidth": rounded(100 * gbs / peaks["copy_gbs"]) if peaks.get("copy_gbs") else None,
    }


def line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def rounded(value: float) -> float:
    """A number with four digits that count, of which JSON knows all."""
    return float(f"{value:.4g}") if math.isfinite(value) else value
