"""What a run leaves, in a form that JSON takes: every sample, and what was predicted under names that say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .gpus import Gpu
from .point import CPU, Curve, Point, pays_from
from .roofline import COPY, OPERATION, PART

__all__ = ["results"]


def results(
    curves: Sequence[Curve], gpu: str | None, why_no_gpu: str | None, assumed: Gpu | None
) -> dict[str, Any]:
    """Return the results of a run.

    Parameters
    ----------
    curves : sequence of Curve
    gpu : str or None
        The name of the GPU that was measured.
    why_no_gpu : str or None
        Or why there is none.
    assumed : Gpu or None
        Of which times were predicted.
    """
    return {
        "gpu": gpu,
        "why_no_gpu": why_no_gpu,
        "predicted_for": None if assumed is None else _assumed(assumed),
        "curves": [_curve(curve) for curve in curves],
    }


def _assumed(gpu: Gpu) -> dict[str, Any]:
    constants = {"part_of_peaks": PART, "operation_us": OPERATION * 1e6, "copy_us": COPY * 1e6}
    return {
        "title": gpu.title,
        "published": {"flops": gpu.flops, "bandwidth": gpu.bandwidth, "link": gpu.link, "source": gpu.source},
        "assumed": {name: _rounded(value) for name, value in constants.items()},
    }


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "model": curve.model,
        "mode": curve.mode,
        "pays_from_batch": {line: pays_from(curve.points, line) for line in curve.lines if line != CPU},
        "points": [_point(point) for point in curve.points],
        "layers": [{"layer": point.name, **_point(point)} for point in curve.layers],
    }


def _point(point: Point) -> dict[str, Any]:
    measured = [line for line, samples in point.samples.items() if samples]
    return {
        "batch": point.batch,
        "gflop": _rounded(point.work.flops / 1e9),
        "megabytes": _rounded(point.work.bytes / 1e6),
        "operations": point.operations,
        "samples_ms": {line: [_rounded(1e3 * s) for s in point.samples[line]] for line in measured},
        "median_ms": {line: _rounded(1e3 * point.seconds(line)) for line in measured},
        "predicted_ms": {line: _rounded(1e3 * seconds) for line, seconds in point.predicted.items()},
        "void": point.void,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
