"""Reading the command line: a parser that keeps to one line, and the arguments several commands have."""

from __future__ import annotations

import argparse
import ast
import math
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from ..models import Classifier

__all__ = [
    "Parser",
    "add_device",
    "add_model",
    "add_options",
    "build_model",
    "model_config",
    "number",
    "option",
    "whole_number",
]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ValueErrors, and whose help keeps the line breaks it is given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Raise what would be printed over several lines."""
        raise ValueError(f"{message} (see {self.prog} --help)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Let a command name a model, its variant and whatever else it is built with."""
    parser.add_argument("model", metavar="MODEL", help="a network, such as lenet5 or resnet50")
    add_options(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Let a command say where to compute."""
    parser.add_argument(
        "--device",
        type=_device,
        default="cpu",
        metavar="NAME",
        help="where to compute: cpu (the default), cuda, or cuda:1 for the second GPU",
    )


def _device(text: str) -> str:
    """Return the name of a device that can compute; a type for arguments."""
    from .. import backend

    try:
        if backend.get(text) is backend.meta:
            raise ValueError("on the device 'meta' nothing is computed")
    except (ValueError, RuntimeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a command say how to build the model it names."""
    parser.add_argument(
        "--variant", metavar="NAME", help="where there are several, such as paper or torchvision"
    )
    parser.add_argument(
        "--set",
        dest="options",
        action="append",
        default=[],
        type=option,
        metavar="NAME=VALUE",
        help="another argument of the network, such as depth=20 of resnet_cifar; may be repeated",
    )


def option(text: str) -> tuple[str, Any]:
    """Return the two sides of an equation, a value that looks like one of Python's as that; a type for arguments.

    Examples
    --------
    >>> option("depth=20"), option("shortcut=A")
    (('depth', 20), ('shortcut', 'A'))
    """
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    if name == "model":
        raise argparse.ArgumentTypeError("must not be the model, which is named by itself")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last two: of deep nesting
        return name, value


def model_config(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the command line says of the model, as :func:`~minicnn.models.get_model` takes it."""
    variant = {} if arguments.variant is None else {"variant": arguments.variant}
    return {"model": arguments.model, **variant, **dict(arguments.options)}


def build_model(arguments: argparse.Namespace, **config: Any) -> Classifier:
    """Build the model that the command line names; `config` holds if the command line does not say otherwise.

    Raises
    ------
    ValueError
        If there is no such model, or it does not take such arguments.
    """
    from ..models import get_model

    try:
        return get_model(**{**config, **model_config(arguments)})
    except TypeError as error:
        raise ValueError(str(error)) from None


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
