"""The benchmark's bar chart: how many times as fast as the faster PyTorch each framework is, row by row.

The axis is logarithmic, and PyTorch is the line at 1: twice as fast is as far to the right as half as fast to the left.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from minicnn.atomic import replacing

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "benchmark.svg"
EAGER = ("pytorch", "pytorch-channels-last")
_BARS = {  # whoever is the faster of these, by what to call it; the colours are Okabe and Ito's
    "minicnn": (("minicnn", "minicnn-fused"), "#D55E00"),
    "PyTorch, compiled": (("pytorch-compile",), "#F0E442"),
    "ONNX Runtime": (("onnxruntime",), "#0072B2"),
    "JAX": (("jax",), "#56B4E9"),
}


def median(row: dict[str, Any], *peers: str) -> float:
    """Return the milliseconds of the fastest of these peers; NaN if none has any."""
    found = (row["peers"].get(peer, {}).get("median_ms", math.nan) for peer in peers)
    return min((ms for ms in found if not math.isnan(ms)), default=math.nan)


def draw(record: dict[str, Any], path: Path = PICTURE) -> None:
    """Draw the record's chart."""
    rows = [row for row in record["results"]["rows"] if not math.isnan(median(row, *EAGER))]
    bars = {
        name: how for name, how in _BARS.items() if any(not math.isnan(median(row, *how[0])) for row in rows)
    }
    draw_bars(
        [f"{row['model']}, {row['mode']}, {row['batch']}" for row in rows],
        {
            name: (colour, [median(row, *EAGER) / median(row, *peers) for row in rows])
            for name, (peers, colour) in bars.items()
        },
        "speed, as a multiple of the faster PyTorch's",
        path,
    )


def draw_bars(rows: list[str], bars: dict[str, tuple[str, list[float]]], what: str, path: Path) -> None:
    """Draw bars from a line at 1; the same numbers give the same file.

    Parameters
    ----------
    rows : list of str
        What to call each.
    bars : dict
        What to call it → the colour, and a number a row; NaN draws nothing.
    what : str
        The numbers are.
    path : Path
        A picture of the kind that its suffix says; SVG is what this is made for.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.9 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    height = 0.8 / max(len(bars), 1)
    for i, (name, (colour, numbers)) in enumerate(bars.items()):
        places = [place + (i - (len(bars) - 1) / 2) * height for place in range(len(rows))]
        axes.barh(places, [number - 1 for number in numbers], height, left=1, label=name, color=colour)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:g}×")
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel(what)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=max(len(bars), 1), frameon=False)
    with replacing(path) as temporary, rc_context({"svg.hashsalt": "minicnn"}):
        figure.savefig(temporary, metadata={"Date": None})
