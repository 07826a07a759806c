"""What every operation must have, whatever it computes: the properties it is held to, one function each.

A gradient check alone lets much through.  A backward that is right for contiguous memory and wrong for a view, one
that writes into its upstream gradient, one that keeps the whole graph alive: all of them pass it.  So an operation,
with what is known of it (:class:`Operation`), is held to everything that can be asked of any operation.
"""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend.parallel import get_num_threads, set_num_threads
from ..tensor import Tensor
from .case import Case
from .directions import root_mean_square
from .gradcheck import gradcheck
from .layouts import LAYOUTS, lay_out
from .leaves import generator
from .poisoned import same_when_poisoned

__all__ = ["PROPERTIES", "Operation", "PropertyError", "check_properties"]

_EXACT = 1e-12
"""What float64 may lose by adding the same terms in another order, relative to the largest result."""

_SINGLE = 2e-5
"""What float32 may lose, likewise: 300 roundings, …"""

_SINGLE_A_TERM = 2.0**-22
"""… and 4 more for each term of the longest sum.  (Of n terms of random signs, of about T each, the partial sums stay
near T·√n, and rounding each of them adds up to about n·T roundings at the very most; the sum itself may be near 0.)"""


_PATIENCE = 2.0  # seconds


class PropertyError(AssertionError):
    """An operation lacks a property that it must have."""


Outcome = list[np.ndarray]
"""An output, and the gradient of each input."""


@dataclass(frozen=True)
class Operation:
    """A function of tensors, and what is known of it.

    Parameters
    ----------
    call : callable
        ``call(*tensors, **options)`` returns a Tensor.
    definition : callable, optional
        ``definition(*arrays, **options)``: the same, computed independently on float64 arrays.
    linear : sequence of int
        Positions of inputs in each of which, the others fixed, the output is affine.
    itemwise : sequence of int
        Positions of inputs whose first axis runs over items that, as the output's, do not touch each other.
    keeps_dtype : bool
        Whether the output has the inputs' dtype.
    condition : float
        How many times more than usual it may amplify a rounding error of its inputs.
    seed : int
        Of all that is drawn to check it.
    """

    call: Callable[..., Tensor]
    definition: Callable[..., np.ndarray] | None = None
    linear: Sequence[int] = ()
    itemwise: Sequence[int] = ()
    keeps_dtype: bool = True
    condition: float = 1.0
    seed: int = 0

    def check(self, case: Case, only: str | Iterable[str] = ()) -> None:
        """Hold the operation to its properties for these arguments, to all of them or to those named.

        Raises
        ------
        PropertyError, GradcheckError
            Of the first that fails, both AssertionErrors, with a note: a script that does it again.
        """
        for name, holds in _chosen(only):
            try:
                holds(self, case)
            except Exception as error:
                error.add_note(f"\nThis does it again:\n\n{self._reproduction(case, name)}\n")
                raise

    def _reproduction(self, case: Case, name: str) -> str:
        traits = {
            "definition": self.definition if name == "definition" else None,
            "linear": self.linear,
            "itemwise": self.itemwise,
            "keeps_dtype": self.keeps_dtype,
            "condition": self.condition,
            "seed": self.seed,
        }
        usual = vars(Operation)
        traits = {trait: value for trait, value in traits.items() if value != usual[trait]}
        return case.reproduction(self.call, name, **traits)

    def run(
        self, case: Case, *, dtype: Any = None, layout: str = "c", g: np.ndarray | None = None
    ) -> Outcome:
        """Return the output and the gradient of each input, for the cotangent `g` or one drawn."""
        arrays = [lay_out(a if dtype is None else a.astype(dtype), layout) for a in case.inputs]
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        y = self.apply(tensors, case)
        g = self.cotangent(y.shape) if g is None else g
        _propagate(y, lay_out(g.astype(y.dtype), layout))
        return [y.data, *map(_gradient, tensors)]

    def apply(self, tensors: Iterable[Tensor], case: Case) -> Tensor:
        """Call it on these tensors, with the case's options."""
        y = self.call(*tensors, **case.options)
        if not isinstance(y, Tensor) or y.dtype.kind != "f":
            kind = f"a Tensor of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
            raise TypeError(
                f"check_properties: call must return one floating-point Tensor, got {kind}; "
                "of several outputs, let a function of yours return one at a time"
            )
        return y

    def cotangent(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return ∂L/∂y for an output of this shape: normal draws, the same each time."""
        return np.asarray(np.random.default_rng([self.seed, len(shape)]).normal(size=shape))


def check_properties(
    call: Callable[..., Tensor],
    inputs: Any,
    options: Mapping[str, Any] | None = None,
    *,
    definition: Callable[..., np.ndarray] | None = None,
    linear: int | Iterable[int] = (),
    itemwise: int | Iterable[int] = (),
    keeps_dtype: bool = True,
    condition: float = 1.0,
    only: str | Iterable[str] = (),
    seed: int = 0,
) -> None:
    """Hold an operation to everything that any operation must have.

    Its gradients equal differences; float32 gives nearly what float64 gives, in float32; inputs and upstream gradient
    are left alone, and so is what one call has kept by the next; memory layout, the number of threads and what
    uninitialised memory holds do not matter; no array outlives backward; an input's gradient is the same when no other
    needs one.  And, where they are said to hold: the output equals its definition; an affine operation A and its
    backward Aᵀ satisfy ⟨A(x + u) − A(x), g⟩ = ⟨u, Aᵀg⟩; the items of a batch do not touch each other.

    Parameters
    ----------
    call : callable
        ``call(*tensors, **options)`` returns one Tensor.  It runs in float64 and in float32, so of a layer with
        parameters let it be the function behind, and the parameters be inputs.
    inputs : sequence of arrays or Tensors, or one of them
        Where to check: floating-point numbers, which are made float64.
    options : mapping of str to anything, optional
        What has no gradient: a stride, labels, an index.
    definition : callable, optional
        ``definition(*arrays, **options)``: the same, computed independently.
    linear : int or iterable of int
        Positions of inputs in each of which, the others fixed, the output is affine.
    itemwise : int or iterable of int
        Positions of inputs whose first axis is, as the output's, a batch of independent items.
    keeps_dtype : bool
        Whether the output has the inputs' dtype.
    condition : float
        How many times more than usual the operation may amplify a rounding error of its inputs.
    only : str or iterable of str
        Names of :data:`PROPERTIES`; default all.
    seed : int
        Of all that is drawn.

    Raises
    ------
    PropertyError, GradcheckError
        Of the first property that fails, both AssertionErrors; a note is a script that does it again.
    TypeError, ValueError
        If the arguments make no sense, or `call` does not return one floating-point Tensor.

    Examples
    --------
    >>> from minicnn import functional as F
    >>> x, w = np.arange(18.0).reshape(2, 1, 3, 3), np.ones((1, 1, 2, 2))
    >>> check_properties(F.conv2d, [x, w], {"stride": 2, "padding": 1}, linear=[0, 1], itemwise=[0])
    >>> check_properties(F.relu, [x - 8.5], linear=[0])
    Traceback (most recent call last):
    ...
    minicnn.testing.properties.PropertyError: adjoint: ⟨A(x + u) − A(x), g⟩ = ... must equal ⟨u, Aᵀg⟩ = ..., for input 0
    ...
    """
    if not isinstance(options, Mapping | None):
        raise TypeError(
            f"check_properties: options must be a mapping of names to values, got {type(options).__name__}"
        )
    for name, function in {"call": call, "definition": call if definition is None else definition}.items():
        if not callable(function):
            raise TypeError(f"check_properties: {name} must be a function, got {type(function).__name__}")
    generator("check_properties", seed)
    arrays = _arrays(inputs)
    operation = Operation(
        call,
        definition,
        _positions("linear", linear, len(arrays)),
        _positions("itemwise", itemwise, len(arrays)),
        keeps_dtype,
        condition,
        seed,
    )
    operation.check(Case(arrays, dict(options or {})), only)


def _arrays(inputs: Any) -> tuple[np.ndarray, ...]:
    """Return the inputs as float64 arrays; one that is alone need not stand in a sequence."""
    listed = inputs if isinstance(inputs, list | tuple) else [inputs]
    if not listed:
        raise ValueError("check_properties: there must be an input, got none")
    arrays = tuple(a.numpy() if isinstance(a, Tensor) else np.asarray(a) for a in listed)
    for i, a in enumerate(arrays):
        if a.dtype.kind != "f":
            raise TypeError(
                f"check_properties: input {i} must be of floating-point numbers, got {a.dtype}; "
                "what has no gradient (labels, an index) goes into options"
            )
    return tuple(a.astype(np.float64, copy=False) for a in arrays)


def _positions(name: str, given: int | Iterable[int], count: int) -> tuple[int, ...]:
    positions = (given,) if isinstance(given, int) else tuple(given)
    if unknown := set(positions) - set(range(count)):
        raise ValueError(
            f"check_properties: {name} must hold positions of inputs, from 0 to {count - 1}, got {unknown.pop()!r}"
        )
    return positions


# The properties, in the order they are checked


def _equals_its_definition(operation: Operation, case: Case) -> None:
    if operation.definition is None:
        return
    expected = np.asarray(operation.definition(*case.inputs, **case.options))
    y = operation.apply(map(Tensor, case.inputs), case)
    _demand(y.shape == expected.shape, f"definition: shape {y.shape} must be {expected.shape}")
    _assert_close("definition: output", y.data, expected, rtol=1e-10)


def _gradient_equals_differences(operation: Operation, case: Case) -> None:
    gradcheck(lambda *x: operation.apply(x, case), case.inputs, seed=operation.seed, elements=64)


def _single_precision_is_kept_and_close(operation: Operation, case: Case) -> None:
    # Scaled by a number that uses all of float32's digits: values such as 0.5 would survive being rounded to float16.
    digits = np.float32(0.98765433)
    rounded = Case(
        tuple((a.astype(np.float32) * digits).astype(np.float64) for a in case.inputs), case.options
    )
    expected = operation.run(rounded)
    found = operation.run(rounded, dtype=np.float32)
    rtol = operation.condition * (_SINGLE + _SINGLE_A_TERM * max(a.size for a in expected))
    for name, a, b in _named(found, expected):
        if name != "output" or operation.keeps_dtype:
            _demand(a.dtype == np.float32, f"single: the {name} must be float32, got {a.dtype}")
        _demand(a.shape == b.shape, f"single: the {name} must have shape {b.shape}, got {a.shape}")
        _assert_close(f"single: float32's {name}", a, b, rtol=rtol, floor=1.0)


def _nothing_is_changed_behind_ones_back(operation: Operation, case: Case) -> None:
    """Neither the arguments, by forward or backward, nor what one call has kept or returned, by another call."""
    expected = operation.run(case)
    arrays = [a.copy() for a in case.inputs]
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = operation.apply(tensors, case)
    operation.apply((Tensor(np.flip(a).copy(), requires_grad=True) for a in case.inputs), case)
    g = operation.cotangent(y.shape).astype(y.dtype)
    given = g.copy()
    _propagate(y, g)
    for i, (array, before) in enumerate(zip(arrays, case.inputs, strict=True)):
        _demand(np.array_equal(array, before, equal_nan=True), f"untouched: input {i} was changed")
    _demand(np.array_equal(g, given), "untouched: the upstream gradient was changed")
    for name, a, b in _named([y.data, *map(_gradient, tensors)], expected):
        _demand(np.array_equal(a, b, equal_nan=True), f"untouched: another call changed the {name}")


def _memory_layout_does_not_matter(operation: Operation, case: Case) -> None:
    expected = operation.run(case)
    for layout in LAYOUTS:
        for name, a, b in _named(operation.run(case, layout=layout), expected):
            rtol = _EXACT * operation.condition
            _assert_close(f"layout: the {name} for {layout} memory", a, b, rtol=rtol, floor=1.0)


def _memory_is_released(operation: Operation, case: Case) -> None:
    """After backward nothing keeps the operation's inputs alive, which other operations have made."""
    leaves = [Tensor(a, requires_grad=True) for a in case.inputs]
    made = [leaf * 1 for leaf in leaves]
    seen = [weakref.ref(t.data) for t in made]
    collecting = gc.isenabled()
    gc.disable()
    try:
        y = operation.apply(made, case)
        del made
        _propagate(y, operation.cotangent(y.shape).astype(y.dtype))
        del y
        for i, ref in enumerate(seen):
            _demand(_is_gone(ref), f"released: input {i} is still in memory after backward")
    finally:
        if collecting:
            gc.enable()


def _is_gone(ref: weakref.ref[Any]) -> bool:
    """Whether the array is freed: at once, or as soon as a thread that had a part in the work has let go of it."""
    patience = time.monotonic() + _PATIENCE
    while ref() is not None and time.monotonic() < patience:
        time.sleep(0.001)
    return ref() is None


def _adjoint(operation: Operation, case: Case) -> None:
    """⟨A(x + u) − A(x), g⟩ = ⟨u, Aᵀg⟩ however large u, with integers, so that rounding has hardly a part in it."""
    whole = tuple(map(_whole, case.inputs))
    for i in operation.linear:
        u = np.rint(1000 * np.random.default_rng([operation.seed, i]).normal(size=whole[i].shape))
        moved = operation.apply((Tensor(a + u if i == j else a) for j, a in enumerate(whole)), case).data
        g = np.rint(1000 * operation.cotangent(moved.shape))
        y, *grads = operation.run(Case(whole, case.options), g=g)
        left, right = (moved - y) * g, u * grads[i]
        gross = np.abs(left).sum() + np.abs(right).sum()
        forth, back = left.sum(), right.sum()
        _demand(
            abs(forth - back) <= _EXACT * gross,
            f"adjoint: ⟨A(x + u) − A(x), g⟩ = {forth:.15g} must equal ⟨u, Aᵀg⟩ = {back:.15g}, for input {i}",
        )


def _whole(a: np.ndarray) -> np.ndarray:
    """Return integers of the same signs, about 4: what is small must not become 0, nor a divisor."""
    return np.sign(a) * np.ceil(4 * np.abs(a) / root_mean_square(a))


def _items_are_independent(operation: Operation, case: Case) -> None:
    """Item by item: the same outputs and gradients, and shared inputs get the sum of theirs."""
    if not operation.itemwise:
        return
    y, *grads = operation.run(case)
    for i in operation.itemwise:
        items = case.inputs[i].shape[:1]
        _demand(
            items and items == y.shape[:1],
            f"items: input {i} and the output must have as many items on their first axis, "
            f"got shapes {case.inputs[i].shape} and {y.shape}",
        )
    g = operation.cotangent(y.shape)
    sums, rtol = [np.zeros_like(a) for a in grads], _EXACT * operation.condition
    for n in range(len(y)):
        item = slice(n, n + 1)
        inputs = tuple(a[item] if i in operation.itemwise else a for i, a in enumerate(case.inputs))
        alone, *parts = operation.run(Case(inputs, case.options), g=g[item])
        _assert_close(f"items: output of item {n} alone", alone, y[item], rtol=rtol, floor=1.0)
        for i, part in enumerate(parts):
            sums[i][item if i in operation.itemwise else ...] += part
    for i, (total, expected) in enumerate(zip(sums, grads, strict=True)):
        _assert_close(f"items: gradient of input {i}, item by item", total, expected, rtol=rtol, floor=1.0)


def _gradients_do_not_need_each_other(operation: Operation, case: Case) -> None:
    """Each input's gradient is the same when it is the only one asked for."""
    if len(case.inputs) < 2:
        return
    _, *expected = operation.run(case)
    for i, gradient in enumerate(expected):
        tensors = [Tensor(a, requires_grad=i == j) for j, a in enumerate(case.inputs)]
        y = operation.apply(tensors, case)
        _propagate(y, operation.cotangent(y.shape).astype(y.dtype))
        rtol, what = _EXACT * operation.condition, f"alone: the gradient of input {i}, alone"
        _assert_close(what, _gradient(tensors[i]), gradient, rtol=rtol, floor=1.0)


def _threads_change_no_bit(operation: Operation, case: Case) -> None:
    before = get_num_threads()
    try:
        set_num_threads(1)
        expected = operation.run(case)
        for threads in (2, 3):
            set_num_threads(threads)
            for name, a, b in _named(operation.run(case), expected):
                _demand(
                    np.array_equal(a, b, equal_nan=True),
                    f"threads: the {name} differs between 1 thread and {threads}, by up to "
                    f"{np.abs(a - b).max(initial=0)}",
                )
    finally:
        set_num_threads(before)


def _uninitialised_memory_does_not_matter(operation: Operation, case: Case) -> None:
    same_when_poisoned(lambda: operation.run(case))


PROPERTIES: dict[str, Callable[[Operation, Case], None]] = {
    "definition": _equals_its_definition,
    "gradient": _gradient_equals_differences,
    "single": _single_precision_is_kept_and_close,
    "untouched": _nothing_is_changed_behind_ones_back,
    "layout": _memory_layout_does_not_matter,
    "released": _memory_is_released,
    "adjoint": _adjoint,
    "items": _items_are_independent,
    "alone": _gradients_do_not_need_each_other,
    "threads": _threads_change_no_bit,
    "poisoned": _uninitialised_memory_does_not_matter,
}
"""The properties by name."""


def _chosen(only: str | Iterable[str]) -> list[tuple[str, Callable[[Operation, Case], None]]]:
    names = ((only,) if isinstance(only, str) else tuple(only)) or tuple(PROPERTIES)
    if unknown := set(names) - set(PROPERTIES):
        raise ValueError(f"check_properties: only must name {', '.join(PROPERTIES)}; got {unknown.pop()!r}")
    return [(name, PROPERTIES[name]) for name in names]


def _gradient(x: Tensor) -> np.ndarray:
    return np.zeros(x.shape, x.dtype) if x.grad is None else x.grad


def _propagate(y: Tensor, g: np.ndarray) -> None:
    """Run backward, unless y depends on nothing that has a gradient."""
    if y.requires_grad:
        y.backward(g)


def _demand(condition: Any, problem: str) -> None:
    if not condition:
        raise PropertyError(problem)


def _named(found: Outcome, expected: Outcome) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
    names = ["output", *(f"gradient of input {i}" for i in range(len(found) - 1))]
    return zip(names, found, expected, strict=True)


def _assert_close(
    what: str, found: np.ndarray, expected: np.ndarray, rtol: float, floor: float = 0.0
) -> None:
    """Demand |found − expected| ≤ rtol · the largest |expected|, or `floor` where that is larger."""
    finite = np.isfinite(expected)
    scale = max(np.abs(expected[finite]).max(initial=0.0), floor)
    close = np.abs(found - expected, where=finite, out=np.zeros(expected.shape)) <= rtol * scale
    same = np.where(finite, close, np.isclose(found, expected, equal_nan=True))
    if same.all():
        return
    at = tuple(int(i) for i in np.argwhere(~same)[0])
    raise PropertyError(
        f"{what} must be within {rtol:g} of the expected, relative to {scale:.3g}; {np.count_nonzero(~same)} of "
        f"{same.size} elements are not, the first at {at}: {found[at]!r}, expected {expected[at]!r}"
    )
