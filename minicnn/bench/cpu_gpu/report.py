"""A network's batch sizes, and its layers, as tables for the terminal: 80 columns hold them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..report import milliseconds
from .gpus import Gpu
from .point import CPU, LINES, Curve, Point, told
from .roofline import assumptions

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["layers_table", "table", "verdict"]

_HEADINGS = {
    CPU: "CPU\nms",
    "gpu": "GPU\nms",
    "gpu_transfer": "+ transfer\nms",
    "predicted_gpu": "GPU ms\npredicted",
    "predicted_gpu_transfer": "+ transfer\npredicted",
}
_WIDEST = 24  # letters of a layer's name


def table(curve: Curve, assumed: Gpu | None = None) -> Table:
    """Return a :class:`rich.table.Table` of the batch sizes: milliseconds of a step, and the factors to the CPU.

    Parameters
    ----------
    curve : Curve
    assumed : Gpu, optional
        Of which times were predicted: the caption says what the prediction rests on.
    """
    names = [str(point.batch) for point in curve.points]
    return _table(curve.title, "batch", names, curve.points, assumed)


def layers_table(curve: Curve, assumed: Gpu | None = None) -> Table:
    """Return a :class:`rich.table.Table` of the layers, each by itself; as :func:`table`."""
    names = [shortened(point.name, _WIDEST) for point in curve.layers]
    title = f"{curve.title}, batch {curve.layers[0].batch}, each layer by itself"
    return _table(title, "layer", names, curve.layers, assumed)


def verdict(curve: Curve) -> list[str]:
    """Return a line of text for each of the GPU's lines: from which batch size on it pays."""
    return [f"{curve.title}: {LINES[line]} {told(curve.points, line)}" for line in curve.lines if line != CPU]


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many letters.

    Examples
    --------
    >>> shortened("features.0 Conv2d", 10), shortened("fc", 10)
    ('features.…', 'fc')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _table(
    title: str, first: str, names: Sequence[str], points: Sequence[Point], assumed: Gpu | None
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column(f"\n{first}", no_wrap=True)
    lines = [line for line in LINES if line == CPU or any(p.seconds(line) > 0 for p in points)]
    for heading in ("\nGFLOP", "FLOP\n/byte", *(h for line in lines for h in _headings(line))):
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, point in zip(names, points, strict=True):
        work = point.work
        counts = gigas(work.flops), f"{work.flops / work.bytes:.1f}" if work.bytes else ""
        shown.add_row(Text(name), *counts, *(cell for line in lines for cell in _cells(point, line)))
    notes = _notes(names, points)
    if assumed is not None:
        notes.append(assumptions(assumed))
    shown.caption = Text("\n".join(notes)) if notes else None
    shown.caption_justify = "left"
    return shown


def _notes(names: Sequence[str], points: Sequence[Point]) -> list[str]:
    """Return a line for each reason why there is no time, with the rows that it holds for."""
    rows: dict[str, list[str]] = {}
    for name, point in zip(names, points, strict=True):
        for line, why in point.void.items():
            rows.setdefault(f"{LINES[line]} {why}", []).append(name)
    return [f"{', '.join(held)}: {note}" for note, held in rows.items()]


def _headings(line: str) -> tuple[str, ...]:
    if line == CPU:
        return (_HEADINGS[line],)
    return _HEADINGS[line], "speed\npredicted" if line.startswith("predicted") else "\nspeed"


def _cells(point: Point, line: str) -> tuple[str, ...]:
    seconds = point.seconds(line)
    time = "—" if math.isnan(seconds) else milliseconds(seconds)
    return (time,) if line == CPU else (time, factor(point.speedup(line)))


def gigas(count: float) -> str:
    """Return a count in thousands of millions, with three digits that count.

    Examples
    --------
    >>> gigas(1.2345e12), gigas(1.2345e9), gigas(1.2345e6)
    ('1,234', '1.23', '0.00123')
    """
    value = count / 1e9
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def factor(value: float) -> str:
    """Return a factor with as many digits as matter; nothing for NaN.

    Examples
    --------
    >>> factor(123.4), factor(2.5), factor(0.25), factor(0.025), factor(math.nan)
    ('123×', '2.5×', '0.2×', '0.03×', '')
    """
    if math.isnan(value):
        return ""
    return f"{value:.0f}×" if value >= 9.95 else f"{value:.1f}×" if value >= 0.1 else f"{value:.1g}×"
