"""Devices, streams and events: two H100s that are done with everything at once."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

from . import record

__all__ = ["CUDARuntimeError", "Device", "Event", "Stream", "check_current", "current_id"]

TOTAL = 80 * 2**30
ATTRIBUTES = {
    "MultiProcessorCount": 132,
    "MaxSharedMemoryPerBlockOptin": 227 * 1024,
    "MaxSharedMemoryPerBlock": 48 * 1024,
    "MaxSharedMemoryPerMultiprocessor": 228 * 1024,
    "MaxThreadsPerMultiProcessor": 2048,
    "MaxRegistersPerMultiprocessor": 65536,
    "L2CacheSize": 50 * 2**20,
    "ClockRate": 1_980_000,
    "MemoryClockRate": 2_619_000,
    "GlobalMemoryBusWidth": 5120,
    "ComputeCapabilityMajor": 9,
    "ComputeCapabilityMinor": 0,
    "WarpSize": 32,
}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Machine:
    """What a test may change: how many devices there are, and how many bytes each has."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.devices = 2
        self.total = TOTAL


class _Thread(threading.local):
    """The calling thread's current device, its current stream on each, and those to go back to."""

    def __init__(self) -> None:
        self.device = 0
        self.streams: dict[int, Stream] = {}
        self.before: list[tuple[int, Stream]] = []


machine = _Machine()
_thread = _Thread()


def reset() -> None:
    machine.reset()
    _thread.__init__()


def current_id() -> int:
    return _thread.device


def set_current(number: int) -> None:
    if not 0 <= number < machine.devices:
        raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
    _thread.device = number


def check_current(number: int) -> None:
    """Refuse to compute on another device's array."""
    if number != current_id():
        raise ValueError(
            "Array device must be same as the current device: "
            f"array device = {number} while current = {current_id()}"
        )


def launched(kind: str, name: str) -> None:
    record.launches.append(record.Launch(kind, name, current_id(), get_current_stream().ptr))


class Device:
    def __init__(self, device: Any = None) -> None:
        self.id: int = current_id() if device is None else int(device)

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    __hash__ = None

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        before = current_id(), get_current_stream()
        self.use()
        _thread.before.append(before)
        return self

    def __exit__(self, *exception: object) -> None:
        set_current(_thread.before.pop()[0])

    def use(self) -> None:
        set_current(self.id)

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    @property
    def compute_capability(self) -> str:
        return "90"

    @property
    def attributes(self) -> dict[str, int]:
        return dict(ATTRIBUTES)

    @property
    def mem_info(self) -> tuple[int, int]:
        from .memory import pool

        return machine.total - pool._held(self.id), machine.total

    @property
    def pci_bus_id(self) -> str:
        return f"0000:{self.id + 1:02X}:00.0"


class Stream:
    null: Stream
    _handles = itertools.count(0x1000)

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        self.ptr = 0 if null else next(self._handles)
        self.device_id = -1 if null else current_id()
        self.is_non_blocking = non_blocking
        self.done = True

    def __enter__(self) -> Stream:
        before = current_id(), get_current_stream()
        self.use()
        _thread.before.append(before)
        return self

    def __exit__(self, *exception: object) -> None:
        device, stream = _thread.before.pop()
        _thread.streams[device] = stream

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return hash(self.ptr)

    def use(self) -> Stream:
        """Make it the current stream of its device, which must be the current one."""
        if self.device_id not in (-1, current_id()):
            raise RuntimeError(
                f"This stream was not created on device {current_id()}, but on {self.device_id}"
            )
        _thread.streams[current_id()] = self
        return self

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Whatever was recorded is done."""


Stream.null = Stream(null=True)


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.at: float | None = None
        self.done = True

    def record(self, stream: Stream | None = None) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing is ever under way."""


def get_current_stream(device_id: int | None = None) -> Stream:
    return _thread.streams.get(current_id() if device_id is None else device_id, Stream.null)


def get_elapsed_time(start: Event, end: Event) -> float:
    """Return the milliseconds between two events."""
    if start.at is None or end.at is None:
        raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle: invalid resource handle")
    return 1e3 * (end.at - start.at)
