"""How exactly products of float32 are computed on a GPU.

Tensor cores multiply numbers of 10 bits of mantissa, TensorFloat-32, and add the products up in float32: many times
faster than float32's own 23 bits, at a relative error of some 10⁻³ a product.  minicnn rounds so only where it is
allowed, and remembers it: a gradient is computed as its forward pass was.

It means nothing to a CPU, nor to numbers of another dtype.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["allow_tf32", "tf32"]

_tf32: ContextVar[bool] = ContextVar("tf32", default=False)


def tf32() -> bool:
    """Whether factors of type float32 may be rounded to TF32.

    Examples
    --------
    >>> tf32()
    False
    """
    return _tf32.get()


@contextmanager
def allow_tf32(allowed: bool = True) -> Iterator[None]:
    """Let matrix products and convolutions inside the block round factors of type float32 to TF32, or not.

    Parameters
    ----------
    allowed : bool

    Examples
    --------
    >>> with allow_tf32():
    ...     tf32()
    True
    """
    token = _tf32.set(allowed)
    try:
        yield
    finally:
        _tf32.reset(token)
