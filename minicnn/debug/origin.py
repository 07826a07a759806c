"""Where in the user's program an operation was called: the lines, and the modules on the way.

The call stack knows both.  Frames of this package, of the standard library and of installed packages are left out, for
they are not where one looks first.  But a frame of ``Module.__call__`` tells whose it is, and a module within a module
has a name there: so the stack also gives the path, such as ``features.3``.
"""

from __future__ import annotations

import inspect
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, islice, pairwise
from pathlib import Path
from traceback import FrameSummary
from types import FrameType
from typing import Any

from ..nn.module import Module

__all__ = ["Origin", "modules_inside"]

_PACKAGE = str(Path(__file__).parents[1])
_OTHERS = tuple({path for name, path in sysconfig.get_paths().items() if "lib" in name})
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
        for frame in self._frames:
            source = f": {frame.line}" if frame.line else ""
            yield f"called at {frame.filename}:{frame.lineno} in {frame.name}{source}"


def modules_inside() -> list[Module]:
    """Return the modules being called just now, the outermost first."""
    calls = (frame for frame in _stack() if frame.f_code is Module.__call__.__code__)
    return [frame.f_locals["self"] for frame in calls][::-1]


def _stack() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _users(frames: Iterator[FrameType]) -> Iterator[FrameSummary]:
    for frame in frames:
        code = frame.f_code
        if _is_users(code.co_filename):
            yield FrameSummary(code.co_filename, frame.f_lineno, code.co_name, lookup_line=False)


@lru_cache
def _is_users(file: str) -> bool:
    path = Path(file)
    return not file.startswith("<frozen") and not any(path.is_relative_to(p) for p in (_PACKAGE, *_OTHERS))


def _path(modules: list[Module]) -> str:
    """Return the path from the first to the last, with their classes: "features.3 (Conv2d) of VGG"."""
    if not modules:
        return ""
    names = [_name(outer, inner) for outer, inner in pairwise(modules)]
    root, last = type(modules[0]).__name__, type(modules[-1]).__name__
    return f"{'.'.join(names)} ({last}) of {root}" if names else root


def _name(outer: Module, inner: Any) -> str:
    """Return what `inner` is called in `outer`: most often a child, and any descendant after that."""
    named = chain(outer.named_children(), outer.named_modules())
    return next((name for name, module in named if module is inner), f"?{type(inner).__name__}")
