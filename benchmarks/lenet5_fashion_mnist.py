"""LeNet-5 (modern) on the full Fashion-MNIST, 60,000 training images, within 8 epochs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import record


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["train", "lenet5", "--data", "fashion-mnist", "--epochs", "8", "--out", str(run)]
        subprocess.run([sys.executable, "-m", "minicnn", *command], check=True)
        epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        settings = json.loads((run / "settings.json").read_text())
    best = max(epoch["test_accuracy"] for epoch in epochs)
    print(f"best {best:.2%}, last {epochs[-1]['test_accuracy']:.2%}")
    record.write(
        "lenet5_fashion_mnist",
        {"settings": settings, "epochs": epochs},
        "python benchmarks/lenet5_fashion_mnist.py",
    )


if __name__ == "__main__":
    main()
