"""The mistakes people make in a forward or backward pass, one operator a kind.

An operator looks at one node of a function and yields what could stand in some place instead: pairs (old node, new
node).  It knows of the function around it what :class:`Scope` says.  New nodes are built around the old ones, which
are never changed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["OPERATORS", "Change", "Scope"]

Change = tuple[ast.AST, ast.AST]
"""A node of the function, and what shall stand in its place."""


@dataclass(frozen=True)
class Scope:
    """What an operator may know of the function that a node is in.

    Attributes
    ----------
    names : frozenset of str
        All names in it.
    backward : bool
        Whether it gives gradients: its name has "backward" in it.
    gives_array : bool
        Whether what it returns may be an array, as far as annotations say.
    saved : tuple of str
        The attributes that its class's ``forward`` sets, if it is another method.
    """

    names: frozenset[str] = frozenset()
    backward: bool = False
    gives_array: bool = True
    saved: tuple[str, ...] = ()


Operator = Callable[[ast.AST, Scope], Iterator[Change]]
OPERATORS: dict[str, Operator] = {}
"""The operators by what they do."""


def _operator(name: str) -> Callable[[Operator], Operator]:
    def register(operator: Operator) -> Operator:
        OPERATORS[name] = operator
        return operator

    return register


# Nodes to build with


def _int(value: int) -> ast.expr:
    number = ast.Constant(abs(value))
    return ast.UnaryOp(ast.USub(), number) if value < 0 else number


def _binary(left: ast.expr, op: ast.operator, right: ast.expr) -> ast.expr:
    return ast.BinOp(left, op, right)


def _minus(value: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), value)


def _scaled(value: ast.expr, factor: float) -> ast.expr:
    """`value` times a factor; a plain name may hold None."""
    product = _binary(value, ast.Mult(), ast.Constant(factor))
    if not isinstance(value, ast.Name):
        return product
    is_none = ast.Compare(value, [ast.Is()], [ast.Constant(None)])
    return ast.IfExp(is_none, ast.Constant(None), product)


def _renamed(node: ast.Name | ast.Attribute, name: str) -> ast.expr:
    if isinstance(node, ast.Name):
        return ast.Name(name, node.ctx)
    return ast.Attribute(node.value, name, node.ctx)


def _name(node: ast.AST) -> str:
    """Return the name itself, or the last part of a dotted one."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _called(node: ast.AST) -> str:
    return _name(node.func) if isinstance(node, ast.Call) else ""


def _whole_number(node: ast.AST) -> int | None:
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def _writes(node: ast.AST) -> bool:
    """Whether a statement changes what is there: ``x += …`` or ``x[…] = …``."""
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Subscript) for target in node.targets)
    return isinstance(node, ast.AugAssign)


# Gradients and other results


def _results(value: ast.expr | None) -> Iterator[ast.expr]:
    """Yield the expressions whose values a returned expression consists of."""
    match value:
        case None | ast.Constant():
            parts = []
        case ast.Tuple(elts=parts):
            pass
        case ast.Subscript(value=ast.Tuple(elts=parts)):
            pass
        case ast.IfExp():
            parts = [value.body, value.orelse]
        case ast.Call(func=ast.Name(id="tuple" | "list"), args=[ast.GeneratorExp(elt=element)]):
            parts = [element]
        case _:
            yield value
            parts = []
    for part in parts:
        yield from _results(part)


@_operator("zero a gradient")
def zero_gradient(node: ast.AST, scope: Scope) -> Iterator[Change]:
    if scope.backward and scope.gives_array and isinstance(node, ast.Return):
        for result in _results(node.value):
            yield result, _scaled(result, 0)


@_operator("scale a result")
def scale_result(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """By 1.01: what is returned, and what is written into an array."""
    if isinstance(node, ast.Return) and scope.gives_array:
        for result in _results(node.value):
            yield result, _scaled(result, 1.01)
    if isinstance(node, ast.Assign | ast.AugAssign) and _writes(node) and _whole_number(node.value) != 0:
        yield node.value, _scaled(node.value, 1.01)


# Signs, terms, factors


_OPPOSITE: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Div(),
    ast.Div: ast.Mult(),
}


def _opposite(node: ast.AST, *kinds: type[ast.operator]) -> Iterator[Change]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, kinds):
        yield node, _binary(node.left, _OPPOSITE[type(node.op)], node.right)
    if isinstance(node, ast.AugAssign) and isinstance(node.op, kinds):
        yield node, ast.AugAssign(node.target, _OPPOSITE[type(node.op)], node.value)


@_operator("flip a sign")
def flip_sign(node: ast.AST, scope: Scope) -> Iterator[Change]:
    yield from _opposite(node, ast.Add, ast.Sub)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node, node.operand


@_operator("divide for multiply")
def invert_factor(node: ast.AST, scope: Scope) -> Iterator[Change]:
    yield from _opposite(node, ast.Mult, ast.Div)


@_operator("drop a term")
def drop_term(node: ast.AST, scope: Scope) -> Iterator[Change]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield node, node.left
        yield node, node.right if isinstance(node.op, ast.Add) else _minus(node.right)


@_operator("drop a factor")
def drop_factor(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Or a divisor, an exponent, a modulus."""
    if isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.Mult | ast.Div | ast.FloorDiv | ast.Mod | ast.Pow
    ):
        yield node, node.left
        if isinstance(node.op, ast.Mult):
            yield node, node.right
        if isinstance(node.op, ast.Div):
            yield node, _binary(ast.Constant(1), ast.Div(), node.right)


@_operator("drop a condition")
def drop_condition(node: ast.AST, scope: Scope) -> Iterator[Change]:
    if isinstance(node, ast.BoolOp):
        for i in range(len(node.values)):
            rest = node.values[:i] + node.values[i + 1 :]
            yield node, rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        yield node, node.left
        yield node, node.right


@_operator("drop a step")
def drop_step(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Be it an augmented assignment, a write into an array, or a call for what it does."""
    if _writes(node) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield node, ast.Pass()


@_operator("round up")
def round_up(node: ast.AST, scope: Scope) -> Iterator[Change]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
        yield node, _minus(_binary(_minus(node.left), ast.FloorDiv(), node.right))


# Reductions


_OTHER_REDUCTION = {
    "sum": "mean",
    "mean": "sum",
    "max": "min",
    "min": "max",
    "maximum": "minimum",
    "minimum": "maximum",
    "any": "all",
    "all": "any",
}


@_operator("other reduction")
def other_reduction(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Mean for sum, minimum for maximum, all for any, and the other way round."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        other = _OTHER_REDUCTION.get(_name(node.func))
        if other and (isinstance(node.func, ast.Attribute) or other not in ("mean", "sum")):
            yield node.func, _renamed(node.func, other)


_COUNTS = {"count", "counts", "divisor", "length", "m", "n", "samples", "size", "total"}


@_operator("unbiased for biased")
def unbiased(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Divide by one less than the number of elements."""
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
        divisor = node.right if isinstance(node, ast.BinOp) else node.value
        if _name(divisor) in _COUNTS or _called(divisor) == "len":
            yield divisor, _binary(divisor, ast.Sub(), ast.Constant(1))


# Axes


_AXES = {"axis", "dim", "dims"}


@_operator("swap axes")
def swap_axes(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Another axis to work along, two neighbours of a permutation, of a pair or of what is unpacked."""
    if isinstance(node, ast.keyword) and node.arg in _AXES and _whole_number(node.value) is not None:
        yield node.value, _int({0: 1}.get(_whole_number(node.value) or 0, 0))
    if isinstance(node, ast.Call) and _called(node) in ("transpose", "permute"):
        for order in _neighbours_swapped(node.args):
            yield node, ast.Call(node.func, order, node.keywords)
    if isinstance(node, ast.Tuple) and (isinstance(node.ctx, ast.Store) or len(node.elts) == 2):
        for order in _neighbours_swapped(node.elts):
            yield node, ast.Tuple(order, node.ctx)


def _neighbours_swapped(nodes: Sequence[ast.expr]) -> Iterator[list[ast.expr]]:
    if any(isinstance(node, ast.Starred | ast.Slice) for node in nodes):
        return
    for i, _ in enumerate(pairwise(nodes)):
        yield [*nodes[:i], nodes[i + 1], nodes[i], *nodes[i + 2 :]]


_ROUNDABOUT = {  # calls of a method that give the object itself in another form
    "astype",
    "broadcast_to",
    "copy",
    "deepcopy",
    "expand_dims",
    "moveaxis",
    "permute",
    "reshape",
    "squeeze",
    "swapaxes",
    "transpose",
    "unbroadcast",
}


@_operator("transpose omitted")
def transpose_omitted(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Or a reshape, a copy, a conversion."""
    if isinstance(node, ast.Attribute) and node.attr == "T" and isinstance(node.ctx, ast.Load):
        yield node, node.value
    if isinstance(node, ast.Call) and _called(node) in _ROUNDABOUT:
        if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
            yield node, node.func.value
        elif node.args:
            yield node, node.args[0]


def _is_module(node: ast.expr) -> bool:
    return _name(node) in ("be", "np", "numpy", "cupy", "xp", "copy")


_COUNTERPARTS = [
    ("rows", "columns"),
    ("height", "width"),
    ("vertical", "horizontal"),
    ("top", "bottom"),
    ("left", "right"),
    ("before", "after"),
    ("below", "beside"),
    ("first", "last"),
    ("start", "stop"),
    ("inner", "outer"),
    ("here", "there"),
    ("across", "along"),
    ("p", "q"),
    ("r", "s"),
    ("h", "w"),
    ("po", "qo"),
    ("sh", "sw"),
    ("dh", "dw"),
    ("eh", "ew"),
    ("stride_h", "stride_w"),
    ("dilation_h", "dilation_w"),
    ("along_h", "along_w"),
    ("m", "n"),
]
_COUNTERPART = dict(_COUNTERPARTS) | {b: a for a, b in _COUNTERPARTS}


@_operator("counterpart")
def counterpart(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Width for height, bottom for top, after for before, and the other way round."""
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        other = _COUNTERPART.get(_name(node))
        limits = isinstance(node, ast.Attribute) and node.attr in ("start", "stop")
        if other and (limits or (isinstance(node, ast.Name) and other in scope.names)):
            yield node, _renamed(node, other)


# Bounds


@_operator("off by one")
def off_by_one(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """In whole numbers, and in the bounds of slices and ranges."""
    number = _whole_number(node)
    if number is not None:
        yield node, _int(number + 1)
        if number > 0:
            yield node, _int(number - 1)
    for bound in _bounds(node):
        if _whole_number(bound) is None:
            yield bound, _binary(bound, ast.Add(), ast.Constant(1))
            yield bound, _binary(bound, ast.Sub(), ast.Constant(1))


def _bounds(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Slice):
        return [bound for bound in (node.lower, node.upper) if bound is not None]
    if isinstance(node, ast.Call) and _called(node) in ("range", "slice", "arange"):
        return [bound for bound in node.args[:2] if not isinstance(bound, ast.Starred)]
    return []


_NEIGHBOUR: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
}


@_operator("other comparison")
def other_comparison(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """≥ for >, ≤ for <, ≠ for =, and the other way round."""
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            ops = [*node.ops[:i], _NEIGHBOUR[type(op)], *node.ops[i + 1 :]]
            yield node, ast.Compare(node.left, ops, node.comparators)


@_operator("negate a condition")
def negate_condition(node: ast.AST, scope: Scope) -> Iterator[Change]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, node.operand
    tests = [node.test] if isinstance(node, ast.If | ast.IfExp | ast.While) else []
    tests += node.ifs if isinstance(node, ast.comprehension) else []
    for test in tests:
        if not isinstance(test, ast.Compare) and not (
            isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        ):
            yield test, ast.UnaryOp(ast.Not(), test)


@_operator("flip a flag")
def flip_flag(node: ast.AST, scope: Scope) -> Iterator[Change]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node, ast.Constant(not node.value)


# Wrong values


@_operator("other saved array")
def other_saved(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Take the next of the attributes that ``forward`` saves."""
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and node.attr in scope.saved
        and len(scope.saved) > 1
    ):
        following = scope.saved[(scope.saved.index(node.attr) + 1) % len(scope.saved)]
        yield node, _renamed(node, following)


@_operator("groups forgotten")
def groups_forgotten(node: ast.AST, scope: Scope) -> Iterator[Change]:
    if (
        isinstance(node, ast.Name | ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and _name(node) == "groups"
    ):
        yield node, ast.Constant(1)


@_operator("other filling")
def other_filling(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """0 for −∞ or for the lowest number, 1 for what starts as 0."""
    called = _called(node)
    infinite = isinstance(node, ast.Attribute) and node.attr == "inf"
    if called == "lowest" or infinite:
        yield node, ast.Constant(0)
    if called in ("zeros", "zeros_like") and isinstance(node, ast.Call):
        yield node, _binary(node, ast.Add(), ast.Constant(1))
