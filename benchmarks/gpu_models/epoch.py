"""LeNet-5's epoch: as many images as MNIST has, from the host's memory batch after batch to the last update.

The 4,000 training digits that come with minicnn, again and again.  Both libraries take the same slices of one array,
and neither reads its loss on the way; so there is the network's work in it and the way to the GPU, and no loader's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from kernel_speed.rows import Wrong, rounded

from minicnn.data import load, transforms

from .networks import libraries, timed
from .subjects import subject
from .tasks import Task
from .trials import Trials, apart

IMAGES = 60_000
EPOCHS = 3
WARM = 20  # batches
ALLOWED = 0.05  # of the loss after the first epoch: rounding grows step by step


def row(
    task: Task, device: Any, threads: int, trying: Callable[[str], None], given_up: Mapping[str, str]
) -> dict[str, Any]:
    """Return the seconds of each library's epoch in float32."""
    found, (images, labels) = subject(task.subject), digits()
    trials, expected = Trials(device, trying, given_up), None
    for name, make in libraries(device):
        for _ in trials.wanted(name):
            with trials.trial(name) as result:
                network = make(found, task.mode, task.batch)
                epoch = partial(train, network, device, images, labels, task.batch)
                epoch(most=WARM)
                samples = [epoch()]
                expected = _compared(result, network.answer("fp32")["loss"], expected)
                samples += [epoch() for _ in range(EPOCHS - 1)]
                result |= timed(samples)
        device.release()
    return {"images": len(images), "results": trials.results}


def _compared(result: dict[str, Any], loss: np.ndarray, expected: np.ndarray | None) -> np.ndarray:
    """Note how far the loss is from the first library's, which is returned."""
    result["error"] = None if expected is None else rounded(apart(loss, expected))
    if expected is not None and not result["error"] <= ALLOWED:
        raise Wrong(f"the loss after an epoch is {loss:.4g}, where {expected:.4g} is right")
    return loss if expected is None else expected


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 1, 32, 32) in float32 and their labels."""
    train, _ = load("mnist5k")
    seen = transforms.Compose([transforms.ToFloat(), transforms.Pad(2)])
    images, labels = np.ascontiguousarray(seen(train.images)), train.labels
    times = -(-IMAGES // len(images))
    return np.tile(images, (times, 1, 1, 1))[:IMAGES], np.tile(labels, times)[:IMAGES]


def train(
    network: Any, device: Any, images: np.ndarray, labels: np.ndarray, batch: int, most: int | None = None
) -> float:
    """Train on all images, or on so many batches; return the seconds."""
    starts = range(0, len(images), batch)[:most]
    device.synchronize()
    start = time.perf_counter()
    for at in starts:
        network.load(images[at : at + batch], labels[at : at + batch])
        network.step("fp32")
    device.synchronize()
    return time.perf_counter() - start
