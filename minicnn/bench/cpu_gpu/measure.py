"""All batch sizes of a network, and its layers: answers compared, then turns taken."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import models, nn
from ..benchmark import MODELS, choose
from ..task import channels_last
from ..turns import Timing, compare, plan, rounds
from .gpus import Gpu
from .job import Inference, Job, LayerTraining, Placed, Training, operations
from .network import Copies
from .point import CPU, Curve, Point
from .roofline import Work, computing, copying

__all__ = ["BATCHES", "Settings", "curves", "take_turns"]

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
_SAMPLE = 0.05  # seconds: quicker steps are repeated to make up a sample of this length
_FEWEST = 3  # samples: if the budget does not hold so many, there are none
_OF_A_LAYER = 5  # samples

Call = Callable[[], object]


@dataclass(frozen=True)
class Settings:
    """What to measure, and how.

    Attributes
    ----------
    models : sequence of str
    modes : sequence of {'inference', 'training'}
    batches : sequence of int
        In ascending order.
    layers : bool
        Whether to measure each layer by itself too, on as many images as the CPU had time for.
    device : str or None
        The GPU; None: there is none.
    assumed : Gpu or None
        For which times are predicted.
    timing : Timing
        Of one batch size.
    """

    models: Sequence[str] = tuple(MODELS)
    modes: Sequence[str] = ("inference",)
    batches: Sequence[int] = BATCHES
    layers: bool = False
    device: str | None = None
    assumed: Gpu | None = None
    timing: Timing = field(default_factory=lambda: Timing(budget=5.0))


def curves(settings: Settings, tell: Callable[[str], None] = lambda doing: None) -> Iterator[Curve]:
    """Measure and yield each network in each mode.

    Parameters
    ----------
    settings : Settings
    tell : callable
        Is told in a few words what is being done.

    Raises
    ------
    ValueError
        If there is no such model, or it takes no such arguments.
    """
    for model in choose("model", settings.models, models.list_models()):
        tell(f"{model}: drawing weights")
        copies = Copies({"model": model, **MODELS.get(model, {})})
        for mode in settings.modes:
            yield _curve(model, mode, copies, settings, tell)


def _curve(model: str, mode: str, copies: Copies, settings: Settings, tell: Callable[[str], None]) -> Curve:
    curve = Curve(model, mode)
    make = Inference if mode == "inference" else Training
    for batch in settings.batches:
        tell(f"{curve.title}, batch {batch}")
        point = Point(model, batch)
        if _too_slow(curve.points, batch, settings.timing):
            point.void[CPU] = _too_slow_for(settings.timing)
        _measure(point, make, copies.on, _images(copies, batch, mode), settings, settings.timing)
        curve.points.append(point)
    measured = [point.batch for point in curve.points if point.samples.get(CPU)]
    if settings.layers and measured:
        curve.layers = list(_layers(curve, copies, measured[-1], settings, tell))
    return curve


def _layers(
    curve: Curve, copies: Copies, batch: int, settings: Settings, tell: Callable[[str], None]
) -> Iterator[Point]:
    """Yield each layer by itself, on noise of the shape that it sees in the network."""
    devices = ["cpu", "meta", *filter(None, [settings.device])]
    parts = {device: dict(copies.on(device).named_modules()) for device in devices}
    make = Inference if curve.mode == "inference" else LayerTraining
    timing = Timing(rounds=settings.timing.rounds or _OF_A_LAYER)
    for layer in copies.layers():
        tell(f"{curve.title}, batch {batch}: {layer.title}")
        point = Point(layer.title, batch)
        inputs = [_noise((batch, *layer.input_shape))]
        if curve.mode == "training":
            inputs.append(_noise((batch, *layer.output_shape)))

        def find(device: str, name: str = layer.names[0]) -> nn.Module:
            return parts[device][name]

        _measure(point, make, find, inputs, settings, timing)
        yield point


def _measure(
    point: Point,
    make: Callable[[Any], Job],
    find: Callable[[str], nn.Module],
    inputs: Sequence[np.ndarray],
    settings: Settings,
    timing: Timing,
) -> None:
    """Fill in a point: `find` gives the module on a device, `make` the job of a module."""
    try:
        works, results = operations(make(find("meta")), inputs)
    except ValueError as error:  # such as a batch of one, whose variance cannot be trained with
        point.void[CPU] = str(error)
        return
    point.work, point.operations = Work.sum(works), len(works)
    if settings.assumed is not None:
        computed = computing(settings.assumed, works)
        copied = copying(settings.assumed, [*(array.nbytes for array in inputs), *results])
        point.predicted = {"predicted_gpu": computed, "predicted_gpu_transfer": computed + copied}
    cpu = None if CPU in point.void else Placed(make(find("cpu")), inputs, "cpu")
    calls = {} if cpu is None else {CPU: cpu.resident}
    if settings.device is not None:
        try:
            gpu = Placed(make(find(settings.device)), inputs, settings.device)
            _compare(gpu.answer(), None if cpu is None else cpu.answer())
            gpu.transferred()
            calls |= {"gpu": gpu.resident, "gpu_transfer": gpu.transferred}
        except Exception as error:  # the CPU goes on, and so do other batch sizes
            point.void["gpu"], point.failed = _in_a_line(error), True
    point.samples = take_turns(calls, timing)
    point.void |= {name: _too_slow_for(timing) for name in calls if not point.samples[name]}


class WrongAnswer(Exception):
    """The devices computed different things."""


def _compare(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray] | None) -> None:
    """Raise if the GPU's answer is not the CPU's, or, where the CPU has none, no answer."""
    if expected is None:
        if not all(np.isfinite(array).all() for array in found.values()):
            raise WrongAnswer("it is no number")
        return
    errors, wrong = compare({"cpu": expected, "gpu": found})
    if wrong:
        raise WrongAnswer(f"it differs from the CPU's by {errors['gpu']:.2g} of its norm")


def take_turns(
    calls: Mapping[str, Call], timing: Timing, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Call each in turns, and return its samples: seconds of one call.  Who is too slow for the budget has none.

    Parameters
    ----------
    calls : mapping of names to callables
    timing : Timing
    clock : callable
        Tells seconds.
    """

    def timed(call: Call, times: int) -> float:
        began = clock()
        for _ in range(times):
            call()
        return (clock() - began) / times

    for call in calls.values():  # the first call allocates, and loads code
        call()
    seconds = {name: timed(call, 1) for name, call in calls.items()}
    times = {name: max(1, math.ceil(_SAMPLE / max(s, 1e-9))) for name, s in seconds.items()}
    counts = plan({name: s * times[name] for name, s in seconds.items()}, timing)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for names in rounds(counts):
        for name in names:
            samples[name].append(timed(calls[name], times[name]))
    return samples


def _too_slow(before: Sequence[Point], batch: int, timing: Timing) -> bool:
    """Whether the CPU would take longer than it may, on a straight line through the last two times."""
    if any(point.void.get(CPU) == _too_slow_for(timing) for point in before):
        return True
    timed = [(point.batch, point.seconds(CPU)) for point in before if point.samples.get(CPU)]
    if timing.rounds is not None or not timed[1:]:
        return False
    (small, short), (large, long) = timed[-2:]
    return _FEWEST * (long + (long - short) * (batch - large) / (large - small)) > timing.budget


def _too_slow_for(timing: Timing) -> str:
    return f"too slow: {_FEWEST} samples would take more than the {timing.budget:g} s there are"


def _images(copies: Copies, batch: int, mode: str) -> Sequence[np.ndarray]:
    """Return a batch of noise, and for training its labels."""
    images = _noise((batch, *copies.input_shape))
    return (images,) if mode == "inference" else (images, np.zeros(batch, np.int64))


def _noise(shape: Sequence[int]) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal(shape, np.float32)
    return channels_last(values) if values.ndim == 4 else values


def _in_a_line(error: Exception) -> str:
    """Return what kind of error it is, and the first line of its message."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]
