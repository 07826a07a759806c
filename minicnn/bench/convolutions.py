"""Every algorithm on every convolution of a network: time, workspace and error, each beside what was predicted.

The algorithms take turns.  Of their times the shortest counts, for the work is the same each time and anything longer
was somebody else's.  Workspace is what the algorithm asked for beyond its result, read off Python's account of memory,
to which NumPy reports; the error is that of the result against the same convolution in float64.
"""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backend, nn
from ..backend.cpu import empty_images
from ..backend.parallel import get_num_threads
from ..backend.recycling import release
from ..backend.workspace import poisoned
from ..conv.algorithms import ALGORITHMS
from ..conv.choice import FAMILIAR, fastest
from ..conv.model import expected
from ..conv.problem import Direction, No, Problem
from ..conv.rates import rates
from ..geometry import Window2d
from ..tensor import Tensor, no_grad

__all__ = ["Result", "Run", "measure", "problems"]

HOPELESS = 3  # times the fastest: who takes longer in a turn gets no more

Call = Callable[[], Any]


@dataclass(frozen=True)
class Run:
    """What one algorithm needed for a problem, and what was predicted.

    Attributes
    ----------
    seconds, predicted_seconds : float
    workspace, predicted_workspace : int
        Bytes, on all threads together.
    error : float
        Root mean square of the difference from float64 over that of the result; NaN where it was not computed.
    """

    seconds: float
    predicted_seconds: float
    workspace: int
    predicted_workspace: int
    error: float


@dataclass(frozen=True)
class Result:
    """The algorithms' runs of one problem in one direction.

    Attributes
    ----------
    problem : Problem
    direction : {'forward', 'backward_data', 'backward_weight'}
    runs : dict of str to Run
        By the algorithm's name.
    refusals : dict of str to str
        The algorithms that cannot do it, and why.
    pick : str
        What ``"auto"`` takes.
    """

    problem: Problem
    direction: Direction
    runs: dict[str, Run]
    refusals: dict[str, str]
    pick: str

    @property
    def fastest(self) -> str:
        """The name of the algorithm that was."""
        return min(self.runs, key=lambda name: self.runs[name].seconds)

    @property
    def loss(self) -> float:
        """The time of the pick over that of the fastest, at least 1."""
        return self.runs[self.pick].seconds / self.runs[self.fastest].seconds

    @property
    def against_familiar(self) -> float:
        """The time of the pick over that of the algorithm which can do anything."""
        return self.runs[self.pick].seconds / self.runs[FAMILIAR].seconds


def problems(model: Any, batch: int) -> dict[Problem, list[str]]:
    """Return the different convolutions of a network, each with the names of the layers that compute it.

    The network is run on an image without values, so it must state its ``input_shape``.

    Examples
    --------
    >>> from minicnn import models
    >>> for problem, names in problems(models.lenet5(), batch=64).items():
    ...     print(names, problem.input_shape, problem.weight_shape)
    ['c1'] (64, 1, 32, 32) (6, 1, 5, 5)
    ['c3'] (64, 6, 14, 14) (16, 6, 5, 5)
    """
    found: dict[Problem, list[str]] = {}
    names = {module: name for name, module in model.named_modules()}

    def note(layer: nn.Conv2d, args: tuple[Any, ...], output: Tensor) -> None:
        window = Window2d.of("conv2d", layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        shape = (batch, *args[0].shape[1:])
        problem = Problem(shape, layer.out_channels, window, layer.groups, np.dtype(np.float32))
        found.setdefault(problem, []).append(names[layer])

    kept = [(tensor, tensor.data) for tensor in (*model.parameters(), *model.buffers())]
    training = model.training
    try:
        for tensor, data in kept:
            tensor.data = backend.meta.asarray(data)
        model.eval()
        with ExitStack() as hooks, backend.device("meta"), no_grad():
            for module in names:
                if isinstance(module, nn.Conv2d):
                    hooks.enter_context(module.register_forward_hook(note))
            model(Tensor(backend.meta.empty((1, *model.input_shape), np.float32)))
    finally:
        model.train(training)
        for tensor, data in kept:
            tensor.data = data
    return found


def measure(
    problem: Problem,
    direction: Direction,
    algorithms: Sequence[str],
    rounds: int,
    errors: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Run the algorithms in turns, each round beginning with another, for what one leaves in the caches the next finds.

    Who takes three times as long as the fastest gets no further turns.

    Parameters
    ----------
    problem : Problem
    direction : {'forward', 'backward_data', 'backward_weight'}
    algorithms : sequence of str
        The pick of ``"auto"`` and ``"im2col_chunked"`` run whether they are among them or not.
    rounds : int
        Of which the fastest counts; a run more comes first, whose memory is measured.
    errors : bool
        Whether to compute the convolution in float64 too, which takes longer than all the others.
    clock : callable
        Tells seconds.
    """
    pick = fastest(problem, direction)
    wanted = list(dict.fromkeys([*algorithms, FAMILIAR, pick]))
    answers = {name: ALGORITHMS[name].supports(problem, direction) for name in wanted}
    able = [name for name in ALGORITHMS if answers.get(name)]
    calls = {name: _call(name, direction, *_arrays(problem)) for name in able}
    exact = _call(FAMILIAR, direction, *_arrays(problem, np.dtype(np.float64)))() if errors else None
    workspaces, distances = {}, {}
    for name, call in calls.items():
        result, workspaces[name] = _watched(call, given=direction == "forward")
        distances[name] = math.nan if exact is None else _distance(result, exact)
    shortest = _take_turns(calls, rounds, clock)
    work = {name: ALGORITHMS[name].work(problem, direction) for name in calls}
    runs = {
        name: Run(
            shortest[name],
            expected(name, direction, work[name], rates()),
            workspaces[name],
            work[name].workspace(get_num_threads()),
            distances[name],
        )
        for name in calls
    }
    refusals = {name: answer.reason for name, answer in answers.items() if isinstance(answer, No)}
    return Result(problem, direction, runs, refusals, pick)


def _take_turns(calls: dict[str, Call], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Return the shortest time of each call."""
    shortest = dict.fromkeys(calls, math.inf)
    names = list(calls)
    for _ in range(rounds):
        for name in names:
            start = clock()
            calls[name]()
            shortest[name] = min(shortest[name], clock() - start)
        limit = HOPELESS * min(shortest.values())
        names = [name for name in (*names[1:], names[0]) if shortest[name] <= limit]
    return shortest


def _arrays(problem: Problem, dtype: np.dtype | None = None) -> Iterator[Any]:
    """Yield the problem's window and groups, and x, w and g in channels-last memory: the same in every dtype."""
    draw = np.random.default_rng(0)
    yield problem
    for shape in (problem.input_shape, problem.weight_shape, problem.output_shape):
        values = draw.standard_normal((shape[0], *shape[2:], shape[1]), np.float32)
        yield values.astype(dtype or problem.dtype).transpose(0, 3, 1, 2)


def _call(name: str, direction: Direction, problem: Problem, x: Any, w: Any, g: Any) -> Call:
    algorithm, window, groups = ALGORITHMS[name], problem.window, problem.groups
    if direction == "backward_data":
        return lambda: algorithm.backward_data(g, w, problem.input_shape, window, groups)
    if direction == "backward_weight":
        return lambda: algorithm.backward_weight(x, g, window, groups)
    y = empty_images(*problem.output_shape, x.dtype)

    def forward() -> Any:
        algorithm.forward(x, w, None, window, groups, y)
        return y

    return forward


def _watched(call: Call, given: bool) -> tuple[np.ndarray, int]:
    """Return a call's result, and the most bytes that it held, without the result unless that was `given`."""
    release()  # memory that waits to be used again would not be counted
    tracemalloc.start()
    try:
        with poisoned():  # whose scratch memory is new, and so is counted
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            result = call()
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, max(peak - before - (0 if given else result.nbytes), 0)


def _distance(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(found - exact)) / np.mean(np.square(exact))))
