"""Means to prove a hand-written backward right: minicnn's own, and yours.

:func:`gradcheck` holds gradients to finite differences, :func:`check_properties` an operation to everything that can
be asked of any, :func:`check_network` a whole network; :mod:`~minicnn.testing.strategies` draws the arguments for them,
with Hypothesis.

>>> import numpy as np
>>> from minicnn.tensor import Function
>>> class Cube(Function):
...     def forward(self, x):
...         self.x = x
...         return x**3
...     def backward(self, g):
...         return 2 * g * self.x**2
>>> gradcheck(lambda x: Cube()(x), np.array([1.0, 2.0]))
Traceback (most recent call last):
...
minicnn.testing.report.GradcheckError: gradcheck: wrong gradient for input 0 (...)
...
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .case import Case
from .derivative import Finding, Verdict
from .gradcheck import gradcheck
from .hvp import HessianProduct, hvp
from .layer_case import LayerCase, with_values
from .layouts import LAYOUTS, lay_out
from .network import check_network
from .network_report import DirectionReport, NetworkReport
from .poisoned import same_when_poisoned
from .properties import PROPERTIES, Operation, PropertyError, check_properties
from .report import GradcheckError, GradcheckReport, InputReport
from .slim import slim
from .small_network import SmallNetwork
from .symmetry import PairReport, SymmetryReport, check_symmetry
from .values import VALUES, fill, fill_weight

if TYPE_CHECKING:
    from . import strategies as strategies
    from .strategies import arrays as arrays
    from .strategies import broadcastable as broadcastable
    from .strategies import conv_cases as conv_cases
    from .strategies import conv_transpose_cases as conv_transpose_cases
    from .strategies import layers as layers
    from .strategies import pool_cases as pool_cases
    from .strategies import shapes as shapes
    from .strategies import small_networks as small_networks
    from .strategies import windows as windows

__all__ = [
    "LAYOUTS",
    "PROPERTIES",
    "VALUES",
    "Case",
    "DirectionReport",
    "Finding",
    "GradcheckError",
    "GradcheckReport",
    "HessianProduct",
    "InputReport",
    "LayerCase",
    "NetworkReport",
    "Operation",
    "PairReport",
    "PropertyError",
    "SmallNetwork",
    "SymmetryReport",
    "Verdict",
    "check_network",
    "check_properties",
    "check_symmetry",
    "fill",
    "fill_weight",
    "gradcheck",
    "hvp",
    "lay_out",
    "same_when_poisoned",
    "slim",
    "with_values",
]

_STRATEGIES = (
    "arrays",
    "broadcastable",
    "conv_cases",
    "conv_transpose_cases",
    "layers",
    "pool_cases",
    "shapes",
    "small_networks",
    "windows",
)


def __getattr__(name: str) -> Any:
    """Import the strategies when they are asked for: they need Hypothesis, nothing else here does."""
    if name not in ("strategies", *_STRATEGIES):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    strategies = import_module(f"{__name__}.strategies")
    return strategies if name == "strategies" else getattr(strategies, name)
