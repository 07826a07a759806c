"""The models by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, TypeVar

from .classifier import Classifier

__all__ = ["get_model", "list_models", "register"]

Builder = TypeVar("Builder", bound=Callable[..., Classifier])

_BUILDERS: dict[str, Callable[..., Classifier]] = {}


def register(builder: Builder) -> Builder:
    """Make a function that builds a model known by its name; a decorator."""
    _BUILDERS[builder.__name__] = builder
    return builder


def list_models() -> list[str]:
    """Return the names :func:`get_model` knows, in alphabetical order.

    Examples
    --------
    >>> "lenet5" in list_models()
    True
    """
    return sorted(_BUILDERS)


def get_model(name: str, **config: Any) -> Classifier:
    """Build a model, its weights drawn at random.

    Parameters
    ----------
    name : str
        One of :func:`list_models`.
    **config
        The arguments of the function of that name in :mod:`minicnn.models`.

    Raises
    ------
    ValueError
        If there is no model of this name; the nearest one is suggested.

    Examples
    --------
    >>> type(get_model("lenet5", variant="d2l", num_classes=3)).__name__
    'LeNet5D2L'
    """
    if name not in _BUILDERS:
        near = difflib.get_close_matches(str(name), _BUILDERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(list_models())}"
        raise ValueError(f"get_model: there is no model {name!r}; {hint}")
    return _BUILDERS[name](**config)
