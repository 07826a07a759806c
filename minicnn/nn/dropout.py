"""Dropout."""

from __future__ import annotations

from .. import functional as F
from ..tensor import Tensor
from .check import number_in
from .module import Module

__all__ = ["Dropout"]


class Dropout(Module):
    """In training, set each element to 0 with probability `p`.

    Parameters
    ----------
    p : float in [0, 1]
    inplace : bool
        Taken for PyTorch's sake; the input is never changed.
    scale_at_test : bool
        False: training divides what is kept by 1 − p ("inverted" dropout), and evaluation changes nothing.
        True, the form in the papers: training scales nothing, and evaluation multiplies by 1 − p.

    Raises
    ------
    TypeError, ValueError
        If `p` is no number in [0, 1].

    References
    ----------
    N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> nn.Dropout(0.5, scale_at_test=True).eval()(tensor([2.0, 4.0]))
    tensor([1., 2.], dtype=float32)
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, scale_at_test: bool = False) -> None:
        super().__init__()
        self.p = number_in(0, 1, "Dropout", "p", p)
        self.inplace, self.scale_at_test = inplace, scale_at_test

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, scale_at_test=self.scale_at_test)

    def extra_repr(self) -> str:
        form = ", scale_at_test=True" if self.scale_at_test else ""
        return f"p={self.p}, inplace={self.inplace}{form}"
