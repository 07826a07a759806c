"""Addition, subtraction, multiplication, division, powers: elementwise, with broadcasting."""

from __future__ import annotations

from ..tensor import Function
from .axes import as_float, check_broadcast, unbroadcast

__all__ = ["Add", "Divide", "Multiply", "Negative", "Power", "Subtract"]


class Binary(Function):
    """An elementwise operation of two arrays; what broadcasting repeated, the gradient sums."""

    def reduced(self, *grads):
        """Return each gradient summed back to its input's shape; those not needed are None."""
        return tuple(
            unbroadcast(g, shape) if need else None
            for g, shape, need in zip(grads, self.shapes, self.needs, strict=True)
        )

    def operands(self, a, b):
        """Return the operands, checked; an integer takes the other's floating-point dtype, unlike halves float32."""
        if a.shape != b.shape:
            check_broadcast(self.name.lower(), self.be, a, b)
        if a.dtype == b.dtype:
            return a, b
        a_is_float, b_is_float = self.be.is_float(a.dtype), self.be.is_float(b.dtype)
        if a_is_float != b_is_float:
            dtype = a.dtype if a_is_float else b.dtype
            return a.astype(dtype), b.astype(dtype)
        if (
            a_is_float and a.dtype.itemsize == b.dtype.itemsize
        ):  # float16 and bfloat16: neither holds the other
            return a.astype(self.be.float32), b.astype(self.be.float32)
        return a, b


class Add(Binary, operator="add"):
    """y = a + b.   da = g,   db = g."""

    def forward(self, a, b):
        be = self.be
        a, b = self.operands(a, b)
        if a.ndim < 3 or a.shape != b.shape or a.dtype != b.dtype:
            return a + b
        # The shortcuts of a residual network, where the sum is the whole work.
        return be.in_pieces(lambda a, b, y: be.add(a, b, out=y), a, b, be.empty_like(a))

    def backward(self, g):
        return self.reduced(g, g)


class Subtract(Binary, operator="subtract"):
    """y = a − b.   da = g,   db = −g."""

    def forward(self, a, b):
        a, b = self.operands(a, b)
        return a - b

    def backward(self, g):
        return self.reduced(g, -g if self.needs[1] else g)


class Multiply(Binary, operator="multiply"):
    """y = a b.   da = g b,   db = g a."""

    def forward(self, a, b):
        a, b = self.operands(a, b)
        self.a = a if self.needs[1] else None
        self.b = b if self.needs[0] else None
        return a * b

    def backward(self, g):
        return self.reduced(*(g if other is None else g * other for other in (self.b, self.a)))


class Divide(Binary, operator="divide"):
    """y = a / b.   da = g / b,   db = −g a / b²."""

    def forward(self, a, b):
        a, b = self.operands(a, b)
        self.a, self.b = as_float(self.be, a), as_float(self.be, b)
        return self.a / self.b

    def backward(self, g):
        da = g / self.b
        return self.reduced(da, -da * self.a / self.b if self.needs[1] else g)


class Negative(Function, operator="negative"):
    """y = −x.   dx = −g."""

    def forward(self, x):
        return -x

    def backward(self, g):
        return -g


class Power(Binary, operator="power"):
    """y = aᵇ.   da = g b aᵇ⁻¹,   db = g aᵇ ln a.

    At the corners the limits along the argument are taken: da = 0 where b = 0, and db = 0 where a = 0 and b ≥ 0.
    """

    def forward(self, a, b):
        a, b = self.operands(a, b)
        integers = not self.be.is_float(a.dtype)
        if integers and (b < 0).any():  # the only case in which they do not stay integers
            a, b = as_float(self.be, a), as_float(self.be, b)
        self.a, self.b = a, b
        self.y = a**b
        return self.y

    def backward(self, g):
        be, a, b = self.be, self.a, self.b
        da = db = g
        if self.needs[0]:
            da = be.where(b == 0, 0, g * b * a ** (b - 1))
        if self.needs[1]:
            db = be.where((a == 0) & (b >= 0), 0, g * self.y * be.log(a))
        return self.reduced(da, db)
