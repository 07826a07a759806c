"""Regularisation: dropout."""

from __future__ import annotations

from typing import Any

from ..ops.dropout import Dropout
from ..random import default_generator
from ..tensor import Tensor
from .arguments import Data, as_tensor, floating, number

__all__ = ["dropout"]


def dropout(
    input: Data,
    p: float = 0.5,
    training: bool = True,
    *,
    scale_at_test: bool = False,
    generator: Any = None,
) -> Tensor:
    """Set each element to 0 with probability `p`, in training; scale so that the expectation stays.

    Parameters
    ----------
    input : Tensor of any shape
        Floating point.
    p : float in [0, 1]
    training : bool
    scale_at_test : bool
        False: what is kept in training is divided by 1 − p ("inverted" dropout), and evaluation changes nothing.
        True, the form in the papers: training scales nothing, evaluation multiplies by 1 − p.
    generator : numpy.random.Generator, optional
        Default: the one that :func:`minicnn.manual_seed` starts.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import tensor
    >>> dropout(tensor([2.0, 4.0]), p=0.5, training=False, scale_at_test=True)
    tensor([1., 2.], dtype=float32)
    """
    x = floating("dropout", as_tensor(input))
    if not 0 <= number("dropout", "p", p) <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    if not training:
        return x * (1 - p) if scale_at_test else x
    scale = 1 if scale_at_test or p == 1 else 1 / (1 - p)
    return Dropout(p, scale, generator or default_generator())(x)
