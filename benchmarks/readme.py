"""Fill the README's figures from the records: everything between ``<!-- name -->`` and ``<!-- /name -->``."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text()))


def filled(text: str) -> str:
    """The README's text with each marked place filled from its record."""
    for name, fill in FIGURES.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        if not mark.search(text):
            raise ValueError(f"the README has no place marked {name}")
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


def figures_held() -> str:
    """Every figure the project holds itself to, what was measured, and whether that is enough."""
    mnist, fashion = _record("lenet5_mnist5k"), _record("lenet5_fashion_mnist")
    conv, load = _record("conv_algorithms"), _record("import_time")
    worst = min(run["accuracy"] for run in mnist["results"]["runs"])
    slowest = max(run["seconds"] for run in mnist["results"]["runs"])
    ratio = conv["results"]["rows"][0]["ratio"]
    extra = load["results"]["extra_s"]
    last = fashion["results"]["epochs"][-1]["test_accuracy"]
    seeds = len(mnist["results"]["runs"])
    rows = [
        (
            f"accuracy of `minicnn train lenet5`, worst of {seeds} fresh seeds",
            "≥ 97.5 %",
            f"{worst:.1%}",
            worst >= 0.975,
        ),
        ("its training time, the slowest", "< 60 s", f"{slowest:.0f} s", slowest < 60),
        ("LeNet-5 on Fashion-MNIST after 8 epochs", "≥ 89 %", f"{last:.2%}", last >= 0.89),
        ("chunked convolution against one big im2col, VGG conv2_1", "≥ 1.5×", f"{ratio:.2f}×", ratio >= 1.5),
        ("`import minicnn` on top of `import numpy`", "< 0.3 s", f"{extra:.3f} s", extra < 0.3),
    ]
    lines = [(what, target, found, "reached" if held else "**missed**") for what, target, found, held in rows]
    return _table(("figure", "target", "measured", ""), lines) + "\n" + _source(mnist)


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


FIGURES = {"figures": figures_held, "convolution": convolution}

if __name__ == "__main__":
    main()
