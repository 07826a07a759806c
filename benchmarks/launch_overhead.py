"""What an operation on the device costs in Python: checked, and replayed from its plan.

Without a GPU that is Python's part alone: the arrays are NumPy's, and what is started does nothing.  With CuPy and a
GPU the kernels are started too, by CuPy and the driver, on arrays so small that they wait for Python, not Python for
them.  Either way it is the time until the call returns; nothing waits for a kernel's end.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import record
from rich.console import Console
from rich.table import Table

from minicnn.backend import cupy_device
from minicnn.backend.ladder.batch_norm import batch_norm_backward, batch_norm_forward
from minicnn.backend.ladder.conv2d_backward_data import conv2d_backward_data
from minicnn.backend.ladder.conv2d_backward_weight import conv2d_backward_weight
from minicnn.backend.ladder.conv2d_forward import conv2d_forward
from minicnn.backend.ladder.dropout import dropout
from minicnn.backend.ladder.lrn import lrn_forward
from minicnn.backend.ladder.pool import max_pool_forward
from minicnn.backend.ladder.sgd import sgd
from minicnn.backend.ladder.softmax_cross_entropy import softmax_cross_entropy
from minicnn.backend.launch import Launcher
from minicnn.geometry import Window2d

LIMIT_US = 15  # microseconds an operation may take from Python
CALLS = 100  # a sample; fewer launches than a stream takes before it makes Python wait
SHAPE = (4, 8, 8, 64)
WINDOW = Window2d.of("launch_overhead", 3, padding=1)
NOTHING = "no device"  # which starts them
PLACES = itertools.count(0, 1 << 40)

Case = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Placed(np.ndarray):
    """An array that knows its address, as CuPy's do; NumPy's must be asked for by way of ctypes, which takes 1 µs.

    Nobody reads at that address, so any will do.
    """

    def __array_finalize__(self, array: Any) -> None:
        self.place = next(PLACES)


class Nothing:
    """A device whose functions do nothing; its limits are an H100's."""

    capability = 90
    multiprocessors = 132
    shared_memory = 227 * 1024

    def __init__(self) -> None:
        self.started = 0

    def holds(self, array: Any) -> bool:
        return isinstance(array, Placed)

    def address(self, array: Placed) -> int:
        return array.place

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Placed:
        return Placed(shape, dtype)

    def view(self, array: Placed, offset: int, shape: Any, dtype: Any, strides: Any) -> Placed:
        return Placed(shape, dtype, array.reshape(-1).view(np.uint8), offset, strides)

    def matmul(self, a: Placed, b: Placed, out: Placed) -> Placed:
        return out

    def function(self, kernel: Any, expression: str) -> Callable[..., None]:
        return self.start

    def start(self, grid: Any, block: Any, arguments: Any, shared_mem: int) -> None:
        self.started += 1


def cases(device: Any) -> dict[str, Case]:
    """One operation of each ladder."""

    def array(*shape: int, dtype: str = "float32") -> Any:
        made = device.empty(shape, np.dtype(dtype))
        made.fill(0)
        return made

    x, g, w = array(*SHAPE), array(*SHAPE), array(64, 3, 3, 64)
    b, mean, var, running_mean, running_var = (array(64) for _ in range(5))
    z, target = array(32, 10), array(32, dtype="int64")
    parameter, gradient, velocity = (array(64, 3, 3, 64) for _ in range(3))
    running = {"running_mean": running_mean, "running_var": running_var}
    return {
        "conv2d_forward": (conv2d_forward, (x, w, b), {"window": WINDOW}),
        "conv2d_backward_data": (conv2d_backward_data, (g, w, SHAPE), {"window": WINDOW}),
        "conv2d_backward_weight": (conv2d_backward_weight, (x, g), {"window": WINDOW}),
        "lrn_forward": (lrn_forward, (x, 5, 1e-4, 0.75, 2.0), {}),
        "max_pool_forward": (max_pool_forward, (x, 2), {}),
        "batch_norm_forward": (batch_norm_forward, (x, b, mean), running),
        "batch_norm_backward": (batch_norm_backward, (g, x, mean, var, b, running_mean), {}),
        "softmax_cross_entropy": (softmax_cross_entropy, (z, target), {}),
        "sgd": (sgd, (parameter, gradient, velocity), {"lr": 0.1, "momentum": 0.9}),
        "dropout": (dropout, (x, 0.5), {"seed": 1, "offset": 2}),
    }


def launches() -> dict[str, int]:
    """How many kernels each operation starts."""
    device, found = Nothing(), {}
    for name, (function, arrays, options) in cases(device).items():
        before = device.started
        function(Launcher(device), *arrays, **options)
        found[name] = device.started - before
    return found


def row(case: Case, on: Launcher, wait: Callable[[], None], rounds: int) -> dict[str, Any]:
    """Microseconds a call, checked and replayed."""
    function, arrays, options = case

    def checked() -> None:
        for _ in range(CALLS):
            function(on, *arrays, **options)

    def replayed() -> None:
        for _ in range(CALLS):
            on.run(function, *arrays, **options)

    seconds = record.in_turns({"checked": checked, "1": wait, "replayed": replayed, "2": wait}, rounds)
    samples = {how: [round(1e6 * one / CALLS, 2) for one in seconds[how]] for how in ("checked", "replayed")}
    medians = {how: round(statistics.median(times), 2) for how, times in samples.items()}
    return {"samples_us": samples, "median_us": medians}


def measured(device: str, on: Launcher, wait: Callable[[], None], rounds: int) -> list[dict[str, Any]]:
    """One row for each operation."""
    started = launches()
    return [
        {"device": device, "operation": name, "launches": started[name], **row(case, on, wait, rounds)}
        for name, case in cases(on.device).items()
    ]


def measured_on_a_gpu(rounds: int) -> list[dict[str, Any]]:
    """One row for each operation, or none and a line that says why."""
    try:
        on = cupy_device.launcher()
    except RuntimeError as error:
        print(f"Python's part alone, for nothing can be started: {error}")
        return []
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    return measured(name, on, lambda: cupy.cuda.Device().synchronize(), rounds)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    found = Table("started by", "operation", title="microseconds a call")
    for heading in ("kernels", "checked", "replayed"):
        found.add_column(heading, justify="right")
    for one in rows:
        times = (f"{one['median_us'][how]:.1f}" for how in ("checked", "replayed"))
        found.add_row(one["device"], one["operation"], str(one["launches"]), *times)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--smoke", action="store_true", help="one round, and no record")
    arguments = parser.parse_args(argv)
    rounds = 1 if arguments.smoke else arguments.rounds
    rows = measured(NOTHING, Launcher(Nothing()), lambda: None, rounds) + measured_on_a_gpu(rounds)
    Console().print(table(rows))
    worst = max(rows, key=lambda one: one["median_us"]["replayed"])
    print(
        f"replayed, at most {worst['median_us']['replayed']:.1f} µs an operation ({worst['operation']}, "
        f"{worst['device']}); the limit is {LIMIT_US} µs with everything"
    )
    if not arguments.smoke:
        record.write(
            "launch_overhead",
            {"limit_us": LIMIT_US, "calls": CALLS, "rows": rows},
            "python benchmarks/launch_overhead.py",
        )


if __name__ == "__main__":
    main()
