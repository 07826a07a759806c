"""The pictures of docs/convolution_on_the_gpu: what the record of gpu_traffic.py says, and a few that explain.

The same record gives the same files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .bounds import flops_a_byte, moved
from .pages import IDEAS
from .requests import BANKS, LANES, SECTOR, WORD, Request, sectors, words_of_parts
from .sketches import formats, fragments, implicit_gemm, pipeline
from .svg import FAINT, GREEN, INK, ORANGE, QUIET, SKY, VERMILION, Drawing

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures" / "gpu"
RECORD = ROOT / "benchmarks" / "results" / "gpu_traffic.json"
LINE = 4 * SECTOR  # a cache line


def draw(folder: Path = PICTURES) -> None:
    """Draw all pictures of the record."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in pictures(json.loads(RECORD.read_text())["results"]):
        drawing.save(folder / f"{name}.svg")


def pictures(results: dict[str, Any]) -> Iterator[tuple[str, Drawing]]:
    """Every picture with its name."""
    yield "implicit_gemm", implicit_gemm()
    yield "bytes_per_flop", bytes_per_flop(results)
    for version, found in results["versions"].items():
        yield f"{version}_lanes", lanes(version, found, results["problem"])
        yield f"{version}_flow", flow(version, found)
        if found["line"]:
            yield f"{version}_banks", banks(version, found)
    yield "v4_outputs", outputs(results, "v4")
    yield "v6_outputs", outputs(results, "v5", "v6")
    yield "v7_outputs", outputs(results, "v7")
    yield "v6_pipeline", pipeline()
    yield "v7_fragments", fragments(1)
    yield "v8_fragments", fragments(2)
    yield "v7_formats", formats()


# Lanes: one request to global memory

CELL = 10  # the width of four bytes
ROW = 13


def lanes(version: str, found: dict[str, Any], problem: dict[str, Any]) -> Drawing:
    """Where the lanes of one warp read x and w, by cache lines."""
    requests = {name: _request(found, name) for name in ("x", "w")}
    touched = {name: _lines(request) for name, request in requests.items()}
    height = 92 + ROW * max(map(len, touched.values()))
    picture = Drawing(836, height, f"One load of x and one of w by a warp of version {version[1:]}")
    for name, request, left in zip(requests, requests.values(), (16, 428), strict=True):
        item = 2 if version == "v8" else 4
        _lanes_panel(picture, left, request, touched[name], problem[name], item)
    _legend(
        picture,
        height - 16,
        [(SKY, "asked for by this lane"), (ORANGE, "moved along, not used"), (FAINT, "not moved")],
    )
    return picture


def _lanes_panel(
    picture: Drawing, left: float, request: Request, lines: list[int], shape: Sequence[int], item: int
) -> None:
    asked = {byte for offset in request.active for byte in range(offset, offset + request.size)}
    count = sectors(request)
    picture.text(left, 24, f"{request.array}", 13, bold=True)
    picture.text(
        left + 16,
        24,
        f"{LANES} lanes × {request.size} bytes, in {count} sector{'s' * (count > 1)} = {SECTOR * count:,} bytes moved, "
        f"{100 * len(asked) / (SECTOR * count):.3g} % used",
        11,
    )
    axes = "[n, h, w]" if request.array == "x" else "[k, r, s]"
    picture.text(left + 40, 40, axes, 9, QUIET, "end")
    for row, line in enumerate(lines):
        y = 46 + ROW * row
        picture.text(left + 40, y + 9, _place(LINE * line // item, shape), 8.5, QUIET, "end")
        for sector in range(4):
            _sector(picture, left + 46, y, request, LINE * line + SECTOR * sector, LINE * line)
    if len(asked) < LANES * request.size:
        shared = LANES * request.size // len(asked)
        picture.text(left + 46, 46 + ROW * len(lines) + 12, f"one number for all {shared} lanes", 10, QUIET)


def _sector(picture: Drawing, left: float, y: float, request: Request, start: int, line: int) -> None:
    """A sector: if it moves, eight cells of four bytes, and those of lanes over them."""
    inside = range(start, start + SECTOR)
    mine = [(lane, offset) for lane, offset in enumerate(request.offsets) if offset in inside]
    x = left + (start - line) // WORD * CELL + (start - line) // SECTOR * 5
    if not mine:
        picture.box(x, y, SECTOR // WORD * CELL - 1, ROW - 3, FAINT)
        return
    for cell in range(SECTOR // WORD):
        picture.box(x + cell * CELL, y, CELL - 1, ROW - 3, ORANGE)
    lanes_of = {offset: [lane for lane, other in mine if other == offset] for _, offset in mine}
    wide = CELL * request.size / WORD
    for offset, lanes_ in lanes_of.items():
        at = x + (offset - start) / WORD * CELL
        picture.box(at, y, wide - 1, ROW - 3, SKY)
        if len(lanes_) == 1:
            picture.text(
                at + (wide - 1) / 2, y + 8, str(lanes_[0]), 7 if wide < 2 * CELL else 8, anchor="middle"
            )


def _lines(request: Request) -> list[int]:
    return sorted({byte // LINE for o in request.active for byte in (o, o + request.size - 1)})


def _place(element: int, shape: Sequence[int]) -> str:
    """The pixel or the sample of a kernel that a cache line begins with."""
    indices = []
    for size in reversed(shape):
        element, index = divmod(element, size)
        indices.append(index)
    return ", ".join(map(str, indices[:0:-1]))


def _request(found: dict[str, Any], array: str, kind: str = "read") -> Request:
    shown = found["shown"][f"{array} {kind}"]
    return Request(array, kind == "written", shown["size"], tuple(map(int, shown["offsets"].split())))


def _legend(picture: Drawing, y: float, entries: Sequence[tuple[str, str]], left: float = 62) -> None:
    for colour, text in entries:
        picture.box(left, y - 8, 10, 10, colour)
        picture.text(left + 15, y + 1, text, 10, QUIET)
        left += 36 + 6.1 * len(text)


# Banks: one request to shared memory


def banks(version: str, found: dict[str, Any]) -> Drawing:
    """Which banks a warp reads in which cycle, from both tiles; the same without padded lines; and a write."""
    read_a, read_b = (_request(found, name) for name in "ab")
    panels = [
        ("a read of A's tile", read_a),
        ("a read of B's tile", read_b),
        ("the same of B if lines were not padded", _unpadded(read_b, **found["line"])),
        ("a write of A's tile", _request(found, "a", "written")),
    ]
    rows = [list(_cycles(request)) for _, request in panels]
    heights = [max(len(rows[i]), len(rows[i + 1])) * (ROW + 1) + 46 for i in (0, 2)]
    picture = Drawing(860, 34 + sum(heights), f"Banks of shared memory, version {version[1:]}")
    for i, (title, request) in enumerate(panels):
        left, top = 16 + 424 * (i % 2), 8 + (heights[0] if i >= 2 else 0)
        _banks_panel(picture, left, top, title, request, rows[i])
    _legend(
        picture,
        picture.height - 12,
        [
            (SKY, "how many lanes this bank's word is for"),
            (VERMILION, "one more word of a bank: another cycle"),
        ],
        76,
    )
    return picture


def _banks_panel(
    picture: Drawing,
    left: float,
    top: float,
    title: str,
    request: Request,
    rows: list[tuple[str, int, dict[int, int]]],
) -> None:
    cycles = f"{len(rows)} cycle{'s' * (len(rows) > 1)}"
    picture.text(left + 60, top + 16, f"{title}, {request.size} bytes a lane: {cycles}", 11, bold=True)
    for bank in range(0, BANKS, 4):
        picture.text(left + 60 + 11 * bank + 5, top + 29, str(bank), 8, QUIET, "middle")
    for row, (label, cycle, read) in enumerate(rows):
        y = top + 33 + (ROW + 1) * row
        picture.text(left + 54, y + 9, label, 8.5, QUIET, "end")
        picture.box(left + 60, y, 11 * BANKS - 1, ROW - 2, FAINT)
        for bank, lanes_of_word in sorted(read.items()):
            x = left + 60 + 11 * bank
            picture.box(x, y, 10, ROW - 2, VERMILION if cycle else SKY)
            picture.text(x + 5, y + 8.5, str(lanes_of_word), 7.5, "white" if cycle else INK, "middle")


def _cycles(request: Request) -> Iterator[tuple[str, int, dict[int, int]]]:
    """For each cycle of a request: which lanes are served, how many cycles were before, lanes of each bank."""
    for part in words_of_parts(request):
        cycles: list[dict[int, int]] = []
        served: dict[int, int] = {}
        for word, of_word in sorted(part.items()):
            place = served[word % BANKS] = served.get(word % BANKS, -1) + 1
            if place == len(cycles):
                cycles.append({})
            cycles[place][word % BANKS] = len(of_word)
        of_part = set().union(*part.values())
        label = f"lanes {min(of_part)}–{max(of_part)}"
        for i, cycle in enumerate(cycles):
            yield "" if i else label, i, cycle


def _unpadded(request: Request, bytes: int, of_numbers: int) -> Request:
    """What a request would be, were the lines of the tile not padded."""
    first = min(request.active) // bytes * bytes
    moved = tuple((o - first) // bytes * of_numbers + (o - first) % bytes for o in request.active)
    return Request(request.array, False, request.size, moved)


# Flow: all bytes


def flow(version: str, found: dict[str, Any]) -> Drawing:
    """How many bytes pass from memory to the arithmetic, and back."""
    flops = 2 * found["multiply_adds"]
    asked = sum(found["global"][name]["bytes"] for name in ("x", "w"))
    of_global = moved(found)
    written, read = (found["shared"][kind]["bytes"] for kind in ("written", "read"))
    results = SECTOR * found["global"]["y"]["sectors"]
    picture = Drawing(800, 150, f"Bytes on their way to the arithmetic in version {version[1:]}")
    places = ["global memory", "registers"] if not read else ["global memory", "shared memory", "registers"]
    below = f"{_bytes(written)} written" if read else f"{_bytes(asked)} asked for"
    arrows = [(of_global, f"{_bytes(of_global)} moved", below)]
    if read:
        arrows.append((read, f"{_bytes(read)} read", ""))
    step = (800 - 32 - 110) / len(places)
    for i, place in enumerate([*places, "arithmetic"]):
        picture.box(16 + i * step, 48, 110, 44, "#ffffff", QUIET, round=4)
        picture.text(71 + i * step, 74, place, 12, anchor="middle")
    for i, (size, above, below) in enumerate(arrows):
        x = 16 + 110 + i * step + 6
        picture.arrow(x, 70, step - 110 - 12, _thick(size), SKY if i == 0 else GREEN)
        middle = x + (step - 122) / 2
        picture.text(middle, 32, above, 11.5, anchor="middle", bold=True)
        picture.text(middle, 112, f"{_per_flop(size, flops)}", 11, QUIET, "middle")
        picture.text(middle, 127, below, 10, QUIET, "middle")
    x = 16 + 110 + len(arrows) * step + 6
    picture.arrow(x, 70, step - 122, 3, QUIET)
    picture.text(x + (step - 122) / 2, 32, f"{flops / 1e6:.1f} MFLOP", 11.5, anchor="middle", bold=True)
    picture.text(16, 140, f"back: y, {_bytes(results)} moved", 10, QUIET)
    return picture


def _thick(size: int) -> float:
    """A step more for twice the bytes."""
    return max(2.0, 3 * math.log2(size / 2**15))


def _bytes(size: int) -> str:
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"


def _per_flop(size: int, flops: int) -> str:
    return f"{flops / size:.3g} FLOPs a byte" if flops >= size else f"{size / flops:.3g} bytes a FLOP"


# The overview


def bytes_per_flop(results: dict[str, Any]) -> Drawing:
    """Bytes for each FLOP from global and from shared memory, and what the machine can deliver."""
    left, right, top, row, low, high = 150, 790, 52, 44, -9, 5  # the axis: powers of two
    picture = Drawing(820, top + row * len(results["versions"]) + 44, "Bytes moved for each FLOP")

    def place(value: float) -> float:
        return left + (math.log2(value) - low) / (high - low) * (right - left)

    bottom = top + row * len(results["versions"])
    for power in range(low, high + 1):
        x = place(2.0**power)
        picture.line(x, top - 6, x, bottom, FAINT)
        picture.text(x, bottom + 14, f"{2**power}" if power >= 0 else f"1/{2**-power}", 9.5, QUIET, "middle")
    picture.text((left + right) / 2, bottom + 30, "bytes for each FLOP", 11, QUIET, "middle")
    for i, (version, found) in enumerate(results["versions"].items()):
        y, flops = top + row * i, 2 * found["multiply_adds"]
        picture.text(left - 10, y + 20, f"{version[1:]}. {IDEAS[version]}", 11.5, anchor="end")
        of_device, of_shared = flops_a_byte(version)
        for size, colour, limit, at in (
            (moved(found), SKY, of_device, y + 2),
            (found["shared"]["read"]["bytes"], GREEN, of_shared, y + 18),
        ):
            if size:
                picture.box(left, at, place(size / flops) - left, 14, colour)
                label = f"{size / flops:.3g}" if size >= flops else f"1/{flops / size:.3g}"
                picture.text(place(size / flops) + 5, at + 11, label, 10)
                picture.line(place(1 / limit), at - 1, place(1 / limit), at + 15, VERMILION, 2.5)
    _legend(
        picture,
        24,
        [(SKY, "sectors of x and w moved from global memory"), (GREEN, "bytes read from shared memory")],
        left,
    )
    picture.line(left + 5, 33, left + 5, 45, VERMILION, 2.5)
    limit = "what an H100's device memory, or its shared memory, delivers to arithmetic at its peak"
    picture.text(left + 15, 43, limit, 10, QUIET)
    return picture


# Outputs: who computes what


def outputs(results: dict[str, Any], *versions: str) -> Drawing:
    """The tile of outputs, those of one warp in it, and those of one thread."""
    scale, kernels = 2.25, results["problem"]["y"][3]
    side = scale * kernels
    picture = Drawing(24 + (side + 60) * len(versions), side + 84, "Outputs of a warp and of a thread")
    for i, version in enumerate(versions):
        left, top = 56 + (side + 60) * i, 40
        picture.text(left, 20, f"version {version[1:]}", 12, bold=True)
        picture.text(left + side, 34, "kernels k →", 10, QUIET, "end")
        picture.text(left - 8, top + 10, "m", 10, QUIET, "end")
        picture.text(left - 8, top + 24, "↓", 10, QUIET, "end")
        picture.box(left, top, side, side, FAINT)
        of_lanes = [set(map(int, lane.split())) for lane in results["versions"][version]["outputs"]]
        for row, first, count in _runs(set().union(*of_lanes), kernels):
            picture.box(left + scale * first, top + scale * row, scale * count, scale, SKY)
        for row, first, count in _runs(of_lanes[0], kernels):  # a little larger, or they would not be seen
            x, y = left + scale * first - 0.5, top + scale * row - 0.5
            picture.box(max(x, left), max(y, top), scale * count + 1, scale + 1, VERMILION)
    _legend(
        picture,
        side + 64,
        [(FAINT, "a block's"), (SKY, "a warp's"), (VERMILION, "its first lane's")],
        56,
    )
    return picture


def _runs(elements: set[int], width: int) -> Iterator[tuple[int, int, int]]:
    """Elements of a matrix as (row, first column, how many next to each other)."""
    for element in sorted(elements):
        if element % width and element - 1 in elements:
            continue
        count = 1
        while (element + count) % width and element + count in elements:
            count += 1
        yield element // width, element % width, count
