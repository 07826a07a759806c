"""Means to prove a hand-written backward right: minicnn's own, and yours.

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

from .derivative import Finding, Verdict
from .gradcheck import gradcheck
from .network import check_network
from .network_report import DirectionReport, NetworkReport
from .report import GradcheckError, GradcheckReport, InputReport
from .slim import slim

__all__ = [
    "DirectionReport",
    "Finding",
    "GradcheckError",
    "GradcheckReport",
    "InputReport",
    "NetworkReport",
    "Verdict",
    "check_network",
    "gradcheck",
    "slim",
]
