"""The seam between the framework and the array library: the only place that tells NumPy from CuPy.

An operation never imports an array library.  It asks :func:`of` for the backend of the arrays it was given and calls
the functions found there, which carry NumPy's names and meanings wherever NumPy has them.  A backend is a module, one a
device:

    cpu     :mod:`minicnn.backend.cpu`, over NumPy
    meta    :mod:`minicnn.backend.meta`, shapes without values
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from . import cpu, meta

__all__ = ["device", "device_of", "get", "is_device", "of", "to_device"]

Array = Any
"""A NumPy array, or one of another library that behaves like it."""

_BACKENDS = {"cpu": cpu, "meta": meta}
_default: ContextVar[str] = ContextVar("device", default="cpu")


def of(*arrays: Array) -> Any:
    """Return the backend that all these arrays belong to.

    Raises
    ------
    TypeError
        If one of them is no array of a known library, or they are on different devices.

    Examples
    --------
    >>> import numpy as np
    >>> of(np.zeros(2), np.ones(3)).__name__
    'minicnn.backend.cpu'
    """
    for array in arrays:
        if type(array) is not cpu.Array:  # it nearly always is, and every operation asks
            return _of_others(arrays)
    return cpu


def _of_others(arrays: tuple[Array, ...]) -> Any:
    shapes_only = [meta.is_array(array) for array in arrays]
    if any(shapes_only):
        if not all(shapes_only):
            raise TypeError("the arrays must be on one device, got some on 'meta' and some on 'cpu'")
        return meta
    for array in arrays:
        if not cpu.is_array(array):
            kind = f"{type(array).__module__}.{type(array).__qualname__}"
            raise TypeError(f"minicnn computes on NumPy arrays, got {kind}")
    return cpu


def get(name: str | None = None) -> Any:
    """Return the backend of a device by its name; None is the one set by :func:`device`, else ``"cpu"``.

    Raises
    ------
    ValueError
        If there is no backend for such a device.
    """
    name = _default.get() if name is None else name
    if name not in _BACKENDS:
        raise ValueError(f"device must be 'cpu', the one this version computes on, or 'meta', got {name!r}")
    return _BACKENDS[name]


@contextmanager
def device(name: str) -> Iterator[None]:
    """Make parameters and tensors on this device inside the block, where none is named explicitly.

    Parameters
    ----------
    name : {'cpu', 'meta'}
        On ``"meta"`` arrays have a shape and a dtype, and neither values nor memory: the largest network is built at
        once, and calling it on a tensor made there tells the shape of what comes out.

    Raises
    ------
    ValueError
        If there is no such device.

    Examples
    --------
    >>> import minicnn
    >>> with minicnn.device("meta"):
    ...     wide = minicnn.nn.Linear(1_000_000, 1_000_000)
    >>> wide.weight.shape, wide.weight.device
    ((1000000, 1000000), 'meta')
    """
    get(name)
    token = _default.set(name)
    try:
        yield
    finally:
        _default.reset(token)


def is_device(name: Any) -> bool:
    """Whether this is the name of a device, there or not: not of a dtype."""
    return isinstance(name, str) and name.split(":")[0] in ("cpu", "cuda", "meta")


def device_of(array: Array) -> str:
    """Return the name of the device whose memory holds `array`."""
    return of(array).device_of(array)


def to_device(array: Array, name: str) -> Array:
    """Return `array` on the device called `name`; itself when it is there already.

    Raises
    ------
    ValueError
        If there is no such device, or the array has no values to take there.
    """
    be = get(name)
    return array if of(array) is be else be.to_device(of(array).to_numpy(array))
