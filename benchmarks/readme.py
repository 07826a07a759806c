"""Fill the pages' figures from the records: everything between ``<!-- name -->`` and ``<!-- /name -->``."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from minicnn.bench.report import milliseconds
from minicnn.study.ledger import Entry, entries

sys.path.insert(0, str(Path(__file__).parent))  # the tests load this file by its path
import chart
from gpu_models import report as gpu_report
from kernel_speed import report
from kernel_traffic import pages

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    if (RESULTS / "benchmark.json").exists():
        chart.draw(_record("benchmark"))
    for page in PAGES:
        (ROOT / page).write_text(filled(page))


def filled(page: str) -> str:
    """A page's text with each marked place filled from its record."""
    text = (ROOT / page).read_text()
    for name, fill in PAGES[page].items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        if not mark.search(text):
            raise ValueError(f"{page} has no place marked {name}")
        text = mark.sub(lambda m, fill=fill: m[1] + fill() + m[2], text)
    return text


def _record(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _source(record: dict) -> str:
    machine, versions = record["machine"], record["versions"]
    return (
        f"*{machine['cpu']}, {machine['threads']} threads; Python {versions['python']}, NumPy {versions['numpy']}; "
        f"commit {record['commit']}, {record['date']}: `{record['command']}`*\n"
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


Figure = tuple[str, str, str, bool]


def figures_held() -> str:
    """Every figure the project holds itself to, what was measured, and whether that is enough."""
    machine = _record("lenet5_mnist5k")["machine"]
    return _held(*_proof(), *_networks(), *_training(), *_speed()) + (
        f"\n*{machine['cpu']}, {machine['threads']} threads. The samples of each, its commit and its program stand in "
        "[`benchmarks/results`](benchmarks/results).*\n"
    )


def _held(*figures: Figure) -> str:
    lines = [
        (what, target, found, "reached" if held else "**missed**") for what, target, found, held in figures
    ]
    return _table(("figure", "target", "measured", ""), lines)


def _proof() -> Iterator[Figure]:
    mutants = _record("mutants")["results"]
    equivalent = mutants["equivalent"] / mutants["mutants"]
    yield (
        "mistakes made on purpose in forward and backward passes (mutants) that the tests notice",
        "≥ 400 made, all noticed",
        f"{mutants['killed']:,} of {mutants['killed'] + mutants['survived']:,}",
        mutants["mutants"] >= 400 and not mutants["survived"],
    )
    yield "those that compute the same, each with a reason", "< 5 %", f"{equivalent:.1%}", equivalent < 0.05
    nightly = _record("property_suite_nightly")["results"]
    yield (
        "generated cases in one run, all properties of each, failures",
        "≥ 50,000, none",
        f"{nightly['generated_cases']:,}, {nightly['failed'] or 'none'}",
        nightly["generated_cases"] >= 50_000 and not nightly["failed"],
    )
    runs = _record("property_suite")["results"]["runs"]
    passed, slowest = sum(not run["failed"] for run in runs), max(run["seconds"] for run in runs)
    yield (
        "runs of the property suite that pass, each with a seed of its own; the slowest",
        "20 of 20, < 6 min",
        f"{passed} of {len(runs)}, {slowest / 60:.1f} min",
        passed == len(runs) >= 20 and slowest < 360,
    )


def proof() -> str:
    """What the proof of the gradients is held to, with the whole networks."""
    return _held(*_proof(), *(figure for figure in _networks() if "gradients" in figure[0]))


def layers() -> str:
    """What each property catches of a sample of mutants, and what nothing else does."""
    record = _record("mutants_by_property")
    results = record["results"]
    rows = [
        (
            f"`{name}`" if " " not in name else name,
            f"{row['checks']:,}",
            f"{row['caught']}",
            f"{row['alone']}",
        )
        for name, row in results["properties"].items()
    ]
    head = ("property", "checks", f"caught, of {results['mutants']} mutants", "caught by it alone")
    return _table(head, rows) + "\n" + _source(record)


def _networks() -> Iterator[Figure]:
    ledger = _record("ledger")["results"]
    seconds, peak, totals = ledger["median_s"], ledger["most_mb"], ledger["totals"]
    yield "the papers' numbers, recomputed", "0 unexplained", totals.split(";")[0], " 0 unexplained" in totals
    yield (
        "`minicnn ledger`, all networks",
        "< 20 s, < 500 MB",
        f"{seconds:.1f} s, {peak:.0f} MB",
        seconds < 20 and peak < 500,
    )
    gradients = _record("network_gradients")["results"]
    worst, count = gradients["worst_relative_error"], len(gradients["networks"])
    yield (
        f"gradients of {count} whole networks against differences, the worst direction",
        "≤ 10⁻⁶",
        f"{worst:.1e}",
        gradients["all_agree"] and worst <= 1e-6,
    )
    deepest = _record("resnet_memory")["results"][0]["peak_mb"]["after_backward"]
    yield (
        "ResNet-152, forward and backward, peak memory",
        "< 6 GB",
        f"{deepest / 1000:.2f} GB",
        deepest < 6000,
    )
    loading = _record("weights_loading")["results"]["samples_s"]
    ratio = median(loading["load"]) / median(loading["read_bytes"])
    yield "loading its weights, against reading the file's bytes", "≤ 1.5×", f"{ratio:.2f}×", ratio <= 1.5


def _training() -> Iterator[Figure]:
    runs = _record("lenet5_mnist5k")["results"]["runs"]
    worst, slowest = min(run["accuracy"] for run in runs), max(run["seconds"] for run in runs)
    seeds = f"accuracy of `minicnn train lenet5`, worst of {len(runs)} fresh seeds"
    yield seeds, "≥ 97.5 %", f"{worst:.1%}", worst >= 0.975
    yield "its training time, the slowest", "< 60 s", f"{slowest:.0f} s", slowest < 60
    last = _record("lenet5_fashion_mnist")["results"]["epochs"][-1]["test_accuracy"]
    yield "LeNet-5 on Fashion-MNIST after 8 epochs", "≥ 89 %", f"{last:.2%}", last >= 0.89


def _speed() -> Iterator[Figure]:
    ratio = _record("conv_algorithms")["results"]["rows"][0]["ratio"]
    one_big = "chunked convolution against one big im2col, which threads share too by now, VGG conv2_1"
    yield one_big, "≥ 1.5×", f"{ratio:.2f}×", ratio >= 1.5
    overhead = _record("engine_overhead")["results"]
    chain = "the engine, an operation on one number, forward and backward, the worst of four chains"
    limit, worst = overhead["limit_us"], overhead["worst_us"]
    yield chain, f"≤ {limit} µs", f"{worst:.1f} µs", worst <= limit
    launches = _record("launch_overhead")["results"]
    worst, limit = max(row["median_us"]["replayed"] for row in launches["rows"]), launches["limit_us"]
    replayed = "what Python takes to start an operation on a GPU, its launches replayed, the worst of ten"
    where = (
        "" if any(row["device"] != "no device" for row in launches["rows"]) else ", of Python alone: no GPU"
    )
    yield replayed, f"≤ {limit} µs", f"{worst:.1f} µs{where}", worst <= limit
    extra = _record("import_time")["results"]["extra_s"]
    yield "`import minicnn` on top of `import numpy`", "< 0.3 s", f"{extra:.3f} s", extra < 0.3


def benchmark() -> str:
    """minicnn and the others: milliseconds of a step, the median; in parentheses the memory it takes."""
    record = _record("benchmark")
    rows = record["results"]["rows"]
    peers = list(dict.fromkeys(peer for row in rows for peer in row["peers"]))
    head = ("", *peers, "minicnn against the faster PyTorch")
    lines = [
        (
            f"{row['model']}, {row['mode']}, batch {row['batch']}",
            *(_time(row["peers"].get(peer)) for peer in peers),
            _times(chart.median(row, *chart.EAGER) / chart.median(row, *_OURS)),
        )
        for row in rows
    ]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    limits = [row["sgemm_gflops"] for row in rows if row["sgemm_gflops"]]
    note = (
        "\nMedian of a step in milliseconds; in parentheses the most memory in a step beyond weights and images. A "
        f"matrix product of 2048³, in the same turns, reached {min(limits):.0f} to {max(limits):.0f} GFLOP/s. "
        f"Versions: {versions}.\n\n"
    )
    return _table(head, lines) + note + _source(record)


def benchmark_targets() -> str:
    """What the speed is held to, and what was measured."""
    record = _record("benchmark")
    return _held(*_targets(record["results"]["rows"])) + "\n" + _source(record)


_OURS = ("minicnn", "minicnn-fused")
_TARGETS = (  # model, mode, batch, at least so many times as fast as the fastest of, what to call these
    ("vgg16", "inference", 8, 3, ("pytorch",), "PyTorch, NCHW"),
    ("vgg16", "inference", 8, 2, ("pytorch-channels-last",), "PyTorch, channels-last"),
    ("vgg16", "inference", 8, 1.3, ("onnxruntime",), "ONNX Runtime"),
    ("vgg16", "training", 8, 2, ("pytorch",), "PyTorch, NCHW"),
    ("vgg16", "training", 8, 1.5, ("pytorch-channels-last",), "PyTorch, channels-last"),
    *(
        (model, mode, batch, 1, chart.EAGER, "the faster PyTorch")
        for model in ("alexnet", "googlenet", "inception_v3", "resnet18", "resnet50")
        for mode, batch in (("inference", 1), ("inference", 8), ("training", 8))
    ),
    ("lenet5", "training", 64, 1, ("pytorch",), "PyTorch, NCHW"),
)


def _targets(rows: list[dict]) -> Iterator[Figure]:
    by_task = {(row["model"], row["mode"], row["batch"]): row for row in rows}
    for model, mode, batch, factor, peers, name in _TARGETS:
        row = by_task.get((model, mode, batch), {"peers": {}})
        ratio = chart.median(row, *peers) / chart.median(row, *_OURS)
        what = f"{model}, {mode}, batch {batch}: speed against {name}"
        yield what, f"≥ {factor}×", _times(ratio), ratio >= factor
    for row in rows:
        ours, theirs = (row["peers"].get(peer, {}).get("peak_mb") for peer in ("minicnn", "pytorch"))
        if row["mode"] == "training" and ours and theirs:
            what = f"{row['model']}, training, batch {row['batch']}: peak memory of a step"
            yield what, f"≤ PyTorch's {theirs:,.0f} MB", f"{ours:,.0f} MB", ours <= theirs


def conv_choice() -> str:
    """How good the choice of a convolution's algorithm is, and who is chosen."""
    record = _record("conv_choice")
    results = record["results"]
    cases, good = results["cases"], results["within_10_percent"]
    slower = results["slower_than_im2col_chunked_by_5_percent"]
    held = _held(
        (
            f"`auto` within 10 % of the fastest algorithm, of {cases:,} cases",
            "≥ 90 %",
            f"{good / cases:.1%}",
            good >= 0.9 * cases,
        ),
        ("slower than `im2col_chunked` by more than 5 %", "none", f"{slower}", slower == 0),
    )
    rows = results["rows"]
    names = list(dict.fromkeys(name for row in rows for name in row["ms"]))
    table = _table(
        ("", "picked", "fastest"),
        [
            (f"`{name}`", *(str(sum(row[which] == name for row in rows)) for which in ("pick", "fastest")))
            for name in names
        ],
    )
    found = {
        json.dumps([row[key] for key in ("input", "weight", "stride", "padding", "groups")]) for row in rows
    }
    seconds = {
        name: f"{results[f'{name}_ms'] / 1e3:.2f} s" for name in ("picked", "fastest", "im2col_chunked")
    }
    total = (
        f"\nThese are {len(found)} of the {results['problems']} different convolutions of all networks at batch 8, "
        f"drawn at random, in all three directions. Together they take {seconds['picked']} as picked, "
        f"{seconds['fastest']} each by the fastest, {seconds['im2col_chunked']} by `im2col_chunked` alone.\n\n"
    )
    return held + "\n" + table + total + _source(record)


def gpu_ladder() -> str:
    """The CUDA kernels, version by version, over all their layers together."""
    if not (RESULTS / "gpu_ladder.json").exists():
        return "Not yet measured: no GPU has run it so far.\n"
    record = _record("gpu_ladder")
    results = record["results"]
    peaks = results["peaks"]
    rows = [
        (
            operation,
            version,
            f"{layers}",
            *("—" if math.isnan(part) else f"{part:.0f} %" for part in parts),
            _times(ratio),
        )
        for operation, version, layers, *parts, ratio in report.summary(results["rows"])
    ]
    head = ("operation", "version", "layers", "of peak FLOP/s", "of bandwidth", "against PyTorch")
    products = ", ".join(
        f"{unit} {peaks[f'{unit}_tflops']:.0f} TFLOP/s"
        for unit in ("fp32", "tf32", "bf16", "fp16")
        if peaks[f"{unit}_tflops"]
    )
    left = len(results["left_out"])
    note = (
        f"\nBatch {results['batch']}. Peaks are of the same run: a copy {peaks['copy_gbs']:.0f} GB/s, matrix products "
        f"{products}. {left} of {left + len(results['rows'])} rows were left out for want of time.\n\n"
    )
    return _held(*report.figures(results)) + "\n" + _table(head, rows) + note + _gpu_source(record)


def gpu() -> str:
    """Whole networks on each GPU that there is a record of, beside PyTorch and the CPU."""
    records = sorted(path.stem for path in RESULTS.glob("gpu_suite*.json"))
    return "\n".join(map(_gpu, records)) or "Not yet measured: no GPU has run it so far.\n"


def _gpu(name: str) -> str:
    record = _record(name)
    results = record["results"]
    left = len(results["left_out"])
    missing = "".join(f" Missing there: {what}." for what in results["missing"])
    note = (
        "\nMilliseconds of a step by minicnn, the median; in parentheses its speed as a multiple of PyTorch's with the "
        f"same arithmetic, in the faster of its layouts: {gpu_report.layouts(results)}. {left} of "
        f"{left + len(results['rows'])} rows were left out for want of time.{missing}\n\n"
    )
    table = _table(gpu_report.HEAD, list(gpu_report.table(results)))
    return _held(*gpu_report.figures(results)) + "\n" + table + note + _gpu_source(record)


def _gpu_source(record: dict) -> str:
    device, versions = record["results"]["device"], record["versions"]
    torch = "no PyTorch"
    if "torch" in versions:
        torch = f"PyTorch {versions['torch']}, cuDNN {versions['cudnn']}"
    return (
        f"*{device['name']}, driver {device['driver']}; CuPy {versions['cupy']}, {torch}; "
        f"commit {record['commit']}, {record['date']}: `{record['command']}`*\n"
    )


def profiles() -> str:
    """Where a training step's time goes: of each network the operations that take most."""
    record = _record("profiles")
    rows = []
    for row in record["results"]["rows"]:
        shares = {o["operation"]: o for o in row["operations"]}
        conv = shares["Conv2d"]
        others = [f"{o['operation']} {o['percent']:.0f} %" for o in row["operations"] if o is not conv][:3]
        rest = f"{100 * row['rest_ms'] / row['ms']:.0f} %"
        cells = f"{conv['percent']:.0f} %", f"{conv['percent_of_sgemm']} %", ", ".join(others), rest
        rows.append((f"{row['model']}, batch {row['batch']}", f"{row['ms']:,.0f} ms", *cells))
    head = (
        "",
        "a training step",
        "in convolutions",
        "which run at, of sgemm",
        "most of the others",
        "outside operations",
    )
    return _table(head, rows) + "\n" + _source(record)


def _time(peer: dict | None) -> str:
    if peer is None:
        return ""
    if "void" in peer:
        return "—"
    return f"{milliseconds(peer['median_ms'] / 1e3)} ({peer['peak_mb']:,.0f} MB)"


def _times(ratio: float) -> str:
    return "—" if math.isnan(ratio) else f"{ratio:.2f}×"


def convolution() -> str:
    """The convolution algorithms in turns."""
    record = _record("conv_algorithms")
    rows = [
        (
            f"{row['problem']}, {row['direction']}",
            *(f"{row['median_ms'][a]:.1f} ms ({row['percent_of_sgemm'][a]} %)" for a in row["median_ms"]),
            f"{row['ratio']:.2f}×",
        )
        for row in record["results"]["rows"]
    ]
    limits = [row["sgemm_gflops"] for row in record["results"]["rows"]]
    head = ("", "one big im2col", "in chunks", "ratio")
    note = (
        "\nIn parentheses: of a single-precision matrix product of 2048³ measured in the same turns, "
        f"{min(limits):.0f} to {max(limits):.0f} GFLOP/s.\n\n"
    )
    return _table(head, rows) + note + _source(record)


def ledger() -> str:
    """A few rows of the ledger and a reason, measured now and not read from a record."""
    chosen = [  # a model, a place in its paper, a quantity
        ("lenet5", "section II.B, total", "connections"),
        ("resnet152", "Table 1", "MACs"),
        ("alexnet", "section 3.5 and Figure 2, conv1", "units"),
        ("googlenet", "Table 1, convolution", "MACs"),
        ("inception_v3", "Table 1, conv 4", "input"),
    ]
    found = [_entry(*row) for row in chosen]
    rows = [
        (model, where, quantity, entry.claim.printed, entry.ours, entry.verdict)
        for (model, where, quantity), entry in zip(chosen, found, strict=True)
    ]
    head = ("network", "where", "quantity", "printed", "ours", "verdict")
    return _table(head, rows) + f"\nWhat it says of GoogLeNet's {found[3].claim.printed}: {found[3].note}.\n"


def _entry(model: str, where: str, quantity: str) -> Entry:
    rows = [e for e in entries(model) if (e.claim.where, e.claim.quantity) == (where, quantity)]
    if len(rows) != 1:
        raise ValueError(f"the ledger has {len(rows)} rows of {model}, {where}, {quantity}, not one")
    return rows[0]


PAGES = {
    "README.md": {
        "ledger": ledger,
        "benchmark": benchmark,
        "benchmark_targets": benchmark_targets,
        "conv_choice": conv_choice,
        "gpu": gpu,
        "gpu_ladder": gpu_ladder,
        "profiles": profiles,
        "figures": figures_held,
        "convolution": convolution,
    },
    "docs/gradients.md": {"proof": proof, "layers": layers},
    **pages.pages(),
}

if __name__ == "__main__":
    main()
