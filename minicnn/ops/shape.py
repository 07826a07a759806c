"""Operations that move elements without changing them: the gradient moves back the same way."""

from __future__ import annotations

import copy
import math
import operator

from .. import backend
from ..tensor import Function, Tensor
from .axes import axes_of, axis_of

__all__ = ["Flatten", "GetItem", "Permute", "Reshape", "Transpose"]


class Reshape(Function, operator="reshape"):
    """The same elements, in row-major logical order, in another shape; one axis may be −1."""

    def __init__(self, shape):
        self.shape = tuple(operator.index(size) for size in shape)

    def forward(self, x):
        known = math.prod(size for size in self.shape if size != -1)
        free = self.shape.count(-1)
        fits = x.size == known if not free else free == 1 and known > 0 and x.size % known == 0
        if not fits or min(self.shape, default=0) < -1:
            raise ValueError(f"reshape: shape {x.shape} of {x.size} elements does not fit into {self.shape}")
        return x.reshape(self.shape)

    def backward(self, g):
        return g.reshape(self.shapes[0])


class Flatten(Function, operator="flatten"):
    """The axes from `start_dim` to `end_dim`, both included, joined into one."""

    def __init__(self, start_dim=0, end_dim=-1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        if not x.ndim:
            return x.reshape(1)
        first, last = (axis_of("flatten", d, x.ndim) for d in (self.start_dim, self.end_dim))
        if first > last:
            raise ValueError(
                f"flatten: start_dim must not come after end_dim, got {self.start_dim} and {self.end_dim} "
                f"for a {x.ndim}-D input"
            )
        joined = math.prod(x.shape[first : last + 1])
        return x.reshape(*x.shape[:first], joined, *x.shape[last + 1 :])

    def backward(self, g):
        return g.reshape(self.shapes[0])


class Permute(Function, operator="permute"):
    """The axes in another order; the gradient's go back by the inverse permutation."""

    def __init__(self, dims):
        self.dims = dims

    def forward(self, x):
        self.axes = axes_of("permute", self.dims, x.ndim)
        if len(self.axes) != x.ndim:
            raise ValueError(f"permute: dims must name all {x.ndim} axes, got {self.dims}")
        return x.transpose(self.axes)

    def backward(self, g):
        inverse = sorted(range(g.ndim), key=self.axes.__getitem__)
        return g.transpose(inverse)


class Transpose(Function, operator="transpose"):
    """Two axes swapped."""

    def __init__(self, dim0, dim1):
        self.dims = dim0, dim1

    def forward(self, x):
        self.axes = tuple(axis_of("transpose", d, x.ndim) for d in self.dims)
        return self.be.swapaxes(x, *self.axes)

    def backward(self, g):
        return self.be.swapaxes(g, *self.axes)


class GetItem(Function, operator="getitem"):
    """y = x[index].   dx is 0 but for dx[index] = g, summed where the index names an element more than once."""

    def __init__(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        parts = tuple(part.data if isinstance(part, Tensor) else part for part in parts)
        self.index = parts if isinstance(index, tuple) else parts[0]
        self.names_once = all(part is None or part is ... or isinstance(part, int | slice) for part in parts)

    def forward(self, x):
        for part in self.index if isinstance(self.index, tuple) else (self.index,):
            if hasattr(part, "dtype") and not backend.cpu.is_array(part):  # NumPy's are sent to where x is
                backend.of(x, part, op=self.name)
        if self.needs[0] and not self.names_once:
            self.index = copy.deepcopy(self.index)  # the caller may use the array for another index by then
        return x[self.index]

    def backward(self, g):
        dx = self.be.zeros(self.shapes[0], g.dtype)
        if self.names_once:
            dx[self.index] = g
        else:
            self.be.add_at(dx, self.index, g)
        return dx
