"""Computing in half precision where it is safe: which operations take 16-bit floats, and which need float32.

A number of 16 bits is half as much to fetch, and tensor cores multiply it several times as fast as float32.  float16
has 11 significant bits and ends at 65,504; below 3·10⁻⁸ it is 0, which is why its gradients are scaled
(:class:`minicnn.GradScaler`).  bfloat16 has float32's range, and 8 significant bits.

Products take half precision well: their factors are rounded, the sum of the products is still float32's.  A sum, a
power or a softmax does not: it needs the range, or the digits that cancelling leaves.  So each operation of the one
kind casts its inputs down, each of the other casts them up, and all others compute in what they are given.  The cast is
a part of the operation: its gradients come back in the dtype of what went in, so parameters stay in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from . import backend
from .backend.precision import allow_tf32

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["autocast", "cast", "widened"]

Array = Any

PRODUCTS = frozenset({"Conv2d", "ConvTranspose2d", "Linear", "MatMul"})
"""The operations that take their factors in half precision."""

WIDE = frozenset({"Exp", "Log", "LogSoftmax", "Mean", "Power", "Softmax", "Sum"})
"""Those that take what is in half precision as float32; of others, functions see to it: ``functional.arguments``."""

_half: ContextVar[Any] = ContextVar("autocast", default=None)
"""The dtype that products' factors are cast to; None: they stay as they are."""


@contextmanager
def autocast(dtype: str = "float16", enabled: bool = True) -> Iterator[None]:
    """Let products on a GPU take their factors in lower precision, as a ``with`` block or as a decorator.

    Inside, ``conv2d``, ``conv_transpose2d``, ``linear`` and ``@`` round float32 inputs to `dtype`, add up in float32,
    and return `dtype`.  ``cross_entropy``, ``exp``, ``local_response_norm``, ``log``, ``log_softmax``, ``mean``,
    ``mse_loss``, ``nll_loss``, ``**``, ``softmax`` and ``sum`` take what is in half precision as float32, and return
    float32.  Everything else computes in the dtype that it is given, ``batch_norm`` with statistics in float32; where
    two dtypes meet, in the wider one.

    Write only the forward pass and the loss into the block: backward computes each gradient in the dtypes that its
    forward pass computed in, wherever it is called.  Gradients of parameters have the parameters' dtype, float32.

    It holds for the current thread (and context).  Of nested blocks the innermost alone decides.

    Parameters
    ----------
    dtype : {'float16', 'bfloat16', 'tf32'}
        With ``"tf32"`` everything stays float32, and products may round their factors to TensorFloat-32, of 11
        significant bits and float32's range.  ``"float16"`` wants a :class:`~minicnn.GradScaler`.
    enabled : bool
        False: everything in the precision it is given.

    Raises
    ------
    ValueError
        If `dtype` is none of these.
    RuntimeError
        If bfloat16 is asked for and the library it comes from is missing.

    Notes
    -----
    The lists are those of PyTorch's ``autocast("cuda")``, as far as minicnn has the operations, but for these:

    - ``mean`` gives float32; PyTorch leaves it in half precision.
    - A number divided by a tensor in half precision gives one; PyTorch gives float32.
    - A weight that is used several times is cast each time; PyTorch keeps the cast one until the block ends.  There
      it must not be changed in the block, and here it may.
    - Where one of a product's inputs is float64, none is cast.
    - On the CPU, where half precision is slower than float32, the block does nothing.

    References
    ----------
    P. Micikevicius et al., "Mixed Precision Training", ICLR 2018.

    Examples
    --------
    >>> import minicnn
    >>> x = minicnn.tensor([[1.0, 2.0]])  # on the CPU, where it makes no difference
    >>> with minicnn.autocast("float16"):
    ...     y = minicnn.functional.linear(x, minicnn.tensor([[3.0, 4.0]]))
    >>> y.dtype
    dtype('float32')
    """
    half = _half_dtype(dtype)
    token = _half.set(half if enabled else None)
    try:
        with allow_tf32(enabled and half is None):
            yield
    finally:
        _half.reset(token)


def _half_dtype(name: Any) -> Any:
    """Return the dtype of products' factors, or None for TF32, which is none."""
    if name == "tf32":
        return None
    if name == "float16":
        return backend.cpu.result_type(name)
    if name != "bfloat16":
        raise ValueError(f"autocast: dtype must be 'float16', 'bfloat16' or 'tf32', got {name!r}")
    try:
        import ml_dtypes
    except ImportError as error:
        raise RuntimeError(
            "autocast: bfloat16 needs the library ml_dtypes, which is not here: pip install ml_dtypes"
        ) from error
    return backend.cpu.result_type(ml_dtypes.bfloat16)


def cast(op: str, arrays: list[Array]) -> list[Array]:
    """Return an operation's arrays in the precision that it is to compute in, laid out as they were.

    Parameters
    ----------
    op : str
        The name of its Function.
    arrays : list of arrays
        On one device.
    """
    half = _half.get()
    if half is None or not _on_gpu(arrays[0]):
        return arrays
    if op in WIDE:
        return [array.astype("float32") if _is_half(array.dtype) else array for array in arrays]
    if op in PRODUCTS and all(backend.is_float(a.dtype) and a.dtype.itemsize <= 4 for a in arrays):
        return [array.astype(half, copy=False) for array in arrays]
    return arrays


def widened(x: Tensor) -> Tensor:
    """Return a tensor in half precision as float32 where that is called for, and any other as it is."""
    if _half.get() is None or not _is_half(x.dtype) or not _on_gpu(x.data):
        return x
    return x.to("float32")


def _is_half(dtype: Any) -> bool:
    return dtype.itemsize == 2 and backend.is_float(dtype)


def _on_gpu(array: Array) -> bool:
    return backend.device_of(array).startswith("cuda")
