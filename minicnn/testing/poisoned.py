"""Results that do not depend on memory which nobody wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..debug.poison import filled_workspace

__all__ = ["same_when_poisoned"]


def same_when_poisoned(run: Callable[[], Sequence[np.ndarray]]) -> None:
    """Demand the same numbers whatever uninitialised memory holds: once zeros, once NaN.

    Parameters
    ----------
    run : callable
        Computes arrays, the same at each call: an output and gradients, say.

    Raises
    ------
    AssertionError
        If an array differs; :func:`~minicnn.poison_workspace` with :func:`~minicnn.detect_anomaly` tells where.

    Examples
    --------
    >>> from minicnn import Function, tensor
    >>> class Forgetful(Function):
    ...     def forward(self, x):
    ...         y = self.be.empty_like(x)
    ...         y[1:] = x[1:]
    ...         return y
    >>> same_when_poisoned(lambda: [Forgetful()(tensor([1.0, 2.0])).data])
    Traceback (most recent call last):
    ...
    AssertionError: workspace: result 0 depends on memory that was never written: 1 of 2 elements, the first at (0,)
    """
    with filled_workspace(0):
        zeros = run()
    with filled_workspace(0xFF):
        nans = run()
    for i, (a, b) in enumerate(zip(zeros, nans, strict=True)):
        other = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        if other.any():
            at = tuple(int(n) for n in np.argwhere(other)[0])
            raise AssertionError(
                f"workspace: result {i} depends on memory that was never written: {np.count_nonzero(other)} of "
                f"{other.size} elements, the first at {at}"
            )
