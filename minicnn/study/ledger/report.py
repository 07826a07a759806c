"""The ledger in print: a table for each network, and under it the reasons, numbered.

As text it is what :func:`lines` returns; on a terminal, :func:`renderables` for rich.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from .verdict import Entry, totals

__all__ = ["lines", "renderables"]

_HEADINGS = ("where", "source", "quantity", "printed", "ours", "verdict")
_FIGURES = ("printed", "ours")
_STYLES = {"equal": "green", "rounds": "green", "unexplained": "bold red"}
_WIDTH = 100


def lines(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the ledger as lines of text."""
    for network, rows, notes in _blocks(entries):
        widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
        yield network
        for row in (_HEADINGS, *rows):
            cells = zip(_HEADINGS, row, widths, strict=True)
            yield (
                "  "
                + "  ".join(
                    cell.rjust(width) if name in _FIGURES else cell.ljust(width)
                    for name, cell, width in cells
                ).rstrip()
            )
        for number, note in enumerate(notes, 1):
            yield from textwrap.wrap(
                f"[{number}] {note}", _WIDTH, initial_indent="  ", subsequent_indent="      "
            )
        yield ""
    yield totals(entries)


def renderables(entries: Sequence[Entry]) -> Iterator[Any]:
    """Yield the ledger as tables and texts of rich."""
    from rich import box
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    for network, rows, notes in _blocks(entries):
        table = Table(title=network, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in _HEADINGS:
            figure = heading in _FIGURES
            table.add_column(heading, justify="right" if figure else "left", no_wrap=figure, overflow="fold")
        for *cells, verdict in rows:
            style = _STYLES.get(verdict.split(" [")[0], "yellow")
            table.add_row(*map(Text, cells), Text(verdict, style))
        yield table
        reasons = Table.grid(padding=(0, 1))
        for number, note in enumerate(notes, 1):
            reasons.add_row(Text(f"[{number}]"), Text(note))
        yield Padding(reasons, (0, 0, 0, 2))
        yield ""
    yield Text(totals(entries))


def _blocks(entries: Sequence[Entry]) -> Iterator[tuple[str, list[tuple[str, ...]], list[str]]]:
    """Yield for each network its name, its rows and the reasons they refer to by number."""
    for network in dict.fromkeys(entry.claim.network for entry in entries):
        here = [entry for entry in entries if entry.claim.network == network]
        notes = list(dict.fromkeys(entry.note for entry in here if entry.note))
        yield network, [_row(entry, notes) for entry in here], notes


def _row(entry: Entry, notes: Sequence[str]) -> tuple[str, ...]:
    claim = entry.claim
    verdict = f"{entry.verdict} [{notes.index(entry.note) + 1}]" if entry.note else entry.verdict
    return claim.where, claim.source, claim.quantity, claim.printed, entry.ours, verdict
