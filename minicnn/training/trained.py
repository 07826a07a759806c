"""A trained classifier in one file, and back: the checkpoint says what it is the checkpoint of."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from typing import Any

from .. import models
from ..data import Dataset
from ..models import Classifier
from ..weights import load, read_metadata

__all__ = ["Trained", "build", "describe", "load_trained"]


@dataclass(frozen=True)
class Trained:
    """A classifier with trained weights, in evaluation mode.

    Attributes
    ----------
    model : Classifier
    name : str
        One of :func:`minicnn.models.list_models`.
    variant : str or None
    classes : tuple of str
    data : str
        What it was trained on: a name or a folder.
    """

    model: Classifier
    name: str
    variant: str | None
    classes: tuple[str, ...]
    data: str


def build(name: str, variant: str | None, num_classes: int) -> tuple[Classifier, str | None]:
    """Build a model by name, and tell which variant it is where there is more than one.

    Parameters
    ----------
    name : str
    variant : str or None
        None means the model's default.
    num_classes : int

    Raises
    ------
    ValueError
        If there is no such model or variant.

    Examples
    --------
    >>> model, variant = build("lenet5", None, num_classes=10)
    >>> variant
    'modern'
    """
    if name not in models.list_models():
        models.get_model(name)  # raises, and suggests the nearest name
    parameters = inspect.signature(getattr(models, name)).parameters
    if "variant" in parameters:
        variant = variant or parameters["variant"].default
        return models.get_model(name, variant=variant, num_classes=num_classes), variant
    if variant is not None:
        raise ValueError(f"{name}: there is one variant only, got variant={variant!r}")
    return models.get_model(name, num_classes=num_classes), None


def describe(
    model: Classifier, name: str, variant: str | None, dataset: Dataset, data: str
) -> dict[str, Any]:
    """Return the metadata that let :func:`load_trained` build the model again."""
    from .. import __version__

    return {
        "minicnn": __version__,
        "model": name,
        "variant": variant,
        "classes": list(dataset.classes),
        "data": data,
        **_input(model),
    }


def load_trained(path: str | os.PathLike[str]) -> Trained:
    """Build the model that a checkpoint of ``minicnn train`` describes, with its weights.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    ValueError
        If it is no whole checkpoint, does not say of what, or does not fit the model it names.
    """
    about = read_metadata(path)
    if not {"model", "variant", "classes", "data"} <= about.keys():
        raise ValueError(
            f"{os.fspath(path)!r} does not say which model its weights are of; `minicnn train` does"
        )
    texts = [
        about["model"],
        about["data"],
        *(about["classes"] if isinstance(about["classes"], list) else [None]),
    ]
    if not all(isinstance(text, str) for text in texts) or not isinstance(about["variant"], str | None):
        raise ValueError(f"{os.fspath(path)!r} describes its model by something else than texts: {about}")
    classes = tuple(about["classes"])
    model, variant = build(about["model"], about["variant"], len(classes))
    expected = _input(model)
    if any(about.get(key) != value for key, value in expected.items()):
        found = {key: about.get(key) for key in expected}
        raise ValueError(
            f"{os.fspath(path)!r} was trained on another input than {about['model']} has: {found}"
        )
    model.load_state_dict(load(path))
    return Trained(model.eval(), about["model"], variant, classes, about["data"])


def _input(model: Classifier) -> dict[str, Any]:
    """Return what the model expects of its images, as JSON would."""
    return {"input_shape": list(model.input_shape), "mean": list(model.mean), "std": list(model.std)}
