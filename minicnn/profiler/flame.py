"""A profile as nested bars, drawn in SVG: the whole above, its modules below it, their parts below them.

    ┌──────────────────────────────────────────────┐
    │ everything                                   │    as wide as the time inside;
    ├───────────────────────────────────┬──────────┤    forward and backward each have their part of a bar,
    │ VGG                               │ the rest │    in two colours
    ├──────────────────────┬────────────┼──────────┘
    │ features             │ classifier │
    ├────────┬─────┬───────┼───┬────────┘

A module's own operations are bars as well, unless it is nothing but one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ..weights.mapped import shown
from .rows import longest

if TYPE_CHECKING:
    from .profile import Profile

__all__ = ["Bar", "Placed", "placed", "svg", "tree"]

_WIDTH, _MARGIN, _HEAD = 1200, 10, 62  # pixels; the head has the title and the legend
_STEP, _HEIGHT = 24, 23  # from one storey to the next, and of a bar
_LETTER = 6.7  # the width of one, at 11 pixels in a font whose letters are all alike
_TEXT = {"font-family": "monospace", "font-size": "11", "fill": "#111"}
_COLOURS = {"forward": "#9ecae1", "backward": "#fdae6b", "the rest": "#d9d9d9"}  # told apart by all eyes
_FEWEST = 3  # letters of a label that are worth showing
_TOLD = 5  # layers named in the description


@dataclass
class Bar:
    """Some of the time, and what it consists of.

    Attributes
    ----------
    name, kind : str
        A module's name and its class; an operation has a name alone.
    seconds : dict
        By the phase: ``"forward"``, ``"backward"`` and ``"the rest"``.
    parts : dict of Bar
        By the name and whether it is an operation, for a module may have an operation's name.
    """

    name: str
    kind: str
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_COLOURS, 0.0))
    parts: dict[tuple[str, bool], Bar] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())

    def part(self, name: str, is_operation: bool = False) -> Bar:
        """Return the part of this name, a new one if need be."""
        return self.parts.setdefault((name, is_operation), Bar(name, ""))

    @property
    def visible(self) -> list[Bar]:
        """The parts that are not just this again."""
        operations = [is_operation for _, is_operation in self.parts]
        return [] if operations == [True] else list(self.parts.values())


class Placed(NamedTuple):
    """Where a bar is: from the left and its width in pixels, and the storey, 0 above."""

    bar: Bar
    left: float
    width: float
    storey: int


def tree(profile: Profile) -> Bar:
    """Return the bar of everything."""
    whole = Bar("everything", "")
    for record in profile.records:
        bars = [whole]
        for name in record.path:
            bars.append(bars[-1].part(name))
        bars[-1].kind = record.kind
        bars.append(bars[-1].part(record.operation, is_operation=True))
        for bar in bars:
            bar.seconds[record.phase] += record.seconds
    for bar in (whole, whole.part("the rest", is_operation=True)):
        bar.seconds["the rest"] += profile.rest
    return whole


def placed(bar: Bar, left: float, width: float, storey: int = 0) -> Iterator[Placed]:
    """Yield a bar and all inside it, parents first, each part's width in proportion to its time."""
    yield Placed(bar, left, width, storey)
    for part in bar.visible:
        share = width * part.total / bar.total if bar.total else 0.0
        yield from placed(part, left, share, storey + 1)
        left += share


def svg(profile: Profile) -> str:
    """Return the picture, a whole SVG file."""
    whole = tree(profile)
    places = list(placed(whole, _MARGIN, _WIDTH - 2 * _MARGIN))
    height = _HEAD + _STEP * (1 + max(place.storey for place in places)) + _MARGIN
    picture = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "role": "img",
            "aria-labelledby": "title description",
        },
    )
    SubElement(picture, "title", id="title").text = f"Where the time goes: {_milliseconds(whole.total)}"
    SubElement(picture, "desc", id="description").text = _description(profile)
    SubElement(picture, "rect", width="100%", height="100%", fill="white")
    _draw_head(picture, whole)
    for place in places:
        if place.bar.total > 0:
            _draw(picture, place, whole.total)
    indent(picture)
    return tostring(picture, encoding="unicode", xml_declaration=True) + "\n"


def _draw_head(picture: Element, whole: Bar) -> None:
    """Draw the title, and what the colours stand for."""
    title = SubElement(picture, "text", {**_TEXT, "x": str(_MARGIN), "y": "22", "font-size": "15"})
    title.text = f"Where the time goes: {_milliseconds(whole.total)}"
    left = float(_MARGIN)
    for phase, seconds in whole.seconds.items():
        told = f"{phase} {_milliseconds(seconds)}"
        _rectangle(picture, left, 36, 14, 14, _COLOURS[phase])
        SubElement(picture, "text", {**_TEXT, "x": f"{left + 20:.0f}", "y": "47"}).text = told
        left += 20 + _LETTER * (len(told) + 3)


def _draw(picture: Element, place: Placed, whole: float) -> None:
    """Draw one bar: its phases side by side, its label where there is room."""
    bar, left, width, storey = place
    top = _HEAD + _STEP * storey
    group = SubElement(picture, "g")
    SubElement(group, "title").text = _told(bar, whole)
    inner = max(width - 1, 0.6 * width)  # a gap between neighbours
    for phase, seconds in bar.seconds.items():
        if seconds > 0:
            part = inner * seconds / bar.total
            _rectangle(group, left, top, part, _HEIGHT, _COLOURS[phase])
            left += part
    if label := _fitting(bar, int((width - 8) / _LETTER)):
        text = SubElement(group, "text", {**_TEXT, "x": f"{place.left + 4:.2f}", "y": str(top + 15)})
        text.text = label


def _rectangle(parent: Element, left: float, top: float, width: float, height: float, colour: str) -> None:
    sizes = {"x": f"{left:.3f}", "y": f"{top:.0f}", "width": f"{width:.3f}", "height": f"{height:.0f}"}
    SubElement(parent, "rect", {**sizes, "fill": colour})


def _label(bar: Bar) -> str:
    return shown(f"{bar.name} {bar.kind}" if bar.kind not in ("", bar.name) else bar.name)


def _fitting(bar: Bar, room: int) -> str:
    """Return what fits into so many letters: name and class, or the name, or its beginning, or nothing."""
    name = shown(bar.name)
    if len(label := _label(bar)) <= room:
        return label
    if len(name) <= room:
        return name
    return f"{name[: room - 1]}…" if room > _FEWEST else ""


def _told(bar: Bar, whole: float) -> str:
    """Return what is shown to whoever points at a bar."""
    phases = (f"{phase} {_milliseconds(seconds)}" for phase, seconds in bar.seconds.items() if seconds)
    share = 100 * bar.total / whole if whole else 0.0
    return f"{_label(bar)}: {_milliseconds(bar.total)}, {share:.1f} % ({', '.join(phases)})"


def _description(profile: Profile) -> str:
    """Return in words what the picture shows, for those who cannot see it."""
    rows = longest(profile.by_layer())[:_TOLD]
    layers = (f"{shown(row.name or row.operations[0])} {_milliseconds(row.both.seconds)}" for row in rows)
    return (
        "Nested bars, modules within modules, each as wide as the time inside it. "
        f"The longest: {', '.join(layers) or 'none'}; outside operations {_milliseconds(profile.rest)}."
    )


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"
