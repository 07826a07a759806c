"""Tensors over another library's memory, by the DLPack protocol.

The other way is :meth:`minicnn.Tensor.__dlpack__`: ``torch.from_dlpack``, ``jax.dlpack.from_dlpack``,
``cupy.from_dlpack`` and ``numpy.from_dlpack`` take a tensor of minicnn as it is.  Neither copies anything.

References
----------
"DLPack: Open In Memory Tensor Structure", https://dmlc.github.io/dlpack/latest/
"""

from __future__ import annotations

from typing import Any

from . import backend
from .tensor import Tensor

__all__ = ["from_dlpack"]

DEVICES = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda"}  # of DLDeviceType: 3 is page-locked, 13 managed memory


def from_dlpack(x: Any) -> Tensor:
    """Return a tensor over the memory of another library's array, on the device where that is.

    What one of the two writes, the other sees.  On a GPU minicnn's work in CuPy's current stream begins after what the
    other library has queued for the array.

    Parameters
    ----------
    x : array
        PyTorch's, JAX's, CuPy's, NumPy's or any other with ``__dlpack__``, of real numbers.

    Returns
    -------
    Tensor
        It requires no gradient, and keeps the memory alive.

    Raises
    ------
    TypeError
        If `x` has no ``__dlpack__``, or its numbers are not real.
    ValueError
        If it is on a device that minicnn does not compute on.
    BufferError
        If the other library does not hand its memory out, as PyTorch does not for tensors that require a gradient; or
        if NumPy, or CuPy, has no such dtype.
    RuntimeError
        If it is on a GPU, and something is missing that minicnn needs there.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.ones(3)
    >>> t = from_dlpack(x)
    >>> x[0] = 2
    >>> t
    tensor([2., 1., 1.])
    """
    if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        kind = f"{type(x).__module__}.{type(x).__qualname__}"
        raise TypeError(f"from_dlpack: expected an array with __dlpack__, got {kind}")
    kind, number = x.__dlpack_device__()
    if int(kind) not in DEVICES:
        raise ValueError(
            f"from_dlpack: the array must be on the CPU or a CUDA device, got DLPack's device type {int(kind)}"
        )
    device = DEVICES[int(kind)]
    with backend.on(device if device == "cpu" else f"{device}:{number}") as be:
        try:
            array = be.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError) as error:  # as the libraries have it
            raise BufferError(f"from_dlpack: {error}") from error
    if array.dtype.kind not in "biu" and not be.is_float(array.dtype):
        raise TypeError(f"from_dlpack: the numbers must be real, got dtype {array.dtype}")
    return Tensor(array)
