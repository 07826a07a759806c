"""Which parts of a function compute, and so are worth mutating.

Left out, by rule:

* docstrings, annotations, decorators, the defaults of arguments;
* what only checks: a ``raise``, an ``assert``, an ``if`` or a loop that does nothing but raise, a call to a function
  whose name starts with ``check`` whose result is not used, functions that raise, return nothing and write nowhere,
  and the ``strict`` of a ``zip``;
* what only feeds a check: an assignment to names that nothing else reads;
* messages: f-strings, and functions annotated to return ``str``.

That arguments are refused as they should be is another test's business (in minicnn tests/test_bad_input.py).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["FunctionNode", "computing", "functions"]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[tuple[str, FunctionNode, ast.ClassDef | None]]:
    r"""Yield the module's functions and methods that compute: qualified name, node, class.

    A function inside a function is part of it.

    Examples
    --------
    >>> tree = ast.parse("class A:\n  def f(self): return 1\ndef check(x):\n  if x: raise ValueError")
    >>> [name for name, _, _ in functions(tree)]
    ['A.f']
    """
    yield from _functions(tree.body, "", None)


def _functions(
    body: Iterable[ast.stmt], prefix: str, owner: ast.ClassDef | None
) -> Iterator[tuple[str, FunctionNode, ast.ClassDef | None]]:
    for statement in body:
        if isinstance(statement, ast.ClassDef):
            yield from _functions(statement.body, f"{prefix}{statement.name}.", statement)
        elif isinstance(statement, FunctionNode) and not (_is_check(statement) or _is_message(statement)):
            yield prefix + statement.name, statement, owner


def _is_message(function: FunctionNode) -> bool:
    return isinstance(function.returns, ast.Name) and function.returns.id == "str"


def _is_check(function: FunctionNode) -> bool:
    nodes = list(ast.walk(function))
    raises = any(isinstance(node, ast.Raise) for node in nodes)
    gives = any(
        (isinstance(node, ast.Return) and node.value is not None)
        or isinstance(node, ast.Yield | ast.YieldFrom | ast.AugAssign)
        or (isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store))
        for node in nodes
    )
    return raises and not gives


def computing(function: FunctionNode) -> list[ast.AST]:
    r"""Return the nodes of a function's body that compute, outer ones first.

    Examples
    --------
    >>> source = "def f(x):\n  size = x + 1\n  if size > 3: raise ValueError\n  return 2 * x"
    >>> nodes = computing(ast.parse(source).body[0])
    >>> [ast.unparse(node) for node in nodes if isinstance(node, ast.expr)]
    ['2 * x', '2', 'x']
    """
    idle: set[ast.AST] = set()
    while True:
        nodes = [node for statement in function.body for node in _nodes(statement, idle)]
        read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        more = {node for node in nodes if isinstance(node, ast.Assign) and _binds_only_others(node, read)}
        if not more:
            return nodes
        idle |= more


def _binds_only_others(assignment: ast.Assign, read: set[str]) -> bool:
    """Whether an assignment binds plain names, none of which is in `read`."""
    bound = [node for target in assignment.targets for node in ast.walk(target)]
    names = {node.id for node in bound if isinstance(node, ast.Name)}
    plain = all(isinstance(node, ast.Name | ast.Tuple | ast.Starred | ast.expr_context) for node in bound)
    return plain and not names & read


def _nodes(node: ast.AST, idle: set[ast.AST]) -> Iterator[ast.AST]:
    if node in idle or _only_checks(node) or _is_text(node):
        return
    if isinstance(node, FunctionNode):
        for statement in node.body:
            yield from _nodes(statement, idle)
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name == "annotation" or (isinstance(node, ast.If) and name == "test" and _all_check(node.body)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _nodes(child, idle)


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.JoinedStr)


def _all_check(body: Sequence[ast.AST]) -> bool:
    """Whether statements only check; those before a raise only serve its message."""
    return bool(body) and (isinstance(body[-1], ast.Raise) or all(map(_only_checks, body)))


def _only_checks(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise | ast.Assert):
        return True
    if isinstance(node, ast.keyword):
        return node.arg == "strict"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return _name(node.value.func).lstrip("_").startswith("check")
    if isinstance(node, ast.If | ast.For | ast.While):
        return _all_check(node.body) and (not node.orelse or _all_check(node.orelse))
    return isinstance(node, ast.ExceptHandler) and _all_check(node.body)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
