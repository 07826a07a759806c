"""The engine: tensors, functions, and the walk back through the graph they leave behind.

A :class:`Tensor` is an array that remembers which :class:`Function` made it.  A Function is one operation: a
``forward`` on arrays and a hand-written ``backward``.  Calling a Function on tensors links it to the Functions that
made its inputs; these links are the graph::

    x ──▶ Conv2d ──▶ ReLU ──▶ Sum        tensors own Functions (``creator``),
    w ──▶   │          │       │         Functions own Functions and leaf tensors (``edges``):
            ◀──────────◀───────◀         every arrow of ownership points back in time, so there are no cycles and
                                         reference counting frees each part as soon as nothing needs it.

Functions are numbered as they are made, and an input is always made before its output.  So the order of creation *is*
a topological order, and ``backward`` only has to take the youngest pending Function again and again: no recursion, no
visiting pass, any depth.
"""

from __future__ import annotations

import copy
import heapq
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator
from operator import eq, ge, gt, le, lt, ne
from types import TracebackType
from typing import Any, NamedTuple

from . import backend
from .autocast import cast
from .observer import current, observed

__all__ = ["Function", "MaxResult", "Tensor", "enable_grad", "is_grad_enabled", "no_grad", "tensor"]

Array = Any

_numbers = itertools.count()  # the age of each Function
_operators: dict[str, Callable[..., Any]] = {}


class _Mode(threading.local):
    grad = True  # False inside no_grad()


_mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations record what backward needs; False inside :func:`no_grad`."""
    return _mode.grad


class _GradMode(ContextDecorator):
    """Record a graph or not, for the current thread, as a ``with`` block or as a decorator."""

    records: bool

    def __init__(self) -> None:
        self._before: list[bool] = []  # the mode to restore, for each time that this instance was entered

    def _recreate_cm(self) -> _GradMode:  # what a decorated function enters: one of its own for each call
        return type(self)()

    def __enter__(self) -> None:
        self._before.append(is_grad_enabled())
        _mode.grad = self.records

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _mode.grad = self._before.pop()


class no_grad(_GradMode):
    """Compute without recording a graph, as a ``with`` block or as a decorator.

    Holds for the current thread.

    Examples
    --------
    >>> w = tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """

    records = False


class enable_grad(_GradMode):
    """Record a graph all the same, inside :class:`no_grad`."""

    records = True


class MaxResult(NamedTuple):
    """What ``Tensor.max(dim)`` returns."""

    values: Tensor
    indices: Tensor


class Tensor:
    """An array with a gradient.

    Parameters
    ----------
    data : array
        Kept, not copied.  :func:`tensor` copies and converts.
    requires_grad : bool
        Whether ``backward`` shall leave ∂L/∂data in ``grad``.

    Attributes
    ----------
    data : array
        The values; for images logical (N, C, H, W), whatever the strides.  Operations keep the arrays their derivatives
        need, without copying: writing into ``data`` between forward and backward changes the gradient.
    grad : array or None
        The gradient, summed over all calls of ``backward`` since it was last None.  An array, not a Tensor.

    Raises
    ------
    TypeError
        If `data` is no array, or is to have a gradient and is not of a floating-point type.

    Examples
    --------
    >>> x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4., 6.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_requires_grad", "creator", "data", "grad")
    __array_ufunc__ = None  # ndarray + Tensor is ours to compute

    creator: Function | None
    grad: Array | None

    def __init__(self, data: Array, requires_grad: bool = False) -> None:
        backend.of(data)
        self.data = data
        self.grad = None
        self.creator = None
        self._requires_grad = False
        if requires_grad:
            self.requires_grad = True

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """The number of elements (an attribute, as in NumPy)."""
        return self.data.size

    @property
    def dtype(self) -> Any:
        """The array's dtype."""
        return self.data.dtype

    @property
    def device(self) -> str:
        """Where the array lives, ``"cpu"`` or ``"cuda:0"``."""
        return backend.device_of(self.data)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through this tensor; may be set on a leaf."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.creator is not None:
            raise ValueError(
                f"requires_grad can be set on leaf tensors only, this one was made by {self.creator.name}; "
                "detach() gives a leaf"
            )
        if value and not backend.of(self.data).is_float(self.dtype):
            raise TypeError(f"only floating-point tensors can require a gradient, got dtype {self.dtype}")
        self._requires_grad = bool(value)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self.creator is None

    # The gradient

    def backward(self, gradient: Array | Tensor | None = None) -> None:
        """Add ∂L/∂leaf to the ``grad`` of every leaf this tensor was computed from.

        The graph is freed on the way, so it can be walked once.

        Parameters
        ----------
        gradient : array or Tensor, optional
            ∂L/∂self, of this tensor's shape.  May be left out for one element, where it is 1.

        Raises
        ------
        RuntimeError
            If this tensor needs no gradient, or its graph was walked before.
        ValueError
            If `gradient` is missing or of another shape.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this tensor does not require a gradient, nor does any it was made from"
            )
        with backend.cpu.silent():  # sums and conversions between the functions too
            _walk(self, self._cotangent(gradient))

    def _cotangent(self, gradient: Array | Tensor | None) -> Array:
        be = backend.of(self.data)
        with be.running("backward", self.data):
            if gradient is None:
                if self.size != 1:
                    raise ValueError(
                        f"backward: only a tensor of one element has an implicit gradient, this one has shape "
                        f"{self.shape}; pass gradient="
                    )
                return be.broadcast_to(be.asarray(1, dtype=self.dtype), self.shape)
            array = gradient.data if isinstance(gradient, Tensor) else gradient
            if hasattr(array, "dtype"):
                backend.of(self.data, array, op="backward")
            array = be.asarray(array)
            if array.shape != self.shape:
                raise ValueError(
                    f"backward: gradient must have the tensor's shape {self.shape}, got {array.shape}"
                )
            return array.astype(self.dtype, copy=False)

    def detach(self) -> Tensor:
        """Return a tensor over the same array, outside any graph."""
        return Tensor(self.data)

    # Where its values go

    def numpy(self) -> Array:
        """Return the values as a NumPy array, in host memory; not a copy if they are there."""
        return backend.of(self.data).to_numpy(self.data)

    def item(self) -> float | int | bool:
        """Return the value of a tensor with one element as a Python number.

        Raises
        ------
        ValueError
            If there is more than one element, or none.
        """
        if self.size != 1:
            raise ValueError(f"item: the tensor must have one element, this one has shape {self.shape}")
        return self.data.item()

    def to(self, target: Any) -> Tensor:
        """Return this tensor on another device (a str such as ``"cuda"``) or in another dtype.

        Both are recorded: the gradient comes back on this tensor's device and in its dtype.  Integers carry none.

        Raises
        ------
        ValueError
            If `target` is neither.
        RuntimeError
            If it is a GPU, and something is missing that it needs.
        MemoryError
            If the GPU's memory has no room for it.
        """
        be = backend.of(self.data)
        if backend.is_device(target):
            return self if backend.is_on(self.data, target) else _apply("to_device", (self,), target)
        try:
            dtype = be.result_type(target)
        except TypeError:
            raise ValueError(f"to: expected a device such as 'cpu' or a dtype, got {target!r}") from None
        if be.is_float(dtype):
            return _apply("astype", (self,), dtype)
        with backend.on(self.device):
            return Tensor(self.data.astype(dtype))

    def cpu(self) -> Tensor:
        """Return this tensor in host memory."""
        return self.to("cpu")

    def cuda(self) -> Tensor:
        """Return this tensor on the GPU."""
        return self.to("cuda")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.numpy().__array__(dtype, copy=copy) if copy is not None else self.numpy().__array__(dtype)

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad:
            raise BufferError(
                "dlpack: a tensor that requires a gradient is not handed out, for nothing records what is done with it "
                "elsewhere; use detach()"
            )
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    def __repr__(self) -> str:
        body = repr(self.data).removeprefix("array").removeprefix("(").removesuffix(")")
        device = f", device='{self.device}'" if self.device.startswith("cuda") else ""
        return f"tensor({body}{device}{', requires_grad=True' if self.requires_grad else ''})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.creator = copy.deepcopy(self.creator, memo)
        twin.data, twin.grad = _copied(self.data, memo), _copied(self.grad, memo)
        return twin

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    # Arithmetic.  Each operation stands in its own file under ops/ and registers itself by name.

    def __add__(self, other: Any) -> Tensor:
        return _apply("add", (self, other))

    def __sub__(self, other: Any) -> Tensor:
        return _apply("subtract", (self, other))

    def __mul__(self, other: Any) -> Tensor:
        return _apply("multiply", (self, other))

    def __truediv__(self, other: Any) -> Tensor:
        return _apply("divide", (self, other))

    def __pow__(self, other: Any) -> Tensor:
        return _apply("power", (self, other))

    def __matmul__(self, other: Any) -> Tensor:
        return _apply("matmul", (self, other))

    def __radd__(self, other: Any) -> Tensor:
        return _apply("add", (other, self))

    def __rsub__(self, other: Any) -> Tensor:
        return _apply("subtract", (other, self))

    def __rmul__(self, other: Any) -> Tensor:
        return _apply("multiply", (other, self))

    def __rtruediv__(self, other: Any) -> Tensor:
        return _apply("divide", (other, self))

    def __rpow__(self, other: Any) -> Tensor:
        return _apply("power", (other, self))

    def __rmatmul__(self, other: Any) -> Tensor:
        return _apply("matmul", (other, self))

    def __neg__(self) -> Tensor:
        return _apply("negative", (self,))

    # Comparisons are elementwise and carry no gradient.

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]  (elementwise)
        return _compared("==", self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]  (elementwise)
        return _compared("!=", self, other)

    def __lt__(self, other: Any) -> Tensor:
        return _compared("<", self, other)

    def __le__(self, other: Any) -> Tensor:
        return _compared("<=", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _compared(">", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _compared(">=", self, other)

    __hash__ = object.__hash__

    # Reductions

    def sum(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        """Sum over the axes `dim`, or over all of them."""
        return _apply("sum", (self,), dim, keepdim)

    def mean(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        """Arithmetic mean over the axes `dim`, or over all of them."""
        return _apply("mean", (self,), dim, keepdim)

    def max(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """Largest element, or with `dim` the pair (values, indices) of the largest along that axis.

        Without `dim`, elements that tie share the gradient evenly; with it, the first one gets it all.
        """
        if dim is None:
            return _apply("max", (self,))
        function = _operators["max_along"](dim, keepdim)
        values = function(self)
        return MaxResult(values, Tensor(function.indices))

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """Index of the first largest element along `dim`, or in the flattened tensor."""
        if dim is None:
            return self.detach().flatten().max(0).indices
        return self.detach().max(dim, keepdim).indices

    # Elementwise

    def exp(self) -> Tensor:
        """Return eˣ."""
        return _apply("exp", (self,))

    def log(self) -> Tensor:
        """Natural logarithm."""
        return _apply("log", (self,))

    def sqrt(self) -> Tensor:
        """Square root."""
        return _apply("sqrt", (self,))

    def clip(self, min: float | None = None, max: float | None = None) -> Tensor:
        """Limit each element to [min, max]; the gradient is 0 where it was outside."""
        return _apply("clip", (self,), min, max)

    # Shape

    def reshape(self, *shape: Any) -> Tensor:
        """Return the elements in row-major logical order in another shape; one axis may be −1."""
        return _apply("reshape", (self,), _sequence(shape))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Join the axes from `start_dim` to `end_dim` into one."""
        return _apply("flatten", (self,), start_dim, end_dim)

    def permute(self, *dims: Any) -> Tensor:
        """Return the axes in another order."""
        return _apply("permute", (self,), _sequence(dims))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Return the tensor with two axes swapped."""
        return _apply("transpose", (self,), dim0, dim1)

    def __getitem__(self, index: Any) -> Tensor:
        return _apply("getitem", (self,), index)


def tensor(data: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Make a tensor from numbers, nested lists or an array, copying them.

    Parameters
    ----------
    data : number, nested sequence, array or Tensor
    dtype : optional
        Default: an array keeps its own; Python floats become float32, Python ints int64, bools bool.
    device : str, optional
        Where to put it; default as :func:`minicnn.device` says, else where an array of a GPU is, else ``"cpu"``.
    requires_grad : bool

    Raises
    ------
    TypeError
        If the data are not numbers.
    ValueError
        If nested sequences are ragged.

    Examples
    --------
    >>> tensor([[1.0, 2.0]])
    tensor([[1., 2.]], dtype=float32)
    >>> tensor([1, 2]).dtype
    dtype('int64')
    """
    source, device = backend.placed(data.data if isinstance(data, Tensor) else data, device)
    with backend.on(device) as be, be.running("tensor"):
        array = be.asarray(source, dtype=dtype).copy()
        if array.dtype.kind not in "biu" and not be.is_float(array.dtype):
            raise TypeError(f"tensor: data must be real numbers, got dtype {array.dtype}")
        if dtype is None and be.is_float(array.dtype) and not hasattr(source, "dtype"):
            array = array.astype(be.float32)
    return Tensor(array, requires_grad)


class Function:
    """One differentiable operation: subclass it, write ``forward`` and ``backward``, call an instance on tensors.

    An instance stands for one call.  Hyper-parameters go to ``__init__``; what ``backward`` needs, ``forward`` keeps
    in attributes.  They are all dropped when backward has run.

    Attributes
    ----------
    be : module
        The backend of the inputs: NumPy's names, on the device the arrays are on.
    shapes, dtypes : tuples
        Of the inputs; inside :class:`minicnn.autocast` forward may get them in another dtype.
    needs : tuple of bool
        Which inputs need a gradient; None may be returned for the others.
    queue : tuple or None
        The GPU and its queue of work that forward joined, which backward must join too.

    Examples
    --------
    >>> class Square(Function):
    ...     '''y = x².   ∂L/∂x = 2 g x.'''
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * x
    ...     def backward(self, g):
    ...         return 2 * g * self.x
    >>> x = tensor([3.0], requires_grad=True)
    >>> Square()(x).backward()
    >>> x.grad
    array([6.], dtype=float32)
    """

    be: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]
    needs: tuple[bool, ...]
    queue: tuple[int, int] | None = None
    edges: tuple[Function | Tensor | None, ...] | None = None  # None: not called yet, or freed
    number: int = -1

    def __init_subclass__(cls, operator: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if operator is not None:
            if operator in _operators:
                raise TypeError(
                    f"{cls.__name__}: the operator {operator!r} is taken by {_operators[operator]}"
                )
            _operators[operator] = cls

    @property
    def name(self) -> str:
        """The operation's name in messages."""
        return type(self).__name__

    def forward(self, *arrays: Any, **unused: Any) -> Array:  # any signature will do in a subclass
        """Compute the output from the input arrays, which must not be changed."""
        raise NotImplementedError(f"{self.name} defines no forward")

    def backward(self, g: Array) -> Array | Sequence[Array | None]:
        """Compute ∂L/∂input for each input from g = ∂L/∂output, which must not be changed.

        What is returned belongs to the engine, which may add to it in place: g itself, a view of it, or a new array.
        """
        raise NotImplementedError(f"{self.name} defines no backward")

    def __call__(self, *inputs: Any) -> Tensor:
        """Apply the operation, and record it if an input requires a gradient."""
        if self.number >= 0:
            raise RuntimeError(f"{self.name}: an instance stands for one call; make another")
        self.number = next(_numbers)
        tensors = _as_tensors(inputs)
        arrays = [t.data for t in tensors]
        try:
            self.be = backend.of(*arrays)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        self.shapes = tuple([a.shape for a in arrays])  # lists on the way: generators take twice the time
        self.dtypes = tuple([a.dtype for a in arrays])
        self.needs = tuple([t._requires_grad and _mode.grad for t in tensors])
        here = self.be is backend.cpu  # where all of it takes microseconds, and finding the name is one
        with self.be.silent() if here else self.be.running(self.name, *arrays):
            run, arrays = self.forward, arrays if here else cast(self.name, arrays)
            y = observed("forward", self, run, *arrays) if current.observers else run(*arrays)
            if y is None:
                raise RuntimeError(f"{self.name}: forward must return an array, got None")
            out = Tensor(y if here and type(y) is backend.cpu.Array else self.as_array(y))
        if True in self.needs:
            if not here:
                self.queue = self.be.queue(arrays)
            # Not the input tensors themselves: their arrays are kept only where forward chose to.
            self.edges = tuple([(t.creator or t) if t._requires_grad else None for t in tensors])
            out._requires_grad = True
            out.creator = self
        return out

    def as_array(self, y: Any) -> Array:
        """Return what ``forward`` returned, a number too, as an array of the inputs' backend."""
        return self.be.asarray(y)

    def gradients(self, g: Array) -> list[Array | None]:
        """Run ``backward`` and hold it to its contract: one gradient an input, of the input's shape and dtype."""
        result = self.backward(g)
        grads = list(result) if isinstance(result, (tuple, list)) else [result]
        if len(grads) != len(self.shapes):
            raise RuntimeError(
                f"{self.name}: backward must return one gradient an input, got {len(grads)} for {len(self.shapes)}"
            )
        return [
            self._checked(i, dx) if need else None
            for i, (dx, need) in enumerate(zip(grads, self.needs, strict=True))
        ]

    def _checked(self, i: int, dx: Array | None) -> Array | None:
        if dx is None:
            return None
        grad = self.be.asarray(dx, dtype=self.dtypes[i])
        if grad.shape != self.shapes[i]:
            raise RuntimeError(
                f"{self.name}: the gradient of input {i} must have its shape {self.shapes[i]}, got {grad.shape}"
            )
        return grad

    def free(self) -> None:
        """Drop everything this call has kept; a second backward through it is then an error."""
        number = self.number
        vars(self).clear()
        self.number = number


def _walk(root: Tensor, g: Array) -> None:
    """Carry g = ∂L/∂root back to the leaves, youngest Function first."""
    grads = _Gradients()
    with backend.running("backward", g):
        grads.add(root.creator or root, g, fresh=False)
    while grads.pending:
        function, g = grads.pop_youngest()
        if function.queue is None:
            _step(grads, function, g)
        else:
            with function.be.rejoining(function.name, function.queue):
                _step(grads, function, g)


def _step(grads: _Gradients, function: Function, g: Array) -> None:
    """Carry g = ∂L/∂output back to the Function's inputs, and free all that it has kept."""
    if function.edges is None:
        raise RuntimeError(
            f"backward: the graph behind this tensor was freed by an earlier backward (at {function.name}); "
            "run the forward pass again"
        )
    be, edges, run = function.be, function.edges, function.gradients
    results = observed("backward", function, run, g) if current.observers else run(g)
    arrays = [value for value in vars(function).values() if be.is_array(value)]
    function.free()
    arrays += [dx for dx in results if dx is not None]
    if be.is_array(g):  # and on no other device than they are
        arrays.append(g)
    for edge, dx in zip(edges, results, strict=True):
        if edge is not None and dx is not None:
            # A broadcast array has elements that are one in memory.
            alone = 0 not in dx.strides and sum([be.may_share_memory(dx, other) for other in arrays]) <= 1
            grads.add(edge, dx, fresh=alone)


class _Gradients:
    """Gradients on their way: the sums so far, and the Functions waiting for theirs to be complete.

    A second gradient for the same place is added *in place* if the sum is ours alone, or the sum to it if it is.  An
    array is ours when it came fresh from a backward (it is not broadcast, and overlaps neither that backward's own
    input, nor what the function kept, nor another of its results) or was made by adding.  Anything else may be in use
    elsewhere: two such gradients are added out of place.
    """

    def __init__(self) -> None:
        self.pending: list[tuple[int, Function]] = []  # a heap, the youngest first
        self.sums: dict[Function, Array] = {}
        self.owned: set[Function] = set()

    def add(self, edge: Function | Tensor, dx: Array, fresh: bool) -> None:
        if isinstance(edge, Tensor):
            _accumulate_leaf(edge, dx, fresh)
        elif edge not in self.sums:
            self.sums[edge] = dx
            heapq.heappush(self.pending, (-edge.number, edge))
            if fresh:
                self.owned.add(edge)
        elif edge in self.owned:
            _add_to(self.sums[edge], dx)
        elif fresh:
            _add_to(dx, self.sums[edge])
            self.sums[edge] = dx
            self.owned.add(edge)
        else:
            be, sum = backend.of(dx), self.sums[edge]
            self.sums[edge] = be.in_pieces(
                lambda a, b, out: be.add(a, b, out=out), sum, dx, be.empty_like(sum)
            )
            self.owned.add(edge)

    def pop_youngest(self) -> tuple[Function, Array]:
        _, function = heapq.heappop(self.pending)
        self.owned.discard(function)
        return function, self.sums.pop(function)


def _accumulate_leaf(leaf: Tensor, dx: Array, fresh: bool) -> None:
    if leaf.grad is None:
        leaf.grad = dx if fresh and not backend.of(dx).may_share_memory(dx, leaf.data) else dx.copy("K")
        return
    be = backend.of(dx, leaf.grad, op="backward")
    if be.may_share_memory(dx, leaf.grad):  # the caller's gradient may be this one, transposed
        leaf.grad += dx
    else:
        _add_to(leaf.grad, dx)


def _add_to(sum: Array, dx: Array) -> None:
    be = backend.of(dx)
    be.in_pieces(lambda dx, sum: be.add(sum, dx, out=sum), dx, sum)  # which the threads share


def _copied(array: Array | None, memo: dict[int, Any]) -> Array | None:
    """Return a copy on the array's device, laid out in memory as it is: CuPy's own deep copies are in C order."""
    if array is not None and id(array) not in memo:
        with backend.running("deepcopy", array):
            memo[id(array)] = array.copy("K")
    return memo.get(id(array))


def _apply(operator: str, tensors: tuple[Any, ...], *parameters: Any) -> Tensor:
    return _operators[operator](*parameters)(*tensors)


def _sequence(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Accept f(2, 3) and f((2, 3)) alike."""
    return tuple(values[0]) if len(values) == 1 and isinstance(values[0], Sequence) else values


def _as_tensors(values: Sequence[Any]) -> list[Tensor]:
    """Wrap what is no Tensor yet; a Python number takes the dtype of the tensors it meets."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    if len(tensors) == len(values):
        return tensors
    met = tensors[0] if tensors else None
    return [v if isinstance(v, Tensor) else _wrap(v, met) for v in values]


def _wrap(value: Any, met: Tensor | None) -> Tensor:
    if met is None or not isinstance(value, (int, float)):
        if met is not None and hasattr(value, "dtype") and not hasattr(value, "__setitem__"):
            # One of NumPy's numbers: it keeps its dtype, and is on any device.
            return Tensor(backend.of(met.data).number(value, value.dtype, met.data))
        return Tensor(value) if hasattr(value, "dtype") else tensor(value)
    be = backend.of(met.data)
    kinds = "biuf"  # bool, ints, floats: a number of a later kind than the tensor's keeps its own
    kind = "b" if isinstance(value, bool) else "i" if isinstance(value, int) else "f"
    if be.is_float(met.dtype) or kinds.index(kind) <= kinds.index(met.dtype.kind):
        try:
            return Tensor(be.number(value, met.dtype, met.data))
        except OverflowError:
            raise ValueError(
                f"tensor: {value} does not fit the dtype {met.dtype} of the tensor it meets"
            ) from None
    return Tensor(be.number(value, be.float32 if kind == "f" else None, met.data))


_COMPARISONS = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


def _compared(symbol: str, x: Tensor, other: Any) -> Tensor:
    value = other.data if isinstance(other, Tensor) else other
    if getattr(value, "shape", ()):  # arrays; NumPy's numbers are on any device
        backend.of(x.data, value, op="comparison")
    try:
        with backend.running("comparison", x.data):
            return Tensor(backend.of(x.data).asarray(_COMPARISONS[symbol](x.data, value)))
    except (TypeError, ValueError):
        shown = getattr(value, "shape", value)
        raise ValueError(f"comparison: a tensor {x.shape} {symbol} {shown!r} has no meaning") from None
