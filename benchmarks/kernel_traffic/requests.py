"""Adding up what the emulator wrote down: bytes, sectors and cycles of each array, and requests to show whole.

A *request* is one access of one warp.  From global memory it moves the sectors of 32 bytes that its lanes touch.
Shared memory has 32 banks of 4-byte words; all lanes are served at once if each wants 4 bytes, half of them if 8, a
quarter if 16, and each such part takes as many cycles as there are different words in one bank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cuda_emulator import Access

__all__ = ["Request", "Tally", "cycles", "requests", "sectors", "words_of_parts"]

LANES, SECTOR, BANKS, WORD = 32, 32, 32, 4
SHARED = {
    "tile_a": ("a", 4),
    "tile_b": ("b", 4),
    "shared_a": ("a", 16),
    "shared_b": ("b", 16),
    "memory": ("ab", 1),
}
"""The shared arrays of implicit_gemm.cuh and conv2d_forward.cu: whose tile, and the bytes of an element."""


@dataclass(frozen=True)
class Request:
    """One access of one warp, in bytes.

    Attributes
    ----------
    array : str
        x, w or y; or a, b: the tiles of A and B in shared memory.
    written : bool
    size : int
        Bytes a lane.
    offsets : tuple of 32 (int or None)
        Bytes from the array's beginning; None for lanes that take no part.
    block, warp : int
    """

    array: str
    written: bool
    size: int
    offsets: tuple[int | None, ...]
    block: int = 0
    warp: int = 0

    @property
    def active(self) -> list[int]:
        """The offsets of the lanes that take part."""
        return [offset for offset in self.offsets if offset is not None]

    @property
    def is_shared(self) -> bool:
        return self.array in ("a", "b")


def requests(trace: Iterable[Access], arrays: dict[int, tuple[str, int]], tile: int) -> Iterator[Request]:
    """Name the arrays of a trace, and count in bytes.

    Parameters
    ----------
    trace : iterable of Access
    arrays : dict of int to (str, int)
        Name and bytes of an element of each argument that is an array.
    tile : int
        Bytes of a tile in dynamic shared memory, where those of A and of B take turns.
    """
    for access in trace:
        array, item = arrays[access.array] if isinstance(access.array, int) else SHARED[access.array]
        offsets = tuple(None if offset is None else offset * item for offset in access.offsets)
        if array == "ab":
            first = next(offset for offset in offsets if offset is not None)
            array = "ab"[first // tile % 2]
        yield Request(array, access.written, access.size, offsets, access.block, access.warp)


def sectors(request: Request) -> int:
    """How many sectors a request to global memory moves."""
    return len({byte // SECTOR for o in request.active for byte in (o, o + request.size - 1)})


def words_of_parts(request: Request) -> Iterator[dict[int, set[int]]]:
    """For each part of a request to shared memory, the words it touches, each with its lanes."""
    words = max(1, request.size // WORD)
    at_once = LANES // words
    for start in range(0, LANES, at_once):
        part: dict[int, set[int]] = {}
        for lane in range(start, start + at_once):
            offset = request.offsets[lane]
            for word in range(words if offset is not None else 0):
                part.setdefault(offset // WORD + word, set()).add(lane)
        if part:
            yield part


def cycles(part: Iterable[int]) -> int:
    """How many cycles the words of a part take."""
    return max(Counter(word % BANKS for word in part).values())


@dataclass
class Tally:
    """The sums of all requests, and a few requests whole.

    Attributes
    ----------
    sums : dict of (array, written) to dict
        Requests and bytes asked for; sectors of global memory; of shared memory cycles, and those that conflicts cost.
    shown : dict of (array, written) to Request
        The first request in which all lanes take part, of those with the fewest bytes a lane.
    outputs : list of 32 sets of int
        Bytes of y that the first block's first warp writes, lane by lane: where each write begins, and its size.
    """

    sums: dict[tuple[str, bool], Counter[str]] = field(default_factory=dict)
    shown: dict[tuple[str, bool], Request] = field(default_factory=dict)
    outputs: list[set[tuple[int, int]]] = field(default_factory=lambda: [set() for _ in range(LANES)])

    def add(self, request: Request) -> None:
        """Count one more."""
        kind, active = (request.array, request.written), request.active
        sums = self.sums.setdefault(kind, Counter())
        sums["requests"] += 1
        sums["bytes"] += request.size * len(active)
        if request.is_shared:
            of_parts = [cycles(part) for part in words_of_parts(request)]
            sums["cycles"] += sum(of_parts)
            sums["conflicts"] += sum(of_parts) - len(of_parts)
        else:
            sums["sectors"] += sectors(request)
        if len(active) == LANES and (kind not in self.shown or request.size < self.shown[kind].size):
            self.shown[kind] = request
        if request.array == "y" and request.block == request.warp == 0:
            for lane, offset in enumerate(request.offsets):
                if offset is not None:
                    self.outputs[lane].add((offset, request.size))

    def sum_of(self, arrays: str, written: bool) -> dict[str, int]:
        """The sums of several arrays together, of global or of shared memory."""
        names = ("requests", "bytes", *(("cycles", "conflicts") if arrays[0] in "ab" else ("sectors",)))
        found = [self.sums.get((array, written), Counter()) for array in arrays]
        return {name: sum(sums[name] for sums in found) for name in names}
