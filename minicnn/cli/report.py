"""What train and eval print of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..training import Evaluation

__all__ = ["print_evaluation"]

_WIDEST = 15  # classes whose matrix fits into a terminal
_WORST = 10  # confusions listed where it does not


def print_evaluation(evaluation: Evaluation, classes: Sequence[str]) -> None:
    """Print accuracy, loss, and who was taken for whom."""
    from rich.console import Console

    right = np.trace(evaluation.confusion)
    print(
        f"test accuracy {evaluation.accuracy:.2%} ({right:,} of {evaluation.images:,}), loss {evaluation.loss:.4f}"
    )
    if len(classes) <= _WIDEST:
        Console().print(_matrix(evaluation.confusion, classes))
    else:
        print("\n".join(_worst(evaluation.confusion, classes)))


def _matrix(confusion: np.ndarray, classes: Sequence[str]):
    """Return the confusion matrix as a table; mistakes stand out."""
    from rich.markup import escape
    from rich.table import Table

    numbered = [name if name == str(i) else f"{i} {name}" for i, name in enumerate(classes)]
    table = Table("true", *map(str, range(len(classes))), title="true class (rows) taken for (columns)")
    for column in table.columns[1:]:
        column.justify = "right"
    for i, row in enumerate(confusion):
        table.add_row(escape(numbered[i]), *(_cell(int(number), i == j) for j, number in enumerate(row)))
    return table


def _cell(number: int, right: bool) -> str:
    if not number:
        return "·"
    return f"[green]{number}[/]" if right else f"[bold red]{number}[/]"


def _worst(confusion: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Return a line for each of the most frequent mistakes."""
    mistakes = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_WORST]
    pairs = [divmod(int(place), len(classes)) for place in order]
    return [f"{mistakes[i, j]:5,} × {classes[i]} taken for {classes[j]}" for i, j in pairs if mistakes[i, j]]
