"""A network's row: minicnn and PyTorch compute the same, and then take their time.

One library after the other has the GPU's memory to itself; a library's arithmetics take turns.  A sample is as many
steps as take a while, without waiting in between, from the first call in Python until the GPU has done the last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any

import threadpoolctl
from kernel_speed.rows import rounded
from kernel_speed.timing import in_turns

import minicnn

from .own import Minicnn
from .pytorch import Pytorch
from .subjects import Subject, subject
from .tasks import Task
from .trials import UNITS, Answer, Trials, error_of

SAMPLE = 0.03  # seconds
COMPARED = 300.0  # GFLOP of a step: where PyTorch is missing, no longer ones are compared with minicnn's CPU
FEWEST_ON_CPU, MOST_ON_CPU, ENOUGH_ON_CPU = 2, 5, 1.0  # samples, and seconds of them

Library = tuple[str, Callable[[Subject, str, int], Any]]


def row(
    task: Task, device: Any, threads: int, trying: Callable[[str], None], given_up: Mapping[str, str]
) -> dict[str, Any]:
    """Return the results of all candidates, "minicnn fp32", "PyTorch channels-last bf16" …."""
    found = subject(task.subject)
    trials = Trials(device, trying, given_up)
    expected = None if device.torch else on_cpu(found, task)
    for library, make in libraries(device):
        expected = _try(trials, library, partial(make, found, task.mode, task.batch), expected)
        device.release()
    return {"gflop": rounded(found.gflop(task.mode, task.batch)), "results": trials.results}


def libraries(device: Any) -> Iterator[Library]:
    """Yield who can take part, and what builds the network there; the others are compared with the first."""
    if device.torch:
        for name, channels_last in (("PyTorch", False), ("PyTorch channels-last", True)):
            yield name, partial(Pytorch, device.torch, channels_last=channels_last)
    yield "minicnn", Minicnn


def on_cpu(found: Subject, task: Task) -> Answer | None:
    """Return minicnn's answer on the CPU, if that takes it no long time."""
    if found.gflop(task.mode, task.batch) > COMPARED:
        return None
    return Minicnn(found, task.mode, task.batch, "cpu").answer("fp32")


def _try(trials: Trials, library: str, build: Callable[[], Any], expected: Answer | None) -> Answer | None:
    """Let a library try all arithmetics; return what the answers of those after it are compared with."""
    units = {f"{library} {unit}": unit for unit in UNITS}
    names = trials.wanted(*units)
    if not names:
        return expected
    device, before = trials.device, held(trials.device)
    with trials.trial(*names):
        network = build()
    for name in filter(trials.is_right, names):  # all of them before a step changes the weights
        with trials.trial(name) as result:
            answer, unit = network.answer(units[name]), units[name]
            result["error"] = None if expected is None else error_of(answer, expected, unit)
            if expected is None and unit == "fp32":
                expected = answer
    for name in filter(trials.is_right, names):
        with trials.trial(name) as result:
            network.step(units[name])  # whatever is chosen, compiled or kept once
            device.release()
            network.step(units[name])
            device.synchronize()
            result["peak_mb"] = rounded((held(device) - before) / 1e6)
    right = {name: partial(network.step, units[name]) for name in names if trials.is_right(name)}

    def told_seconds(step: Any) -> float:
        trials.trying(f"{library} {step.args[0]}")
        return seconds(device, step)

    if right:
        with trials.trial(*right):
            for name, samples in in_turns(right, told_seconds).items():
                trials.results[name] |= timed(samples)
    return expected


def held(device: Any) -> int:
    """Return the bytes that the libraries hold of the GPU's memory, used or not."""
    bytes_of_torch = device.torch.cuda.memory_reserved() if device.torch else 0
    return device.xp.get_default_memory_pool().total_bytes() + bytes_of_torch


def seconds(device: Any, step: Callable[[], None]) -> float:
    """Return the mean seconds of enough steps that ran before, one after the other."""
    steps = max(1, math.ceil(SAMPLE / _of_steps(device, step, 1)))
    return _of_steps(device, step, steps)


def _of_steps(device: Any, step: Callable[[], None], steps: int) -> float:
    device.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    device.synchronize()
    return max(time.perf_counter() - start, 1e-9) / steps


def timed(samples: list[float]) -> dict[str, Any]:
    return {
        "samples_ms": [rounded(1e3 * sample) for sample in samples],
        "median_ms": rounded(1e3 * median(samples)),
    }


def cpu_row(
    task: Task, device: Any, threads: int, trying: Callable[[str], None], given_up: Mapping[str, str]
) -> dict[str, Any]:
    """Return the result of minicnn's CPU: a step to warm up, then a few."""
    trials = Trials(device, trying, given_up)
    found = subject(task.subject)
    for name in trials.wanted("minicnn CPU"):
        before = minicnn.get_num_threads()
        minicnn.set_num_threads(threads)
        try:
            with trials.trial(name) as result:
                if not hasattr(threadpoolctl, "__file__"):  # but gpu_ladder.py's stand-in
                    raise ValueError("without threadpoolctl BLAS takes more threads than it is allowed")
                network = Minicnn(found, task.mode, task.batch, "cpu")
                network.step("fp32")
                result |= timed(_samples(partial(network.step, "fp32")))
        finally:
            minicnn.set_num_threads(before)
    return {
        "gflop": rounded(found.gflop(task.mode, task.batch)),
        "threads": threads,
        "results": trials.results,
    }


def _samples(step: Callable[[], None]) -> list[float]:
    samples: list[float] = []
    while len(samples) < FEWEST_ON_CPU or (sum(samples) < ENOUGH_ON_CPU and len(samples) < MOST_ON_CPU):
        start = time.perf_counter()
        step()
        samples.append(time.perf_counter() - start)
    return samples
