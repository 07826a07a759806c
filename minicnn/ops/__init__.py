"""The operations: one file each (or one small family), forward and hand-written backward side by side.

Each is a :class:`~minicnn.tensor.Function` whose docstring holds the mathematics.  In it, and in the code, g is
∂L/∂output and dx, dw, db are the gradients returned.  An operation computes with the backend of its inputs, ``be``, and
imports no array library.  Operations that the engine's tensors offer as operators and methods register themselves, so
importing this package gives :class:`~minicnn.Tensor` its arithmetic.
"""

from . import arithmetic, elementwise, matmul, reduce, shape, to_device

__all__ = ["arithmetic", "elementwise", "matmul", "reduce", "shape", "to_device"]
