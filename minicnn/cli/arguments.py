"""Reading the command line: a parser that keeps to one line, and the arguments several commands have."""

from __future__ import annotations

import argparse
import math
from typing import Any, NoReturn

__all__ = ["Parser", "add_model", "number", "whole_number"]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ValueErrors, and whose help keeps the line breaks it is given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Raise what would be printed over several lines."""
        raise ValueError(f"{message} (see {self.prog} --help)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Let a command name a model and its variant."""
    parser.add_argument("model", metavar="MODEL", help="a network, such as lenet5")
    parser.add_argument("--variant", metavar="NAME", help="lenet5: modern (the default), paper or d2l")


def whole_number(least: int) -> Any:
    """Return a type for whole numbers of at least `least`.

    Examples
    --------
    >>> whole_number(1)("0")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: must be a whole number of at least 1, got '0'
    """

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text!r}")
        return value

    return convert


def number(text: str) -> float:
    """Return a finite number greater than 0; a type for arguments.

    Examples
    --------
    >>> number("1e-3")
    0.001
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number greater than 0, got {text!r}")
    return value
