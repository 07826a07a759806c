"""What the kernels of a convolution can do, asked of the ladder's own functions: they are run on paper.

On arrays without memory and a device that starts nothing, they check all that they check on a GPU.  So there is one
list of what is possible, and it is theirs.  It takes some 100 µs and is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from ..backend.cupy_device import launcher
from ..backend.gpu_rows import shape_last
from ..backend.ladder.conv2d_backward_data import conv2d_backward_data
from ..backend.ladder.conv2d_backward_weight import conv2d_backward_weight
from ..backend.ladder.conv2d_forward import conv2d_forward
from ..backend.ladder.winograd import winograd_backward_data, winograd_forward
from ..backend.launch import Launcher
from ..backend.paper import Paper, Symbol
from .problem import Direction, No, Problem

__all__ = ["Limits", "in_float32_or_64", "limits", "version_for", "winograd_can"]


class Limits(NamedTuple):
    """What a GPU can do, as far as the choice of a kernel depends on it."""

    capability: int
    multiprocessors: int
    shared_memory: int


def limits() -> Limits:
    """Return the limits of CuPy's current device."""
    device = launcher().device
    return Limits(device.capability, device.multiprocessors, device.shared_memory)


@lru_cache(maxsize=1 << 12)
def version_for(problem: Problem, direction: Direction, version: str | None, limits: Limits) -> str | No:
    """Return the version that a ladder of convolutions takes for a problem, or why it refuses.

    Parameters
    ----------
    problem : Problem
    direction : {'forward', 'backward_data', 'backward_weight'}
    version : str or None
        The one asked for, or the ladder's choice.
    limits : Limits
    """
    on = _Nowhere(limits)
    x, w, y = on.symbols(problem)
    options: Any = {"window": problem.window, "groups": problem.groups, "version": version}
    try:
        if direction == "forward":
            conv2d_forward(on, x, w, **options)
        elif direction == "backward_data":
            conv2d_backward_data(on, y, w, shape_last(problem.input_shape), **options)
        else:
            conv2d_backward_weight(on, x, y, **options)
    except (TypeError, ValueError) as error:
        return _reason(error)
    (taken,) = (name for name in on.names if name[-3:-1] == "_v")  # beside it a turn or a sum
    return taken[-2:]


@lru_cache(maxsize=1 << 12)
def winograd_can(
    problem: Problem, direction: Direction, version: str | None, limits: Limits
) -> Literal[True] | No:
    """Whether a version of ``kernels/winograd.cu``, or one of F(2×2, 3×3), computes a problem; if not, the reason."""
    on = _Nowhere(limits)
    x, w, y = on.symbols(problem)
    try:
        if direction == "forward":
            winograd_forward(on, x, w, window=problem.window, version=version)
        else:
            shape = shape_last(problem.input_shape)
            winograd_backward_data(on, y, w, shape, window=problem.window, version=version)
    except (TypeError, ValueError) as error:
        return _reason(error)
    return True


def in_float32_or_64(problem: Problem) -> Literal[True] | No:
    """Whether the dtype is float32 or float64; if not, so much."""
    if problem.dtype.name in ("float32", "float64"):
        return True
    return No(f"the dtype must be float32 or float64, got {problem.dtype}")


def _reason(error: Exception) -> No:
    """Return a refusal, without the name of the ladder's function before it."""
    return No(str(error).partition(": ")[2])


class _Nowhere(Launcher):
    """A launcher on paper: it notes the names of the kernels that it is to start."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(_Idle(limits))  # type: ignore[arg-type]  (of the device it needs the limits)
        self.names: list[str] = []

    def launch(self, name: str, *arguments: Any, **options: Any) -> None:
        self.names.append(name)
        super().launch(name, *arguments, **options)

    def symbols(self, problem: Problem) -> list[Symbol]:
        """Return x, w and y."""
        shapes = problem.input_shape, problem.weight_shape, problem.output_shape
        return [self.empty(shape_last(shape), problem.dtype) for shape in shapes]


class _Idle(Paper):
    """Paper on which nothing is written down: no kernel is compiled to be replayed."""

    def matmul(self, a: Symbol, b: Symbol, out: Symbol) -> Symbol:
        return out

    def function(self, kernel: Any, expression: str) -> Callable[..., None]:
        return _nothing


def _nothing(*arguments: Any, shared_mem: int) -> None:
    pass
