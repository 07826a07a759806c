"""A module's mutants: each place that computes, each operator, one change at a time.

The change is made in the text, at the place the syntax tree names, and the text compiled: so the diff a person reads
is what runs.  A mutant whose code is the original's, or another mutant's, to the instruction is dropped.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from types import CodeType
from typing import Any

from .mutant import Mutant
from .operators import OPERATORS, Scope
from .sites import FunctionNode, computing, functions

__all__ = ["code_of", "first_line", "mutants_of"]

_SHOWN = 60  # characters of each side of a change in a mutant's id
_ATOMS = (
    ast.Name | ast.Tuple | ast.Call | ast.Attribute | ast.Subscript
)  # need no parentheses; the 1 of 1.x does
_NO_ARRAY = {"bool", "int", "str", "tuple", "list", "dict", "Iterator", "slice", "None"}


def mutants_of(source: str, file: str) -> list[Mutant]:
    r"""Return the mutants of a module given as text.

    Parameters
    ----------
    source : str
    file : str
        Its name, for the mutants' ids.

    Examples
    --------
    >>> for mutant in mutants_of("def half(x):\n    return x / 2", "half.py")[:3]:
    ...     print(mutant.id)
    half.py:half scale a result: x / 2 -> x / 2 * 1.01 in return x / 2
    half.py:half divide for multiply: x / 2 -> x * 2 in return x / 2
    half.py:half drop a factor: x / 2 -> x in return x / 2
    """
    tree = ast.parse(source)
    module = compile(tree, file, "exec")
    times: Counter[str] = Counter()
    found = []
    for name, function, owner in functions(tree):
        seen = {_essence(code_of(module, name, first_line(function)))}
        for operator, statement, old, new in _changes(function, owner):
            text = _replaced(source, old, new)
            code = code_of(compile(text, file, "exec"), name, first_line(function))
            if (essence := _essence(code)) in seen:
                continue
            seen.add(essence)
            label = f"{file}:{name} {operator}: {_shown(old)} -> {_shown(new)}{_place(statement, old)}"
            times[label] += 1
            label += f" #{times[label]}" if times[label] > 1 else ""
            found.append(Mutant(label, file, name, operator, _line(old), code, source, text))
    return found


def code_of(module: CodeType, name: str, first_line: int) -> CodeType:
    """Return the code of a function of a compiled module, by its qualified name and first line."""
    pending = [module]
    while pending:
        code = pending.pop()
        if (code.co_qualname, code.co_firstlineno) == (name, first_line):
            return code
        pending += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    raise LookupError(f"mutants: there is no function {name} at line {first_line}")


def _changes(
    function: FunctionNode, owner: ast.ClassDef | None
) -> Iterator[tuple[str, ast.AST, ast.AST, ast.AST]]:
    """Yield (operator, statement, old node, new node)."""
    scope, statement = _scope(function, owner), function
    for node in computing(function):
        statement = node if isinstance(node, ast.stmt) else statement
        for name, operator in OPERATORS.items():
            for old, new in operator(node, scope):
                yield name, statement, old, new


def _scope(function: FunctionNode, owner: ast.ClassDef | None) -> Scope:
    names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    annotation = function.returns
    root = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return Scope(
        names=frozenset(names),
        backward="backward" in function.name,
        gives_array=not (root is not None and ast.unparse(root) in _NO_ARRAY),
        saved=_saved(function, owner),
    )


def _saved(function: FunctionNode, owner: ast.ClassDef | None) -> tuple[str, ...]:
    if owner is None or function.name in ("__init__", "forward"):
        return ()
    forward = next((f for f in owner.body if isinstance(f, FunctionNode) and f.name == "forward"), None)
    attributes = [
        node.attr
        for node in (ast.walk(forward) if forward else ())
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    ]
    return tuple(dict.fromkeys(attributes))


def first_line(function: FunctionNode) -> int:
    """Return the line where Python says that a function begins: its first decorator's."""
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def _line(node: Any) -> int:
    return node.lineno


def _replaced(source: str, old: Any, new: ast.AST) -> str:
    """Return the text with one node's replaced; positions in a syntax tree count bytes."""
    lines = source.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: old.lineno - 1])) + old.col_offset
    end = sum(map(len, lines[: old.end_lineno - 1])) + old.end_col_offset
    text = ast.unparse(new)
    if isinstance(new, ast.expr) and not isinstance(new, _ATOMS):
        text = f"({text})"
    whole = source.encode()
    return (whole[:start] + text.encode() + whole[end:]).decode()


def _place(statement: ast.AST, old: ast.AST) -> str:
    """Return in which statement the change is, by its first line, unless it is the whole of it."""
    return "" if statement is old else f" in {_shortened(ast.unparse(statement).splitlines()[0])}"


def _shown(node: ast.AST) -> str:
    return "nothing" if isinstance(node, ast.Pass) else _shortened(ast.unparse(node))


def _shortened(text: str) -> str:
    text, half = " ".join(text.split()), _SHOWN // 2
    return text if len(text) <= _SHOWN else f"{text[:half]} … {text[-half:]}"


def _essence(code: CodeType) -> tuple[Any, ...]:
    """Return what a code object does, apart from where it stands in the file."""
    constants = tuple(
        _essence(c) if isinstance(c, CodeType) else (type(c).__name__, repr(c)) for c in code.co_consts
    )
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_exceptiontable
