"""Strategies for Hypothesis, which draws the cases of a test: shapes, arrays, windows, layers, small networks.

A failing case shrinks to the smallest one that fails, and prints as Python that makes it again.  All that is known
of an operation takes longer to check than the 200 ms that Hypothesis gives an example: ``@settings(deadline=None)``.

>>> from hypothesis import given, settings
>>> from minicnn import functional as F
>>> from minicnn.testing import gradcheck
>>> from minicnn.testing.strategies import arrays
>>> @settings(max_examples=10, database=None)
... @given(arrays())
... def test_relu(x):
...     gradcheck(F.relu, x)
>>> test_relu()
"""

from __future__ import annotations

try:
    import hypothesis  # noqa: F401  (what everything here needs)
except ImportError:
    raise ImportError(
        'minicnn.testing.strategies needs Hypothesis: pip install "minicnn[test]"', name="hypothesis"
    ) from None

from .arrays import arrays
from .convs import conv_cases, conv_transpose_cases
from .layers import layers
from .pools import pool_cases
from .shapes import broadcastable, shapes
from .small_networks import small_networks
from .windows import windows

__all__ = [
    "arrays",
    "broadcastable",
    "conv_cases",
    "conv_transpose_cases",
    "layers",
    "pool_cases",
    "shapes",
    "small_networks",
    "windows",
]
