"""What an operation on the GPU costs from Python: on arrays so small that the GPU is done with each before the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from minicnn import Tensor, no_grad
from minicnn import functional as F

from .networks import timed
from .trials import Trials

CALLS = 200  # fewer than the GPU's queue takes: Python never waits for it
SAMPLES = 9
IMAGES = (2, 8, 6, 6)

LAUNCHES: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "add": (lambda a, b: a + b, (IMAGES, IMAGES)),
    "relu": (F.relu, (IMAGES,)),
    "conv2d": (partial(F.conv2d, padding=1), (IMAGES, (8, 8, 3, 3))),
    "max_pool2d": (partial(F.max_pool2d, kernel_size=2), (IMAGES,)),
    "local_response_norm": (partial(F.local_response_norm, size=5), (IMAGES,)),
    "linear": (F.linear, ((2, 32), (16, 32), (16,))),
}


def row(
    task: Any, device: Any, threads: int, trying: Callable[[str], None], given_up: Mapping[str, str]
) -> dict[str, Any]:
    """Return the time that each operation's call takes Python."""
    trials = Trials(device, trying, given_up)
    for name in trials.wanted(*LAUNCHES):
        function, shapes = LAUNCHES[name]
        with trials.trial(name) as result, no_grad():
            rng = np.random.default_rng(0)
            arrays = [_channels_last(rng.standard_normal(shape, dtype=np.float32)) for shape in shapes]
            call = partial(function, *arrays)
            _seconds(call, device)  # whatever is chosen, compiled or kept once
            result |= timed([_seconds(call, device) for _ in range(SAMPLES)])
    return {"results": trials.results}


def _channels_last(array: np.ndarray) -> Tensor:
    """Return a tensor on the GPU, in the memory order in which a network has its images and kernels."""
    if array.ndim == 4:
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return Tensor(array).to("cuda")


def _seconds(call: Callable[[], Any], device: Any) -> float:
    """Return the seconds of Python's time that a call takes."""
    device.synchronize()
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS
