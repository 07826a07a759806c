"""Everything there is to know of minicnn on a GPU, in one command and nine minutes at most.

    python benchmarks/gpu_suite.py --out DIR               all of it, the most valuable first
    python benchmarks/gpu_suite.py --out DIR --resume      what an earlier run into DIR had no time for
    python benchmarks/gpu_suite.py --charts RECORD         no GPU: draws a record's charts beside it

The tests on the real device, compute-sanitizer over every kernel, every operation against float64, eight networks
beside PyTorch and minicnn's CPU, LeNet-5's epoch, and the ladder of kernels.  It needs this checkout, Python, NumPy,
CuPy with NVRTC, and PyTorch for its own part; no network.  What else is missing (pytest, Hypothesis, compute-sanitizer,
matplotlib) is named, and its part left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # what this is made of
import gpu_ladder  # first: it finds this checkout's minicnn
import record
from gpu_models import charts, report, sanitizer, tests
from gpu_models.commands import LEAST, NO_TIME, Command, last_line, run_all
from gpu_models.rows import served
from gpu_models.tasks import BATCHES, NETWORKS, Task, checks, key, plan
from kernel_speed.operations import OPERATIONS
from kernel_speed.plan import rows_within
from kernel_speed.worker import Unavailable, Worker, compile_ahead

BUDGET = 510  # seconds
PARTS = ("tests", "sanitizer", "checks", "networks", "ladder")
PROGRAMS = 0.3  # of the budget, at most: the tests and the sanitizer
LADDER = 0.12  # of the budget, at least
PATIENCE = 120  # seconds after which a row is given up: choosing algorithms for a whole network takes a while
CPU_THREADS = 2


def main(argv: list[str] | None = None, clock: Callable[[], float] = time.monotonic) -> int:
    start = clock()
    arguments = _parsed(argv)
    if arguments.charts:
        _draw(json.loads(arguments.charts.read_text()), arguments.charts.parent)
        return 0
    try:
        return Suite(arguments, start, clock).run()
    except Unavailable as error:
        print(f"gpu_suite: {error}", file=sys.stderr)
        return 2


def _parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="the records' folder")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds, in all (default: %(default)s)")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, metavar="NETWORK")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES, metavar="BATCH", help="images")
    parser.add_argument(
        "--cpu-threads", type=int, default=CPU_THREADS, help="of minicnn's CPU (default: %(default)s)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what the record in --out has, measure the rest"
    )
    parser.add_argument(
        "--charts", type=Path, metavar="RECORD", help="draw a record's charts, and nothing else"
    )
    return parser.parse_args(argv)


class Suite:
    """A run: what is wanted, until when, and what is known so far.

    Raises
    ------
    Unavailable
        If there is no GPU to use.
    """

    def __init__(self, arguments: argparse.Namespace, start: float, clock: Callable[[], float]) -> None:
        self.arguments, self.start, self.clock = arguments, start, clock
        self.end = start + arguments.budget
        self.worker = Worker(arguments.cpu_threads, served)
        ready = self.worker.ready
        self.path = arguments.out / "gpu_suite.json"
        self.versions = ready["versions"]
        self.tasks = self._tasks()
        self.results: dict[str, Any] = {
            "device": ready["device"],
            "peaks": ready["peaks"],
            "cpu_threads": arguments.cpu_threads,
            "budget_s": arguments.budget,
            **{part: [] for part in ("missing", "tests", "sanitizer", "programs", "rows")},
        }
        if arguments.resume:
            self._resume()

    def _tasks(self) -> list[Task]:
        parts, arguments = self.arguments.parts, self.arguments
        found = checks() if "checks" in parts else []
        return found + (plan(arguments.networks, arguments.batches) if "networks" in parts else [])

    def _resume(self) -> None:
        """Take over what an earlier run on the same device measured.

        Raises
        ------
        Unavailable
            If there is none, or it was of another commit, on another device or with other versions.
        """
        if not self.path.exists():
            raise Unavailable(f"--resume: there is no record {self.path}")
        earlier = json.loads(self.path.read_text())
        found = _what_must_agree(earlier)
        for name, now in _what_must_agree(record.record_of(self.results, "", None, self.versions)).items():
            if found.get(name) != now:
                raise Unavailable(f"--resume: the record is of {name} {found.get(name)}, this is {now}")
        for part in ("tests", "sanitizer", "programs"):
            self.results[part] = [row for row in earlier["results"][part] if row["status"] != NO_TIME]
        for part in ("rows", "missing"):
            self.results[part] = earlier["results"][part]

    def run(self) -> int:
        """Measure what the budget allows and write the record; return 1 if something was wrong."""
        try:
            compile_ahead(OPERATIONS, self.results["device"]["capability"])
            self._programs()
            self._rows()
            self._ladder()
        finally:
            self.worker.end()
            self.write()
        for line in report.told(self.results):
            print(line)
        bad = report.bad(self.results)
        for line in bad:
            print(line, file=sys.stderr)
        _draw({"results": self.results}, self.arguments.out)
        return min(len(bad), 1)

    def _programs(self) -> None:
        """Run the tests and the sanitizer, none of which is timed, beside one another."""
        end = self.start + PROGRAMS * self.arguments.budget
        at_once = max(2, (os.cpu_count() or 2) // 2)
        with tempfile.TemporaryDirectory() as folder:
            commands = [command for command in self._commands(Path(folder)) if not self._is_known(command)]
            for row in run_all(commands, end, at_once, self.clock):
                self.results["tests" if "file" in row else "sanitizer"].append(row)
                print(report.printed_command(row), flush=True)
                self.write()

    def _commands(self, folder: Path) -> Iterator[Command]:
        if "tests" in self.arguments.parts:
            yield from self._tests(folder)
        if "sanitizer" in self.arguments.parts:
            yield from self._sanitizer()

    def _tests(self, folder: Path) -> Iterator[Command]:
        if missing := tests.missing():
            self._is_missing(f"{' and '.join(missing)}: the tests were not run")
        else:
            yield from tests.commands(folder)

    def _sanitizer(self) -> Iterator[Command]:
        tool = sanitizer.find()
        if tool is None:
            self._is_missing("compute-sanitizer: nothing was run under it")
        else:
            yield from sanitizer.commands(tool)

    def _is_missing(self, what: str) -> None:
        if what not in self.results["missing"]:
            self.results["missing"].append(what)
        print(f"missing: {what}", flush=True)

    def _is_known(self, command: Command) -> bool:
        rows = (*self.results["tests"], *self.results["sanitizer"])
        return any(row.items() >= command.row.items() for row in rows)

    def _rows(self) -> None:
        """Measure what the GPU's process is for."""
        left = self._left()
        workers = chain([self.worker], (Worker(self.arguments.cpu_threads, served) for _ in count()))
        reserved = LADDER * self.arguments.budget if "ladder" in self.arguments.parts else 0
        for row in rows_within(left, lambda: next(workers), self.end - reserved, self.clock, PATIENCE):
            self.results["rows"].append(row)
            print(report.printed(row), flush=True)
            self.write()

    def _left(self) -> list[Task]:
        """Return the tasks without a row."""
        done = {key(row) for row in self.results["rows"]}
        return [task for task in self.tasks if key(task.row) not in done]

    def _ladder(self) -> None:
        """Let the ladder of kernels take what is left; its record stands beside this one."""
        if "ladder" not in self.arguments.parts:
            return
        left = self.end - self.clock() - LEAST
        program = (
            sys.executable,
            gpu_ladder.__file__,
            "--budget",
            f"{left:.0f}",
            "--out",
            str(self.arguments.out),
        )
        command = Command({"program": "gpu_ladder"}, program, _read_ladder)
        row = command.run(self.end, self.clock)
        self.results["programs"].append(row)
        print(report.printed_command(row), flush=True)

    def write(self) -> None:
        """Write what there is so far."""
        self.results["left_out"] = [task.name for task in self._left()]
        self.results["spent_s"] = round(self.clock() - self.start, 1)
        record.write_rows(self.path, self.results, self._command(), self.versions)

    def _command(self) -> str:
        """What to give to measure the same."""
        given = self.arguments
        parts = _unless(given.parts, PARTS, "--parts")
        networks = _unless(given.networks, NETWORKS, "--networks")
        batches = _unless(given.batches, BATCHES, "--batches")
        words = ["python benchmarks/gpu_suite.py", f"--budget {given.budget:g}", *parts, *networks, *batches]
        return " ".join([*words, *(["--resume"] if given.resume else [])])


def _what_must_agree(found: dict[str, Any]) -> dict[str, Any]:
    """Return what makes the rows of two runs one record's."""
    return {"commit": found["commit"], "device": found["results"]["device"]["name"], **found["versions"]}


def _unless(given: Collection[Any], usual: Collection[Any], option: str) -> list[str]:
    return [] if list(given) == list(usual) else [option, *map(str, given)]


def _read_ladder(status: int, said: str) -> dict[str, Any]:
    return {"status": "passed" if status == 0 else f"status {status}: {last_line(said)}"}


def _draw(found: dict[str, Any], folder: Path) -> None:
    """Draw a record's charts; without matplotlib say so."""
    try:
        for path in charts.draw(found, folder):
            print(f"drawn: {path}")
    except ImportError:
        print("missing: matplotlib: no charts; draw them elsewhere with --charts RECORD")


if __name__ == "__main__":
    sys.exit(main())
