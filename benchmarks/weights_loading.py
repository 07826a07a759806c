"""How long ResNet-152 takes to load its 241 MB of weights, beside reading the file's bytes, in turns.

The file is in the page cache and the model is built beforehand.  `read_bytes` makes a new bytes object, whose memory
the system has to clear first; `readinto` reads into a buffer that exists, as the model's parameters do, and is the
harder of the two to keep up with.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import record
from safetensors.numpy import load_file

import minicnn
from minicnn import models

ROUNDS = 15


def on_one_thread(call: Callable[[], None]) -> Callable[[], None]:
    threads = minicnn.get_num_threads()

    def run() -> None:
        minicnn.set_num_threads(1)
        call()
        minicnn.set_num_threads(threads)

    return run


def measured(path: Path) -> dict[str, list[float]]:
    model = models.resnet152()
    minicnn.save(path, model.state_dict())
    buffer = memoryview(bytearray(path.stat().st_size))

    def readinto() -> None:
        with path.open("rb", buffering=0) as file:
            done = 0
            while count := file.readinto(buffer[done:]):
                done += count

    def load() -> None:
        model.load_state_dict(minicnn.load(path))

    return record.in_turns(
        {
            "read_bytes": path.read_bytes,
            "readinto": readinto,
            "load": load,
            "load_1_thread": on_one_thread(load),
            "load_by_library": lambda: model.load_state_dict(load_file(path)),
        },
        ROUNDS,
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "resnet152.safetensors")
        samples = measured(path)
        size = path.stat().st_size
    medians = {name: statistics.median(times) for name, times in samples.items()}
    ratios = {
        f"{name}/{reading}": medians[name] / medians[reading]
        for name in ("load", "load_1_thread", "load_by_library")
        for reading in ("read_bytes", "readinto")
    }
    for name, seconds in medians.items():
        print(f"{name:16} {seconds * 1e3:6.1f} ms")
    for name, ratio in ratios.items():
        print(f"{name:27} {ratio:5.2f}")
    record.write(
        "weights_loading",
        {"bytes": size, "samples_s": samples, "median_s": medians, "ratios": ratios},
        "python benchmarks/weights_loading.py",
    )


if __name__ == "__main__":
    main()
