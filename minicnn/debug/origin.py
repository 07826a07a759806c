"""Where in the user's program an operation was called: the lines, and the modules on the way.

The call stack knows both.  Frames of this package, of the standard library and of installed packages are left out, for
they are not where one looks first.  But a frame of ``Module.__call__`` tells whose it is, and a module within a module
has a name there: so the stack also gives the path, such as ``features.3``.
"""

from __future__ import annotations

import inspect
import linecache
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, islice, pairwise
from pathlib import Path
from types import FrameType

from ..nn.module import Module

__all__ = ["Origin", "modules_inside", "path_to"]

_PACKAGE = str(Path(__file__).parents[1])
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
_SCRIPTS = sysconfig.get_path("scripts")  # where installed commands are, such as pytest
_INSTALLED = {"site-packages", "dist-packages"}  # what the folder is called, wherever it is
_MOST = 8  # frames shown


class Origin:
    """Where the operation being called just now was called.

    Examples
    --------
    >>> list(Origin().lines())
    ['called at <doctest minicnn.debug.origin.Origin[0]>:1 in <module>: list(Origin().lines())']
    """

    def __init__(self) -> None:
        self._frames = list(islice(_users(_stack()), _MOST))
        self._modules = _path(modules_inside())

    def lines(self) -> Iterator[str]:
        """Yield the path of modules, if any, and the lines of the program, the innermost first."""
        if self._modules:
            yield f"in {self._modules}"
        for file, number, function in self._frames:
            linecache.checkcache(file)  # which may have been edited since it was read
            source = linecache.getline(file, number).strip()
            yield f"called at {file}:{number} in {function}" + (f": {source}" if source else "")


def modules_inside() -> list[Module]:
    """Return the modules being called just now, the outermost first."""
    calls = (frame for frame in _stack() if frame.f_code is Module.__call__.__code__)
    return [frame.f_locals["self"] for frame in calls][::-1]


def _stack() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _users(frames: Iterator[FrameType]) -> Iterator[tuple[str, int, str]]:
    """Yield file, line number and function of the frames that are the user's."""
    for frame in frames:
        code = frame.f_code
        if _is_users(code.co_filename):
            yield code.co_filename, frame.f_lineno or 0, code.co_name


@lru_cache
def _is_users(file: str) -> bool:
    if file.startswith("<frozen"):
        return False
    path = Path(file)
    others = any(path.is_relative_to(folder) for folder in (_PACKAGE, _STANDARD_LIBRARY, _SCRIPTS))
    return not others and _INSTALLED.isdisjoint(path.parts)


def _path(modules: list[Module]) -> str:
    """Return the path from the first to the last, with their classes: "features.3 (Conv2d) of VGG"."""
    if not modules:
        return ""
    root, names = path_to(modules)
    last, first = type(modules[-1]).__name__, type(root).__name__
    return f"{'.'.join(names)} ({last}) of {first}" if names else first


def path_to(modules: list[Module]) -> tuple[Module, list[str]]:
    """Return the outermost of these modules that the last is a part of, and the names on the way from one to the other.

    A name may be dotted, where a module calls a part of its part.
    """
    root, names = modules[0], []
    for outer, inner in pairwise(modules):
        name = _name(outer, inner)
        if name is None:  # no part of what called it: it has a path of its own
            root, names = inner, []
        elif name:  # a module that calls itself has none
            names.append(name)
    return root, names


def _name(outer: Module, inner: Module) -> str | None:
    """Return what `inner` is called in `outer`: most often a child, and any descendant after that."""
    named = chain(outer.named_children(), outer.named_modules())
    return next((name for name, module in named if module is inner), None)
