"""The arguments of one call, which print as Python that makes them again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .layouts import LAYOUTS, lay_out

__all__ = ["Case", "literal", "name_and_import"]


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

        Parameters
        ----------
        fn : callable
            A lambda cannot be imported; the script then says where it stood.
        *only : str
            Properties of :data:`~minicnn.testing.PROPERTIES`.
        **traits
            More arguments of :func:`~minicnn.testing.check_properties`, functions or plain values.
        """
        name, imported = name_and_import(fn)
        arguments, imports = "", ["import numpy as np", imported]
        for trait, value in traits.items():
            if callable(value):
                value_name, value_import = name_and_import(value, alias=trait)
                imports.append(value_import)
                arguments += f", {trait}={value_name}"
            else:
                arguments += f", {trait}={literal(value)}"
        return "\n".join(
            [
                *imports,
                "from minicnn.testing import check_properties",
                *(["from minicnn.testing import lay_out"] if "lay_out(" in repr(self) else []),
                "",
                f"inputs = {literal(self.inputs)}",
                f"options = {literal(self.options)}",
                f"check_properties({name}, inputs, options{arguments}, only={only!r})",
            ]
        )


def literal(value: Any) -> str:
    """Return `value` as Python, given ``import numpy as np``: arrays with all their elements and their layout.

    Examples
    --------
    >>> literal({"stride": (2, 1), "weight": np.array([0.5, -np.inf], np.float32)})
    "{'stride': (2, 1), 'weight': np.array([0.5, -np.inf], 'float32')}"
    """
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return _number(value.item() if isinstance(value, np.generic) else value)


def _array(a: np.ndarray) -> str:
    of_dtype = "" if a.dtype in (np.float64, np.int64, np.bool_) else f", {a.dtype.name!r}"
    if not a.size:
        return f"np.zeros({a.shape}, {a.dtype.name!r})"
    text = f"np.array({_nested(a.tolist())}{of_dtype})"
    layout = _layout_of(a)
    return text if layout == "c" else f"lay_out({text}, {layout!r})"


def _layout_of(a: np.ndarray) -> str:
    if a.flags.c_contiguous:
        return "c"
    return next((name for name in LAYOUTS if lay_out(a, name).strides == a.strides), "c")


def _nested(values: Any) -> str:
    if isinstance(values, list):
        return f"[{', '.join(map(_nested, values))}]"
    return _number(values)


def _number(value: Any) -> str:
    text = repr(value)
    return text.replace("inf", "np.inf").replace("nan", "np.nan") if isinstance(value, float) else text


def name_and_import(fn: Callable[..., Any], alias: str = "fn") -> tuple[str, str]:
    """Return what a script calls `fn`, and the line that brings it there.

    Examples
    --------
    >>> from minicnn import Tensor
    >>> name_and_import(Tensor.exp)
    ('Tensor.exp', 'from minicnn import Tensor')
    """
    module, path = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "")
    if module in (None, "__main__") or not path.replace(".", "").isidentifier():
        return alias, f"{alias} = ...  # {_whereabouts(fn)}"
    top, _, rest = path.partition(".")
    if module == "_operator":
        module = "operator"
    for public in ("minicnn", "minicnn.functional", "minicnn.nn"):
        if module.startswith(public) and hasattr(_imported(public), top):
            module = public
            break
    if alias != "fn":
        return f"{alias}{'.' + rest if rest else ''}", f"from {module} import {top} as {alias}"
    return path, f"from {module} import {top}"


def _imported(name: str) -> Any:
    return __import__(name, fromlist=["_"])


def _whereabouts(fn: Callable[..., Any]) -> str:
    try:
        file, line = inspect.getsourcefile(fn), inspect.getsourcelines(fn)[1]
    except (TypeError, OSError):
        return repr(fn)
    return f"{getattr(fn, '__qualname__', type(fn).__name__)}, {file}:{line}"
