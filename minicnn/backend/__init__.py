"""The seam between the framework and the array library: the only place that tells NumPy from CuPy.

An operation never imports an array library.  It asks :func:`of` for the backend of the arrays it was given and calls
the functions found there, which carry NumPy's names and meanings wherever NumPy has them.  A backend is a module, one a
kind of device:

    cpu     :mod:`minicnn.backend.cpu`, over NumPy
    cuda    :mod:`minicnn.backend.gpu`, over CuPy; ``"cuda:1"`` is the second GPU, ``"cuda"`` CuPy's current one
    meta    :mod:`minicnn.backend.meta`, shapes without values

CuPy is imported when the first of its arrays is met or a GPU is asked for, and not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from . import cpu, meta

__all__ = ["device", "device_of", "get", "is_device", "is_float", "is_on", "of", "on", "running", "to_device"]

Array = Any
"""A NumPy array, or one of another library that behaves like it."""

_default: ContextVar[str] = ContextVar("device", default="cpu")
is_float = cpu.is_float


def of(*arrays: Array, op: str = "") -> Any:
    """Return the backend that all these arrays belong to.

    Parameters
    ----------
    *arrays : arrays
    op : str, optional
        What is to be done with them, for the error message.

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
            return _of_others(arrays, op)
    return cpu


def _of_others(arrays: tuple[Array, ...], op: str) -> Any:
    be = _of_one(arrays[0])
    place = be.place(arrays[0])
    for array in arrays[1:]:
        if _of_one(array) is not be or be.place(array) != place:
            names = sorted({_of_one(one).device_of(one) for one in arrays}, reverse=True)
            raise TypeError(
                f"{op}{': ' * bool(op)}the arrays must be on one device, got some on "
                f"{' and some on '.join(map(repr, names))}"
            )
    return be


def _of_one(array: Array) -> Any:
    known = globals().get("gpu")  # where its import puts it: to import it anew takes twice as long
    if known is not None and type(array) is known.Array:
        return known
    if meta.is_array(array):
        return meta
    if cpu.is_array(array):
        return cpu
    if type(array).__module__.partition(".")[0] == "cupy" and (gpu := _gpu()).is_array(array):
        return gpu
    kind = f"{type(array).__module__}.{type(array).__qualname__}"
    raise TypeError(f"minicnn computes on NumPy and CuPy arrays, got {kind}")


def _gpu() -> Any:
    from . import gpu

    return gpu


def get(name: str | None = None) -> Any:
    """Return the backend of a device by its name; None is the one set by :func:`device`, else ``"cpu"``.

    Raises
    ------
    ValueError
        If there is no such device.
    RuntimeError
        If it is a GPU and something is missing that it needs: one sentence says what, and what mends it.

    Examples
    --------
    >>> get("cpu").__name__
    'minicnn.backend.cpu'
    """
    name = _default.get() if name is None else name
    if name == "cpu":
        return cpu
    if name == "meta":
        return meta
    kind, _, number = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind != "cuda" or (":" in name and not number.isdecimal()):
        raise ValueError(f"device must be 'cpu', 'cuda', 'cuda:N' or 'meta', got {name!r}")
    from . import gpu_state

    gpu_state.require()
    gpu = _gpu()
    if number and int(number) >= gpu.count():
        raise ValueError(f"device {name!r}: the GPUs here are numbered from 0 to {gpu.count() - 1}")
    return gpu


@contextmanager
def on(name: str | None = None) -> Iterator[Any]:
    """Make new arrays on a device inside the block; gives its backend.

    Parameters
    ----------
    name : str, optional
        As :func:`get` takes it.

    Raises
    ------
    ValueError, RuntimeError
        As :func:`get`.

    Examples
    --------
    >>> with on("cpu") as be:
    ...     be.zeros(2)
    array([0., 0.])
    """
    name = _default.get() if name is None else name
    be = get(name)
    with be.current(int(name.partition(":")[2])) if ":" in name else nullcontext():
        yield be


@contextmanager
def device(name: str) -> Iterator[None]:
    """Make parameters and tensors on this device inside the block, where none is named explicitly.

    Parameters
    ----------
    name : {'cpu', 'cuda', 'cuda:N', 'meta'}
        On ``"meta"`` arrays have a shape and a dtype, and neither values nor memory: the largest network is built at
        once, and calling it on a tensor made there tells the shape of what comes out.

    Raises
    ------
    ValueError
        If there is no such device.
    RuntimeError
        If it is a GPU, and something is missing that it needs.

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


def running(op: str, *arrays: Array) -> AbstractContextManager[Any]:
    """Return the context in which an operation computes on these arrays.

    NaN and ∞ arise in it without a warning: they are values, and show in the result.  On a GPU the arrays' device is
    the current one, and what does not fit into its memory raises MemoryError, with `op`, what was asked for and what
    there is.
    """
    return of(*arrays, op=op).running(op, *arrays)


def is_device(name: Any) -> bool:
    """Whether this is the name of a device, there or not: not of a dtype."""
    return isinstance(name, str) and name.split(":")[0] in ("cpu", "cuda", "meta")


def is_on(array: Array, name: str) -> bool:
    """Whether `array` is on the device called `name`.

    Raises
    ------
    ValueError, RuntimeError
        If there is no such device, or something is missing that it needs.
    """
    with on(name) as be:
        return of(array) is be and be.is_here(array)


def placed(value: Any, name: str | None) -> tuple[Any, str | None]:
    """Return an array of a GPU on the device called `name`, and that name; anything else as it is.

    Where `name` is None it is the device that :func:`device` says, and without that an array stays where it is.
    """
    if type(value).__module__.partition(".")[0] == "cupy":
        name = name or (device_of(value) if _default.get() == "cpu" else _default.get())
        value = to_device(value, name)
    return value, name


def device_of(array: Array) -> str:
    """Return the name of the device whose memory holds `array`."""
    return of(array).device_of(array)


def to_device(array: Array, name: str) -> Array:
    """Return `array` on the device called `name`, laid out in memory as it was; itself when it is there already.

    Raises
    ------
    ValueError
        If there is no such device, or the array has no values to take there.
    RuntimeError
        If it is a GPU, and something is missing that it needs.
    MemoryError
        If it does not fit into the GPU's memory.
    """
    with on(name) as be:
        source = of(array)
        if source is be:
            return array if be.is_here(array) else be.copy_here(array)
        return be.to_device(source.to_numpy(array))
