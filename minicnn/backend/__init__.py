"""The seam between the framework and the array library: the only place that tells NumPy from CuPy.

An operation never imports an array library.  It asks :func:`of` for the backend of the arrays it was given and calls
the functions found there, which carry NumPy's names and meanings wherever NumPy has them.  A backend is a module;
:mod:`minicnn.backend.cpu` is the one over NumPy, and its ``__all__`` is the list of what a backend offers.
"""

from __future__ import annotations

from typing import Any

from . import cpu

__all__ = ["device_of", "get", "of", "to_device"]

Array = Any
"""A NumPy array, or one of another library that behaves like it."""


def of(*arrays: Array) -> Any:
    """Return the backend that all these arrays belong to.

    Raises
    ------
    TypeError
        If one of them is no array of a known library.

    Examples
    --------
    >>> import numpy as np
    >>> of(np.zeros(2), np.ones(3)).__name__
    'minicnn.backend.cpu'
    """
    for array in arrays:
        if not cpu.is_array(array):
            kind = f"{type(array).__module__}.{type(array).__qualname__}"
            raise TypeError(f"minicnn computes on NumPy arrays, got {kind}")
    return cpu


def get(device: str) -> Any:
    """Return the backend of a device by its name, ``"cpu"``.

    Raises
    ------
    ValueError
        If there is no backend for such a device.
    """
    if device != "cpu":
        raise ValueError(f"device must be 'cpu', the one this version computes on, got {device!r}")
    return cpu


def device_of(array: Array) -> str:
    """Return the name of the device whose memory holds `array`."""
    return of(array).device_of(array)


def to_device(array: Array, device: str) -> Array:
    """Return `array` on `device`; itself when it is there already."""
    return get(device).to_device(array)
