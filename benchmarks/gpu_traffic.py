"""What each version of the convolution moves: counted by running the unmodified kernels under the tests' emulator.

The emulator writes down every access of every thread to global and shared memory.  Here they are added up, and a few
are kept whole for the pictures of docs/convolution_on_the_gpu.  Counts only: an emulator knows nothing of time.

    python benchmarks/gpu_traffic.py          writes results/gpu_traffic.json, then draws docs/pictures/gpu
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the emulator
sys.path.insert(0, str(Path(__file__).parent))  # what this is made of
from cuda_emulator import Emulator, Traffic
from kernel_speed import oracles
from kernel_traffic import pictures
from kernel_traffic.requests import Request, Tally, requests
from record import write

from minicnn.backend.cuda_source import Kernel
from minicnn.backend.ladder.conv2d import PIPELINED, Instance, Product, fastest
from minicnn.backend.ladder.conv2d_forward import LADDER, conv2d_forward
from minicnn.backend.launch import Launcher
from minicnn.geometry import Window2d

VERSIONS = tuple(LADDER["conv2d_forward"])
STEP = {"v3": 16, "v4": 8, "v5": 16}
"""Places of the depth in a tile, as in kernels/implicit_gemm.cuh; those of later versions are a template parameter."""
LINE = {"v3": 17, "v4": 9, "v5": 20}
"""Numbers from line to line of such a tile, as it is padded."""
TILED = VERSIONS[2:]
ARRAYS = {0: "x", 1: "w", 3: "y"}
"""Which of the kernels' arguments are arrays."""

Shape = tuple[int, int, int, int]


class Problem:
    """A convolution of images [N, H, W, C] with kernels [K, R, S, C]."""

    def __init__(self, x: Shape, w: Shape, padding: int) -> None:
        self.x, self.w = x, w
        self.window = Window2d.of("conv2d", w[1:3], padding=padding)
        self.y = (x[0], *self.window.output_size(*x[1:3]), w[0])
        self.product = Product(math.prod(self.y[:3]), w[0], math.prod(w[1:]), w[3] & -w[3])
        self.flops = 2 * self.product.rows * self.product.columns * self.product.depth

    @property
    def samples_inside(self) -> int:
        """How many samples of all windows are pixels, not padding."""
        rows, columns = (
            sum(0 <= p + r - self.window.padding[0] < size for p in range(outputs) for r in range(samples))
            for size, outputs, samples in zip(self.x[1:3], self.y[1:3], self.w[1:3], strict=True)
        )
        return self.x[0] * rows * columns

    def as_dict(self) -> dict[str, Any]:
        numbers = {name: math.prod(shape) for name, shape in (("x", self.x), ("w", self.w), ("y", self.y))}
        return {
            "x": list(self.x),
            "w": list(self.w),
            "y": list(self.y),
            "padding": self.window.padding[0],
            "flops": self.flops,
            "numbers": numbers,
        }


SIDE = 128  # of the widest tiles
COUNTED = Problem((2, 10, 10, 64), (SIDE, 3, 3, 64), padding=0)  # one tile of 128 × 128 outputs
LAYER = Problem((8, 14, 14, 512), (512, 3, 3, 512), padding=1)  # VGG-16's conv5_1


def main() -> None:
    results = {
        "problem": COUNTED.as_dict(),
        "versions": {version: counted(version) for version in VERSIONS},
        "layer": LAYER.as_dict() | {"versions": {version: predicted(version, LAYER) for version in VERSIONS}},
    }
    write("gpu_traffic", results, "python benchmarks/gpu_traffic.py")
    pictures.draw()


def counted(version: str) -> dict[str, Any]:
    """Run one version and count what it moves."""
    device = CountingDevice()
    x, w = _random(COUNTED.x, version), _random(COUNTED.w, version)
    y = conv2d_forward(Launcher(device), x, w, window=COUNTED.window, version=version)
    _compare(version, y, x, w)
    line, tally = _line(version, device.shared), Tally()
    arrays = {number: (name, y.itemsize) for number, name in ARRAYS.items()}
    for request in requests(device.launched.trace, arrays, tile=SIDE * line):
        tally.add(request)
    _compare_sums(tally, device.launched.traffic)
    return {
        "kernel": device.expression,
        "grid": device.grid,
        "block": device.block,
        "dynamic_shared_bytes": device.shared,
        "multiply_adds": computed(version, COUNTED),
        "global": {name: tally.sum_of(name, written=name == "y") for name in ARRAYS.values()},
        "shared": {"written": tally.sum_of("ab", written=True), "read": tally.sum_of("ab", written=False)},
        "line": {"bytes": line, "of_numbers": _step(version, COUNTED) * y.itemsize} if line else None,
        "shown": {
            f"{array} {'written' if written else 'read'}": _as_text(request)
            for (array, written), request in sorted(tally.shown.items())
        },
        "outputs": [_elements(lane, y.itemsize) for lane in tally.outputs],
    }


def _elements(stores: set[tuple[int, int]], item: int) -> str:
    """The elements of y that lie in (offset, size) in bytes."""
    return " ".join(
        str(o // item) for offset, size in sorted(stores) for o in range(offset, offset + size, item)
    )


def _compare(version: str, y: np.ndarray, x: np.ndarray, w: np.ndarray) -> None:
    expected = oracles.conv2d(np, x.astype(np.float64), w.astype(np.float64), COUNTED.window)
    worst = np.abs(y - expected).max()
    if not worst <= 1e-3:  # TF32 is off by 5e-4 at most
        raise RuntimeError(f"conv2d_forward {version} is {worst:.2g} off: what it moves is of no interest")


def _compare_sums(tally: Tally, traffic: Traffic) -> None:
    """Hold the sums to those of the emulator, which adds up by code of its own."""
    read, written = tally.sum_of("xw", written=False), tally.sum_of("y", written=True)
    shared = [tally.sum_of("ab", written) for written in (False, True)]
    ours = {
        "global_read": read["bytes"],
        "global_written": written["bytes"],
        "sectors_read": read["sectors"],
        "sectors_written": written["sectors"],
        "global_requests": read["requests"] + written["requests"],
        "shared_read": shared[0]["bytes"],
        "shared_written": shared[1]["bytes"],
        "shared_requests": shared[0]["requests"] + shared[1]["requests"],
        "bank_conflicts": shared[0]["conflicts"] + shared[1]["conflicts"],
    }
    if ours != asdict(traffic):
        raise RuntimeError(f"counted {ours}, the emulator counted {traffic}")


def _as_text(request: Request) -> dict[str, Any]:
    return {"size": request.size, "offsets": " ".join(map(str, request.active))}


def _line(version: str, dynamic: int) -> int:
    """Bytes from line to line of a tile in shared memory."""
    if version in LINE:
        return 4 * LINE[version]
    if not dynamic:
        return 0
    stages = PIPELINED // (_step(version, COUNTED) * _itemsize(version))
    return dynamic // (stages * 2 * SIDE)


def _step(version: str, problem: Problem) -> int:
    """Places of the depth in a tile."""
    return STEP.get(version) or instance_of(version, problem).template["kDepth"]


def _random(shape: Sequence[int], version: str) -> np.ndarray:
    """Numbers small enough that a sum's rounding is known to be small: between −1/16 and 1/16."""
    random = np.random.default_rng(0)
    return random.uniform(-1 / 16, 1 / 16, shape).astype(np.float16 if version == "v8" else np.float32)


def computed(version: str, problem: Problem) -> int:
    """Multiply-adds with whole tiles, of whole steps of the depth, wherever the problem ends; by formula."""
    if version not in TILED:  # v1 and v2 leave out what lies in the padding
        return problem.samples_inside * problem.x[3] * problem.w[0]
    instance, step = instance_of(version, problem), _step(version, problem)
    return (
        instance.tiles(problem.product) * math.prod(instance.tile) * step * -(-problem.product.depth // step)
    )


def predicted(version: str, problem: Problem) -> dict[str, int]:
    """Bytes of x and of w that threads ask for, by formula; a test holds it to what is counted.

    A tile loads its samples of x that are inside the images, and its kernels: x once for every column of tiles, w once
    for every row of them.  Without tiles both are loaded for each multiply-add.
    """
    item, samples = _itemsize(version), problem.samples_inside * problem.x[3]
    if version not in TILED:
        loads = {"x": item * samples * problem.w[0], "w": item * samples * problem.w[0]}
    else:
        rows, columns = instance_of(version, problem).tile
        down, across = -(-problem.product.rows // rows), -(-problem.product.columns // columns)
        loads = {"x": item * samples * across, "w": item * math.prod(problem.w) * down}
    return {**loads, "multiply_adds": computed(version, problem)}


def instance_of(version: str, problem: Problem) -> Instance:
    dtype = "float16" if version == "v8" else "float32"
    found = fastest(
        f"conv2d_forward_{version}", dtype, problem.product, problem.window, False, CountingDevice()
    )
    assert isinstance(found, Instance), found
    return found


def _itemsize(version: str) -> int:
    return 2 if version == "v8" else 4


class CountingDevice:
    """NumPy's arrays, and kernels whose accesses are counted."""

    capability = 90
    multiprocessors = 1  # so that the widest tiles are the best
    shared_memory = 227 * 1024

    def holds(self, array: Any) -> bool:
        return isinstance(array, np.ndarray)

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.full(shape, np.nan, dtype)

    def matmul(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
        return np.matmul(a, b, out=out)

    def function(self, kernel: Kernel, expression: str) -> Any:
        path = kernel.source.path
        launched = Emulator(path, [expression], include=[path.parent], check="traffic").kernel(expression)

        def launch(
            grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], shared_mem: int = 0
        ) -> None:
            self.launched, self.expression = launched, expression
            self.grid, self.block, self.shared = list(grid), list(block), shared_mem
            launched(grid, block, arguments, shared_mem=shared_mem)

        return launch


if __name__ == "__main__":
    main()
