"""The candidates of a row: each is tried, and whatever becomes of it is its result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from kernel_speed.rows import Wrong, line, rounded

UNITS = ("fp32", "tf32", "bf16")
"""What products are made of: float32, or numbers rounded to fewer bits."""

NOT_MEASURED = {"wrong", "refused", "failed", "out_of_memory"}
"""Why a candidate has no time, by which its result says so."""

Answer = Mapping[str, np.ndarray]

_TOLERANCE = {
    "scores": {"fp32": 1e-2, "tf32": 0.1, "bf16": 0.5},
    "loss": {"fp32": 1e-3, "tf32": 1e-2, "bf16": 0.1},
}
_OF_GRADIENTS = 0.5
"""How far an answer may be from PyTorch's in float32, as a part of its norm.  Rounding moves values across the kinks of
ReLUs and maxima, where gradients jump, and each batch normalisation on the way back makes more of it: with random
weights those of Inception v3's first layers are 6 % apart between any two ways in float32, and PyTorch's own in
bfloat16 have no digit of these.  So where products are rounded, only norms are compared.  What is wrong is off by its
whole norm."""


class Trials:
    """What became of each candidate.

    Parameters
    ----------
    device : kernel_speed.hardware.Gpu, or what has the same methods
    trying : callable
        Is told each candidate's name before it is tried: it may be the process's end.
    given_up : mapping
        Those not to try, and why.
    """

    def __init__(self, device: Any, trying: Callable[[str], None], given_up: Mapping[str, str]) -> None:
        self.device, self.trying, self.given_up = device, trying, given_up
        self.results: dict[str, dict[str, Any]] = {}

    def wanted(self, *names: str) -> list[str]:
        """Return those to try; the others get their result."""
        for name in names:
            if name in self.given_up:
                self.results[name] = {"failed": self.given_up[name]}
        return [name for name in names if name not in self.given_up]

    @contextmanager
    def trial(self, *names: str) -> Iterator[dict[str, Any]]:
        """Let what goes wrong in the block be these candidates' result; it may fill the one that it is given."""
        self.trying(names[0])
        result: dict[str, Any] = {}
        try:
            yield result
        except Wrong as error:
            result["wrong"] = line(error)
        except ValueError as error:  # it says what it cannot do
            result["refused"] = line(error)
        except Exception as error:
            why = "out_of_memory" if is_for_want_of_memory(error) else "failed"
            result[why] = f"{type(error).__name__}: {line(error)}"
            self.device.synchronize()  # raises, if the GPU cannot go on
        for name in names:
            self.results[name] = {**self.results.get(name, {}), **result}

    def is_right(self, name: str) -> bool:
        return not NOT_MEASURED & self.results[name].keys()


def is_for_want_of_memory(error: Exception) -> bool:
    """Whether it is Python's, CuPy's or minicnn's error, or PyTorch's, which is none of Python's."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def error_of(found: Answer, expected: Answer, unit: str) -> float:
    """Return how far an answer is off, as a part of its norm, where it is furthest for what may be.

    Raises
    ------
    Wrong
        If it is too far.
    """
    worst = (-1.0, 0.0, "")  # as a part of what may be, itself, of what
    for name, right in expected.items():
        distance = apart if name in _TOLERANCE or unit == "fp32" else longer
        off = distance(found[name], right)
        allowed = _TOLERANCE[name][unit] if name in _TOLERANCE else _OF_GRADIENTS
        if not off <= allowed:  # NaN is never right
            raise Wrong(f"{name} {off:.1e} of its norm off, allowed are {allowed:g}")
        worst = max(worst, (off / allowed, off, name))
    return rounded(worst[1])


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Return the norm of the difference as a part of the larger norm; infinite where there is no number."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    return float(np.linalg.norm(a - b) / (max(np.linalg.norm(a), np.linalg.norm(b)) or 1.0))


def longer(a: np.ndarray, b: np.ndarray) -> float:
    """Return the difference of the norms as a part of the larger one; infinite where there is no number."""
    if a.shape != b.shape:
        return math.inf
    return apart(*(np.linalg.norm(np.asarray(x, np.float64)) for x in (a, b)))
