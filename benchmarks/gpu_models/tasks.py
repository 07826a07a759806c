"""The rows of the GPU's process, the most important first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from minicnn.bench import MODELS

from .checks import CHECKS

NETWORKS = ("vgg16", *(name for name in MODELS if name != "vgg16"))
BATCHES = (32, 1, 128)
MODES = ("training", "inference")
ON_CPU = {("vgg16", 32): MODES, ("lenet5", 32): MODES, ("resnet50", 32): ("training",)}
"""What minicnn's CPU is measured on: it takes seconds a step."""
EPOCH = ("lenet5", 64)
"""The network and batch of the epoch's row."""


@dataclass(frozen=True)
class Task:
    """A row to measure.

    Attributes
    ----------
    part : {'check', 'launch', 'network', 'cpu', 'epoch'}
    subject : str
        An operation of checks.CHECKS, 'operations', or a network.
    mode : str
        Of a network's: 'training' or 'inference'.
    batch : int
    """

    part: str
    subject: str
    mode: str = ""
    batch: int = 0

    @property
    def name(self) -> str:
        batch = f"batch {self.batch}" if self.batch else ""
        return ", ".join(word for word in (f"{self.part} {self.subject}", self.mode, batch) if word)

    @property
    def family(self) -> tuple[str, ...]:
        """What its row shares with those in which a candidate that broke its process is not tried again."""
        return self.part, self.subject

    @property
    def place(self) -> str:
        """What tells it from the others of its family."""
        return self.name

    @property
    def row(self) -> dict[str, Any]:
        """What its row in a record begins with."""
        return {"part": self.part, "subject": self.subject, "mode": self.mode, "batch": self.batch}


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells a record's row from the others: what it begins with."""
    return tuple(row[name] for name in ("part", "subject", "mode", "batch"))


LAUNCH = Task("launch", "operations")


def checks() -> list[Task]:
    """Return a row for each operation, and one for what all cost Python."""
    return [*(Task("check", name) for name in CHECKS), LAUNCH]


def plan(networks: Collection[str] = NETWORKS, batches: Collection[int] = BATCHES) -> list[Task]:
    """Return the rows of these networks: batch after batch, and in each the networks in their order."""
    return [task for batch in batches for network in networks for task in _rows(network, batch)]


def _rows(network: str, batch: int) -> Iterator[Task]:
    if network == EPOCH[0] and batch == BATCHES[0]:
        yield Task("epoch", network, "training", EPOCH[1])
    yield from (Task("network", network, mode, batch) for mode in MODES)
    yield from (Task("cpu", network, mode, batch) for mode in ON_CPU.get((network, batch), ()))
