"""The random generator that every draw comes from, unless a call is handed another one."""

from __future__ import annotations

from typing import Any

from . import backend

__all__ = ["default_generator", "manual_seed"]

_generator: list[Any] = []


def manual_seed(n: int) -> Any:
    """Start the default generator anew from the seed `n`, and return it.

    Weights drawn, dropout masks and shuffles that follow are then the same on every run.

    Parameters
    ----------
    n : int, at least 0

    Raises
    ------
    ValueError
        If `n` is no such int.

    Examples
    --------
    >>> _ = manual_seed(0)
    >>> round(default_generator().random(), 6)
    0.636962
    """
    if isinstance(n, bool) or not hasattr(n, "__index__") or n < 0:
        raise ValueError(f"manual_seed: n must be an int of at least 0, got {n!r}")
    _generator[:] = [backend.get("cpu").new_generator(n)]
    return _generator[0]


def default_generator() -> Any:
    """Return the default generator, a :class:`numpy.random.Generator`; unseeded until :func:`manual_seed`."""
    if not _generator:
        _generator.append(backend.get("cpu").new_generator())
    return _generator[0]
