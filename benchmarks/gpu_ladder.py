"""Every version of every CUDA kernel on the layers of VGG-16, ResNet-50 and GoogLeNet, beside PyTorch and cuDNN.

    python benchmarks/gpu_ladder.py              on a GPU: compares, times, writes a record; nine minutes at most
    python benchmarks/gpu_ladder.py --emulated   without one: compares every row on tiny shapes in the tests' emulator

It needs this checkout, Python with NumPy, CuPy with NVRTC, and PyTorch for its own part; no network.  The layers that
matter most come first; whatever the budget did not reach is named in the record.
"""

from __future__ import annotations

import argparse
import sys
import time
import types
from collections.abc import Callable, Collection
from importlib import import_module
from itertools import chain, count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # what this is made of
sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout's minicnn, installed or not
try:
    import_module("threadpoolctl")
except ImportError:  # it limits the threads of the CPU's BLAS: without it they are as many as they are
    stand_in: Any = types.ModuleType("threadpoolctl")
    none_found = types.SimpleNamespace(lib_controllers=[])
    stand_in.ThreadpoolController = lambda: types.SimpleNamespace(select=lambda **which: none_found)
    stand_in.threadpool_info = list
    sys.modules["threadpoolctl"] = stand_in

import record
from kernel_speed import report
from kernel_speed.layers import tiny
from kernel_speed.operations import OPERATIONS
from kernel_speed.plan import Task, plan, rows_within
from kernel_speed.rows import with_rates
from kernel_speed.worker import Unavailable, Worker, compile_ahead, row_of

ROOT = Path(__file__).parents[1]
BUDGET = 510  # seconds
BATCH = 32  # images
EVERY = 20  # seconds between records of what there is so far


def main(argv: list[str] | None = None, clock: Callable[[], float] = time.monotonic) -> int:
    start = clock()
    arguments = _parsed(argv)
    try:
        return emulated(arguments.only) if arguments.emulated else measured(arguments, start, clock)
    except Unavailable as error:
        print(f"gpu_ladder: {error}", file=sys.stderr)
        return 2


def _parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emulated", action="store_true", help="no GPU, no times: compare tiny layers only")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds, in all (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=BATCH, help="images (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=OPERATIONS, default=(), metavar="OPERATION")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results", help="the record's folder"
    )
    return parser.parse_args(argv)


def emulated(only: Collection[str]) -> int:
    """Compare each different tiny row; return 1 if one is wrong."""
    try:
        from kernel_speed.emulator import Emulated
    except ImportError as error:
        raise Unavailable(f"the tests' emulator cannot be imported: {error}") from None
    device, rows = Emulated(), []
    for task in tiny_tasks(only):
        rows.append(row_of(task, device, batch=2))
        print(report.printed(rows[-1]), flush=True)
    return _verdict(rows)


def tiny_tasks(only: Collection[str] = ()) -> list[Task]:
    """Return every row with its layer made tiny; those that are then the same, once."""
    tasks = (Task(task.operation, tiny(task.layer), task.dtype) for task in plan(only))
    return list(dict.fromkeys(tasks))


def measured(arguments: argparse.Namespace, start: float, clock: Callable[[], float]) -> int:
    """Measure what the budget allows and write the record; return 1 if something computed was wrong."""
    tasks = plan(arguments.only)
    first = Worker(arguments.batch)
    compile_ahead({task.operation for task in tasks}, first.ready["device"]["capability"])
    workers = chain([first], (Worker(arguments.batch) for _ in count()))
    rows: list[dict[str, Any]] = []
    results = {
        "device": first.ready["device"],
        "peaks": first.ready["peaks"],
        "batch": arguments.batch,
        "budget_s": arguments.budget,
        "rows": rows,
    }

    def write() -> None:
        results["spent_s"] = round(clock() - start, 1)
        results["left_out"] = [task.name for task in tasks[len(rows) :]]
        path = arguments.out / "gpu_ladder.json"
        record.write_rows(path, results, _command(arguments), first.ready["versions"])

    written = clock()
    try:
        for row in rows_within(tasks, lambda: next(workers), start + arguments.budget, clock):
            rows.append(with_rates(row, results["peaks"]))
            print(report.printed(rows[-1]), flush=True)
            if clock() - written > EVERY:
                write()
                written = clock()
    finally:
        write()
    for line in report.told(results):
        print(line)
    return _verdict(rows)


def _verdict(rows: list[dict[str, Any]]) -> int:
    bad = report.bad(rows)
    for row in bad:
        print(row, file=sys.stderr)
    return min(len(bad), 1)


def _command(arguments: argparse.Namespace) -> str:
    """What to give to measure the same."""
    only = ["--only", *arguments.only] if arguments.only else []
    sizes = [f"--budget {arguments.budget:g}", f"--batch {arguments.batch}"]
    return " ".join(["python benchmarks/gpu_ladder.py", *sizes, *only])


if __name__ == "__main__":
    sys.exit(main())
