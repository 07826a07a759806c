"""Starting a CUDA kernel, with every argument checked against the kernel's own signature first.

A kernel takes pointers and believes what it is told: a float64 array read as float32, a transposed view, one argument
too few or a size one too large give a wrong answer, or none at all.  CuPy checks none of it.  So every launch goes
through a :class:`Launcher`, which reads the signature and the shapes in the comments of the ``.cu`` file
(:mod:`.cuda_source`) and holds the arguments to them; then it instantiates the template: element types from the arrays,
``Index`` as int or long long by their sizes, the rest as asked.

Only the instances a kernel's comment lists are started, for only they are compiled and run by the tests.

What a launcher starts kernels on is a :class:`Device`: the GPU through CuPy (:mod:`.cupy_device`), or the tests'
emulator.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import combinations
from typing import Any, Protocol

import numpy as np

from .cuda_source import Kernel, Parameter, kernel
from .paper import Packed, Varying
from .plan import ALIGNMENT, Plans

__all__ = ["Device", "Launcher"]

Array = Any
"""An array of the device's library."""

ELEMENTS = {
    "float": "float32",
    "double": "float64",
    "__half": "float16",
    "__nv_bfloat16": "bfloat16",
    "bool": "bool",
    "unsigned char": "uint8",
    "int": "int32",
    "unsigned": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
}
"""C++ types and the dtypes of their arrays; bfloat16 is ml_dtypes'."""

SUMS = {"__half": "float", "__nv_bfloat16": "float"}
"""``accumulator_t`` of common.cuh: what numbers of a type are added up in, where that is another type."""

INT32_MAX = 2**31 - 1
MAX_THREADS = 1024
MAX_GRID = (INT32_MAX, 65535, 65535)
NULL = np.uintp(0)  # for a pointer: of None some versions of CuPy 13 make another address


class Device(Protocol):
    """What a launcher needs of a device."""

    capability: int
    """Its compute capability, 90 for sm_90."""
    multiprocessors: int
    shared_memory: int
    """The most bytes of shared memory a block may have."""

    def holds(self, array: Any) -> bool:
        """Whether this is an array in the device's memory."""
        ...

    def address(self, array: Array) -> int:
        """Return where in its memory an array begins."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return a new C-contiguous array of unspecified values."""
        ...

    def view(
        self, array: Array, offset: int, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...]
    ) -> Array:
        """Return an array over the memory of another one, `offset` bytes from its beginning."""
        ...

    def matmul(self, a: Array, b: Array, out: Array) -> Array:
        """Write the (batched) matrix product a @ b to `out`, by the vendor's library."""
        ...

    def function(self, kernel: Kernel, expression: str) -> Callable[..., None]:
        """Return what starts this instance: ``f(grid, block, arguments, shared_mem=bytes)``, as CuPy's RawKernel.

        A null pointer is ``np.uintp(0)`` among the arguments.
        """
        ...


class Launcher:
    """Starts kernels on one device.

    Parameters
    ----------
    device : Device
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.plans = Plans()

    def empty(self, shape: Sequence[int], dtype: Any) -> Array:
        """Return a new C-contiguous array on the device, of unspecified values."""
        return self.device.empty(tuple(shape), dtype)

    def matmul(self, a: Array, b: Array, out: Array) -> Array:
        """Write the matrix product a @ b, of stacks of matrices too, to `out`, by the vendor's library (cuBLAS)."""
        return self.device.matmul(a, b, out)

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Return ``function(self, *arguments, **options)``, checked once for calls that are alike (:mod:`.plan`).

        Parameters
        ----------
        function : callable
            Of :mod:`.ladder`.  What it does on the host may depend on nothing but its arguments, and it must be the
            same object at each call.
        *arguments, **options
            Its arguments.

        Returns
        -------
        What the function returns.

        Raises
        ------
        Exception
            What the function raises.
        """
        return self.plans.run(self, function, arguments, options)

    def launch(
        self,
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        *arguments: Any,
        shared: int = 0,
        **template: Any,
    ) -> None:
        """Check the arguments and start a kernel; does not wait for its end.

        Parameters
        ----------
        name : str
            The kernel's, ``"lrn_forward_v2"``.
        grid, block : sequences of one to three ints
            Blocks in the grid, threads in a block.
        *arguments : arrays, numbers, mappings (for structs) and None (for pointers that may be null)
            As many as the kernel has parameters, in their order.
        shared : int
            Bytes of dynamic shared memory.
        **template : int, bool or str
            The template parameters that neither the arrays' dtypes nor their sizes tell.

        Raises
        ------
        TypeError
            If the number of arguments, the kind of one or an array's dtype is not the signature's.
        ValueError
            If an array's rank, sizes or memory layout is wrong, two arrays share memory that the kernel believes to be
            one's, a number does not fit its type, the kernel has no such instance, or the device cannot run it: naming
            kernel, parameter, rule and value.
        """
        found = kernel(name)
        expression, types = _instance(found, arguments, template, grid, block)
        packed = tuple(
            self._packed(found, parameter, types, argument)
            for parameter, argument in zip(found.parameters, arguments, strict=True)
        )
        _check_sizes(found, arguments)
        self._check_apart(found, arguments)
        self._check_device(found, grid, block, shared)
        if 0 not in grid:  # nothing to do, which CUDA would call an error
            self.device.function(found, expression)(tuple(grid), tuple(block), packed, shared_mem=shared)

    def _packed(self, found: Kernel, parameter: Parameter, types: Mapping[str, str], argument: Any) -> Any:
        """Return one argument in the form the kernel reads it."""
        what = f"{found.name}: {parameter.name}"
        if parameter.pointer:
            return self._checked_array(what, parameter, types, argument)
        fields = found.source.structs.get(parameter.type)
        if fields is not None:
            return _struct(what, fields, argument)
        type_ = _resolved(parameter.type, types)
        if isinstance(argument, Varying):
            if parameter.type == "Index":
                raise TypeError(f"{what} decides what is started, and cannot vary")
            return Packed(argument.which, partial(_number, what, type_))
        return _number(what, type_, argument)

    def _checked_array(
        self, what: str, parameter: Parameter, types: Mapping[str, str], array: Array
    ) -> Array:
        if array is None:
            if parameter.optional:
                return NULL
            raise TypeError(
                f"{what} must be an array, got None; only parameters marked 'or null' may be left out"
            )
        if not self.device.holds(array):
            raise TypeError(f"{what} must be an array on this device, got {_kind(array)}")
        expected = ELEMENTS[_resolved(parameter.type, types)]
        if _name(array.dtype) != expected:
            raise TypeError(f"{what} must be {expected} for {parameter.type}*, got {array.dtype.name}")
        if not array.dtype.isnative:
            raise TypeError(f"{what} must be in the machine's byte order, got {array.dtype.str}")
        shape = parameter.shape or ()
        if array.ndim != len(shape):
            raise ValueError(
                f"{what} must have the {len(shape)} axes [{', '.join(shape)}], got shape {array.shape}"
            )
        if not array.flags.c_contiguous:
            raise ValueError(
                f"{what} must be C-contiguous, got strides {array.strides} of shape {array.shape}"
            )
        if beyond := self.device.address(array) % ALIGNMENT:
            raise ValueError(
                f"{what} must begin at a multiple of {ALIGNMENT} bytes, as a copy does, got {beyond} bytes beyond one"
            )
        return array

    def _check_apart(self, found: Kernel, arguments: Sequence[Any]) -> None:
        """Hold to ``__restrict__``: what is written so is no other array's memory."""
        places = [
            (parameter, self.device.address(array), array.nbytes)
            for parameter, array in zip(found.parameters, arguments, strict=True)
            if parameter.pointer and array is not None
        ]
        for (one, start, size), (other, begin, length) in combinations(places, 2):
            overlap = start < begin + length and begin < start + size
            if overlap and (one.restrict or other.restrict) and not (one.const and other.const):
                raise ValueError(
                    f"{found.name}: {one.name} and {other.name} must not share memory, for one of them is written"
                )

    def _check_device(self, found: Kernel, grid: Sequence[int], block: Sequence[int], shared: int) -> None:
        device = self.device
        if device.capability < found.needs:
            raise ValueError(
                f"{found.name} needs compute capability {found.needs / 10}, the device has {device.capability / 10}"
            )
        if not 1 <= math.prod(block) <= MAX_THREADS:
            raise ValueError(f"{found.name}: a block has 1 to {MAX_THREADS} threads, got {tuple(block)}")
        if any(size < 0 or size > most for size, most in zip(grid, MAX_GRID, strict=False)):
            raise ValueError(f"{found.name}: a grid has at most {MAX_GRID} blocks, got {tuple(grid)}")
        if found.shared + shared > device.shared_memory:
            raise ValueError(
                f"{found.name} takes {found.shared + shared} bytes of shared memory a block, the device has "
                f"{device.shared_memory}"
            )


# The instance


def _instance(
    found: Kernel,
    arguments: Sequence[Any],
    asked: Mapping[str, Any],
    grid: Sequence[int],
    block: Sequence[int],
) -> tuple[str, dict[str, str]]:
    """Return the C++ name of the instance these arguments ask for, and what each template parameter is in it."""
    if len(arguments) != len(found.parameters):
        names = ", ".join(parameter.name for parameter in found.parameters)
        raise TypeError(
            f"{found.name} takes {len(found.parameters)} arguments ({names}), got {len(arguments)}"
        )
    values = {name: _cxx(value) for name, value in asked.items()}
    for parameter, argument in zip(found.parameters, arguments, strict=True):
        if (
            parameter.pointer
            and ("typename", parameter.type) in found.template
            and hasattr(argument, "dtype")
        ):
            values.setdefault(parameter.type, _element(found, parameter, argument))
    threads = math.prod(grid) * math.prod(block)
    values.setdefault("Index", "int" if _largest(found, arguments) + threads <= INT32_MAX else "long long")
    wanted = [name for _, name in found.template]
    if missing := [name for name in wanted if name not in values]:
        raise TypeError(f"{found.name}: the template parameters {', '.join(missing)} must be given by name")
    if extra := [name for name in asked if name not in wanted]:
        raise TypeError(
            f"{found.name} has no template parameter {', '.join(extra)}; it has {', '.join(wanted)}"
        )
    instance = ", ".join(values[name] for name in wanted)
    if instance not in found.instances:
        built = "; ".join(found.instances)
        raise ValueError(f"{found.name} is not made for <{instance}>, only for: {built} ({found.place})")
    return f"{found.name}<{instance}>", values


def _element(found: Kernel, parameter: Parameter, array: Array) -> str:
    name = _name(array.dtype)
    for type_, dtype in ELEMENTS.items():
        if name == dtype:
            return type_
    raise TypeError(f"{found.name}: {parameter.name} has dtype {array.dtype}, of which kernels know nothing")


@cache
def _name(dtype: Any) -> str:
    """Return a dtype's name, which NumPy puts together anew each time."""
    return dtype.name


def _largest(found: Kernel, arguments: Sequence[Any]) -> int:
    """Return the largest number an index may have to hold."""
    sizes = [math.prod(argument.shape) for argument in arguments if hasattr(argument, "shape")]
    indices = [
        argument
        for parameter, argument in zip(found.parameters, arguments, strict=True)
        if parameter.type == "Index" and isinstance(argument, int)
    ]
    return max([0, *sizes, *indices])


def _cxx(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _resolved(type_: str, types: Mapping[str, str]) -> str:
    """Return a parameter's type with the template's parameters put in."""
    if type_.startswith("accumulator_t<"):
        of = _resolved(type_[len("accumulator_t<") : -1].strip(), types)
        return SUMS.get(of, of)
    return types.get(type_, type_)


# The arguments


def _struct(what: str, fields: tuple[str, ...], value: Any) -> np.ndarray:
    """Pack a mapping into a struct of ints: an array of no axes and no fields, which CuPy passes by value fastest."""
    if not isinstance(value, Mapping) or set(value) != set(fields):
        got = sorted(value) if isinstance(value, Mapping) else _kind(value)
        raise TypeError(f"{what} must be a mapping with the fields {', '.join(fields)}, got {got}")
    packed = np.array([_number(f"{what}.{field}", "int", value[field]) for field in fields])
    return packed.view(f"V{packed.nbytes}").reshape(())


def _number(what: str, type_: str, value: Any) -> np.generic:
    """Return a number as the type the kernel takes, if it can hold it."""
    kind, number, least, most = _numbers(type_)
    if kind == "b":
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{what} must be a bool, got {_kind(value)}")
        return number(value)
    if kind == "f":
        if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
            raise TypeError(f"{what} must be a number, got {_kind(value)}")
        if math.isfinite(value) and abs(value) > most:
            raise ValueError(f"{what} must fit {type_}, got {value}")
        return number(value)
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, got {_kind(value)}")
    if not least <= whole <= most:
        raise ValueError(f"{what} must fit {type_} ({least} to {most}), got {whole}")
    return number(whole)


@cache
def _numbers(type_: str) -> tuple[str, type[Any], float, float]:
    """Return a C++ type's kind, its NumPy scalars, and the least and the largest number it holds."""
    dtype = np.dtype(ELEMENTS[type_])
    if dtype.kind == "b":
        return "b", np.bool_, 0, 1
    if dtype.kind == "f":
        most = float(np.finfo(dtype).max)
        return "f", dtype.type, -most, most
    return dtype.kind, dtype.type, np.iinfo(dtype).min, np.iinfo(dtype).max


def _check_sizes(found: Kernel, arguments: Sequence[Any]) -> None:
    """Hold each size that several parameters name to one value."""
    sizes: dict[str, tuple[int, str]] = {}

    def check(name: str, size: int, owner: str) -> None:
        known, first = sizes.setdefault(name, (size, owner))
        if size != known:
            raise ValueError(f"{found.name}: {name} is {known} in {first} and {size} in {owner}")

    for parameter, argument in zip(found.parameters, arguments, strict=True):
        if parameter.pointer and argument is not None:
            for name, size in zip(parameter.shape or (), argument.shape, strict=True):
                if name.isidentifier():
                    check(name, size, f"{parameter.name} {argument.shape}")
                elif name.isdecimal() and size != int(name):
                    raise ValueError(
                        f"{found.name}: {parameter.name} must have the axes [{', '.join(parameter.shape or ())}], "
                        f"got shape {argument.shape}"
                    )
        elif isinstance(argument, Mapping):
            for name, size in argument.items():
                check(name, size, f"{parameter.name}.{name}")
        elif isinstance(argument, int) and not isinstance(argument, bool):
            check(parameter.name, argument, f"the argument {parameter.name}")


def _kind(value: Any) -> str:
    kind = type(value)
    shown = f" {value!r}" if isinstance(value, int | float | str) else ""
    return f"{kind.__module__}.{kind.__qualname__}{shown}".removeprefix("builtins.")
