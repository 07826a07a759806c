"""What a file of CUDA kernels says of itself: its versions, and each kernel's signature, instances and budget.

The comments in ``kernels/*.cu`` are a contract, and this module reads it.  A file opens with one block of comments
whose section ``Versions:`` lists its kernels.  Each kernel is headed by its own comment and written one parameter a
line, an array's shape beside it::

    // v2: four channels at a time.
    // instances: <float, int, 4>, <float, long long, 1>
    // budget: 40 registers, 4224 B shared
    // needs: sm_80
    template <typename T, typename Index, int kVector>
    __global__ void scale_v2(const T* __restrict__ x,  // [N, C]
                             T* __restrict__ y,        // [N, C]
                             Index size, float by) {

So the compiler's test knows what to compile and how much it may use, the emulator's what to run, and the launcher what
every argument must be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from . import kernels

__all__ = ["Kernel", "Parameter", "Source", "kernel", "source", "sources"]

_KERNEL = re.compile(
    r"template\s*<(?P<template>[^>]*)>\s*"
    r"__global__\s+void\s+(?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s*)?"
    r"(?P<name>\w+)\s*\("
)
_GLOBAL = re.compile(r"^[^/\n]*__global__", re.MULTILINE)
_INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"', re.MULTILINE)
_STRUCT = re.compile(r"^struct (\w+) \{\n((?:\s+int \w+;[^\n]*\n)+)\};", re.MULTILINE)
_BUDGET = re.compile(r"(\d+) registers, (\d+) B shared")
_INSTANCES = re.compile(r"<[^<>]+>(, *<[^<>]+>)*")
_VERSION = re.compile(r"^\s+(\w+_v\d+\w*)\s+(.*)")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel.

    Attributes
    ----------
    name : str
    type : str
        Of a pointer, what it points to; it may be one of the kernel's template parameters.
    pointer, const, optional, restrict : bool
        `optional`: the comment says "or null".  `restrict`: ``__restrict__``, it shares no memory with others.
    shape : tuple of str, or None
        The sizes in the comment beside a pointer, ``[N, C/G]`` → ``("N", "C/G")``.
    """

    name: str
    type: str
    pointer: bool = False
    const: bool = False
    shape: tuple[str, ...] | None = None
    optional: bool = False
    restrict: bool = False


@dataclass(frozen=True)
class Kernel:
    """A ``__global__`` function template and what its comment promises.

    Attributes
    ----------
    source : Source
        The file it stands in.
    name : str
    line : int
        Of its name, in its file.
    text : str
        The comment above it, without the contract's lines.
    template : tuple of (kind, name)
        ``("typename", "T")``, ``("int", "kVector")``.
    parameters : tuple of Parameter
    instances : tuple of str
        The template arguments it is proven for: ``"float, int, 4"``.
    registers, shared : int
        The most a thread may use, and the bytes of static shared memory a block may.
    needs : int
        The least compute capability, 70 for sm_70.
    """

    source: Source
    name: str
    line: int
    text: str
    template: tuple[tuple[str, str], ...]
    parameters: tuple[Parameter, ...]
    instances: tuple[str, ...]
    registers: int
    shared: int
    needs: int

    @property
    def expressions(self) -> tuple[str, ...]:
        """The C++ names of its instances: ``"scale_v2<float, int, 4>"``."""
        return tuple(f"{self.name}<{arguments}>" for arguments in self.instances)

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.source.path.name}:{self.line}"


class Source:
    """One ``.cu`` file with the headers it includes.

    Parameters
    ----------
    path : Path

    Raises
    ------
    FileNotFoundError
        If there is no such file, or an included one is not beside it.
    ValueError
        If a kernel is not written as the module's docstring says: naming file, line and what is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text()

    @cached_property
    def files(self) -> dict[str, str]:
        """The file and all it includes from its own folder, by name, the file first."""
        found: dict[str, str] = {}
        waiting = [self.path]
        while waiting:
            path = waiting.pop(0)
            if path.name not in found:
                found[path.name] = path.read_text()
                waiting += [path.with_name(name) for name in _INCLUDE.findall(found[path.name])]
        return found

    @cached_property
    def header(self) -> str:
        """The comment the file opens with."""
        return "\n".join(_uncommented(line) for line in _leading_comment(self.text.splitlines()))

    @cached_property
    def versions(self) -> dict[str, str]:
        """The kernels its header lists, each with the line that says what it improves."""
        _, _, listed = self.header.partition("Versions:")
        return {match[1]: match[2] for line in listed.splitlines() if (match := _VERSION.match(line))}

    @cached_property
    def structs(self) -> dict[str, tuple[str, ...]]:
        """The structs of ints that may be passed by value: name → fields."""
        text = "\n".join(self.files.values())
        return {name: tuple(re.findall(r"int (\w+);", body)) for name, body in _STRUCT.findall(text)}

    @cached_property
    def kernels(self) -> dict[str, Kernel]:
        """The file's kernels by name, in order."""
        found = {match["name"]: self._kernel(match) for match in _KERNEL.finditer(self.text)}
        if len(_GLOBAL.findall(self.text)) != len(found):
            raise ValueError(
                f"{self.path.name}: every __global__ function must be a template, and named once"
            )
        return found

    def _kernel(self, match: re.Match[str]) -> Kernel:
        lines = self.text[: match.start()].splitlines()
        line = self.text.count("\n", 0, match.start("name")) + 1
        comment = _trailing_comment(lines)
        place = f"{self.path.name}:{line}: {match['name']}"
        text, contract = _contract(comment)
        budget = _BUDGET.fullmatch(contract.get("budget", ""))
        listed = contract.get("instances", "")
        instances = tuple(re.sub(r"\s*,\s*", ", ", one.strip()) for one in re.findall(r"<([^<>]*)>", listed))
        if budget is None or not _INSTANCES.fullmatch(listed):
            raise ValueError(
                f"{place} needs lines '// instances: <float, int>, …' and '// budget: 40 registers, 0 B shared' "
                f"above it, got {sorted(contract)}"
            )
        return Kernel(
            self,
            match["name"],
            line,
            text,
            tuple(_template(match["template"])),
            tuple(_parameters(_until_closed(self.text, match.end()), place)),
            instances,
            int(budget[1]),
            int(budget[2]),
            int(contract.get("needs", "sm_70").removeprefix("sm_")),
        )


@cache
def sources() -> dict[str, Source]:
    """Every ``.cu`` file of minicnn by its stem, in alphabetical order.

    Examples
    --------
    >>> "im2col" in sources()
    True
    """
    return {path.stem: Source(path) for path in sorted(kernels.folder().glob("*.cu"))}


def source(name: str) -> Source:
    """Return one file by its stem, ``"im2col"``.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in sources():
        raise ValueError(f"kernels: no file {name}.cu; there are {', '.join(sources())}")
    return sources()[name]


@cache
def kernel(name: str) -> Kernel:
    """Return one kernel by its name, which no two files share.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    for file in sources().values():
        if f"{name}(" in file.text and name in file.kernels:
            return file.kernels[name]
    raise ValueError(
        f"kernels: no kernel {name!r} in {', '.join(file.path.name for file in sources().values())}"
    )


# Reading comments


def _uncommented(line: str) -> str:
    return line.strip().removeprefix("//").removeprefix(" ")


def _leading_comment(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("//"):
            return
        yield line


def _trailing_comment(lines: list[str]) -> list[str]:
    """Return the comment that ends these lines."""
    return [_uncommented(line) for line in reversed(list(_leading_comment(lines[::-1])))]


def _contract(comment: list[str]) -> tuple[str, dict[str, str]]:
    """Split a kernel's comment into its prose and what follows ``instances:``, ``budget:`` and ``needs:``."""
    prose: list[str] = []
    contract: dict[str, str] = {}
    key = None
    for line in comment:
        begins = re.match(r"(instances|budget|needs):\s*(.*)", line)
        if begins:
            key = begins[1]
            contract[key] = begins[2].strip()
        elif key == "instances" and not contract[key].endswith(">"):  # goes on after a comma, or within < >
            contract[key] += " " + line.strip()
        else:
            prose.append(line)
    return "\n".join(prose), contract


# Reading C++


def _template(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(","):
        kind, name = part.split("=")[0].split()
        yield kind, name


def _until_closed(text: str, start: int) -> str:
    """Return what stands between the bracket before `start` and the one that closes it, comments left aside."""
    depth, end = 1, start
    while depth:
        if text.startswith("//", end):
            end = text.index("\n", end)
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    return (
        text[start:end] + text[end : text.find("\n", end)]
    )  # the last parameter's comment stands after the bracket


def _parameters(text: str, place: str) -> Iterator[Parameter]:
    for line in text.splitlines():
        code, _, comment = line.partition("//")
        pieces = [piece.strip() for piece in re.split(r"[,)]\s*\{?", code) if piece.strip()]
        for piece in pieces:
            yield _parameter(piece, comment, place)


def _parameter(declaration: str, comment: str, place: str) -> Parameter:
    words = declaration.replace("__restrict__", " ").replace("*", " * ").split()
    pointer, const, name = "*" in words, "const" in words, words[-1]
    type_ = " ".join(word for word in words[:-1] if word not in ("*", "const"))
    if not pointer:
        return Parameter(name, type_)
    shape = re.search(r"\[([^\]]*)\]", comment)
    if shape is None:
        raise ValueError(f"{place}: the pointer {name} needs its shape beside it, // [N, H, W, C]")
    sizes = tuple(size.strip() for size in shape[1].split(","))
    return Parameter(name, type_, True, const, sizes, "or null" in comment, "__restrict__" in declaration)
