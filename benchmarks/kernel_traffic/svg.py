"""The little of SVG that the pictures of the pages need: rectangles, lines, polygons and text on a light card.

The card is part of the picture, so that it reads the same on a light and on a dark page.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

from minicnn.atomic import replacing

__all__ = ["BLUE", "FAINT", "GREEN", "INK", "ORANGE", "PAPER", "QUIET", "SKY", "VERMILION", "Drawing"]

PAPER, INK, QUIET, FAINT = "#fbfaf7", "#1c1c1c", "#6b6b6b", "#e4e1da"
# Okabe and Ito's colours, which the colour-blind tell apart too.
ORANGE, SKY, GREEN, BLUE, VERMILION = "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00"

FONTS = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"


class Drawing:
    """A picture of a given size; `title` is what a reader hears who cannot see it."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height = width, height
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" '
            f'width="{_n(width)}" height="{_n(height)}" role="img" font-family="{FONTS}" fill="{INK}">',
            f"<title>{escape(title)}</title>",
        ]
        self.box(0.5, 0.5, width - 1, height - 1, PAPER, FAINT, round=6)

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, line: str = "", round: float = 0
    ):
        """A rectangle from its upper left corner."""
        edge = f' stroke="{line}"' if line else ""
        rounded = f' rx="{_n(round)}"' if round else ""
        self._lines.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"{rounded}{edge} fill="{fill}"/>'
        )

    def line(self, x: float, y: float, to_x: float, to_y: float, colour: str = QUIET, width: float = 1):
        """A straight line."""
        self._lines.append(
            f'<line x1="{_n(x)}" y1="{_n(y)}" x2="{_n(to_x)}" y2="{_n(to_y)}" stroke="{colour}" '
            f'stroke-width="{_n(width)}"/>'
        )

    def polygon(self, points: Iterable[tuple[float, float]], fill: str):
        """A filled area inside straight lines."""
        corners = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self._lines.append(f'<polygon points="{corners}" fill="{fill}"/>')

    def arrow(self, x: float, y: float, length: float, thick: float, fill: str):
        """An arrow to the right along the middle line y."""
        head, half = min(length / 2, 6 + thick / 2), thick / 2
        neck = x + length - head
        wing = half + 4
        self.polygon(
            [
                (x, y - half), (neck, y - half), (neck, y - wing), (x + length, y), (neck, y + wing), (neck, y + half),
                (x, y + half),
            ],
            fill,
        )  # fmt: skip

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 11,
        colour: str = INK,
        anchor: str = "start",
        bold: bool = False,
    ):
        """One line of text whose baseline is at y; `anchor` says whether x is its start, middle or end."""
        style = (f' text-anchor="{anchor}"' if anchor != "start" else "") + (
            ' font-weight="bold"' if bold else ""
        )
        style += f' fill="{colour}"' if colour != INK else ""
        self._lines.append(
            f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}"{style}>{escape(text)}</text>'
        )

    def svg(self) -> str:
        """The picture as a file's text."""
        return "\n".join([*self._lines, "</svg>", ""])

    def save(self, path: Path) -> None:
        """Write the file, replacing an older one."""
        with replacing(path) as temporary:
            temporary.write_text(self.svg(), encoding="utf-8")


def _n(value: float) -> str:
    """A number with no more digits than a picture shows."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
