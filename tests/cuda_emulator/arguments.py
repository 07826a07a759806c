"""The arguments of a launch: held against the kernel's own signature, and packed for the server."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import EmulatorError, Place

__all__ = ["Packed", "Parameter", "pack"]

_NAMES = {
    ("f", 4): "float",
    ("f", 8): "double",
    ("h", 2): "__half",
    ("B", 2): "__nv_bfloat16",
    ("b", 1): "bool",
    ("i", 1): "signed char",
    ("i", 2): "short",
    ("i", 4): "int",
    ("i", 8): "long long",
    ("u", 1): "unsigned char",
    ("u", 2): "unsigned short",
    ("u", 4): "unsigned int",
    ("u", 8): "unsigned long long",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel, as C++ describes it.

    Attributes
    ----------
    kind : str
        f, i, u, b (bool), h (half), B (bfloat16), S (a struct), v (void).
    pointer, constant : bool
        Whether it points to elements of this kind, and may not write to them.
    size : int
        Bytes of an element.
    """

    kind: str
    pointer: bool
    constant: bool
    size: int

    @classmethod
    def parse(cls, line: str) -> Parameter:
        """A parameter from the server's line about it."""
        kind, pointer, constant, size, _alignment = line.split()
        return cls(kind, pointer == "*", constant == "const", int(size))

    def __str__(self) -> str:
        name = {"v": "void", "S": f"struct of {self.size} bytes"}.get(self.kind) or _NAMES[
            self.kind, self.size
        ]
        return f"{'const ' * self.constant}{name}{'*' * self.pointer}"

    def accepts(self, dtype: np.dtype[Any]) -> bool:
        """Whether elements or values of this dtype are what the kernel takes them for."""
        if self.kind in "vS" and self.pointer:  # float4*, and the like: any array of plain numbers
            return dtype.isnative
        return dtype.isnative and _kind(dtype) == (self.kind, self.size)


def _kind(dtype: np.dtype[Any]) -> tuple[str, int]:
    if dtype.name == "bfloat16":
        return "B", 2
    if dtype == np.float16:
        return "h", 2
    return ("S" if dtype.kind == "V" else dtype.kind), dtype.itemsize


@dataclass
class Packed:
    """A launch's arguments as bytes; the arrays that come back changed; and for each array, changed or not, the number
    of its argument and the bytes of an element.
    """

    message: bytearray
    returned: list[np.ndarray]
    numbers: list[tuple[int, int]]


def pack(
    kernel: str, place: Place | None, parameters: Sequence[Parameter], arguments: Sequence[Any]
) -> Packed:
    """Check a launch's arguments and pack them.

    Parameters
    ----------
    kernel : str
        The instance.
    place : (file, line) or None
        Where it is defined.
    parameters : sequence of Parameter
    arguments : sequence
        Arrays, and None or np.uintp(0), for pointers; NumPy scalars or arrays of no axes for numbers; np.void for
        structs.

    Raises
    ------
    EmulatorError
        If there are too few or too many, or one is not what its parameter takes.
    """

    def refuse(what: str) -> EmulatorError:
        where = f" ({place[0]}:{place[1]})" if place else ""
        return EmulatorError(f"{kernel}{where}: {what}", "arguments", (place,) if place else ())

    if len(arguments) != len(parameters):
        raise refuse(f"takes {len(parameters)} arguments, got {len(arguments)}")
    arguments = [
        None if parameter.pointer and _is_null(a) else a
        for parameter, a in zip(parameters, arguments, strict=True)
    ]
    arrays: list[np.ndarray] = []
    writable: list[bool] = []
    packed = bytearray()
    for number, (parameter, argument) in enumerate(zip(parameters, arguments, strict=True), 1):
        if (what := _mismatch(parameter, argument)) is not None:
            raise refuse(f"argument {number} must be {_wanted(parameter)}, got {what}")
        if argument is None:
            packed += b"n"
        elif parameter.pointer:
            packed += b"p" + struct.pack("=I", _buffer(argument, not parameter.constant, arrays, writable))
        else:
            value = np.asarray(argument).tobytes()
            packed += b"v" + struct.pack("=I", len(value)) + value
    for i, array in enumerate(arrays):
        if any(np.may_share_memory(array, other) for other in arrays[:i]):
            raise refuse("two of the arrays overlap without being the same")
    message = bytearray(struct.pack("=I", len(arrays)))
    for array, written in zip(arrays, writable, strict=True):
        message += struct.pack("=QB", array.nbytes, written) + array.tobytes()
    returned = [array for array, written in zip(arrays, writable, strict=True) if written]
    numbers = [next(i for i, a in enumerate(arguments) if _same(a, array)) for array in arrays]
    items = [array.itemsize for array in arrays]
    return Packed(message + packed, returned, list(zip(numbers, items, strict=True)))


def _is_null(argument: Any) -> bool:
    return argument is None or (isinstance(argument, np.uintp) and argument == 0)


def _wanted(parameter: Parameter) -> str:
    if not parameter.pointer:
        return str(parameter)
    return f"a {'C-contiguous' if parameter.constant else 'writable, C-contiguous'} array or None for {parameter}"


def _mismatch(parameter: Parameter, argument: Any) -> str | None:
    """What the argument is, if that is not what the parameter takes."""
    if not parameter.pointer:
        if isinstance(argument, np.ndarray) and argument.ndim == 0:  # passed by value, as CuPy does
            argument = argument[()]
        if isinstance(argument, int | float) and not isinstance(argument, np.generic):
            return f"a Python {type(argument).__name__}, whose size CUDA would have to guess: wrap it in NumPy's type"
        if not isinstance(argument, np.generic):
            return "None" if argument is None else f"a {type(argument).__name__}"
        return None if parameter.accepts(argument.dtype) else f"{argument.dtype} ({argument!r})"
    if argument is None:
        return None
    if not isinstance(argument, np.ndarray):
        return f"a {type(argument).__name__}"
    if not parameter.accepts(argument.dtype):
        return f"a {argument.dtype} array"
    if not argument.flags.c_contiguous:
        return f"an array of strides {argument.strides} for shape {argument.shape}"
    return None if parameter.constant or argument.flags.writeable else "a read-only array"


def _buffer(array: np.ndarray, written: bool, arrays: list[np.ndarray], writable: list[bool]) -> int:
    """The number of an array among the buffers; the same memory is one buffer."""
    for i, other in enumerate(arrays):
        if _same(other, array):
            writable[i] = writable[i] or written
            return i
    arrays.append(array)
    writable.append(written)
    return len(arrays) - 1


def _same(argument: Any, array: np.ndarray) -> bool:
    return (
        isinstance(argument, np.ndarray)
        and argument.ctypes.data == array.ctypes.data
        and argument.nbytes == array.nbytes
    )
