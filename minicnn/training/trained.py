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
from ..weights.mapped import shown

__all__ = ["Trained", "are_texts", "check_fits", "describe", "load_trained", "title"]

_PLAIN = (str, int, float, bool, type(None))  # of which a configuration is made
_LONGEST = 60  # characters of each


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
    told = ", ".join(
        str(value) if name == "variant" else f"{name}={value}" for name, value in options.items()
    )
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
    described = isinstance(config, dict) and "model" in config
    if not described or not are_texts(classes) or not are_texts([data]):
        raise ValueError(f"{os.fspath(path)!r} describes its model by something else than texts")
    state = load(path)
    check_fits(path, config, state)
    model = _build(path, config)
    expected = _input(model)
    if any(about.get(key) != value for key, value in expected.items()):
        found = {key: about.get(key) for key in expected}
        raise ValueError(
            f"{os.fspath(path)!r} was trained on another input than {title(config)} has: {shown(found)}"
        )
    if model.config["num_classes"] not in (None, len(classes)):
        raise ValueError(
            f"{os.fspath(path)!r} names {len(classes)} classes of a network for {model.config['num_classes']}"
        )
    model.load_state_dict(state)
    return Trained(model.eval(), tuple(classes), data)


def are_texts(values: Any) -> bool:
    """Whether what a file has for names is a list of texts that can be printed."""
    return isinstance(values, list) and all(isinstance(text, str) and text.isprintable() for text in values)


def check_fits(path: str | os.PathLike[str], config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Check before it is built that the network a file describes is no larger than its weights.

    The last layer has a weight for each class, and a network of some depth has at least as many arrays.

    Raises
    ------
    ValueError
        If a number in the configuration is larger, or something in it is no number and no short text.
    """
    for each in (*config, *config.values()):
        if type(each) not in _PLAIN or len(str(each)) > _LONGEST:
            raise ValueError(
                f"{os.fspath(path)!r} describes its model by something else than numbers and short texts"
            )
    longest = max((len(array) for array in state.values() if array.ndim), default=0)
    for name, value in config.items():
        most = longest if name == "num_classes" else len(state)
        if type(value) is int and value > most:
            raise ValueError(
                f"{os.fspath(path)!r} describes a larger network than its weights are of: "
                f"{name} is {value}, they allow {most}"
            )


def _build(path: str | os.PathLike[str], config: dict[str, Any]) -> Classifier:
    try:
        with nn.init.skip():
            return models.get_model(**config)
    except TypeError as error:
        raise ValueError(f"{os.fspath(path)!r} describes a model that cannot be built: {error}") from None


def _input(model: Classifier) -> dict[str, Any]:
    """Return what the model expects of its images, as JSON would."""
    return {"input_shape": list(model.input_shape), "mean": list(model.mean), "std": list(model.std)}
