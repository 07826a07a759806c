"""The modules to mutate: from files and folders to modules, and from a mutant to the functions it stands in for."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from .generate import mutants_of
from .mutant import Mutant, Place

__all__ = ["Targets", "import_file"]


def import_file(path: Path) -> ModuleType:
    """Import a Python file as the module it is: of its package, or else by its own name.

    The folder its import starts from is put on ``sys.path``.

    Raises
    ------
    ImportError
        If a module of that name is imported from elsewhere.
    """
    root = _root(path)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    name = ".".join(path.resolve().relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    if Path(module.__file__ or "").resolve() != path.resolve():
        raise ImportError(f"mutants: {path} must be what is imported as {name}, got {module.__file__}")
    return module


def _root(path: Path) -> Path:
    """Return the folder above the outermost package a file is in."""
    folder = path.resolve().parent
    while (folder / "__init__.py").exists():
        folder = folder.parent
    return folder


@dataclass(frozen=True)
class Targets:
    """Modules, imported, with their mutants and the functions these stand in for."""

    sources: dict[str, str]
    mutants: list[Mutant]
    functions: dict[Place, list[FunctionType]]

    @classmethod
    def of(cls, paths: Iterable[Path], exclude: Container[str] = ()) -> Targets:
        """Import the modules at these files and folders and make their mutants.

        Functions and methods whose plain names are in `exclude` are left alone.

        Raises
        ------
        ValueError
            If a path is neither a Python file nor a folder with some.
        """
        sources, live = {}, {}
        for file in dict.fromkeys(file for path in paths for file in _files(path)):
            module = import_file(file)
            name = file.resolve().relative_to(_root(file)).as_posix()
            sources[name] = file.read_text(encoding="utf-8")
            live[str(module.__file__)] = name
        functions = _functions(live)
        mutants = [mutant for name, source in sources.items() for mutant in mutants_of(source, name)]
        # Where no function object has the code, a decorator has put something else in its place.
        mutants = [mutant for mutant in mutants if mutant.place in functions]
        left = [mutant for mutant in mutants if mutant.function.rpartition(".")[2] not in exclude]
        return cls(sources, left, functions)

    @contextmanager
    def running(self, codes: Mapping[Place, CodeType]) -> Iterator[None]:
        """Let these codes run in place of their functions', inside the block."""
        functions = [(function, code) for place, code in codes.items() for function in self.functions[place]]
        kept = [(function, function.__code__) for function, _ in functions]
        try:
            for function, code in functions:
                function.__code__ = code
            yield
        finally:
            for function, code in kept:
                function.__code__ = code


def _files(path: Path) -> list[Path]:
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    if not files or not all(file.is_file() and file.suffix == ".py" for file in files):
        raise ValueError(f"mutants: a target must be a Python file or a folder with some, got {path}")
    return files


def _functions(live: dict[str, str]) -> dict[Place, list[FunctionType]]:
    """Find the function objects whose code stands in these files.

    Asked of the garbage collector, which knows them all: behind a property, a decorator or a context manager too.
    """
    found: dict[Place, list[FunctionType]] = {}
    for thing in gc.get_objects():
        if isinstance(thing, FunctionType) and thing.__code__.co_filename in live:
            code = thing.__code__
            place = live[code.co_filename], code.co_qualname, code.co_firstlineno
            found.setdefault(place, []).append(thing)
    return found
