"""CuPy's ufuncs: NumPy's, with results always in C order, without ``where=``, and ``at`` for a few."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import device
from .array import indices, ndarray, on_device, operands, quiet, wrap

__all__ = ["UFUNCS", "ufunc"]

NAMES = """
    abs absolute add bitwise_and bitwise_or bitwise_xor divide divmod equal exp floor_divide greater
    greater_equal invert isinf isnan left_shift less less_equal log maximum minimum multiply negative
    not_equal positive power remainder right_shift sqrt square subtract tanh true_divide
"""
SCATTERED = {  # whose .at CuPy has, and for which dtypes
    "add": "int32 int64 float16 float32 float64 uint32 uint64",
    "subtract": "int32 uint32",
    "maximum": "int32 int64 float32 float64 uint32 uint64",
    "minimum": "int32 int64 float32 float64 uint32 uint64",
}


class ufunc:
    def __init__(self, name: str) -> None:
        self.__name__ = self.name = name
        self._numpy = getattr(np, name)
        self.nin, self.nout, self.nargs = self._numpy.nin, self._numpy.nout, self._numpy.nargs

    def __repr__(self) -> str:
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args: Any, out: Any = None, casting: str = "same_kind", dtype: Any = None) -> Any:
        inputs = operands(*args[: self.nin])
        outs = args[self.nin :] or (out if isinstance(out, tuple) else (out,))
        given = [one for one in outs if one is not None]
        hosts = [on_device(one) for one in given]
        device.launched("function", self.name)
        options = {"out": tuple(hosts)} if given else {}
        found = quiet(self._numpy, *inputs, casting=casting, dtype=dtype, **options)
        if given:
            return given[0] if self.nout == 1 else tuple(given)
        return wrap(found) if self.nout == 1 else tuple(wrap(one) for one in found)

    def at(self, a: ndarray, places: Any, b: Any = None) -> None:
        if self.name not in SCATTERED:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        host, (found, _) = on_device(a), indices(places)
        if host.dtype.name not in SCATTERED[self.name].split():
            raise TypeError(f"cupy.{self.name}.at only supports {SCATTERED[self.name]}, got {host.dtype}")
        (values,) = operands(b)
        device.launched("function", f"{self.name}.at")
        quiet(self._numpy.at, host, found, values)

    def reduce(
        self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        if self.name not in ("add", "multiply"):
            raise NotImplementedError(f"`{self.name}.reduce` is not supported yet")
        return (array.sum if self.name == "add" else array.prod)(axis, dtype, out, keepdims)


UFUNCS = {name: ufunc(name) for name in NAMES.split()}


# The operators


def _knows_better(other: Any) -> bool:
    """Whether CuPy leaves an operator to the other operand."""
    if isinstance(other, ndarray):
        return False
    if hasattr(other, "__array_ufunc__"):
        return other.__array_ufunc__ is None
    return getattr(other, "__array_priority__", 0) > ndarray.__array_priority__


def _binary(name: str, reflected: bool = False) -> Any:
    function = UFUNCS[name]

    def method(self: ndarray, other: Any) -> Any:
        if _knows_better(other):
            return NotImplemented
        return function(other, self) if reflected else function(self, other)

    return method


def _in_place(name: str) -> Any:
    function = UFUNCS[name]
    return lambda self, other: function(self, other, self)


_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "divmod": "divmod",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
}
for _short, _name in _OPERATORS.items():
    setattr(ndarray, f"__{_short}__", _binary(_name))
    setattr(ndarray, f"__r{_short}__", _binary(_name, reflected=True))
    if _short != "divmod":
        setattr(ndarray, f"__i{_short}__", _in_place(_name))
for _short, _name in {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}.items():
    setattr(ndarray, f"__{_short}__", _binary(_name))
for _short, _name in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_short}__", lambda self, function=UFUNCS[_name]: function(self))
