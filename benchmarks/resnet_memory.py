"""How much memory a step of the deepest residual networks needs: forward, loss, backward; each in a fresh process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import record

CASES = [  # model, its arguments, images
    ("resnet152", {}, 1),
    ("resnet_cifar", {"depth": 1202}, 1),
    ("resnet_cifar", {"depth": 1202}, 16),
    ("preact_resnet_cifar", {"depth": 1001}, 16),
]
LIMIT_GB = 6  # for ResNet-152 on one image


def peak_mb() -> float:
    """Of this process so far, in MB of 10⁶ bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure(name: str, arguments: dict[str, int], images: int) -> dict[str, object]:
    import numpy as np

    from minicnn import Tensor, manual_seed, models, tensor

    manual_seed(0)
    imported = peak_mb()
    model = models.get_model(name, **arguments)
    built = peak_mb()
    x = Tensor(np.random.default_rng(0).normal(size=(images, *model.input_shape)).astype("float32"))
    start = time.perf_counter()
    loss = model.loss(model(x), tensor([0] * images))
    middle = time.perf_counter()
    loss.backward()
    end = time.perf_counter()
    return {
        "model": name,
        **arguments,
        "input": list(x.shape),
        "parameters": sum(p.size for p in model.parameters()),
        "peak_mb": {"imported": imported, "built": built, "after_backward": peak_mb()},
        "seconds": {"forward": middle - start, "backward": end - middle},
    }


def main() -> None:
    results = []
    for case in CASES:
        done = subprocess.run(
            [sys.executable, __file__, json.dumps(case)], capture_output=True, text=True, check=True
        )
        result = json.loads(done.stdout)
        results.append(result)
        images, peak = result["input"][0], result["peak_mb"]["after_backward"]
        depth = result.get("depth", "")
        print(f"{result['model']} {depth}, {images} images: peak {peak:,.0f} MB, {result['seconds']}")
    first = results[0]["peak_mb"]["after_backward"] / 1e3
    print(f"ResNet-152 on one image: {first:.2f} GB of the {LIMIT_GB} GB it may take")
    record.write("resnet_memory", results, "python benchmarks/resnet_memory.py")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(*json.loads(sys.argv[1]))))
    else:
        main()
