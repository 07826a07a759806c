"""A row of the benchmark as a table for the terminal."""

from __future__ import annotations

import math
from typing import Any

from ..profiler.limit import SIZE
from .turns import Measured, Row

__all__ = ["EAGER", "table"]

EAGER = ("pytorch", "pytorch-channels-last")
"""The two whose faster one all are held to."""

_HEADINGS = ("peer", "ms", "quartiles", "MB", "GFLOP/s", "sgemm", "speed")


def table(row: Row) -> Any:
    """Return a :class:`rich.table.Table`.

    Its columns: the median and quartiles of a step in milliseconds; the most memory beyond weights and images; GFLOP/s,
    and what part of a large matrix product's these are; the factor to the faster eager PyTorch, 2.00× twice as fast.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=row.title, title_justify="left", box=box.SIMPLE_HEAD)
    for place, heading in enumerate(_HEADINGS):
        shown.add_column(heading, justify="right" if place else "left", no_wrap=True)
    fastest, base = row.median(*(m.peer for m in row.peers)), row.median(*EAGER)
    for measured in row.peers:
        if measured.samples:
            style = "bold" if measured.median == fastest else ""
            shown.add_row(*_cells(row, measured, base), style=style)
    if row.limit.samples:
        shown.add_row(
            f"sgemm {SIZE}³", *_times(row.limit), "", f"{row.limit_gflops:.0f}", "100 %", "", style="dim"
        )
    voided = [f"{m.peer}: {m.void}" for m in (*row.peers, row.limit) if m.void]
    shown.caption = Text("\n".join(voided)) if voided else None  # as it is: brackets in it are no markup
    shown.caption_justify = "left"
    return shown


def _cells(row: Row, measured: Measured, base: float) -> tuple[str, ...]:
    gflops = row.gflop / measured.median
    ratio = base / measured.median
    return (
        measured.peer,
        *_times(measured),
        f"{measured.bytes / 1e6:,.0f}",
        f"{gflops:,.0f}",
        f"{100 * gflops / row.limit_gflops:.0f} %" if row.limit.samples else "",
        f"{ratio:.2f}×" if math.isfinite(ratio) else "",
    )


def _times(measured: Measured) -> tuple[str, str]:
    low, high = map(milliseconds, measured.quartiles)
    return milliseconds(measured.median), f"{low}–{high}"


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, with three digits that count.

    Examples
    --------
    >>> milliseconds(1.2345), milliseconds(0.012345), milliseconds(0.00012345)
    ('1,234', '12.3', '0.123')
    """
    value = seconds * 1e3
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{digits}f}"
