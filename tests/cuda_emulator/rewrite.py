"""The one change made to a source: `__shared__` declarations become references to memory of the emulator.

C++ has no word for memory that a block shares, so

    __shared__ float tile[32][33];

becomes, on the same line, a slot that stands for this declaration and a reference to what the slot holds for the
block that runs.  Everything else is left to the macros of include/cuda_emulator.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import EmulatorError, Place

__all__ = ["Source", "kernel_lines", "rewrite", "sources"]

_COMMENT_OR_STRING = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<end>[^\s()"]*)\(.*?\)(?P=end)"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![\da-fA-F])'(?:\\.|[^'\\\n])+'",  # after a digit it is none: 1'000
    re.DOTALL,
)
_STATEMENT_ENDS = re.compile(r"[;{}]|(?<!:):(?!:)")  # a colon after a label: `default: __shared__ …`
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.MULTILINE)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)
_ALIGNMENT = re.compile(r"(?:__align__|alignas)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_ATTRIBUTE = re.compile(r"\b(?:__launch_bounds__|__maxnreg__|__cluster_dims__|__attribute__)\s*\(")


@dataclass(frozen=True)
class Source:
    """One of the user's files: where it is, and what it holds."""

    path: Path
    text: str


def sources(path: Path, include: Iterable[Path]) -> list[Source]:
    """A file and all it includes by quotes, each once, in the order they are met."""
    found: dict[Path, Source] = {}
    _collect(path.resolve(), list(include), found)
    return list(found.values())


def _collect(path: Path, include: list[Path], found: dict[Path, Source]) -> None:
    if path in found:
        return
    source = found[path] = Source(path, path.read_text("utf-8-sig"))
    for name in _INCLUDE.findall(source.text):
        if (target := _resolve(name, path, include)) is not None:
            _collect(target, include, found)


def _resolve(name: str, path: Path, include: list[Path]) -> Path | None:
    """The file that an include means, or None: then it is left to the compiler."""
    for folder in [path.parent, *include]:
        if (folder / name).is_file():
            return (folder / name).resolve()
    return None


def rewrite(source: Source, include: Iterable[Path], names: dict[Path, str]) -> str:
    """A source as g++ can compile it; each line stays the line it was.

    Parameters
    ----------
    source : Source
    include : iterable of Path
        The folders to look for included files in, after the source's own.
    names : dict of Path to str
        What the rewritten copies of the included files are called.
    """
    include = list(include)

    def renamed(match: re.Match[str]) -> str:
        target = _resolve(match.group(1), source.path, include)
        return match.group(0) if target is None else f'#include "{names[target]}"'

    text = _INCLUDE.sub(renamed, _rewrite_shared(source))
    return f'#line 1 "{source.path}"\n{text}'


def _rewrite_shared(source: Source) -> str:
    code = _code_only(source)
    pieces, end = [], 0
    for match in re.finditer(r"\b__shared__\b", code):
        start = max((end.end() for end in _STATEMENT_ENDS.finditer(code, 0, match.start())), default=0)
        start += len(code[start:]) - len(code[start:].lstrip())
        stop = code.find(";", match.start())
        place = (str(source.path), code.count("\n", 0, match.start()) + 1)
        if stop < 0:
            raise _refusal(place, "a __shared__ declaration without an end")
        if code.count("{", 0, start) == code.count("}", 0, start):
            raise _refusal(place, "__shared__ outside of a function")
        statement = code[start : stop + 1]
        pieces += [source.text[end:start], _declaration(statement, place), "\n" * statement.count("\n")]
        end = stop + 1
    return "".join([*pieces, source.text[end:]])


def _refusal(place: Place, what: str) -> EmulatorError:
    return EmulatorError(f"{place[0]}:{place[1]}: {what} cannot be emulated", "compilation", (place,))


def _code_only(source: Source) -> str:
    """The text with comments, strings and directives blanked: as long, with the same lines."""

    def blanked(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group(0))

    def ended(match: re.Match[str]) -> str:  # a directive ends whatever statement went before
        if "__shared__" in match.group(0):
            line = code.count("\n", 0, match.start()) + 1
            raise _refusal((str(source.path), line), "__shared__ in a macro")
        return blanked(match)[:-1] + ";"

    code = _COMMENT_OR_STRING.sub(blanked, source.text)
    return _DIRECTIVE.sub(ended, code)


def _declaration(statement: str, place: Place) -> str:
    """The C++ for one `__shared__` declaration, on one line."""
    text = " ".join(statement.rstrip(";").split())
    alignment = "".join(f", {bytes_}" for bytes_ in _ALIGNMENT.findall(text))
    text = _ALIGNMENT.sub(" ", text)
    dynamic = re.search(r"\bextern\b", text) is not None
    text = re.sub(r"\b(?:extern|static|__shared__)\b", " ", text).strip()
    if _at_top(text, ","):
        raise _refusal(place, "several __shared__ arrays in one declaration")
    if _at_top(text, "="):
        raise _refusal(place, "a __shared__ variable with an initial value")
    head, bracket, rest = text.partition("[")
    found = re.fullmatch(r"(.*\W)(\w+)\s*", head, re.DOTALL)
    if found is None:
        raise _refusal(place, f"the __shared__ declaration {text!r}")
    type_, name, sizes = found.group(1).strip(), found.group(2), bracket + rest
    if dynamic:
        memory = f'emulator::dynamic_shared_memory("{name}", sizeof({type_}))'
        return f"{type_}* {name} = static_cast<{type_}*>({memory});"
    return (
        f'static emulator::SharedSlot emulator_slot_{name}("{name}"); typedef {type_} emulator_type_{name}{sizes}; '
        f"emulator_type_{name}& {name} = "
        f"emulator::shared<emulator_type_{name}>(emulator_slot_{name}{alignment});"
    )


def _at_top(text: str, wanted: str) -> bool:
    """Whether a character stands outside of all brackets."""
    for pair in (r"\([^()[\]{}]*\)|\[[^()[\]{}]*\]|\{[^()[\]{}]*\}", "<[^<>]*>"):  # in () and [] < compares
        found = 1
        while found:
            text, found = re.subn(pair, "", text)
    return wanted in text


def kernel_lines(files: Iterable[Source]) -> dict[str, Place]:
    """Where each `__global__` function is defined."""
    places: dict[str, Place] = {}
    for source in files:
        code = _code_only(source) if "__global__" in source.text else ""
        for match in re.finditer(r"\b__global__\b", code):
            start = match.end()
            while (attribute := _ATTRIBUTE.search(code, start)) and "(" not in code[
                start : attribute.start()
            ]:
                start = _after_brackets(code, attribute.end())
            if (name := re.compile(r"(\w+)\s*\(").search(code, start)) is not None:
                line = code.count("\n", 0, name.start()) + 1
                places.setdefault(name.group(1), (str(source.path), line))
    return places


def _after_brackets(code: str, start: int) -> int:
    depth = 1
    while depth and start < len(code):
        depth += (code[start] == "(") - (code[start] == ")")
        start += 1
    return start
