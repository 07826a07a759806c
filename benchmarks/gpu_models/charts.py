"""The suite's charts: minicnn beside PyTorch's faster layout, in speed and in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chart

from .report import found, ratio
from .trials import UNITS

_COLOURS = dict(zip(UNITS, ("#D55E00", "#0072B2", "#56B4E9"), strict=True))  # Okabe and Ito's
_CHARTS = {
    "gpu_speed.svg": (
        "median_ms",
        "minicnn's speed, as a multiple of the faster PyTorch's with the same arithmetic",
    ),
    "gpu_memory.svg": ("peak_mb", "the most memory PyTorch holds in a step, as a multiple of minicnn's"),
}


def draw(record: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Draw the charts of a record for which there are numbers, and yield their files.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    results = record["results"]
    rows = [row for row in results["rows"] if row["part"] == "network"]
    for name, (what, caption) in _CHARTS.items():
        numbers = {row_name(row): {unit: _ratio(results, row, unit, what) for unit in UNITS} for row in rows}
        drawn = {
            row: by for row, by in numbers.items() if not all(math.isnan(number) for number in by.values())
        }
        if drawn:
            bars = {unit: (_COLOURS[unit], [by[unit] for by in drawn.values()]) for unit in UNITS}
            chart.draw_bars(list(drawn), bars, caption, folder / name)
            yield folder / name


def row_name(row: dict[str, Any]) -> str:
    return f"{row['subject']}, {row['mode']}, {row['batch']}"


def _ratio(results: dict[str, Any], row: dict[str, Any], unit: str, what: str) -> float:
    candidates = found(results, "network", row["subject"], row["mode"], row["batch"])
    return ratio(candidates, unit, what)
