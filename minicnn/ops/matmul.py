"""The matrix product."""

from __future__ import annotations

from ..backend.precision import allow_tf32, tf32
from ..tensor import Function
from .axes import unbroadcast

__all__ = ["MatMul"]


class MatMul(Function, operator="matmul"):
    """y = a b: matrices, vectors and broadcast batches of matrices, as ``numpy.matmul``.

    For matrices, da = g bᵀ and db = aᵀ g.  A vector counts as a matrix of one row (left) or column (right), and a
    matrix that broadcasting repeated gets the sum of its gradients.
    """

    def forward(self, a, b):
        self.a, self.b, self.tf32 = a, b, tf32()
        self._check(a, b)
        return self.be.matmul(a, b)

    def _check(self, a, b):
        fits = a.ndim and b.ndim and a.shape[-1] == b.shape[-2 if b.ndim > 1 else 0]
        if fits and a.ndim > 2 and b.ndim > 2:
            pairs = zip(reversed(a.shape[:-2]), reversed(b.shape[:-2]), strict=False)
            fits = all(m == n or 1 in (m, n) for m, n in pairs)
        if not fits:
            raise ValueError(f"matmul: shapes {a.shape} and {b.shape} have no product")

    def backward(self, g):
        be, a, b = self.be, self.a, self.b
        left = a[None, :] if a.ndim == 1 else a
        right = b[:, None] if b.ndim == 1 else b
        g = be.expand_dims(g, -2) if a.ndim == 1 and b.ndim > 1 else g
        g = be.expand_dims(g, -1) if b.ndim == 1 else g
        g = g.reshape(1, 1) if a.ndim == b.ndim == 1 else g
        with allow_tf32(self.tf32):
            da = be.matmul(g, be.swapaxes(right, -1, -2)) if self.needs[0] else None
            db = be.matmul(be.swapaxes(left, -1, -2), g) if self.needs[1] else None
        return (
            None if da is None else unbroadcast(da, left.shape).reshape(a.shape),
            None if db is None else unbroadcast(db, right.shape).reshape(b.shape),
        )
