"""The models by name, and what each was built with.

A model built by one of these functions remembers how: ``get_model(**model.config)`` builds another like it.  That
is what a checkpoint stores beside the weights.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from ..nn.check import int_of_at_least
from .classifier import Classifier

__all__ = ["get_model", "list_models", "register"]

Builder = TypeVar("Builder", bound=Callable[..., Classifier])

_BUILDERS: dict[str, Callable[..., Classifier]] = {}


def register(builder: Builder) -> Builder:
    """Make a function that builds a model known by its name; a decorator.

    The function also gets its `num_classes` and its switches checked, and the model its ``config``: the name and all
    arguments.

    Parameters
    ----------
    builder : callable
        Takes `num_classes`, among others; arguments that JSON can say let a checkpoint store them.

    Examples
    --------
    >>> from minicnn import models
    >>> models.lenet5("d2l").config
    {'model': 'lenet5', 'variant': 'd2l', 'num_classes': 10}
    """
    name, signature = builder.__name__, inspect.signature(builder)

    @wraps(builder)
    def build(*args: Any, **kwargs: Any) -> Classifier:
        try:
            config = _arguments(signature, args, kwargs)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from None
        for argument, value in config.items():
            _check(name, argument, value, signature)
        model = builder(**config)
        model.config = {"model": name, **config}
        return model

    _BUILDERS[name] = build
    return cast(Builder, build)


def _arguments(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return every argument of the call by its name, defaults included."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    config = dict(bound.arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            config |= config.pop(name)
    # A NumPy number as Python's: JSON knows no other.
    return {name: value.item() if _is_scalar(value) else value for name, value in config.items()}


def _is_scalar(value: Any) -> bool:
    return getattr(value, "shape", None) == ()


def _check(builder: str, name: str, value: Any, signature: inspect.Signature) -> None:
    """Refuse a number of classes that is none, and a switch that is neither on nor off."""
    default = signature.parameters[name].default if name in signature.parameters else None
    if name == "num_classes" and not (value is None and default is None):
        int_of_at_least(1, builder, name, value)
    if isinstance(default, bool) and not isinstance(value, bool):
        raise TypeError(f"{builder}: {name} must be True or False, got {value!r}")


def list_models() -> list[str]:
    """Return the names :func:`get_model` knows, in alphabetical order.

    Examples
    --------
    >>> "lenet5" in list_models()
    True
    """
    return sorted(_BUILDERS)


def get_model(model: str, **config: Any) -> Classifier:
    """Build a model, its weights drawn at random.

    Parameters
    ----------
    model : str
        One of :func:`list_models`.
    **config
        The arguments of the function of that name in :mod:`minicnn.models`.

    Raises
    ------
    ValueError
        If there is no model of this name; the nearest one is suggested.
    TypeError
        If it takes no such argument, or needs one more.

    Examples
    --------
    >>> type(get_model("lenet5", variant="d2l", num_classes=3)).__name__
    'LeNet5D2L'
    """
    if model not in _BUILDERS:
        near = difflib.get_close_matches(str(model), _BUILDERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(list_models())}"
        raise ValueError(f"get_model: there is no model {model!r}; {hint}")
    return _BUILDERS[model](**config)
