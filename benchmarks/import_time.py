"""What `import minicnn` costs on top of `import numpy`, each in a fresh interpreter, in turns."""

from __future__ import annotations

import statistics
import subprocess
import sys

import record

TIMED = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(module)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    samples: dict[str, list[float]] = {"numpy": [], "minicnn": []}
    for _ in range(15):
        for module, times in samples.items():
            times.append(seconds(module))
    medians = {module: statistics.median(times) for module, times in samples.items()}
    extra = medians["minicnn"] - medians["numpy"]
    print(f"numpy {medians['numpy']:.3f} s, minicnn {medians['minicnn']:.3f} s: {extra:.3f} s more")
    record.write(
        "import_time",
        {"samples_s": samples, "median_s": medians, "extra_s": extra},
        "python benchmarks/import_time.py",
    )


if __name__ == "__main__":
    main()
