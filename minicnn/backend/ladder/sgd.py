"""Gradient descent on a device: the ladder of ``kernels/sgd.cu``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arguments import ceil_div, chosen, flat

__all__ = ["CHUNK", "LADDER", "chunk_options", "chunks_of", "sgd", "sgd_chunks"]

Array = Any

LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    "sgd": {"v1": ("sgd_v1",), "v2": ("sgd_v2",), "v3": ("sgd_v3",)},
    "sgd_chunks": {"v1": ("sgd_chunks_v1",)},
}

THREADS = 256  # of a block
CHUNK = 1024  # elements of a block of sgd_chunks


def sgd(
    on: Any,
    p: Array,
    g: Array,
    v: Array | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    first: bool = False,
    version: str | None = None,
) -> None:
    """Take one step down the gradient, as :class:`minicnn.optim.SGD` does; p and v change in place.

    Parameters
    ----------
    on : Launcher
    p, g : of one shape, float32 or float64
        Parameter and gradient.
    v : the same
        The velocity, zeros before the first step; where there is momentum, and only there.
    lr, momentum, dampening, weight_decay : float
    nesterov, maximize : bool
    first : bool
        Whether this is the first step: it is not dampened.
    version : str, optional
        Of ``LADDER``; by default the fastest for the case.

    Raises
    ------
    TypeError, ValueError
        For arrays or options that do not fit, or a version that cannot do the case.
    """
    op = "sgd"
    _check_nesterov(op, nesterov, momentum, dampening)
    if (v is None) != (momentum == 0):
        given = "none" if v is None else "one"
        raise ValueError(
            f"{op}: v must be given with momentum, and only then; got {given}, momentum={momentum}"
        )
    shapes = [a.shape for a in (p, g, v) if a is not None]
    if len(set(shapes)) > 1:
        raise ValueError(f"{op}: p, g and v must have one shape, got {', '.join(map(str, shapes))}")
    arrays = flat(op, "p", p), flat(op, "g", g), None if v is None else flat(op, "v", v)
    unfit = {"v3": "takes float32, got float64"} if p.dtype == np.float64 else {}
    version = chosen(op, version, LADDER[op], unfit)
    options = chunk_options(lr, momentum, dampening, weight_decay, maximize, first)
    if version == "v1":
        _line_by_line(on, *arrays, options, nesterov)
    else:
        each = 4 if version == "v3" else 1
        grid = (ceil_div(p.size, each * THREADS),)
        on.launch(LADDER[op][version][0], grid, (THREADS,), *arrays, p.size, *options, nesterov)


def sgd_chunks(
    on: Any, p: Array, g: Array, v: Array, group: Array, options: Array, *, nesterov: bool = False
) -> None:
    """Take one step with all parameters of a network, which stand in one buffer; p and v change in place.

    Parameters
    ----------
    on : Launcher
    p, g, v : (chunks, 1024), of float32
        Each parameter begins with a chunk (:func:`chunks_of`); where it ends within one, zeros follow.
    group : (chunks,), of int32
        The row of `options` that a chunk has.  The kernel believes it.
    options : (groups, 5), of float32
        One :func:`chunk_options` a row.
    nesterov : bool

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit.

    Notes
    -----
    A table of the arrays' addresses would spare the one buffer, but addresses hidden in an array of integers are
    beyond every check: of the launcher's, and of the emulator's sanitizers.
    """
    for name, array, width in (("p", p, CHUNK), ("g", g, CHUNK), ("v", v, CHUNK), ("options", options, 5)):
        if array.shape[1:] != (width,):
            raise ValueError(f"sgd_chunks: {name} must have rows of {width}, got shape {array.shape}")
    on.launch("sgd_chunks_v1", (p.shape[0],), (THREADS,), p, g, v, group, options, nesterov)


def chunk_options(
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    maximize: bool = False,
    first: bool = False,
) -> tuple[float, float, float, float, float]:
    """Return the numbers that the kernels compute with: rate, momentum, the new gradient's share, decay and sign.

    Examples
    --------
    >>> chunk_options(0.1, momentum=0.9, dampening=0.25)
    (0.1, 0.9, 0.75, 0.0, 1.0)
    """
    return lr, momentum, 1.0 if first else 1.0 - dampening, weight_decay, -1.0 if maximize else 1.0


def chunks_of(sizes: Sequence[int]) -> list[slice]:
    """Return where parameters of these sizes stand in a buffer of whole chunks each.

    Examples
    --------
    >>> chunks_of([1500, 10])
    [slice(0, 1500, None), slice(2048, 2058, None)]
    """
    places, start = [], 0
    for size in sizes:
        places.append(slice(start, start + size))
        start += ceil_div(size, CHUNK) * CHUNK
    return places


def _check_nesterov(op: str, nesterov: bool, momentum: float, dampening: float) -> None:
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(
            f"{op}: nesterov needs momentum above 0 and dampening 0, got momentum={momentum}, dampening={dampening}"
        )


def _line_by_line(
    on: Any, p: Array, g: Array, v: Array | None, options: tuple[float, ...], nesterov: bool
) -> None:
    """Launch v1 for each line of the rule."""
    rate, momentum, fresh, decay, sign = options

    def combine(x: Array, y: Array, out: Array, alpha: float, beta: float) -> Array:
        on.launch("sgd_v1", (ceil_div(p.size, THREADS),), (THREADS,), x, y, out, p.size, alpha, beta)
        return out

    d = combine(g, p, on.empty(p.shape, p.dtype), sign, decay)
    if v is not None:
        combine(v, d, v, momentum, fresh)
        d = combine(d, v, d, 1.0, momentum) if nesterov else v
    combine(p, d, p, 1.0, -rate)
