"""Elementary functions of one argument."""

from __future__ import annotations

from ..tensor import Function
from .axes import as_float

__all__ = ["AsType", "Clip", "Exp", "Log", "Sqrt"]


class Exp(Function, operator="exp"):
    """y = eˣ.   dx = g y."""

    def forward(self, x):
        self.y = self.be.exp(as_float(self.be, x))
        return self.y

    def backward(self, g):
        return g * self.y


class Log(Function, operator="log"):
    """y = ln x.   dx = g / x."""

    def forward(self, x):
        self.x = as_float(self.be, x)
        return self.be.log(self.x)

    def backward(self, g):
        return g / self.x


class Sqrt(Function, operator="sqrt"):
    """y = √x.   dx = g / (2 y)."""

    def forward(self, x):
        self.y = self.be.sqrt(as_float(self.be, x))
        return self.y

    def backward(self, g):
        return g / (2 * self.y)


class Clip(Function, operator="clip"):
    """y = min(max(x, low), high).   dx = g where low ≤ x ≤ high, else 0; where low = high, y is constant and dx = 0."""

    def __init__(self, low, high):
        if low is None and high is None:
            raise ValueError("clip: at least one of min and max must be given")
        self.low, self.high = low, high

    def forward(self, x):
        low = -self.be.inf if self.low is None else self.low
        high = self.be.inf if self.high is None else self.high
        inside = (x >= low) & (x <= high)
        self.inside = inside if low < high else self.be.zeros_like(inside)
        return self.be.clip(x, self.low, self.high)

    def backward(self, g):
        return self.be.where(self.inside, g, 0)


class AsType(Function, operator="astype"):
    """y = x in another dtype.   dx = g in x's dtype (the engine converts every gradient to its input's)."""

    def __init__(self, dtype):
        self.dtype = dtype

    def forward(self, x):
        return x.astype(self.dtype, copy=False)

    def backward(self, g):
        return g
