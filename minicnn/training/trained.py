"""A trained classifier in one file, and back: the checkpoint says what it is the checkpoint of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import models, nn
from ..data import Dataset
from ..models import Classifier
from ..weights import load, read_metadata

__all__ = ["Trained", "describe", "load_trained", "title"]


@dataclass(frozen=True)
class Trained:
    """A classifier with trained weights, in evaluation mode.

    Attributes
    ----------
    model : Classifier
    classes : tuple of str
    data : str
        What it was trained on: a name or a folder.
    """

    model: Classifier
    classes: tuple[str, ...]
    data: str


def title(config: Mapping[str, Any]) -> str:
    """Return a model's name with what sets it apart from others of that name.

    Examples
    --------
    >>> title(models.lenet5("d2l").config)
    'lenet5 (d2l)'
    """
    options = {name: value for name, value in config.items() if name not in ("model", "num_classes")}
    told = ", ".join(value if name == "variant" else f"{name}={value}" for name, value in options.items())
    return f"{config['model']} ({told})" if told else config["model"]


def describe(model: Classifier, dataset: Dataset, data: str) -> dict[str, Any]:
    """Return the metadata that let :func:`load_trained` build the model again."""
    from .. import __version__

    return {
        "minicnn": __version__,
        "config": dict(model.config),
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
    if not {"config", "classes", "data"} <= about.keys():
        raise ValueError(
            f"{os.fspath(path)!r} does not say which model its weights are of; `minicnn train` does"
        )
    config, classes, data = about["config"], about["classes"], about["data"]
    texts = [data, *(classes if isinstance(classes, list) else [None])]
    if not isinstance(config, dict) or "model" not in config or not all(isinstance(t, str) for t in texts):
        raise ValueError(f"{os.fspath(path)!r} describes its model by something else than texts: {about}")
    model = _build(path, config)
    expected = _input(model)
    if any(about.get(key) != value for key, value in expected.items()):
        found = {key: about.get(key) for key in expected}
        raise ValueError(
            f"{os.fspath(path)!r} was trained on another input than {title(config)} has: {found}"
        )
    if model.config["num_classes"] not in (None, len(classes)):
        raise ValueError(
            f"{os.fspath(path)!r} names {len(classes)} classes of a network for {model.config['num_classes']}"
        )
    model.load_state_dict(load(path))
    return Trained(model.eval(), tuple(classes), data)


def _build(path: str | os.PathLike[str], config: dict[str, Any]) -> Classifier:
    try:
        with nn.init.skip():
            return models.get_model(**config)
    except TypeError as error:
        raise ValueError(f"{os.fspath(path)!r} describes a model that cannot be built: {error}") from None


def _input(model: Classifier) -> dict[str, Any]:
    """Return what the model expects of its images, as JSON would."""
    return {"input_shape": list(model.input_shape), "mean": list(model.mean), "std": list(model.std)}
