"""The time of an image over the batch size, for CPU and GPU: where the lines cross, the GPU starts to pay.

What is predicted is dashed and says so.  matplotlib is an extra (``pip install "minicnn[plot]"``) and is imported only
when a picture is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...atomic import replacing
from .gpus import Gpu
from .point import CPU, LINES, Curve, pays_from, told

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "figure"]

_LOOKS: dict[str, dict[str, Any]] = {  # the colours are Okabe and Ito's
    CPU: {"color": "#D55E00", "marker": "o"},
    "gpu": {"color": "#0072B2", "marker": "o"},
    "gpu_transfer": {"color": "#009E73", "marker": "o"},
    "predicted_gpu": {"color": "#0072B2", "linestyle": "--", "marker": "o", "markerfacecolor": "white"},
    "predicted_gpu_transfer": {
        "color": "#009E73",
        "linestyle": "--",
        "marker": "o",
        "markerfacecolor": "white",
    },
}


def draw(path: Path, curves: Sequence[Curve], cpu: str, gpu: str | None, assumed: Gpu | None) -> None:
    """Write the picture to an SVG file; the same times give the same file.

    Parameters
    ----------
    path : Path
    curves : sequence of Curve
        A panel each.
    cpu : str
        The processor's name.
    gpu : str or None
        The name of the GPU that was measured.
    assumed : Gpu or None
        Of which times were predicted.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    from matplotlib import rc_context

    drawn = figure(curves, cpu, gpu, assumed)
    with replacing(path) as temporary, rc_context({"svg.hashsalt": "minicnn"}):
        drawn.savefig(temporary, metadata={"Date": None})


def figure(curves: Sequence[Curve], cpu: str, gpu: str | None, assumed: Gpu | None) -> Figure:
    """Return the picture as a matplotlib figure; as :func:`draw`."""
    from matplotlib.figure import Figure

    columns = math.ceil(math.sqrt(len(curves)))
    rows = math.ceil(len(curves) / columns)
    drawn = Figure(figsize=(max(4.2 * columns, 7.5), 3.4 * rows + 1.1), layout="constrained")
    grid = drawn.subplots(rows, columns, squeeze=False).ravel()
    for axes, curve in zip(grid, curves, strict=False):
        _panel(axes, curve)
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    drawn.suptitle("\n".join(_title(cpu, gpu, assumed)), fontsize=10)
    lines = {
        label: line for axes in grid for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=5, frameon=False)
    return drawn


def _title(cpu: str, gpu: str | None, assumed: Gpu | None) -> list[str]:
    title = [f"{cpu} against {gpu}" if gpu else f"{cpu}; no GPU was measured"]
    if assumed is not None:
        title.append(f"dashed: {assumed.title}, predicted from its data sheet, not measured")
    return title


def _panel(axes: Axes, curve: Curve) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    for line in curve.lines:
        timed = [(p.batch, p.seconds(line)) for p in curve.points if p.seconds(line) > 0]
        batches, milliseconds = [batch for batch, _ in timed], [1e3 * s / batch for batch, s in timed]
        axes.plot(batches, milliseconds, label=LINES[line], markersize=4, **_LOOKS[line])
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    batches = [point.batch for point in curve.points]
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    _mark(axes, curve)
    axes.set_title(curve.title, fontsize=10)
    axes.set_xlabel("batch size")
    axes.set_ylabel("ms an image")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _mark(axes: Axes, curve: Curve) -> None:
    """Say of each of the GPU's lines where it begins to pay, and put a ring around that point."""
    lines = [line for line in curve.lines if line != CPU]
    axes.set_ylim(axes.get_ylim()[0] / 1.5 ** len(lines))  # room for the text, where falling lines leave some
    for place, line in enumerate(reversed(lines)):
        colour = _LOOKS[line]["color"]
        text = f"{LINES[line]} {told(curve.points, line)}"
        axes.text(0.03, 0.03 + 0.07 * place, text, transform=axes.transAxes, color=colour, fontsize=8)
        first = pays_from(curve.points, line)
        ringed = [(p.batch, 1e3 * p.seconds(line) / p.batch) for p in curve.points if p.batch == first]
        for point in ringed:
            axes.plot(*point, "o", markersize=10, markerfacecolor="none", color=colour)
