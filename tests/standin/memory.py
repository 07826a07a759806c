"""The devices' memory: host memory, poisoned, counted while it lives, and refused beyond a limit."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from typing import Any

import numpy as np

from . import device

__all__ = ["Memory", "MemoryPointer", "MemoryPool", "OutOfMemoryError", "allocate", "live", "pool"]

UNIT = 512  # bytes: CuPy's pool gives multiples of it, at multiples of it


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        self._size, self._total, self._limit = size, total, limit
        limited = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{limited})."
        )


class Memory:
    """One allocation; of size 0 it has no address."""

    def __init__(self, buffer: np.ndarray, device_id: int, owner: Any = None) -> None:
        self.buffer = buffer  # of bytes
        self.device_id = device_id
        self.owner = owner  # of memory that is not the pool's
        self.size: int = buffer.nbytes
        self.ptr: int = buffer.ctypes.data if buffer.nbytes else 0

    @property
    def device(self) -> device.Device:
        return device.Device(self.device_id)


class MemoryPointer:
    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem = mem
        self.ptr = mem.ptr + offset

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    @property
    def device_id(self) -> int:
        return self.mem.device_id

    @property
    def device(self) -> device.Device:
        return self.mem.device


class MemoryPool:
    """The pool of each device: what it has lent, what it keeps, and its limit; blocks are of whole units."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._used: Counter[int] = Counter()
        self._kept: dict[int, Counter[int]] = {}
        self._limits: Counter[int] = Counter()
        self._epoch = object()  # blocks lent before a reset are none of those lent after it

    def _held(self, number: int) -> int:
        """Return the bytes a device's pool has lent or keeps."""
        kept = self._kept.get(number, Counter())
        return self._used[number] + sum(size * count for size, count in kept.items())

    def _lend(self, size: int) -> None:
        """Count a block of the current device as lent, or raise :class:`OutOfMemoryError`."""
        number = device.current_id()
        kept = self._kept.setdefault(number, Counter())
        if kept[size]:
            kept[size] -= 1
        elif self._exceeds(size):
            self.free_all_blocks()
            gc.collect()
            self.free_all_blocks()
            if self._exceeds(size):
                raise OutOfMemoryError(size, self._held(number), self._limits[number])
        self._used[number] += size

    def _exceeds(self, size: int) -> bool:
        number = device.current_id()
        limit = self._limits[number]
        return self._held(number) + size > min(device.machine.total, limit or device.machine.total)

    def _taker_back(self, number: int, size: int) -> Any:
        """Return what takes a block back, unless the pool was reset in between."""
        epoch = self._epoch

        def take_back() -> None:
            if epoch is self._epoch:
                self._used[number] -= size
                self._kept.setdefault(number, Counter())[size] += 1

        return take_back

    def used_bytes(self) -> int:
        return self._used[device.current_id()]

    def total_bytes(self) -> int:
        return self._held(device.current_id())

    def free_bytes(self) -> int:
        return self.total_bytes() - self.used_bytes()

    def n_free_blocks(self) -> int:
        return self._kept.get(device.current_id(), Counter()).total()

    def free_all_blocks(self, stream: Any = None) -> None:
        self._kept.pop(device.current_id(), None)

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        if fraction is not None:
            size = int(fraction * device.machine.total)
        self._limits[device.current_id()] = size or 0

    def get_limit(self) -> int:
        return self._limits[device.current_id()]


pool = MemoryPool()
_live: dict[int, weakref.ref[Memory]] = {}


def allocate(nbytes: int) -> Memory:
    """Return memory of the current device, whose every byte is 255."""
    size = -(-nbytes // UNIT) * UNIT
    if size:
        pool._lend(size)
    room = np.full(size + UNIT, 255, np.uint8)
    begin = -room.ctypes.data % UNIT
    memory = Memory(room[begin : begin + nbytes], device.current_id())
    if size:
        weakref.finalize(memory, pool._taker_back(memory.device_id, size)).atexit = False
        remember(memory)
    return memory


def remember(memory: Memory) -> None:
    """Let pointers into this memory be known, as long as it lives."""
    pointer = memory.ptr
    _live[pointer] = weakref.ref(
        memory, lambda gone: _live.pop(pointer) if _live.get(pointer) is gone else None
    )


def live(pointer: int) -> Memory | None:
    """Return the living memory that a pointer points into."""
    for start, reference in list(_live.items()):
        memory = reference()
        if memory is not None and start <= pointer < start + memory.size:
            return memory
    return None
