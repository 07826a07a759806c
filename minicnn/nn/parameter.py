"""Parameters: the tensors of a module that are learned."""

from __future__ import annotations

from typing import Any

from .. import backend
from ..tensor import Tensor

__all__ = ["Parameter", "new_parameter"]


class Parameter(Tensor):
    """A tensor that a module lists among its parameters once it is assigned to one of its attributes.

    Parameters
    ----------
    data : array or Tensor, floating point
        Kept, not copied.
    requires_grad : bool
        False for a parameter that is saved and loaded but not learned for now.

    Examples
    --------
    >>> from minicnn import tensor
    >>> Parameter(tensor([1.0, 2.0]))
    Parameter containing:
    tensor([1., 2.], dtype=float32, requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data.data if isinstance(data, Tensor) else data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def new_parameter(shape: tuple[int, ...], device: str | None = None, dtype: Any = None) -> Parameter:
    """Return a parameter with undefined values, float32 unless told otherwise.

    Kernels (K, C, R, S) lie in channels-last memory, the order in which a convolution multiplies them.
    """
    with backend.on(device) as be:
        dtype = dtype or be.float32
        return Parameter(be.empty_images(*shape, dtype) if len(shape) == 4 else be.empty(shape, dtype))
