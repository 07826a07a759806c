"""Figures as papers print them: what their digits say, and how closely a figure of ours agrees.

A printed number stands for all numbers it could have been rounded from: "1.8×10⁹" for those within half a unit of
its last digit, 0.05×10⁹.  So every text here is a value and the worth of one unit of its last printed digit::

    text           value         unit
    122,304        122304        1          an integer without a scale has all its digits
    138 M          138·10⁶       10⁶        also K, G, million, billion, ·10⁶, ×10⁹
    2.7K           2.7·10³       10²
    < 25 million   any number below 25·10⁶

Sizes are exact: "6@28×28" (maps first), "112×112×64" (maps last) and "56×56" (whatever the maps).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["Bound", "Number", "Printed", "Size", "parse"]

_NUMBER = re.compile(r"(<?) ?(\d[\d,]*(?:\.(\d+))?) ?(\w+|[×·] ?10[⁰-⁹¹²³]+)?")
_SIZE = re.compile(r"(?:(\d+)@)?(\d+)×(\d+)(?:×(\d+))?")
_SCALES = {"": 0, "K": 3, "M": 6, "G": 9, "million": 6, "billion": 9}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


@dataclass(frozen=True)
class Number:
    """A number of so many digits.

    Attributes
    ----------
    value, unit : Decimal
        What is printed, and one unit of its last digit.
    """

    value: Decimal
    unit: Decimal

    def equals(self, ours: int) -> bool:
        """Whether ours is what is printed, to the last digit."""
        return ours == self.value

    def rounds(self, ours: int) -> bool:
        """Whether ours, rounded to the printed digits, may become what is printed."""
        return 2 * abs(ours - self.value) <= self.unit

    def cuts(self, ours: int) -> bool:
        """Whether ours becomes what is printed when the digits after the last printed one are dropped."""
        return 0 <= ours - self.value < self.unit

    def show(self, ours: int) -> str:
        """Write ours with all its digits."""
        return f"{ours:,}"


@dataclass(frozen=True)
class Bound:
    """All numbers below `value`; one that is, is as the paper says."""

    value: Decimal

    def equals(self, ours: int) -> bool:
        """Whether ours is below."""
        return ours < self.value

    def rounds(self, ours: int) -> bool:
        """Never: it is below, or it is not."""
        return False

    cuts = rounds

    def show(self, ours: int) -> str:
        """Write ours with all its digits."""
        return f"{ours:,}"


@dataclass(frozen=True)
class Size:
    """A size of maps.

    Attributes
    ----------
    sizes : tuple of int
        (C, H, W), or (H, W) where the number of maps is not printed.
    maps_first : bool
        Whether it is printed as C@H×W, and not as H×W×C.
    """

    sizes: tuple[int, ...]
    maps_first: bool

    def equals(self, ours: tuple[int, ...]) -> bool:
        """Whether ours, (C, H, W) or (features,), has all these sizes; one feature is a map of one pixel."""
        return _as_maps(ours)[-len(self.sizes) :] == self.sizes

    def rounds(self, ours: tuple[int, ...]) -> bool:
        """Never: sizes are exact."""
        return False

    cuts = rounds

    def show(self, ours: tuple[int, ...]) -> str:
        """Write ours in the order of the print."""
        c, h, w = _as_maps(ours)
        if len(self.sizes) == 2:
            return f"{h}×{w}"
        return f"{c}@{h}×{w}" if self.maps_first else f"{h}×{w}×{c}"


Printed = Number | Bound | Size


def parse(text: str, kilo: int = 1000) -> Printed:
    """Read a printed figure.

    Parameters
    ----------
    text : str
    kilo : int
        What K stands for; its square is M and its cube G.

    Raises
    ------
    ValueError
        If the text is no figure of these forms.

    Examples
    --------
    >>> parse("2.7K")
    Number(value=Decimal('2700.0'), unit=Decimal('100'))
    >>> parse("1.8×10⁹").rounds(1_814_073_344)
    True
    >>> parse("6@28×28").show((6, 28, 28)), parse("28×28×6").show((6, 28, 28))
    ('6@28×28', '28×28×6')
    """
    if size := _SIZE.fullmatch(text):
        maps, rows, columns, depth = size.groups()
        if not (maps and depth):
            sizes = (maps or depth, rows, columns) if maps or depth else (rows, columns)
            return Size(tuple(map(int, sizes)), maps_first=bool(maps))
    elif (number := _NUMBER.fullmatch(text)) and (scale := _scale(number[4] or "", kilo)):
        value = Decimal(number[2].replace(",", "")) * scale
        return Bound(value) if number[1] else Number(value, scale / 10 ** len(number[3] or ""))
    raise ValueError(f"ledger: cannot read the printed figure {text!r}")


def _scale(text: str, kilo: int) -> Decimal | None:
    """Return what a number's unit stands for; None if it is none that is known."""
    if text.startswith(("×", "·")):
        return Decimal(10) ** int(text[1:].strip()[2:].translate(_SUPERSCRIPTS))
    if text not in _SCALES:
        return None
    return Decimal(kilo) ** (_SCALES[text] // 3)


def _as_maps(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return (C, H, W), a feature being a map of one pixel."""
    return (*shape, 1, 1) if len(shape) == 1 else shape
