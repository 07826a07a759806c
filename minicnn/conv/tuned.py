"""Which algorithm was the fastest for a problem on a GPU: measured once, kept, and read again.

What was measured is kept in the user's cache, in one JSON file a kind of GPU, and serves every later process.  So a
machine's choices, and with them the rounding of its results, stay the same until minicnn's kernels or CuPy change:
different algorithms add the same products up in different orders.  The file is written under another name and then
renamed, together with what other processes have put there meanwhile; one that is damaged is ignored, which is said
once.

:func:`pin` goes further: the choices of its file are taken as they are, on any GPU, and never measured.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from .. import cache
from ..atomic import replacing
from ..backend import kernels
from .algorithms import algorithms
from .problem import Direction, Problem

__all__ = ["Store", "autotune", "choices", "is_on", "key", "pin", "pinned", "settings", "store"]

VERSION = 1  # of the algorithms' host side: to be raised when one becomes faster
PAUSE = 2.0  # seconds between two times that a file is written: a network has some hundred problems

_autotune: ContextVar[bool | None] = ContextVar("autotune", default=None)
_lock = threading.RLock()
_pinned: dict[str, str] = {}
_stores: dict[Path, Store] = {}
_changes = 0  # of the pins


def key(problem: Problem, direction: Direction, tf32: bool) -> str:
    """Return what a choice depends on beside the GPU, in words.

    Examples
    --------
    >>> from minicnn.geometry import Window2d
    >>> key(Problem((8, 64, 56, 56), 128, Window2d.of("conv2d", 3, padding=1)), "forward", tf32=False)
    'forward float32 8x64x56x56, 128 of 3x3, stride 1x1, padding 1x1x1x1, dilation 1x1, groups 1'
    """
    window = problem.window
    dtype = "tf32" if tf32 and problem.dtype.name == "float32" else problem.dtype.name
    return (
        f"{direction} {dtype} {_by(problem.input_shape)}, {problem.kernels} of {_by(window.kernel)}, stride "
        f"{_by(window.stride)}, padding {_by(window.padding)}, dilation {_by(window.dilation)}, groups {problem.groups}"
    )


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


# Whether to measure


@contextmanager
def autotune(enabled: bool = True) -> Iterator[None]:
    """Let ``"auto"`` time the algorithms of convolutions on a GPU inside the block, or choose by a count of the work.

    A problem is timed when it is first met, which takes some runs of each algorithm; then the choice is kept, also for
    later processes.  The count takes no time, chooses the same on every GPU of a kind, and knows nothing of Winograd's
    algorithm nor of cuBLAS.  Outside of such blocks it is used where the environment variable MINICNN_AUTOTUNE is 0.

    Parameters
    ----------
    enabled : bool

    Examples
    --------
    >>> with autotune(False):
    ...     is_on()
    False
    """
    token = _autotune.set(bool(enabled))
    try:
        yield
    finally:
        _autotune.reset(token)


def is_on() -> bool:
    """Whether ``"auto"`` times algorithms here.

    Raises
    ------
    ValueError
        If the environment variable is neither 0 nor 1.
    """
    asked = _autotune.get()
    if asked is not None:
        return asked
    value = os.environ.get("MINICNN_AUTOTUNE") or "1"
    if value not in ("0", "1"):
        raise ValueError(f"conv: the environment variable MINICNN_AUTOTUNE must be 0 or 1, got {value!r}")
    return value == "1"


def settings() -> tuple[bool, int]:
    """Return what tells times of other choices apart: :func:`is_on`, and how often pins have changed."""
    return is_on(), _changes


# What is pinned


def pin(source: str | os.PathLike[str] | Mapping[str, str] | None) -> None:
    """Take the algorithms of convolutions on a GPU from here from now on, where none is named explicitly.

    What `source` does not mention is chosen as before; with ``autotune(False)`` too, or where it mentions all, a run
    chooses the same algorithms again whatever the machine measures.

    Parameters
    ----------
    source : path, mapping or None
        What :func:`choices` returned, or a JSON file of that; or the file of the user's cache.  None pins nothing any
        more.

    Raises
    ------
    OSError, ValueError
        If there is no such file, or no choices in it.

    Examples
    --------
    >>> pin({"forward float32 1x1x3x3, 1 of 2x2, stride 1x1, padding 0x0x0x0, dilation 1x1, groups 1": "im2col"})
    >>> pin(None)
    """
    global _changes, _pinned
    place = "the mapping" if source is None or isinstance(source, Mapping) else source
    try:
        record = (
            json.loads(Path(source).read_text()) if isinstance(source, str | os.PathLike) else source or {}
        )
        found = _checked(record.get("choices", record) if isinstance(record, Mapping) else record)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"pin: {place} has no choices: {error}") from error
    with _lock:
        _pinned = found
        _changes += 1


def pinned(key: str) -> str | None:
    """Return the algorithm pinned for a problem, if one is."""
    return _pinned.get(key)


def choices() -> dict[str, str]:
    """Return the algorithms that were the fastest here: those measured, and those read from the cache for this GPU.

    Returns
    -------
    dict of str to str
        From a problem in words to the name of an algorithm, for :func:`pin` and for ``json.dump``.

    Examples
    --------
    >>> pin(choices())
    >>> pin(None)
    """
    with _lock:
        return {key: name for one in _stores.values() for key, name in one.known.items()}


def _checked(found: Any) -> dict[str, str]:
    names = algorithms("cuda")
    if not isinstance(found, Mapping):
        raise TypeError(f"choices are a mapping of problems to algorithms, got {type(found).__name__}")
    for key, name in found.items():
        if not isinstance(key, str) or name not in names:
            raise ValueError(
                f"an algorithm must be one of {', '.join(map(repr, names))}, got {name!r} for {key!r}"
            )
    return dict(found)


# What is kept


class Store:
    """The choices for a kind of GPU, in memory and in a file.

    Parameters
    ----------
    path : Path
    of : mapping of str
        What they belong to; the choices of others in the file are forgotten.
    """

    def __init__(self, path: Path, of: Mapping[str, Any]) -> None:
        self.path, self.of = path, dict(of)
        self.known = self._read(warn=True)
        self._new: dict[str, str] = {}
        self._due = 0.0
        atexit.register(self.save)

    def keep(self, key: str, name: str) -> None:
        """Add a choice; it is in the file at the end of the process, or sooner."""
        with _lock:
            self.known[key] = self._new[key] = name
            if time.monotonic() >= self._due:
                self.save()

    def save(self) -> None:
        """Write what is new to the file, if it can be written, beside what other processes have put there."""
        with _lock:
            if not self._new:
                return
            self.known |= self._read(warn=False) | self._new
            self._new = {}
            self._due = time.monotonic() + PAUSE
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(self.path) as temporary:
                    temporary.write_text(json.dumps({"of": self.of, "choices": self.known}, indent=1) + "\n")
            except OSError:
                pass  # then every process measures for itself

    def _read(self, warn: bool) -> dict[str, str]:
        try:
            record = json.loads(self.path.read_text())
            return _checked(record["choices"]) if record["of"] == self.of else {}
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            return {}
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            if warn:
                warnings.warn(
                    f"conv: the choices in {self.path} cannot be read ({type(error).__name__}: {error}); they are "
                    "measured anew",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return {}


def store(gpu: str, cupy: str) -> Store:
    """Return the choices for a kind of GPU, with the CuPy and the kernels that are here.

    Parameters
    ----------
    gpu : str
        Its name, as the driver has it.
    cupy : str
        CuPy's version.
    """
    path = cache.folder() / f"conv-choices-{re.sub('[^A-Za-z0-9]+', '-', gpu)}.json"
    with _lock:
        if path not in _stores:
            of = {"version": VERSION, "gpu": gpu, "cupy": cupy, "kernels": _kernels_hash()}
            _stores[path] = Store(path, of)
        return _stores[path]


@functools.cache
def _kernels_hash() -> str:
    files = sorted(path for path in kernels.folder().iterdir() if path.suffix in (".cu", ".cuh"))
    return hashlib.sha256(
        b"\0".join(path.name.encode() + b"\0" + path.read_bytes() for path in files)
    ).hexdigest()
