"""The arguments of one call, which print as Python that makes them again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from operator import attrgetter
from textwrap import shorten
from types import EllipsisType, NoneType
from typing import Any

import numpy as np

from ..tensor import Tensor
from .layouts import LAYOUTS, lay_out

__all__ = ["Case", "literal", "name_and_import"]

_PLAIN = (bool, int, float, complex, str, bytes, range, EllipsisType, NoneType)
"""The types whose repr is Python."""

_READABLE = 10_000
"""No array of more elements is written into a script."""


@dataclass(frozen=True, eq=False)
class Case:
    """The arguments of one call ``fn(*inputs, **options)``.

    Parameters
    ----------
    inputs : tuple of arrays
        What has a gradient; fn gets Tensors with these values.
    options : mapping of str to anything
        What has none: a stride, labels, an axis.

    Examples
    --------
    >>> from minicnn import functional as F
    >>> case = Case((np.ones((1, 1, 2, 2)),), {"kernel_size": 2})
    >>> case
    Case((np.array([[[[1.0, 1.0], [1.0, 1.0]]]]),), {'kernel_size': 2})
    >>> print(case.reproduction(F.max_pool2d, "gradient"))
    import numpy as np
    from minicnn.functional import max_pool2d
    from minicnn.testing import check_properties
    <BLANKLINE>
    inputs = (np.array([[[[1.0, 1.0], [1.0, 1.0]]]]),)
    options = {'kernel_size': 2}
    check_properties(max_pool2d, inputs, options, only=('gradient',))
    """

    inputs: tuple[np.ndarray, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Case({literal(self.inputs)}, {literal(self.options)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Let Hypothesis and IPython, which know dataclasses, print the repr all the same."""
        printer.text(repr(self))

    def reproduction(self, fn: Callable[..., Any], *only: str, **traits: Any) -> str:
        """Return a script that holds `fn` to these properties once more, with these arguments.

        What can neither be imported nor written down, such as a lambda, is left for the reader to fill in: the script
        then says where it stood.

        Parameters
        ----------
        fn : callable
        *only : str
            Properties of :data:`~minicnn.testing.PROPERTIES`.
        **traits
            More arguments of :func:`~minicnn.testing.check_properties`, functions or plain values.
        """
        script = _Script()
        name = script.name("fn", fn)
        inputs = script.literal("input", self.inputs)
        options = (
            "{" + ", ".join(f"{k!r}: {script.literal(str(k), v)}" for k, v in self.options.items()) + "}"
        )
        arguments = "".join(f", {trait}={script.literal(trait, value)}" for trait, value in traits.items())
        return "\n".join(
            [
                *script.head(),
                "",
                f"inputs = {inputs}",
                f"options = {options}",
                f"check_properties({name}, inputs, options{arguments}, only={only!r})",
            ]
        )


class _Script:
    """What stands above a script's own lines: imports, and what is left to fill in."""

    def __init__(self) -> None:
        self.imports = ["import numpy as np"]
        self.gaps: list[str] = []
        self.texts: list[str] = []
        self.taken = {"np", "Tensor", "lay_out", "check_properties", "inputs", "options"}

    def literal(self, alias: str, value: Any) -> str:
        """Return `value` as Python; what cannot be written down gets a name."""
        self.texts.append(literal(value, lambda part: self.name(alias, part)))
        return self.texts[-1]

    def name(self, alias: str, value: Any) -> str:
        """Return what the script calls a value that it imports, or that the reader has to fill in."""
        while alias in self.taken:
            alias += "_"
        self.taken.add(alias)
        name, line = name_and_import(value, alias)
        (self.gaps if line.startswith(f"{alias} = ...") else self.imports).append(line)
        return name

    def head(self) -> list[str]:
        """Return the lines."""
        used = "".join(self.texts)
        return [
            *self.imports,
            *(["from minicnn import Tensor"] if "Tensor(" in used else []),
            "from minicnn.testing import check_properties",
            *(["from minicnn.testing import lay_out"] if "lay_out(" in used else []),
            *([""] if self.gaps else []),
            *self.gaps,
        ]


def literal(value: Any, name: Callable[[Any], str] | None = None) -> str:
    """Return `value` as Python, given ``import numpy as np``: arrays with all their elements and their layout.

    Parameters
    ----------
    value : anything
    name : callable, optional
        Gives what has no literal, and an array too long to read, a name; default is its repr.

    Examples
    --------
    >>> literal({"stride": (2, 1), "weight": np.array([0.5, -np.inf], np.float32)})
    "{'stride': (2, 1), 'weight': np.array([0.5, -np.inf], 'float32')}"
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {literal(item, name)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return f"({', '.join(literal(v, name) for v in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(literal(v, name) for v in value)}]"
    if isinstance(value, slice):
        return f"slice({', '.join(literal(v, name) for v in (value.start, value.stop, value.step))})"
    if isinstance(value, Tensor):
        return f"Tensor({literal(value.numpy(), name)})"
    if isinstance(value, np.dtype):
        return f"np.dtype({value.name!r})"
    if isinstance(value, np.ndarray) and (name is None or value.size <= _READABLE):
        return _array(value)
    if isinstance(value, np.generic):
        return _number(value.item())
    return _number(value) if name is None or type(value) in _PLAIN else name(value)


def _array(a: np.ndarray) -> str:
    evident = a.dtype in (np.float64, np.int64, np.bool_) or a.dtype.kind == "U"
    of_dtype = "" if evident else f", {a.dtype.name!r}"
    if not a.size:
        return f"np.zeros({a.shape}, {a.dtype.name!r})"
    text = f"np.array({_nested(a.tolist())}{of_dtype})"
    layout = _layout_of(a)
    return text if layout == "c" else f"lay_out({text}, {layout!r})"


def _layout_of(a: np.ndarray) -> str:
    # Not by a.flags: of one element, memory of any steps counts as C's.
    return next((name for name in LAYOUTS if lay_out(a, name).strides == a.strides), "c")


def _nested(values: Any) -> str:
    if isinstance(values, list):
        return f"[{', '.join(map(_nested, values))}]"
    return _number(values)


def _number(value: Any) -> str:
    text = repr(value)
    return text.replace("inf", "np.inf").replace("nan", "np.nan") if isinstance(value, float) else text


def name_and_import(value: Any, alias: str = "fn") -> tuple[str, str]:
    """Return what a script calls `value`, and the line that brings it there: an import, or a gap to fill in.

    Examples
    --------
    >>> from minicnn import Tensor
    >>> name_and_import(Tensor.exp)
    ('Tensor.exp', 'from minicnn import Tensor')
    """
    path = getattr(value, "__qualname__", "")
    module = _module_of(value, path)
    if module is None:
        return alias, f"{alias} = ...  # fill in: {_whereabouts(value)}"
    top, _, rest = path.partition(".")
    if alias != "fn":
        return f"{alias}{'.' + rest if rest else ''}", f"from {module} import {top} as {alias}"
    return path, f"from {module} import {top}"


def _module_of(value: Any, path: str) -> str | None:
    """Return where `value` can be imported from under this name, public modules first; None if nowhere."""
    home = getattr(value, "__module__", None) or ""
    public = ("minicnn", "minicnn.functional", "minicnn.nn") if home.startswith("minicnn.") else ()
    for module in (*public, {"_operator": "operator"}.get(home, home)):
        try:
            if module != "__main__" and attrgetter(path)(import_module(module)) == value:
                return module
        except (ImportError, AttributeError, ValueError):
            continue
    return None


def _whereabouts(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}, of shape {value.shape}"
    try:
        file, line = inspect.getsourcefile(value), inspect.getsourcelines(value)[1]
    except (TypeError, OSError):
        return shorten(repr(value), 200)
    return f"{getattr(value, '__qualname__', type(value).__name__)}, {file}:{line}"
