"""What a kernel moves: bytes, sectors and bank conflicts, counted from every access of every warp."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import Place
from .server import Server

__all__ = ["Access", "Recording", "Traffic"]

SECTOR = 32  # bytes: the least that is moved between a cache and memory
BANKS = 32  # of shared memory, four bytes wide
WORD = 4

_RECORD = np.dtype(
    [
        ("instruction", "u8"),
        ("block", "u8"),
        ("warp", "u4"),
        ("array", "i4"),
        ("size", "u4"),
        ("written", "u4"),
        ("lanes", "u4"),
        ("item", "u4"),
        ("offsets", "u8", 32),
    ]
)
"""struct WarpAccess of runtime/traffic.h."""


@dataclass(frozen=True)
class Access:
    """One access of one warp: the same execution of the same instruction by its lanes.

    Attributes
    ----------
    place : (file, line)
        The line of the .cu file; for code of an included function that of its call, where that is known.
    block, warp : int
        The block's number in the grid, the warp's in the block.
    array : int or str
        The argument (counted from 0) whose memory this is; or the name of a shared array.
    written : bool
    size : int
        Bytes that each lane moves.
    offsets : tuple of 32 (int or None)
        The element of the array at which each lane's access begins; None for lanes that take no part.
    """

    place: Place
    block: int
    warp: int
    array: int | str
    written: bool
    size: int
    offsets: tuple[int | None, ...]


@dataclass(frozen=True)
class Traffic:
    """What a launch moves.

    Attributes
    ----------
    global_read, global_written : int
        Bytes that the threads ask for.
    sectors_read, sectors_written : int
        Sectors of 32 bytes that hold them, each counted once for every access of a warp: no cache is assumed.
    global_requests : int
        Accesses of warps.
    shared_read, shared_written, shared_requests : int
        The same of shared memory.
    bank_conflicts : int
        Cycles that accesses to shared memory take beyond the least: the words of 32 lanes (of 16 if each moves 8
        bytes, of 8 if 16) take as many as the most distinct words in one of the 32 banks.
    """

    global_read: int
    global_written: int
    sectors_read: int
    sectors_written: int
    global_requests: int
    shared_read: int
    shared_written: int
    shared_requests: int
    bank_conflicts: int

    @property
    def used(self) -> float:
        """The part of the moved sectors that was asked for; above 1 where lanes share what is moved."""
        moved = SECTOR * (self.sectors_read + self.sectors_written)
        return (self.global_read + self.global_written) / moved if moved else 1.0


class Recording:
    """All accesses of a launch, as the server has recorded them.

    Parameters
    ----------
    server : Server
        About to send them.
    executable : Path
        To find the lines of its instructions in.
    arrays : sequence of (int, int)
        For each array of the launch, its argument's number and the bytes of an element.
    """

    def __init__(self, server: Server, executable: Path, arrays: Sequence[tuple[int, int]]) -> None:
        self._shared = server.text().splitlines()
        self._copies = server.text().splitlines()
        self._records = np.frombuffer(server.bytes(server.number() * _RECORD.itemsize), _RECORD)
        self._executable = executable
        self._arrays = arrays

    def traffic(self) -> Traffic:
        """The sums."""
        records = self._records
        written, shared = records["written"] != 0, records["array"] < 0
        asked = records["size"] * np.bitwise_count(records["lanes"])
        sectors = _sectors(records[~shared])
        return Traffic(
            global_read=int(asked[~shared & ~written].sum()),
            global_written=int(asked[~shared & written].sum()),
            sectors_read=int(sectors[~written[~shared]].sum()),
            sectors_written=int(sectors[written[~shared]].sum()),
            global_requests=int((~shared).sum()),
            shared_read=int(asked[shared & ~written].sum()),
            shared_written=int(asked[shared & written].sum()),
            shared_requests=int(shared.sum()),
            bank_conflicts=int(_conflicts(records[shared]).sum()),
        )

    def trace(self) -> list[Access]:
        """Each access."""
        places = _places(self._executable, self._records["instruction"], self._copies)
        return [self._access(record, places) for record in self._records]

    def _access(self, record: Any, places: dict[int, Place]) -> Access:
        number = int(record["array"])
        shared = number < 0
        array, item = (self._shared[-1 - number], int(record["item"])) if shared else self._arrays[number]
        offsets = tuple(
            int(offset) // item if record["lanes"] >> lane & 1 else None
            for lane, offset in enumerate(record["offsets"])
        )
        return Access(
            place=places[int(record["instruction"])],
            block=int(record["block"]),
            warp=int(record["warp"]),
            array=array,
            written=bool(record["written"]),
            size=int(record["size"]),
            offsets=offsets,
        )


def _active(records: np.ndarray) -> np.ndarray:
    """Whether each lane takes part, [records, 32]."""
    return (records["lanes"][:, None] >> np.arange(32, dtype=np.uint32) & 1).astype(bool)


def _sectors(records: np.ndarray) -> np.ndarray:
    """How many distinct sectors each access touches: arrays begin at the start of one."""
    last = records["offsets"] + records["size"][:, None] - np.uint64(1)
    ends = np.concatenate([records["offsets"], last], axis=1) // SECTOR
    return _distinct(ends, np.tile(_active(records), 2)).sum(axis=1)


def _distinct(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Marks one of each different valid value of a row, after sorting the rows in place."""
    values[...] = np.where(valid, values, np.iinfo(values.dtype).max)
    values.sort(axis=1)
    marks = values != np.iinfo(values.dtype).max
    marks[:, 1:] &= values[:, 1:] != values[:, :-1]
    return marks


def _conflicts(records: np.ndarray) -> np.ndarray:
    """Cycles beyond the least that each access to shared memory takes."""
    extra = np.zeros(len(records), dtype=np.int64)
    for size in np.unique(records["size"]):
        chosen = records["size"] == size
        words = max(1, int(size) // WORD)
        lanes = 32 // words if words in (1, 2, 4) else 32  # served at once
        first, active = records["offsets"][chosen] // WORD, _active(records[chosen])
        for start in range(0, 32, lanes):
            touched = first[:, start : start + lanes, None] + np.arange(words, dtype=np.uint64)
            valid = np.repeat(active[:, start : start + lanes], words, axis=1)
            touched = touched.reshape(len(first), -1)
            marks = _distinct(touched, valid)
            in_bank = [(marks & (touched % BANKS == bank)).sum(axis=1) for bank in range(BANKS)]
            extra[chosen] += np.maximum(np.max(in_bank, axis=0) - 1, 0)
    return extra


def _places(executable: Path, instructions: np.ndarray, copies: Sequence[str]) -> dict[int, Place]:
    """The line of each instruction; in code that was inlined, where the kernel's own file calls it."""
    places: dict[int, Place] = {}
    unknown = []
    for instruction in map(int, np.unique(instructions)):
        if instruction >> 63:  # a cp.async: these bring their line along
            places[instruction] = _place(copies[(instruction & ~(1 << 63)) >> 1])
        else:
            unknown.append(instruction)
    addresses = "".join(f"{address:#x}\n" for address in unknown)
    command = ["addr2line", "-a", "-i", "-e", str(executable)]
    answer = subprocess.run(command, input=addresses, capture_output=True, text=True, check=True).stdout
    for block in answer.split("0x")[1:]:
        address, *frames = block.splitlines()
        places[int(address, 16)] = _kernel_frame([_place(frame) for frame in frames])
    return places


def _place(text: str) -> Place:
    file, _, line = text.split(" (")[0].rpartition(":")
    return file, int(line) if line.isdigit() else 0


def _kernel_frame(frames: list[Place]) -> Place:
    """Of an instruction's frames, innermost first, the first in a .cu file; failing that the innermost."""
    return next((frame for frame in frames if frame[0].endswith(".cu")), frames[0])
