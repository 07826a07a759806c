"""No GPU: CuPy's names over NumPy and a clock that is counted, and processes that do what goes wrong with one."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import types
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

MICROSECOND = 1e-6  # that an event takes the GPU


class Queue:
    """A GPU that works one thing off after another while Python goes on; both count seconds, and none passes."""

    def __init__(self) -> None:
        self.python = self.gpu = 0.0

    def run(self, seconds: float) -> None:
        """Queue so much work, which begins when Python has queued it and what is before it has ended."""
        self.gpu = max(self.gpu, self.python) + seconds

    def spend(self, seconds: float) -> None:
        """Let Python take its time."""
        self.python += seconds

    def wait(self) -> None:
        self.python = max(self.python, self.gpu)


@dataclass
class Event:
    queue: Queue
    at: float = 0.0

    def record(self) -> None:
        self.queue.run(MICROSECOND)
        self.at = self.queue.gpu

    @property
    def done(self) -> bool:
        return self.queue.python >= self.at

    def synchronize(self) -> None:
        self.queue.python = max(self.queue.python, self.at)


class Device:
    """The current device, of whose attributes the benchmark asks some."""

    id = 0
    compute_capability = "90"

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.attributes = {
            "MultiProcessorCount": 132,
            "MaxSharedMemoryPerBlockOptin": 227 * 1024,
            "L2CacheSize": 1 << 8,
        }

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def synchronize(self) -> None:
        self.queue.wait()


def cupy(queue: Queue) -> Any:
    """Return a stand-in for the module, on whose GPU a copy and a product take a millisecond."""

    def copyto(target: Any, source: Any) -> None:
        np.copyto(target, source)
        queue.run(1e-3)

    def matmul(a: Any, b: Any, out: Any = None) -> Any:
        queue.run(1e-3)
        return np.matmul(a, b, out=out)

    found: Any = types.ModuleType("cupy")
    found.__getattr__ = lambda name: getattr(np, name)
    found.__version__ = "14.0"
    found.copyto, found.matmul = copyto, matmul
    runtime = types.SimpleNamespace(
        getDevice=lambda: 0,
        getDeviceProperties=lambda number: {"name": b"Fake GPU", "totalGlobalMem": 8_000_000_000},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 12090,
    )
    found.cuda = types.SimpleNamespace(
        is_available=lambda: True,
        Device=lambda: Device(queue),
        Event=lambda: Event(queue),
        get_elapsed_time=lambda start, end: 1e3 * (end.at - start.at),
        runtime=runtime,
    )
    found.get_default_memory_pool = lambda: types.SimpleNamespace(free_all_blocks=lambda: None)
    return found


class Threads:
    """multiprocessing's context, of threads: what a test has put in CuPy's place is there too."""

    Pipe = staticmethod(multiprocessing.Pipe)

    class Process(threading.Thread):
        exitcode = 0

        def __init__(self, target: Any, args: Any, daemon: bool) -> None:
            connection, *rest = args
            own = Connection(os.dup(connection.fileno()))  # as another process would have
            super().__init__(target=target, args=(own, *rest), daemon=daemon)

        def kill(self) -> None:
            """It ends when the other end of its pipe is closed."""

        def join(self, timeout: float | None = None) -> None:
            """Nobody waits for it."""


def process(connection: Any, batch: int) -> None:
    """A GPU's process that does what the order's operation is called."""
    connection.send(("ready", {"batch": batch, "process": os.getpid()}))
    while True:
        task, given_up = connection.recv()
        connection.send(("trying", "inputs"))
        connection.send(("trying", "v1"))
        match task.operation:
            case "works":
                connection.send(("row", {"given_up": given_up}))
            case "fails":
                connection.send(("failed", "planted"))
            case "breaks the GPU":
                connection.send(("dying", "an illegal access"))
                time.sleep(60)
            case "dies":
                os._exit(3)
            case "hangs":
                time.sleep(60)


def no_gpu(connection: Any, batch: int) -> None:
    connection.send(("unavailable", "no GPU here"))


def stillborn(connection: Any, batch: int) -> None:
    os._exit(4)
