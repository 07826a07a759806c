"""Means to find out what went wrong in a computation: where NaN came from, what was read before it was written.

>>> from minicnn import tensor
>>> with detect_anomaly():
...     y = tensor([1.0, 0.0]).log()
Traceback (most recent call last):
...
minicnn.debug.anomaly.AnomalyError: Log, forward: -Inf in the output: 1 of 2 elements, the first at (1,)
  output: float32 (2,), 0 … 0, 1 -Inf
  input 0: float32 (2,), 0 … 1
  called at <doctest minicnn.debug[1]>:2 in <module>: y = tensor([1.0, 0.0]).log()
"""

from __future__ import annotations

from .anomaly import AnomalyError, detect_anomaly
from .poison import poison_workspace

__all__ = ["AnomalyError", "detect_anomaly", "poison_workspace"]
