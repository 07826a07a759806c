"""What the GPU's process does for a row: :func:`row_of` is what kernel_speed.worker serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from kernel_speed.worker import serve

from . import checks, epoch, launches, networks
from .tasks import Task

ROWS = {
    "check": checks.row,
    "launch": launches.row,
    "network": networks.row,
    "cpu": networks.cpu_row,
    "epoch": epoch.row,
}


def served(connection: Connection, threads: int) -> None:
    """What the process does, until its parent has no more; the CPU's rows take so many threads."""
    serve(connection, threads, row_of)


def row_of(
    task: Task,
    device: Any,
    threads: int,
    trying: Callable[[str], None] = lambda name: None,
    given_up: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Measure a task's row."""
    trying("inputs")
    device.release()  # what the row before had
    return task.row | ROWS[task.part](task, device, threads, trying, given_up or {})
