"""The process that uses the GPU, and its parent's end: a kernel that breaks its process, or never ends, costs one row.

After an illegal access a process cannot use the GPU any more, and a kernel that does not end can only be ended with
its process.  So the parent, which never touches the GPU, knows what is being tried; when that is the end of a process,
it starts another one, and what was tried is not tried again.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing.connection import Connection
from typing import Any

from minicnn.backend import cupy_device
from minicnn.backend.cuda_source import kernel

from .hardware import Gpu
from .operations import OPERATIONS
from .plan import Died, Task
from .rows import line, measure

START = 120  # seconds that a process may take to be ready: it imports, and measures the device's peaks


class Unavailable(Exception):
    """There is no GPU to use, or something it needs is missing: in one line."""


def row_of(
    task: Task,
    device: Any,
    batch: int,
    trying: Callable[[str], None] = lambda name: None,
    given_up: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make a task's arrays and measure its row."""
    trying("inputs")
    device.release()  # what the row before had
    case = OPERATIONS[task.operation].case(device, task.layer, batch, task.dtype)
    return task.row | measure(case, device, trying, given_up)


def serve(connection: Connection, batch: int, row_of: Callable[..., dict[str, Any]] = row_of) -> None:
    """What the process does: measures the device, then one task after another, until its parent has no more."""
    try:
        device = Gpu()
        ready = {"device": device.described(), "versions": device.versions(), "peaks": device.peaks()}
    except Exception as error:
        connection.send(("unavailable", line(error)))
        return
    connection.send(("ready", ready))
    while True:
        try:
            task, given_up = connection.recv()
        except EOFError:
            return
        try:
            row = row_of(task, device, batch, lambda name: connection.send(("trying", name)), given_up)
            connection.send(("row", row))
        except Exception as error:
            connection.send(
                ("failed" if _alive(device) else "dying", f"{type(error).__name__}: {line(error)}")
            )


def _alive(device: Any) -> bool:
    try:
        device.synchronize()
    except Exception:
        return False
    return True


class Worker:
    """The parent's end.

    Parameters
    ----------
    batch : int
        Images in every layer.
    main : callable
        What the process runs: :func:`serve`.

    Raises
    ------
    Unavailable
        If the process cannot use a GPU.
    """

    def __init__(self, batch: int, main: Callable[[Connection, int], None] | None = None) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share the parent's threads and locks
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=main or serve, args=(theirs, batch), daemon=True)
        self.process.start()
        theirs.close()  # so that the process's end is the connection's
        try:
            kind, self.ready = self._reply(START)
        except Died as died:
            raise Unavailable(f"the GPU's process: {died.why}") from None
        if kind == "unavailable":
            self.end()
            raise Unavailable(self.ready)

    def measure(self, task: Task, given_up: Mapping[str, str], patience: float) -> dict[str, Any]:
        """Return a task's row.

        Raises
        ------
        Died
            If the process ended, or the row took longer than `patience` seconds and it was ended.
        """
        kind, row = self._reply(patience, (task, dict(given_up)))
        return {**task.row, "failed": row} if kind == "failed" else row

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _reply(self, patience: float, order: Any = None) -> tuple[str, Any]:
        """Return the next message that is not about what is being tried."""
        trying, why = "start", f"took longer than {patience:.0f} s"
        end = time.monotonic() + patience
        try:
            if order is not None:
                self.connection.send(order)
            while self.connection.poll(max(end - time.monotonic(), 0)):
                kind, value = self.connection.recv()
                if kind == "dying":
                    why = value
                    break
                if kind != "trying":
                    return kind, value
                trying = value
        except (EOFError, OSError):
            self.process.join()
            why = f"its process ended with status {self.process.exitcode}"
        self.end()
        raise Died(trying, why)


def compile_ahead(operations: Collection[str], capability: int) -> None:
    """Compile the kernels of these operations into the user's cache, on all processors: it would be a row's time.

    What does not compile says so in its row.
    """
    kernels = {
        name for operation in operations for names in OPERATIONS[operation].kernels.values() for name in names
    }
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context) as pool:
        wait(
            [
                pool.submit(cupy_device.cubin, found, expression, capability)
                for found in map(kernel, sorted(kernels))
                if found.needs <= capability
                for expression in found.expressions
                if "long long" not in expression and "double" not in expression
            ]
        )
