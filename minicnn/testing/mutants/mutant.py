"""One change to one function of a module."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from types import CodeType

__all__ = ["Mutant", "Place"]

Place = tuple[str, str, int]
"""A function: its file as the mutants name it, its qualified name, and the line it begins at."""


@dataclass(frozen=True)
class Mutant:
    """A function with one change.

    Attributes
    ----------
    id : str
        Says which change, in words that stay when lines move: file, function, operator, what stood there and what
        stands there now; ``#2`` for the second such place.
    file : str
        The source, relative to the folder of its package.
    function : str
        The qualified name.
    operator : str
        The kind of change, one of :data:`~minicnn.testing.mutants.operators.OPERATORS`.
    line : int
        Where.
    code : code
        The function, changed.
    original, source : str
        The module's text, as it is and with the change.
    """

    id: str
    file: str
    function: str
    operator: str
    line: int
    code: CodeType = field(repr=False)
    original: str = field(repr=False)
    source: str = field(repr=False)

    @property
    def place(self) -> Place:
        """The function that is changed."""
        return self.file, self.function, self.code.co_firstlineno

    def diff(self) -> str:
        """Return the change as a unified diff."""
        lines = difflib.unified_diff(
            self.original.splitlines(), self.source.splitlines(), self.file, self.file, lineterm="", n=2
        )
        return "\n".join(lines)
