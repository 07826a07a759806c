"""What a paper claims of a network, one printed figure each, and what can be said where it is not ours.

The files of papers beside this one are made of these: tables to be held beside the print, and a
reason for each figure that does not come out.  A reason names the figure it explains, so a network that changes
loses its excuses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "COUNTED",
    "PAPER",
    "UNVERIFIED",
    "Because",
    "Claim",
    "contradicts",
    "cut_off",
    "deviates",
    "table",
]

Source = Literal["paper", "counted", "not verified"]
PAPER: Source = "paper"
"""Read in a copy of the paper."""
COUNTED: Source = "counted"
"""Counted by an independent implementation of the same network."""
UNVERIFIED: Source = "not verified"
"""Only remembered, so nothing depends on it."""

Verdict = Literal["equal", "rounds", "the paper contradicts itself", "deviates", "unexplained"]

_COLUMNS = re.compile(r" {2,}")
_NOTHING = "–"


@dataclass(frozen=True)
class Because:
    """Why a printed figure and ours differ.

    Attributes
    ----------
    verdict : str
        What follows where the reason holds.
    reason : str
        A formula in it, such as ``7·7·3·64 = 9,408``, is checked by a test.
    ours : str
        The only figure it explains, with all its digits; any of which the print is the beginning, if empty.
    """

    verdict: Verdict
    reason: str
    ours: str = ""


def contradicts(ours: str, reason: str) -> Because:
    """Say how a printed figure contradicts others of the same paper."""
    return Because("the paper contradicts itself", reason, ours)


def deviates(ours: str, reason: str) -> Because:
    """Say why our network is not the one of the print."""
    return Because("deviates", reason, ours)


def cut_off(reason: str = "cut off after its last digit, not rounded") -> Because:
    """Say that the print is the beginning of our figure."""
    return Because("rounds", reason)


@dataclass(frozen=True)
class Claim:
    """A printed figure.

    Attributes
    ----------
    network : str
        What to build: a name and arguments of :func:`~minicnn.models.get_model`, as in ``resnet34 shortcut=A``.
    where : str
        Where it is printed.
    quantity : str
        One of :data:`~minicnn.study.ledger.measure.QUANTITIES`.
    printed : str
        As :func:`~minicnn.study.ledger.printed.parse` reads it.
    layers : str
        The names of the layers or groups of layers it belongs to, joined by ``+``; empty for the whole network.
    source : str
        Where it is known from.
    because : Because, optional
        Why it is not ours.
    kilo : int
        What K stands for in this figure.
    """

    network: str
    where: str
    quantity: str
    printed: str
    layers: str = ""
    source: Source = PAPER
    because: Because | None = None
    kilo: int = 1000


def table(
    where: str,
    text: str,
    *,
    network: str = "",
    source: Source = PAPER,
    because: Mapping[tuple[str, str], Because] | None = None,
    kilo: int = 1000,
) -> list[Claim]:
    """Read a table of printed figures.

    Parameters
    ----------
    where : str
        Where the table is printed.
    text : str
        A line of headings and a line a row, in columns two blanks apart: ``row``, the row's name in print;
        ``network`` and ``layers``, what is measured; all others are quantities.  ``–`` stands for nothing.
    network, source, kilo
        Of all its figures.
    because : mapping from (row, or else network, and quantity), optional
        Why figures of it are not ours.

    Raises
    ------
    ValueError
        If a row has not as many cells as there are headings, or a reason is given for a figure that is not there.

    Examples
    --------
    >>> table("Table 1", '''
    ...     row    layers  output   parameters
    ...     conv1  c1      6@28×28  156
    ...     pool1  s2      6@14×14  –
    ... ''', network="lenet5")[-1]
    Claim(network='lenet5', where='Table 1, pool1', quantity='output', printed='6@14×14', layers='s2', source='paper',
          because=None, kilo=1000)
    """
    headings, *lines = (_COLUMNS.split(line.strip()) for line in text.strip().splitlines())
    reasons = dict(because or {})
    claims: list[Claim] = []
    for line in lines:
        if len(line) != len(headings):
            raise ValueError(f"ledger: {where} has {len(headings)} columns, but the row {'  '.join(line)!r}")
        cells = {heading: cell for heading, cell in zip(headings, line, strict=True) if cell != _NOTHING}
        measured, row = cells.pop("network", network), cells.pop("row", "")
        place, layers = f"{where}, {row}" if row else where, cells.pop("layers", "")
        for quantity, printed in cells.items():
            reason = reasons.pop((row or measured, quantity), None)
            claims.append(Claim(measured, place, quantity, printed, layers, source, reason, kilo))
    if reasons:
        raise ValueError(f"ledger: {where} has no {' '.join(next(iter(reasons)))} to explain")
    return claims
