"""A profile as a table for the terminal: 80 columns hold it, with long names of layers folded and of operations cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from ..weights.mapped import shown
from .rows import Row, added

if TYPE_CHECKING:
    from .profile import Profile

__all__ = ["rich_table"]

_TIME = "time\n%"
_NUMBER = {"justify": "right", "no_wrap": True}


class _Column(NamedTuple):
    heading: str  # over two lines
    cell: Callable[[Row], str]
    look: dict[str, Any] = _NUMBER


def rich_table(profile: Profile, by: str, rows: Sequence[Row]) -> Table:
    """Return a table of these rows, which are all of the profile, with their sum and the rest below."""
    all_of_them = added("operations", rows)
    columns = _columns(profile, f"\n{by}", rows)
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    title = f"{1e3 * profile.seconds:.2f} ms, {1e3 * profile.rest:.2f} of them outside operations"
    table.title, table.title_justify = Text(title), "left"
    if profile.limit:
        table.caption, table.caption_justify = Text(f"limit: {profile.limit:.0f} GFLOP/s"), "left"
    for heading, _, look in columns:
        table.add_column(heading, **look)
    for row in rows:
        table.add_row(*(Text(cell(row)) for _, cell, _ in columns))
    table.add_section()
    table.add_row(*(Text(cell(all_of_them)) for _, cell, _ in columns))
    rest = {f"\n{by}": "the rest", _TIME: _percent(profile.rest, profile.seconds, digits=1)}
    table.add_row(*(rest.get(heading, "") for heading, _, _ in columns))
    return table


def _columns(profile: Profile, first: str, rows: Sequence[Row]) -> list[_Column]:
    """Return the columns that have something to show."""
    whole, limit = profile.seconds, profile.limit or 0.0
    columns = [
        _Column(first, lambda row: shown(row.name), {"overflow": "fold"}),
        _Column("\noperations", lambda row: shown(", ".join(row.operations)), {"overflow": "ellipsis"}),
        _Column("forward\nms", lambda row: _milliseconds(row.forward.seconds)),
        _Column("backward\nms", lambda row: _milliseconds(row.backward.seconds)),
        _Column(_TIME, lambda row: _percent(row.both.seconds, whole, digits=1)),
        _Column("GFLOP\n/s", lambda row: _number(row.both.gflops)),
        _Column("limit\n%", lambda row: _percent(row.both.gflops, limit, digits=0)),
        _Column("\nMB", lambda row: _number(row.both.bytes / 1e6)),
        _Column("\nGB/s", lambda row: _number(row.both.gigabytes)),
    ]
    always = (first, _TIME)
    return [column for column in columns if column.heading in always or any(map(column.cell, rows))]


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}" if seconds else ""


def _percent(part: float, whole: float, digits: int) -> str:
    return f"{100 * part / whole:.{digits}f}" if part and whole else ""


def _number(value: float) -> str:
    return f"{value:.1f}" if value else ""
