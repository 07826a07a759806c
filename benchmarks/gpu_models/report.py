"""What the suite's record says: the figures it is held to, a table of the networks, and what went wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from minicnn.bench.report import milliseconds

from .commands import NO_TIME
from .tasks import EPOCH, LAUNCH, key
from .tests import ENDS
from .trials import NOT_MEASURED, UNITS

Row = dict[str, Any]
Figure = tuple[str, str, str, bool]

AGAINST_CPU, AGAINST_PYTORCH, EPOCHS, MOST_US = 50, 0.8, 1, 15
_VGG = ("vgg16", "training", 32)


def found(results: Row, part: str, subject: str, mode: str, batch: int) -> dict[str, Row]:
    """Return the results of a row; nothing where there is no such row, or it failed as a whole."""
    for row in results["rows"]:
        if key(row) == (part, subject, mode, batch):
            return row.get("results", {})
    return {}


def best(
    candidates: dict[str, Row], library: str, unit: str = "", what: str = "median_ms"
) -> tuple[float, str]:
    """Return the least of a library's layouts, and which it is; NaN where there is none."""
    names = [f"{library}{layout} {unit}".strip() for layout in ("", " channels-last")]
    numbers = [(candidates[name][what], name) for name in names if what in candidates.get(name, {})]
    return min(numbers, default=(math.nan, ""))


def ratio(candidates: dict[str, Row], unit: str = "", what: str = "median_ms") -> float:
    """Return PyTorch's time or memory over ours."""
    return best(candidates, "PyTorch", unit, what)[0] / best(candidates, "minicnn", unit, what)[0]


def figures(results: Row) -> Iterator[Figure]:
    """Yield (what, target, measured, whether that is enough) for all the GPU is held to."""
    tests, sanitized = results["tests"], results["sanitizer"]
    if tests:
        counts = {end: sum(row.get(end, 0) for row in tests) for end in ENDS}
        right = sum(row["status"] == "passed" for row in tests)
        measured = f"{_counted(counts)}; {right} of {len(tests)} files without fault"
        yield "tests on the device", "all pass", measured, counts["passed"] > 0 and right == len(tests)
    if sanitized:
        clean = sum(row["status"] == "clean" for row in sanitized)
        yield "compute-sanitizer's runs", "all clean", f"{clean} of {len(sanitized)}", clean == len(sanitized)
    gpu, cpu = found(results, "network", *_VGG), found(results, "cpu", *_VGG)
    against_cpu = best(cpu, "minicnn CPU")[0] / best(gpu, "minicnn", "fp32")[0]
    what = "VGG-16, a training step, batch 32, fp32: speed against"
    cores = f"minicnn's CPU, {results['cpu_threads']} threads"
    yield f"{what} {cores}", f"≥ {AGAINST_CPU}×", times(against_cpu), against_cpu >= AGAINST_CPU
    against = ratio(gpu, "fp32")
    yield f"{what} PyTorch, TF32 off", f"≥ {AGAINST_PYTORCH}×", times(against), against >= AGAINST_PYTORCH
    yield _launch(found(results, LAUNCH.part, LAUNCH.subject, "", 0))
    name, batch = EPOCH
    epoch = ratio(found(results, "epoch", name, "training", batch))
    yield (
        f"an epoch of LeNet-5, batch {batch}: speed against PyTorch",
        f"≥ {EPOCHS}×",
        times(epoch),
        epoch >= EPOCHS,
    )


def _launch(operations: dict[str, Row]) -> Figure:
    costs = {name: 1e3 * result["median_ms"] for name, result in operations.items() if "median_ms" in result}
    worst = max(costs, key=costs.__getitem__, default="")
    shown = f"{costs[worst]:.1f} µs, {worst}" if costs else "—"
    right = len(costs) == len(operations) > 0 and costs[worst] <= MOST_US
    return "what an operation's call costs Python, the worst", f"≤ {MOST_US} µs", shown, right


HEAD = ("", *(f"{mode}, {unit}" for mode in ("inference", "training") for unit in UNITS))


def table(results: Row) -> Iterator[tuple[str, ...]]:
    """Yield a line for each network and batch: minicnn's milliseconds, and how many times PyTorch's speed that is."""
    measured = dict.fromkeys(
        (row["subject"], row["batch"]) for row in results["rows"] if row["part"] == "network"
    )
    order = list(dict.fromkeys(subject for subject, _ in measured))
    for subject, batch in sorted(measured, key=lambda pair: (order.index(pair[0]), pair[1])):
        cells = (
            _cell(found(results, "network", subject, mode, batch), unit)
            for mode in ("inference", "training")
            for unit in UNITS
        )
        yield (f"{subject}, batch {batch}", *cells)


def _cell(candidates: dict[str, Row], unit: str) -> str:
    ours, _ = best(candidates, "minicnn", unit)
    if math.isnan(ours):
        return "out of memory" if "out_of_memory" in candidates.get(f"minicnn {unit}", {}) else "—"
    against = ratio(candidates, unit)
    return f"{milliseconds(ours / 1e3)} ms" + ("" if math.isnan(against) else f" ({times(against)})")


def layouts(results: Row) -> str:
    """Return how often which of PyTorch's layouts was the faster one."""
    rows = [row["results"] for row in results["rows"] if row["part"] == "network" and "results" in row]
    winners = [winner for row in rows for unit in UNITS if (winner := best(row, "PyTorch", unit)[1])]
    count = sum("channels-last" in winner for winner in winners)
    return f"channels-last in {count} of {len(winners)} cases"


def times(number: float) -> str:
    return "—" if math.isnan(number) else f"{number:.2f}×"


def place(row: Row) -> str:
    return ", ".join(str(word) for word in key(row) if word)


def printed(row: Row) -> str:
    """A row in one line, as it is shown while the suite runs."""
    name = place(row)
    if "results" not in row:
        return f"{name}: failed: {row['failed']}"
    return f"{name}:  " + "  ".join(_told(which, result) for which, result in row["results"].items())


def _told(name: str, result: Row) -> str:
    if "median_ms" in result:
        return f"{name} {result['median_ms']:g} ms"
    return f"{name} " + next((why for why in result if why in NOT_MEASURED), "right")


def printed_command(row: Row) -> str:
    """The same of a program's row."""
    name = " ".join(row[word] for word in ("file", "check", "operation", "program") if word in row)
    return f"{name}: " + "; ".join(filter(None, (row["status"], _counted(row))))


def _counted(counts: Row) -> str:
    return ", ".join(f"{counts[end]:,} {end}" for end in ENDS if end in counts)


def told(results: Row) -> Iterator[str]:
    """Yield what a run ends with: the table, then the figures."""
    for line in (HEAD, *table(results)):
        yield f"{line[0]:25}" + "".join(f"{cell:>22}" for cell in line[1:])
    for what, target, measured, held in figures(results):
        yield f"{what}: {measured} ({target}: {'reached' if held else 'missed'})"
    left = len(results["left_out"])
    yield f"{len(results['rows'])} rows in {results['spent_s']} s, {left} {NO_TIME}"


def bad(results: Row) -> list[str]:
    """Return what computed something else or failed, in one line each; too little time or memory is no fault."""
    problems = [
        f"{printed_command(row)} {' | '.join(row.get('failures', row.get('report', [])))}".strip()
        for row in (*results["tests"], *results["sanitizer"], *results["programs"])
        if row["status"] not in ("passed", "clean", NO_TIME)
    ]
    for row in results["rows"]:
        if "failed" in row:
            problems.append(f"{place(row)}: {row['failed']}")
        problems += _bad_of(place(row), row.get("results", {}).items())
    return problems


def _bad_of(place: str, candidates: Iterable[tuple[str, Row]]) -> Iterator[str]:
    for name, result in candidates:
        for why in ("wrong", "failed"):
            if why in result:
                yield f"{place}, {name}: {why}: {result[why]}"
