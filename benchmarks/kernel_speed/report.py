"""What a record of the CUDA ladder says: the figures it is held to, and each version over all its layers together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from .layers import layers

Row = dict[str, Any]
Figure = tuple[str, str, str, bool]

FORWARD = ("conv2d_forward",)
BACKWARD = ("conv2d_backward_data", "conv2d_backward_weight")
WINOGRAD = {  # which computations of a convolution other ladders do too
    "conv2d_forward": ("winograd2_forward", "winograd4_forward"),
    "conv2d_backward_data": ("winograd2_backward_data", "winograd4_backward_data"),
}
HELD = {*FORWARD, *BACKWARD, *(name for names in WINOGRAD.values() for name in names)}
"""Operations of whose rows the figures are made."""
TARGETS = (  # computations, unit, at least so many times as fast as cuDNN
    (FORWARD, "fp32", 1.0),
    (BACKWARD, "fp32", 0.85),
    (FORWARD, "tf32", 0.6),
    (BACKWARD, "tf32", 0.6),
)
_NAMES = {FORWARD: "forward", BACKWARD: "backward"}
_WITHOUT = {"fp32": "TF32 off", "tf32": "TF32 on"}


def figures(results: dict[str, Any]) -> Iterator[Figure]:
    """Yield (what, target, measured, whether that is enough) for all the ladder is held to."""
    rows = results["rows"]
    for computations, unit, factor in TARGETS:
        ratio = against_cudnn(rows, computations, unit)
        what = f"3×3 layers of VGG-16 together, {_NAMES[computations]}, {unit}: speed against cuDNN, {_WITHOUT[unit]}"
        yield what, f"≥ {factor}×", "—" if math.isnan(ratio) else f"{ratio:.2f}×", ratio >= factor
    steps = list(ladder_steps(rows))
    slower = [f"{operation} {later}" for operation, _, later, ratio in steps if ratio <= 1]
    yield (
        "versions of a ladder that are no faster than the one before, their layers together",
        "none",
        f"{len(slower)} of {len(steps)}" + (f": {', '.join(slower)}" if slower else ""),
        bool(steps) and not slower,
    )


def against_cudnn(rows: Iterable[Row], computations: tuple[str, ...], unit: str) -> float:
    """Return cuDNN's time over ours for the 3×3 layers of VGG-16, each as often as VGG-16 has it.

    Of each layer the fastest version counts, and the faster memory layout of cuDNN.  NaN where a time is missing.
    """
    ours = theirs = 0.0
    measured = [row for row in rows if row["dtype"] == "float32" and "versions" in row]
    for computation in computations:
        same = (computation, *WINOGRAD.get(computation, ()))
        for layer, times in vggs_layers(computation).items():
            found = [row for row in measured if row["layer"] == layer and row["operation"] in same]
            ours += times * min((_fastest(row["versions"], unit) for row in found), default=math.inf)
            theirs += times * min((pytorch(row, unit) for row in found), default=math.inf)
    return theirs / ours if ours < math.inf and theirs < math.inf else math.nan


def vggs_layers(computation: str) -> dict[str, int]:
    """Return the names of VGG-16's convolutions, and how often it has each; the gradient of its images nobody wants."""
    return {
        layer.name: uses["vgg16"]
        for layer, uses in layers().items()
        if layer.kind == "conv2d" and "vgg16" in uses
        if computation != "conv2d_backward_data" or layer.shape[-1] != 3
    }


def _fastest(results: dict[str, Row], unit: str) -> float:
    found = (result["median_us"] for result in results.values() if result["unit"] == unit and _timed(result))
    return min(found, default=math.inf)


def pytorch(row: Row, unit: str) -> float:
    """Return the microseconds of PyTorch's fastest with this arithmetic; infinite if there is none."""
    return _fastest({name: peer for name, peer in row["peers"].items() if name.startswith("PyTorch")}, unit)


def _timed(result: Row) -> bool:
    return "median_us" in result


def ladder_steps(rows: Iterable[Row]) -> Iterator[tuple[str, str, str, float]]:
    """Yield (operation, version, next version, how many times as fast that is) over the layers both were timed on.

    A version for halves alone is timed on halves, the one before it on float32.
    """
    times: dict[str, dict[str, dict[str, float]]] = {}  # operation → version → layer → microseconds
    for row in sorted(rows, key=lambda row: row["dtype"] != "float32"):
        for version, result in row.get("versions", {}).items():
            by_layer = times.setdefault(row["operation"], {}).setdefault(version, {})
            if _timed(result):
                by_layer.setdefault(row["layer"], result["median_us"])
    for operation, ladder in times.items():
        for (before, slow), (after, fast) in pairwise(ladder.items()):
            if both := slow.keys() & fast.keys():
                ratio = sum(slow[layer] for layer in both) / sum(fast[layer] for layer in both)
                yield operation, before, after, ratio


def by_operation(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows that were measured, by operation; of another dtype than float32 with its name."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if "versions" in row:
            dtype = "" if row["dtype"] == "float32" else f", {row['dtype']}"
            found.setdefault(row["operation"] + dtype, []).append(row)
    return found


def versions(rows: list[Row]) -> list[str]:
    """All that were timed on any of these layers, in the ladder's order."""
    return list(
        dict.fromkeys(name for row in rows for name, result in row["versions"].items() if _timed(result))
    )


def summary(rows: Iterable[Row]) -> Iterator[tuple[str, str, int, float, float, float]]:
    """Yield (operation, version, layers, % of peak FLOP/s, % of the bandwidth, speed against PyTorch) of each version.

    Parts of peaks are those of all its layers together, their work over their time; the speed is that of PyTorch's
    fastest with the same arithmetic over ours, on the layers where both were timed.
    """
    for operation, same in by_operation(rows).items():
        for version in versions(same):
            timed = [row for row in same if _timed(row["versions"].get(version, {}))]
            results = [row["versions"][version] for row in timed]
            time = sum(result["median_us"] for result in results)

            def part(key: str, results: list[Row] = results, time: float = time) -> float:
                return sum((r[key] or math.nan) * r["median_us"] for r in results) / time

            yield (
                operation,
                version,
                len(timed),
                part("percent_of_flops"),
                part("percent_of_bandwidth"),
                _against(timed, version),
            )


def _against(rows: list[Row], version: str) -> float:
    ours = theirs = 0.0
    for row in rows:
        result = row["versions"][version]
        peer = pytorch(row, result["unit"])
        if peer < math.inf:
            ours += result["median_us"]
            theirs += peer
    return theirs / ours if ours else math.nan


def printed(row: Row) -> str:
    """A row in one line, as it is shown while the benchmark runs."""
    name = f"{row['operation']}, {row['layer']}, {row['dtype']}"
    if "versions" not in row:
        return f"{name}: failed: {row['failed']}"
    results = (row["versions"] | row["peers"]).items()
    return f"{name}:  " + "  ".join(
        _told(which, result) for which, result in results if "refused" not in result
    )


def _told(name: str, result: Row) -> str:
    if _timed(result):
        return f"{name} {result['median_us']:g} µs"
    return f"{name} " + next((why for why in ("wrong", "failed") if why in result), "right")


def told(results: dict[str, Any]) -> Iterator[str]:
    """Yield what a run ends with: each version in one line, then the figures."""
    for operation, version, count, flops, bandwidth, ratio in summary(results["rows"]):
        beside = "" if math.isnan(ratio) else f"{ratio:7.2f} × PyTorch"
        parts = f"{flops:7.1f} % of FLOP/s{bandwidth:7.1f} % of bandwidth"
        yield f"{operation:33}{version:4}{count:4} layers{parts}{beside}"
    for what, target, found, held in figures(results):
        yield f"{what}: {found} ({target}: {'reached' if held else 'missed'})"
    yield f"{len(results['rows'])} rows in {results['spent_s']} s, {len(results['left_out'])} left out"


def bad(rows: Iterable[Row]) -> list[str]:
    """Every version that computed something else or failed, in one line each."""
    found = []
    for row in rows:
        place = f"{row['operation']}, {row['layer']}, {row['dtype']}"
        if "failed" in row:
            found.append(f"{place}: {row['failed']}")
        for name, result in {**row.get("versions", {}), **row.get("peers", {})}.items():
            found += [
                f"{place}, {name}: {why}: {result[why]}" for why in ("wrong", "failed") if why in result
            ]
    return found
