"""What is known of a network or a layer at one batch size, and from which batch size on the GPU pays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from .roofline import NOTHING, Work

__all__ = ["CPU", "LINES", "Curve", "Point", "pays_from", "told"]

CPU = "cpu"
LINES = {
    CPU: "CPU",
    "gpu": "GPU",
    "gpu_transfer": "GPU + transfer",
    "predicted_gpu": "GPU (predicted)",
    "predicted_gpu_transfer": "GPU + transfer (predicted)",
}
"""What has a time, and what to call it."""


@dataclass
class Point:
    """A network or a layer at one batch size.

    Attributes
    ----------
    name : str
        The network's, or the layers' that are alike.
    batch : int
        Images.
    work : Work
        Of a step, all operations together.
    operations : int
        That it consists of.
    samples : dict of lists of float
        Seconds of a step, by the names in :data:`LINES`.
    predicted : dict of float
        Predicted seconds of a step, by the names in :data:`LINES`.
    void : dict of str
        Why one has no time.
    failed : bool
        Whether that is because something went wrong.
    """

    name: str
    batch: int
    work: Work = NOTHING
    operations: int = 0
    samples: dict[str, list[float]] = field(default_factory=dict)
    predicted: dict[str, float] = field(default_factory=dict)
    void: dict[str, str] = field(default_factory=dict)
    failed: bool = False

    def seconds(self, line: str) -> float:
        """Return the median of the samples, or what is predicted; NaN where there is neither."""
        if self.samples.get(line):
            return median(self.samples[line])
        return self.predicted.get(line, math.nan)

    def speedup(self, line: str) -> float:
        """Return how many times as fast as the CPU one is; NaN where either has no time."""
        return self.seconds(CPU) / self.seconds(line)


@dataclass
class Curve:
    """A network in one mode: its batch sizes in ascending order, and its layers at the largest of them.

    Attributes
    ----------
    model : str
    mode : {'inference', 'training'}
    points : list of Point
    layers : list of Point
    """

    model: str
    mode: str
    points: list[Point] = field(default_factory=list)
    layers: list[Point] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Model and mode in words."""
        return f"{self.model}, {self.mode}"

    @property
    def lines(self) -> list[str]:
        """Those of :data:`LINES` that have a time somewhere."""
        return [line for line in LINES if any(p.seconds(line) > 0 for p in self.points)]


def pays_from(points: Sequence[Point], line: str) -> int | None:
    """Return the smallest batch size from which on a GPU's line is below the CPU's; None if at the largest it is not.

    Only batch sizes count at which both have a time.

    Parameters
    ----------
    points : sequence of Point
        In ascending order of the batch.
    line : str
        One of :data:`LINES`.

    Examples
    --------
    >>> points = [
    ...     Point("a", batch, samples={"cpu": [0.1 * batch], "gpu": [0.5]}) for batch in (1, 2, 4, 8, 16)
    ... ]
    >>> pays_from(points, "gpu"), pays_from(points[:3], "gpu")
    (8, None)
    """
    found = None
    for point in reversed(_compared(points, line)):
        if not point.seconds(line) < point.seconds(CPU):
            break
        found = point.batch
    return found


def told(points: Sequence[Point], line: str) -> str:
    """Return in a few words whether, and from which batch size on, a GPU's line is below the CPU's.

    Examples
    --------
    >>> points = [Point("a", batch, samples={"cpu": [0.1 * batch], "gpu": [0.5]}) for batch in (1, 8, 16)]
    >>> told(points, "gpu"), told(points[:2], "gpu"), told(points[:1], "gpu"), told([], "gpu")
    ('pays from batch 8 on', 'pays at batch 8', 'does not pay up to batch 1', 'cannot be compared')
    """
    batches = [point.batch for point in _compared(points, line)]
    if not batches:
        return "cannot be compared"
    first = pays_from(points, line)
    if first is None:
        return f"does not pay up to batch {batches[-1]}"
    if first == batches[-1]:
        return f"pays at batch {first}"
    return f"pays from batch {first} on"


def _compared(points: Sequence[Point], line: str) -> list[Point]:
    return [point for point in points if not math.isnan(point.speedup(line))]
