"""A network with weights that somebody else trained.

A file of weights says what each array is called and no more: not of which network it is, nor what its classes are.  The
network is named by the caller.  Some of what it is built with can be read off the arrays; one thing has to be known.
torchvision's GoogLeNet and Inception v3 were trained in TensorFlow, on pixels from −1 to 1, and its programs normalise
every picture by ImageNet's mean and deviation instead.  So the network has to undo that, by ``transform_input``, or its
answers will be a little worse, and nothing else will tell.

A file that :func:`~minicnn.save` wrote may carry ``{"config": dict(model.config)}`` in its metadata.  Then nothing is
guessed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import backend, models, nn
from ..data import imagenet
from ..models import Classifier
from ..tensor import Tensor, no_grad
from ..weights import load, read_metadata
from ..weights.mapped import shown
from .trained import Trained, are_texts, check_fits, title

__all__ = ["load_pretrained"]


def load_pretrained(
    name: str,
    path: str | os.PathLike[str],
    /,
    *,
    variant: str | None = None,
    transform_input: bool | None = None,
    **config: Any,
) -> Trained:
    """Build a model with the weights in a file, such as one of torchvision's.

    What the model is built with is, in this order, what is asked for here, what the file's metadata say, and what can
    be told from a file without any:

    - `num_classes` from the size of the last layer's arrays;
    - ``aux_logits=False`` if there are no weights of auxiliary heads; these serve training only;
    - ``transform_input=True`` for the torchvision variants that know it.

    Parameters
    ----------
    name : str
        One of :func:`minicnn.models.list_models`.
    path : str or path
        A file :func:`minicnn.load` reads, with the names and shapes of the model's ``state_dict()``.
    variant : str, optional
    transform_input : bool, optional
        Whether images normalised by ImageNet's mean and deviation are turned into pixels from −1 to 1 first.
    **config
        Other arguments of the model's function in :mod:`minicnn.models`.

    Returns
    -------
    Trained
        Its `classes` are the metadata's; without any ImageNet's if there are 1,000, else ``"class 0"``, ``"class 1"``
        and so on.

    Raises
    ------
    ValueError
        If there is no such model or file, the model takes no such argument, or the file does not fit it.

    Examples
    --------
    >>> import tempfile
    >>> import minicnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     minicnn.save(f"{folder}/w.safetensors", models.resnet_cifar(8, num_classes=2).state_dict())
    ...     trained = load_pretrained("resnet_cifar", f"{folder}/w.safetensors", depth=8)
    >>> trained.classes, trained.model.training
    (('class 0', 'class 1'), False)
    """
    options = {"variant": variant, "transform_input": transform_input}
    asked = {"model": name, **{key: value for key, value in options.items() if value is not None}, **config}
    about, state = read_metadata(path), load(path)
    told = _told(path, name, about, state) or _guessed(asked, state)
    with nn.init.skip():
        model = _build({**told, **asked})
    model.load_state_dict(state)
    return Trained(model.eval(), _classes(path, about, model), str(about.get("data", "unknown")))


def _told(
    path: str | os.PathLike[str], name: str, about: Mapping[str, Any], state: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return the configuration in a file's metadata; empty if there is none."""
    config = about.get("config", {})
    if not isinstance(config, dict) or (config and not isinstance(config.get("model"), str)):
        raise ValueError(f"load_pretrained: {os.fspath(path)!r} does not name its model by a text")
    if config and config["model"] != name:
        raise ValueError(
            f"load_pretrained: {os.fspath(path)!r} has the weights of {shown(title(config))}, not of {name}"
        )
    check_fits(path, config, state)
    return config


def _guessed(asked: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return what the names and shapes in a file of others tell of how to build the model."""
    with backend.device("meta"):
        model = _build(asked)
    guessed: dict[str, Any] = {}
    if "transform_input" in model.config and model.config.get("variant", "torchvision") == "torchvision":
        guessed["transform_input"] = True
    if "aux_logits" in model.config and not any(key.lower().startswith("aux") for key in state):
        guessed["aux_logits"] = False
    num_classes = _outputs(model.state_dict(), state)
    return {**guessed, **({} if num_classes is None else {"num_classes": num_classes})}


def _outputs(expected: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> int | None:
    """Return how many outputs the last layer has in the file; None if it is no other number than expected.

    An array with one item for each class is one that differs from the model's in its first axis alone.  If these do not
    agree on a number, it is another network.
    """
    pairs = [(state[key].shape, value.shape) for key, value in expected.items() if key in state]
    found = {given[0] for given, own in pairs if given != own and given[1:] == own[1:] and given and own}
    return found.pop() if len(found) == 1 else None


def _build(config: Mapping[str, Any]) -> Classifier:
    try:
        return models.get_model(**config)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _classes(path: str | os.PathLike[str], about: Mapping[str, Any], model: Classifier) -> tuple[str, ...]:
    """Return a name for each of the model's outputs."""
    names = about.get("classes")
    count = _count(model)
    if names is None:
        return imagenet.CLASSES if count == 1000 else tuple(f"class {i}" for i in range(count))
    if not are_texts(names) or len(names) != count:
        raise ValueError(f"load_pretrained: {os.fspath(path)!r} does not name the network's {count} classes")
    return tuple(names)


def _count(model: Classifier) -> int:
    """Return the number of classes, which not every model's configuration holds."""
    with backend.device("meta"), no_grad():
        same = _build(model.config).eval()
        image = Tensor(backend.meta.empty((1, *same.input_shape), backend.meta.float32))
        return same.scores(same(image)).shape[1]
