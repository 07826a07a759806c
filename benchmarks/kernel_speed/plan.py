"""Which rows there are, and in what order they are measured within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .layers import Layer, layers
from .operations import OPERATIONS
from .report import HELD

PATIENCE = 60  # seconds after which a row is given up
LEAST = 1  # second that a row is worth beginning for
STAGES = ("start", "inputs", "turns")  # what a process may be at that is no version and no peer


@dataclass(frozen=True)
class Task:
    """A row to measure: an operation on a layer, with numbers of this dtype.

    Attributes
    ----------
    operation : str
        Of operations.OPERATIONS.
    layer : Layer
    dtype : str
    networks : tuple of (name, times)
        Which networks have the layer, and how often.
    """

    operation: str
    layer: Layer
    dtype: str = "float32"
    networks: tuple[tuple[str, int], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.operation}, {self.layer.name}, {self.dtype}"

    @property
    def family(self) -> tuple[str, ...]:
        """What its row shares with those in which a version that broke its process is not tried again."""
        return self.operation, self.dtype

    @property
    def place(self) -> str:
        """What tells it from the others of its family."""
        return self.layer.name

    @property
    def row(self) -> dict[str, Any]:
        """What its row in a record begins with."""
        return {
            "operation": self.operation,
            "layer": self.layer.name,
            "dtype": self.dtype,
            "networks": dict(self.networks),
        }

    @property
    def is_headline(self) -> bool:
        """Whether it is of what the ladder is held to: VGG-16's convolutions, all 3×3, in float32."""
        return self.operation in HELD and self.dtype == "float32" and "vgg16" in dict(self.networks)

    @property
    def weight(self) -> int:
        """The layer's part in the work of its network."""
        return self.layer.flops * max(dict(self.networks).values())


class Died(Exception):
    """A process ended, or was ended, while it tried something: a version, a peer or one of STAGES."""

    def __init__(self, trying: str, why: str) -> None:
        super().__init__(why)
        self.trying = trying
        self.why = why


class Measures(Protocol):
    """What measures rows: worker.Worker."""

    def measure(self, task: Any, given_up: Mapping[str, str], patience: float) -> dict[str, Any]: ...

    def end(self) -> None: ...


def plan(only: Collection[str] = ()) -> list[Task]:
    """Return all rows, or those of some operations, the most important first.

    First those the ladder is held to; then every operation's costliest layer, every operation's second, and so on, so
    that none starves.
    """
    uses = layers()
    places: dict[Task, tuple[bool, int]] = {}
    for operation in OPERATIONS.values():
        fitting = [layer for layer in uses if layer.kind == operation.kind and operation.fits(layer)]
        for dtype in operation.dtypes if operation.name in (only or OPERATIONS) else ():
            tasks = [Task(operation.name, layer, dtype, tuple(uses[layer].items())) for layer in fitting]
            tasks.sort(key=lambda task: -task.weight)
            places |= {task: (not task.is_headline, place) for place, task in enumerate(tasks)}
    return sorted(places, key=lambda task: places[task])


def rows_within(
    tasks: Collection[Any],
    start: Callable[[], Measures],
    end: float,
    clock: Callable[[], float] = time.monotonic,
    patience: float = PATIENCE,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of tasks, :class:`Task` or alike, in order, until the clock says that it is the end.

    A version that was the end of its process is not tried again, by no row of the family.
    """
    given_up: dict[tuple[str, ...], dict[str, str]] = {}
    worker = start()
    try:
        for task in tasks:
            row = None
            while row is None:
                left = end - clock()
                if left < LEAST:
                    return
                known = given_up.setdefault(task.family, {})
                try:
                    row = worker.measure(task, known, min(patience, left))
                except Died as died:
                    if clock() >= end:
                        return
                    worker = start()
                    if died.trying in STAGES:
                        row = {**task.row, "failed": f"{died.trying}: {died.why}"}
                    else:
                        known[died.trying] = f"{task.place}: {died.why}"
            yield row
    finally:
        worker.end()
