"""The generated parts of docs/convolution_on_the_gpu: tables of the record, and lines quoted from the kernels."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kernel_speed import report

from .bounds import SECTOR, Bound, moved

ROOT = Path(__file__).parents[2]
FOLDER = "docs/convolution_on_the_gpu"
RESULTS = ROOT / "benchmarks" / "results"
FILES = {
    "v1": "1-naive.md",
    "v2": "2-coalesced.md",
    "v3": "3-shared-tiles.md",
    "v4": "4-registers.md",
    "v5": "5-vectors.md",
    "v6": "6-pipeline.md",
    "v7": "7-tensor-cores.md",
    "v8": "8-half-precision.md",
}
IDEAS = {
    "v1": "the definition",
    "v2": "coalescing",
    "v3": "tiles",
    "v4": "registers",
    "v5": "vectors",
    "v6": "a pipeline",
    "v7": "tensor cores",
    "v8": "half precision",
}

# Where the quoted lines are: a file, the function they are in, and the text of the first and of the last line.
Place = tuple[str, str, str, str]
FORWARD, GEMM = "conv2d_forward.cu", "implicit_gemm.cuh"
CODE: dict[str, list[Place]] = {
    "v1": [(FORWARD, "conv2d_forward_v1(", "const int p = i % windows", "tail(n * windows")],
    "v2": [
        (FORWARD, "conv2d_forward_v2(", "const Index i =", "const int lane"),
        (FORWARD, "conv2d_forward_v2(", "const int k = i % conv.K", "const int q = m"),
        (FORWARD, "conv2d_forward_v2(", "for (int c = lane", "for (int c = lane"),
        (FORWARD, "conv2d_forward_v2(", "for (int apart", "if (lane == 0)"),
    ],
    "v3": [(GEMM, "void product_tiles(", "__shared__ T tile_a", "tail(row, column, sum)")],
    "v4": [(GEMM, "void product_registers(", "const int i = threadIdx.x", "__syncthreads();\n  }")],
    "v5": [
        (GEMM, "void load_square(", "void load_square(", "}\n}"),
        (GEMM, "void multiply(", "for (int kk = 0;", "    }\n  }"),
    ],
    "v6": [(GEMM, "struct Pipeline", "const auto fetch =", "multiply(tile_a, tile_b);\n    }")],
    "v7": [
        (GEMM, "void load_fragment(", "const auto in_quarter", "};"),
        (GEMM, "void load_fragment(", "ldmatrix_x4(", "ldmatrix_x4("),
        (GEMM, "void product_tensor_cores(", "for (int kk = 0;", "    }\n  };"),
    ],
    "v8": [(GEMM, "struct RowMajor", "Vector<T, kCount> rounded", "a NaN stays\n    }")],
}
WARP_TILES: list[Place] = [(GEMM, "void product_pipeline(", "const int warp =", "const Share<8>")]
ROUNDING: list[Place] = [("ptx.cuh", "unsigned to_tf32(", "const bool finite", "return finite")]
MMA: list[Place] = [(GEMM, "// v7 and v8: tensor cores", "void mma(", "mma_m16n8k16_bf16(d, a, b0, b1);\n}")]


def pages() -> dict[str, dict[str, Callable[[], str]]]:
    """Every page, and what fills each of its marked places."""
    found = {
        f"{FOLDER}/{FILES[version]}": {
            "code": partial(code, CODE[version]),
            "counts": partial(counts, version),
        }
        for version in FILES
    }
    found[f"{FOLDER}/{FILES['v6']}"]["warp_tiles"] = partial(code, WARP_TILES)
    found[f"{FOLDER}/{FILES['v7']}"]["rounding"] = partial(code, ROUNDING)
    found[f"{FOLDER}/{FILES['v8']}"]["mma"] = partial(code, MMA)
    overviews = {"problem": problem, "overview": overview, "layer": layer, "speed": speed}
    return {f"{FOLDER}/README.md": overviews, **found}


# Code


def code(places: Sequence[Place]) -> str:
    """Lines of the kernels as they are now, with dots where some are left out."""
    pieces = [_quoted(*place) for place in places]
    files = dict.fromkeys(file for file, *_ in places)
    links = " and ".join(f"[`{file}`](../../kernels/{file})" for file in files)
    body = "  …\n".join(pieces)
    return f"From {links}:\n\n```cuda\n{body}```\n"


def _quoted(file: str, function: str, first: str, last: str) -> str:
    text = (ROOT / "kernels" / file).read_text(encoding="utf-8")
    try:
        start = text.index(first, text.index(function))
        end = text.index(last, start)
    except ValueError:
        raise ValueError(f"{file} has no lines from {first!r} to {last!r} in {function!r}") from None
    start = text.rindex("\n", 0, start) + 1
    end = text.index("\n", end + len(last) - 1) + 1
    return text[start:end]


# Tables


def problem() -> str:
    found = _record()["results"]["problem"]
    sizes = {name: " × ".join(map(str, found[name])) for name in "xwy"}
    numbers, flops = sum(found["numbers"].values()), found["flops"]
    return (
        f"Images x of {sizes['x']} (N, H, W, C), kernels w of {sizes['w']} (K, R, S, C), outputs y of {sizes['y']} "
        f"(N, P, Q, K): {flops:,} FLOPs, two for each multiply-add. x, w and y together are {numbers:,} numbers, "
        f"{4 * numbers:,} bytes in float: {flops / (4 * numbers):.0f} FLOPs for each byte, if each were moved once.\n"
    )


def counts(version: str) -> str:
    """What a version moves, beside the one before it."""
    versions = _record()["results"]["versions"]
    names = list(versions)
    shown = names[: names.index(version) + 1][-2:]
    columns = [_column(name, versions[name]) for name in shown]
    rows = [(what, *(column[what] for column in columns)) for what in columns[-1]]
    rows = [row for row in rows if set(row[1:]) - {NOTHING}]
    return _table(("", *(f"version {name[1:]}" for name in shown)), rows) + "\n" + _source()


NOTHING = "—"


def _column(version: str, found: dict[str, Any]) -> dict[str, str]:
    loads = {key: sum(found["global"][name][key] for name in "xw") for key in ("requests", "bytes")}
    stores, written, read = found["global"]["y"], found["shared"]["written"], found["shared"]["read"]
    bound, flops = Bound.of(version, found), 2 * found["multiply_adds"]
    return {
        "multiply-adds": _count(found["multiply_adds"]),
        "**global memory**: loads of x and w, requests": _count(loads["requests"]),
        "bytes asked for by them": _count(loads["bytes"]),
        "bytes moved": f"**{moved(found):,}**",
        "FLOPs for each of these": _ratio(flops, moved(found)),
        "stores of y, bytes asked for": _count(stores["bytes"]),
        "bytes moved by them": _count(SECTOR * stores["sectors"]),
        "**shared memory**: requests": _count(written["requests"] + read["requests"]),
        "bytes written": _count(written["bytes"]),
        "bytes read": f"**{read['bytes']:,}**" if read["bytes"] else NOTHING,
        "FLOPs for each of these bytes": _ratio(flops, read["bytes"]),
        "cycles of writing (more than without bank conflicts)": _cycles(written),
        "cycles of reading (likewise)": _cycles(read),
        "**predicted** cycles: arithmetic": _count(bound.arithmetic),
        "the port": _count(bound.port),
        "starting instructions": _count(bound.issue),
        "at most, of the peak": f"{100 * bound.share:.0f} %",
        "**measured** on a GPU, all layers together, of the peak": _measured(version),
    }


def overview() -> str:
    """All versions, a line each."""
    results = _record()["results"]
    rows = []
    for version, found in results["versions"].items():
        flops, bound = 2 * found["multiply_adds"], Bound.of(version, found)
        read = found["shared"]["read"]["bytes"]
        rows.append(
            (
                f"[{version[1:]}. {IDEAS[version]}]({FILES[version]})",
                _count(moved(found)),
                _ratio(flops, moved(found)),
                _count(read),
                _ratio(flops, read),
                _count(bound.arithmetic),
                _count(bound.port),
                _count(bound.issue),
                f"{100 * bound.share:.0f} %",
            )
        )
    head = (
        "",
        "bytes of x and w moved",
        "FLOPs a byte",
        "bytes read from shared memory",
        "FLOPs a byte",
        "cycles: arithmetic",
        "port",
        "instructions",
        "at most, of the peak",
    )
    return _table(head, rows) + "\n" + _source()


def layer() -> str:
    """A layer of VGG-16, by formula."""
    found = _record()["results"]["layer"]
    n, h, _, c = found["x"]
    least = 4 * sum(found["numbers"].values())
    rows = [
        (
            f"{version[1:]}. {IDEAS[version]}",
            f"{2 * row['multiply_adds'] / 1e9:.1f}",
            f"{(row['x'] + row['w']) / 1e9:.3g}",
            _ratio(found["flops"], row["x"] + row["w"]),
        )
        for version, row in found["versions"].items()
    ]
    text = (
        f"VGG-16's conv5_1 for {n} images, {h} × {h} pixels of {c} channels, {found['w'][0]} kernels of 3 × 3, padding "
        f"1: {found['flops'] / 1e9:.1f} GFLOP by its definition, and {least / 1e6:.0f} MB in float if each number were "
        "moved once. **Predicted**, by formulas that a test holds to what was counted above:\n\n"
    )
    windows = math.prod(found["y"][:3])
    left_out, wasted = 100 - _of_definition(found, "v1"), _of_definition(found, "v8") - 100
    note = (
        f"\n{left_out:.0f} % of the definition's products are with the padding's zeros. Versions 1 and 2 leave "
        "these out; from 3 on they are computed, with zeros that no memory is asked for. And tiles are computed whole: "
        f"{windows:,} windows are {windows / 128:.2f} tiles of 128, so that {wasted:.0f} % are computed for nothing.\n"
    )
    head = ("", "GFLOP computed", "GB of x and w asked for", "FLOPs a byte")
    return text + _table(head, rows) + note


def _of_definition(found: dict[str, Any], version: str) -> float:
    """The percentage of the definition's FLOPs that a version computes."""
    return 200 * found["versions"][version]["multiply_adds"] / found["flops"]


def _measured(version: str) -> str:
    if not (RESULTS / "gpu_ladder.json").exists():
        return "not yet"
    rows = report.summary(_record("gpu_ladder")["results"]["rows"])
    for operation, name, _, percent, *_ in rows:
        if operation.startswith("conv2d_forward") and name == version and math.isfinite(percent):
            return f"{percent:.0f} %"
    return "not yet"


def speed() -> str:
    """Where the times are, once there are any."""
    if (RESULTS / "gpu_ladder.json").exists():
        return "> **Speed** is measured on a GPU: [the table of all kernels](../../README.md).\n"
    return "> **Speed: not yet measured.** Where there is a GPU, `python benchmarks/gpu_ladder.py` measures it.\n"


def _count(number: int) -> str:
    return f"{number:,}" if number else NOTHING


def _ratio(flops: int, size: int) -> str:
    return f"{flops / size:.3g}" if size else NOTHING


def _cycles(sums: dict[str, int]) -> str:
    return f"{sums['cycles']:,} (+{sums['conflicts']:,})" if sums["cycles"] else NOTHING


def _record(name: str = "gpu_traffic") -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _source() -> str:
    record = _record()
    return f"*Counted by the emulator; commit {record['commit']}, {record['date']}: `{record['command']}`*\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ("---", *("---:",) * (len(head) - 1)), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
