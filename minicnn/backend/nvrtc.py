"""CUDA C++ to machine code by NVRTC, NVIDIA's compiler as a library: no GPU, no driver and no nvcc are needed.

NVRTC comes with CuPy's wheels' ``[ctk]``, PyTorch's, a CUDA toolkit, or by itself as ``nvidia-cuda-nvrtc-cu12``;
cuda-pathfinder finds it wherever it is.  Templates are instantiated by *name expressions*, ``"scale_v2<float, int>"``,
whose mangled names the compiler tells.  The assembler's report of each instance (registers, shared memory, spills) is
in the log, so that a test can hold a kernel to a budget.

Unlike CuPy, which adds ``-ftz=true``, nothing is added that changes results: denormal numbers are kept, as on the CPU.

References
----------
NVIDIA, "NVRTC" (the library's manual), sections 2 to 4.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "CompileError",
    "Compiled",
    "NvrtcNotFound",
    "Resources",
    "architectures",
    "compile_file",
    "version",
]

_MEND = "install minicnn[nvrtc], or the CUDA toolkit"


class NvrtcNotFound(RuntimeError):
    """There is no NVRTC on this machine, or not the CUDA headers it compiles with."""


class CompileError(RuntimeError):
    """The compiler refused a source; the message shows its lines."""


@dataclass(frozen=True)
class Resources:
    """What one instance of a kernel takes of the device.

    Attributes
    ----------
    registers : int
        A thread.
    shared : int
        Bytes of static shared memory a block.
    stack, spilled : int
        Bytes a thread of local memory: its frame, and what did not fit into registers (stores and loads added).
    """

    registers: int
    shared: int
    stack: int
    spilled: int


@dataclass(frozen=True)
class Compiled:
    """Machine code for one architecture.

    Attributes
    ----------
    cubin : bytes
    names : dict
        Name expression → the function's mangled name in `cubin`.
    resources : dict
        Name expression → :class:`Resources`.
    """

    cubin: bytes
    names: dict[str, str]
    resources: dict[str, Resources]


def compile_file(
    path: Path, expressions: Sequence[str], architecture: int, options: Sequence[str] = ()
) -> Compiled:
    """Compile a file for one architecture.

    Parameters
    ----------
    path : Path
        A ``.cu`` file; what it includes is looked for in its folder, then among the CUDA headers.
    expressions : sequence of str
        The instances wanted.
    architecture : int
        70 for sm_70.
    options : sequence of str
        More options for the compiler.

    Raises
    ------
    NvrtcNotFound
        If there is no NVRTC.
    ValueError
        If this NVRTC knows no such architecture.
    CompileError
        If the source does not compile: with each error's line of source.
    """
    known = architectures()
    if architecture not in known:
        raise ValueError(
            f"nvrtc: version {'.'.join(map(str, version()))} compiles for sm_{known[0]} to sm_{known[-1]}, "
            f"not for sm_{architecture}"
        )
    flags = [
        "--std=c++17",
        f"--gpu-architecture=sm_{architecture}",
        "--ptxas-options=-v",
        f"--include-path={path.parent}",
        f"--include-path={_cuda_headers()}",
        *options,
    ]
    program = _Program(path.read_text(), path.name)
    try:
        for expression in expressions:
            program.add(expression)
        accepted = program.compile(flags)
        log = program.text("nvrtcGetProgramLog")
        if not accepted:
            raise CompileError(_explained(log, path, architecture))
        names = {expression: program.lowered(expression) for expression in expressions}
        found = _resources(log)
        return Compiled(
            program.bytes("nvrtcGetCUBIN"),
            names,
            {expression: found[names[expression]] for expression in names},
        )
    finally:
        program.destroy()


@cache
def version() -> tuple[int, int]:
    """Return NVRTC's version, (12, 9)."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


@cache
def architectures() -> tuple[int, ...]:
    """Return what this NVRTC compiles for, in ascending order: (50, …, 90, …)."""
    count = ctypes.c_int()
    _call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
    found = (ctypes.c_int * count.value)()
    _call("nvrtcGetSupportedArchs", found)
    return tuple(sorted(found))


# The log


def _explained(log: str, path: Path, architecture: int) -> str:
    """Return the compiler's errors, which show the lines of source they are about."""
    lines = (line for line in log.splitlines() if line.strip() and not line.startswith("ptxas info"))
    return "\n".join([f"nvrtc: {path.name} does not compile for sm_{architecture}", *lines])


def _resources(log: str) -> dict[str, Resources]:
    """Return what the assembler reports of each function, by its mangled name."""
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        name = part.partition("'")[0]
        stack, stores, loads = _numbers(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
        )
        (registers,) = _numbers(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        found[name] = Resources(registers, int(shared[1]) if shared else 0, stack, stores + loads)
    return found


def _numbers(pattern: str, text: str) -> list[int]:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"nvrtc: its log has no {pattern!r}: {text[:500]}")
    return [int(number) for number in found.groups()]


# The library


class _Program:
    """One ``nvrtcProgram``, to be destroyed."""

    def __init__(self, text: str, name: str) -> None:
        self.handle = ctypes.c_void_p()
        _call("nvrtcCreateProgram", ctypes.byref(self.handle), text.encode(), name.encode(), 0, None, None)

    def add(self, expression: str) -> None:
        _call("nvrtcAddNameExpression", self.handle, expression.encode())

    def compile(self, flags: Sequence[str]) -> bool:
        encoded = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        return _library().nvrtcCompileProgram(self.handle, len(flags), encoded) == 0

    def lowered(self, expression: str) -> str:
        name = ctypes.c_char_p()
        _call("nvrtcGetLoweredName", self.handle, expression.encode(), ctypes.byref(name))
        return (name.value or b"").decode()

    def bytes(self, getter: str) -> bytes:
        size = ctypes.c_size_t()
        _call(f"{getter}Size", self.handle, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        _call(getter, self.handle, buffer)
        return buffer.raw

    def text(self, getter: str) -> str:
        return self.bytes(getter).rstrip(b"\0").decode(errors="replace")

    def destroy(self) -> None:
        _call("nvrtcDestroyProgram", ctypes.byref(self.handle))


def _call(function: str, *arguments: Any) -> None:
    """Call one function of NVRTC.

    Raises
    ------
    RuntimeError
        With the name of its error.
    """
    library = _library()
    status = getattr(library, function)(*arguments)
    if status:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(f"nvrtc: {function} failed: {library.nvrtcGetErrorString(status).decode()}")


@cache
def _library() -> ctypes.CDLL:
    load = _pathfinder("load_nvidia_dynamic_lib")
    try:
        return ctypes.CDLL(load("nvrtc").abs_path)
    except (RuntimeError, OSError) as error:
        raise NvrtcNotFound(f"nvrtc: the compiler's library was not found; {_MEND}") from error


@cache
def _cuda_headers() -> str:
    folder = _pathfinder("find_nvidia_header_directory")("cudart")
    if folder is None:
        raise NvrtcNotFound(f"nvrtc: CUDA's headers (cuda_fp16.h) were not found; {_MEND}")
    return folder


def _pathfinder(function: str) -> Callable[[str], Any]:
    try:
        from cuda import pathfinder
    except ImportError as error:
        raise NvrtcNotFound(
            f"nvrtc: cuda-pathfinder, which finds the compiler, is not installed; {_MEND}"
        ) from error
    return getattr(pathfinder, function)
