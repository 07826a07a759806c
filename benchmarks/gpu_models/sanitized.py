"""Small cases of an operation's kernels, for compute-sanitizer: ``python sanitized.py conv2d_forward``.

Each array has memory of its own, with nothing behind it, so that no stray access falls into another array.  The results
are compared too.  Convolutions have padding, where version 6 copies from no address at all; channels and kernels that
fill no tile; and more than one tile of them.  The columns of the classical way have room for two of three images, which
leaves the last chunk a part.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import gpu_ladder  # first: it finds this checkout's minicnn, and does without some packages
import numpy as np
from kernel_speed import report
from kernel_speed.hardware import Gpu
from kernel_speed.layers import Layer, tiny
from kernel_speed.operations import OPERATIONS
from kernel_speed.oracles import conv2d
from kernel_speed.plan import Task, plan
from kernel_speed.rows import TOLERANCE, compared

from gpu_models.sanitizer import STEP
from minicnn.backend.ladder.im2col_conv2d import im2col_conv2d
from minicnn.geometry import Window2d

WINDOW = Window2d.of("sanitized", 3, 1, 1)
LARGER = Layer("conv2d", (13, 9, 40), 72, WINDOW)  # more than one tile of each, and parts of others
BATCH = 2


def main(name: str) -> int:
    import cupy

    sys.modules["torch"] = None  # type: ignore[assignment]  (it would take long to load, and has no part in this)
    cupy.cuda.set_allocator(None)
    if name == STEP:
        return _steps()
    device = Gpu()
    device.seconds = None  # nothing is timed
    rows = [gpu_ladder.row_of(task, device, BATCH) for task in tasks(name)]
    for row in rows:
        print(report.printed(row))
    if name == "im2col":
        _chunks(device)
    device.synchronize()
    return min(len(report.bad(rows)), 1)


def tasks(name: str) -> Iterator[Task]:
    """Yield an operation's rows: its tiny layers, the first and the last of each dtype, and a larger convolution."""
    for dtype in OPERATIONS[name].dtypes:
        layers = list(dict.fromkeys(tiny(task.layer) for task in plan([name])))
        larger = [LARGER] if OPERATIONS[name].kind == "conv2d" and OPERATIONS[name].fits(LARGER) else []
        for layer in dict.fromkeys((layers[0], layers[-1], *larger)):
            yield Task(name, layer, dtype)


def _chunks(device: Any) -> None:
    """Convolve three images, two of whose columns have room at a time."""
    x, w = (device.random.standard_normal(shape, dtype="float32") for shape in ((3, 5, 7, 8), (4, 3, 3, 8)))
    columns = 5 * 7 * 3 * 3 * 8 * x.itemsize
    y = im2col_conv2d(device.on, x, w, padding=1, workspace=2 * columns)
    x, w, y = (device.xp.asnumpy(array) for array in (x, w, y))
    compared(np, (y,), (conv2d(np, x, w, WINDOW),), TOLERANCE["fp32"])


def _steps() -> int:
    """Train LeNet-5: what the first pass has chosen and kept, the others use again."""
    from gpu_models.own import Minicnn
    from gpu_models.subjects import subject

    for unit in ("fp32", "tf32", "bf16"):
        network = Minicnn(subject("lenet5"), "training", BATCH)
        losses = [float(network.answer(unit)["loss"])]
        for _ in range(2):
            network.step(unit)
        losses.append(float(network.answer(unit)["loss"]))
        print(f"{unit}: {losses}")
        if not np.isfinite(losses).all():
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
