"""The rates of this machine, measured once: what the cost model multiplies counts with.

The algorithms are timed on a few small problems, for half a second in all, and the rates are those with which the model
comes closest to the times: the non-negative least squares of predicted/measured − 1, drawn towards the default
rates, for small problems are not like all others.

They are kept in the user's cache.  The file is made anew for another processor, BLAS, version of NumPy or of the
algorithms.  The environment variable MINICNN_RATES overrides all of this: ``default`` for rates written down in the
program, which measures nothing and chooses the same algorithms everywhere, or the path of a file to keep rates in.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import cache
from ..atomic import replacing
from ..backend.cpu import full_images
from ..backend.machine import blas_name, cpu_name
from ..backend.parallel import get_num_threads
from ..geometry import Window2d
from .algorithms import ALGORITHMS
from .model import DEFAULT, FACTORS, KINDS, Rates, shared_counts
from .problem import DIRECTIONS, Problem

__all__ = ["calibrate", "rates"]

VERSION = 5  # of the model and of the algorithms' descriptions of their work: to be raised when they change
SECONDS = 0.5  # of measuring
PULL = 0.3  # towards the default rates, as a part of the weight of one measurement

SHAPES = [  # input (N, C, H, W), K, kernel, stride, padding
    ((2, 64, 56, 56), 64, 3, 1, 1),
    ((2, 256, 14, 14), 256, 3, 1, 1),
    ((2, 256, 28, 28), 64, 1, 1, 0),
    ((2, 64, 28, 28), 256, 1, 1, 0),
    ((2, 3, 64, 64), 32, 7, 2, 3),
    ((4, 16, 14, 14), 32, 5, 1, 2),
    ((32, 1, 28, 28), 6, 5, 1, 2),
    ((2, 32, 28, 28), 48, 3, 1, 1),
]
LEFT_OUT = {"direct", "im2col", "fft"}  # slow, and never chosen for such problems

_lock = threading.Lock()
_known: dict[str, Rates] = {}


def rates() -> Rates:
    """Return the rates of this machine: those in use, in the cache, or measured now.

    Raises
    ------
    OSError, ValueError
        If MINICNN_RATES names a file that is there and has no rates.
    """
    asked = os.environ.get("MINICNN_RATES", "")
    if asked not in _known:
        with _lock:
            if asked not in _known:
                _known[asked] = DEFAULT if asked == "default" else _kept(asked)
    return _known[asked]


def calibrate() -> Rates:
    """Measure the rates anew, use them from now on, and keep them in the cache if it can be written.

    Takes about half a second, on as many threads as :func:`minicnn.get_num_threads` says.
    """
    asked = os.environ.get("MINICNN_RATES", "")
    with _lock:
        _known[asked] = found = _measured()
        if asked != "default":
            _keep(Path(asked) if asked else _cache_file(), found)
    return found


# In a file


def _kept(asked: str) -> Rates:
    path = Path(asked) if asked else _cache_file()
    try:
        return _read(path)
    except (FileNotFoundError, PermissionError, NotADirectoryError, _Outdated):
        pass
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        warnings.warn(
            f"conv: the rates in {path} cannot be read ({type(error).__name__}: {error}); they are measured anew",
            RuntimeWarning,
            stacklevel=2,
        )
    found = _measured()
    _keep(path, found)
    return found


class _Outdated(Exception):
    """The rates are of another machine or another version."""


def _read(path: Path) -> Rates:
    record = json.loads(path.read_text())
    if record["of"] != _identity():
        raise _Outdated
    found = Rates(**record["rates"])
    if not all(isinstance(rate, int | float) and math.isfinite(rate) and rate >= 0 for rate in found[:KINDS]):
        raise ValueError(f"a rate is a finite number of at least 0, got {found}")
    if not isinstance(found.threads, int) or found.threads < 1:
        raise ValueError(f"threads must be an int of at least 1, got {found.threads}")
    return found


def _keep(path: Path, found: Rates) -> None:
    """Write the rates; where the folder cannot be written, every process measures for itself."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"of": _identity(), "rates": found._asdict()}, indent=1) + "\n")
    except OSError:
        pass


def _identity() -> dict[str, Any]:
    """Return what the rates belong to."""
    return {"version": VERSION, "cpu": cpu_name(), "blas": blas_name(), "numpy": np.__version__}


def _cache_file() -> Path:
    return cache.folder() / "conv-rates.json"


# By measuring


class _Timed(NamedTuple):
    """An algorithm's run of a problem in one direction: "algorithm direction", its counts, the call."""

    name: str
    counts: np.ndarray
    call: Callable[[], Any]


def _measured() -> Rates:
    """Time the algorithms on the small problems, and solve for the rates."""
    runs = [run for shape in SHAPES for run in _runs(*shape)]
    fastest = np.full(len(runs), math.inf)
    for run in runs:  # the first call allocates, and loads code
        run.call()
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or not np.isfinite(fastest).all():
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run.call()
            fastest[i] = min(fastest[i], time.perf_counter() - start)
    system = np.array([run.counts * FACTORS.get(run.name, 1) for run in runs])
    return Rates(*_solved(system, fastest).tolist(), threads=get_num_threads())


def _runs(
    input_shape: tuple[int, int, int, int], kernels: int, kernel: int, stride: int, padding: int
) -> list[_Timed]:
    """Return what to run for a problem: each algorithm that can, in each direction."""
    window = Window2d.of("calibrate", kernel, stride, padding)
    problem = Problem(input_shape, kernels, window)
    x, y = (full_images(*shape, problem.dtype, 1) for shape in (input_shape, problem.output_shape))
    w = full_images(*problem.weight_shape, problem.dtype, 1)
    arguments = {
        "forward": (x, w, None, window, 1, y),
        "backward_data": (y, w, input_shape, window, 1),
        "backward_weight": (x, y, window, 1),
    }
    return [
        _Timed(
            f"{name} {direction}",
            shared_counts(algorithm.work(problem, direction), get_num_threads()),
            partial(getattr(algorithm, direction), *arguments[direction]),
        )
        for direction in DIRECTIONS
        for name, algorithm in ALGORITHMS.items()
        if name not in LEFT_OUT and algorithm.supports(problem, direction)
    ]


def _solved(system: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return the rates r ≥ 0 that minimise Σ (system·r / measured − 1)² + PULL·runs·Σ (r / default − 1)²."""
    default = np.array(DEFAULT[:KINDS])
    pull = np.sqrt(PULL * len(measured)) * np.eye(KINDS)
    rows = np.vstack([system * default / measured[:, None], pull])
    return default * _non_negative(rows, np.concatenate([np.ones(len(measured)), pull.diagonal()]))


def _non_negative(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return least squares of a·x = b with x ≥ 0: what would be most negative is set to 0, until nothing is."""
    x, free = np.zeros(a.shape[1]), np.ones(a.shape[1], bool)
    while free.any():
        x[:] = 0
        x[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
        if (x >= 0).all():
            break
        free[np.argmin(x)] = False
    return x
