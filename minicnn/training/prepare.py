"""From a data set's images, or a photograph, to the images a model is made for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..data import Dataset
from ..data.transforms import (
    CenterCrop,
    Compose,
    GoogLeNetCrops,
    Normalize,
    Pad,
    Resize,
    TenCrop,
    ToFloat,
    Transform,
)
from ..models import Classifier
from ..nn import Module

__all__ = ["CROPS", "prepare", "prepare_picture"]


def prepare(model: Module, dataset: Dataset) -> Compose:
    """Return the transform that brings the images of a data set to those a model is made for.

    For a :class:`~minicnn.models.Classifier` it pads them to ``input_shape`` and normalises them by ``mean`` and
    ``std``.  Any other module gets floats from 0 to 1.

    Parameters
    ----------
    model : Module
    dataset : Dataset

    Raises
    ------
    ValueError
        If the images have other channels than the model wants, are larger, or cannot be padded evenly.

    Examples
    --------
    >>> from minicnn import data, models
    >>> train, _ = data.load("mnist5k")
    >>> prepare(models.lenet5(), train)
    Compose([ToFloat(), Pad(2, fill=0), Normalize(mean=[0.1307], std=[0.3081])])
    """
    if not isinstance(model, Classifier):
        return Compose([ToFloat()])
    given, wanted = dataset.images.shape[1:], tuple(model.input_shape)
    rows, columns = wanted[1] - given[1], wanted[2] - given[2]
    if given[0] != wanted[0] or rows != columns or rows < 0 or rows % 2:
        raise ValueError(
            f"{type(model).__name__}: the images must be {_times(wanted)}, or smaller and evenly padded to that; "
            f"those of {dataset.name!r} are {_times(given)}"
        )
    return Compose([ToFloat(), Pad(rows // 2), Normalize(model.mean, model.std)])


def prepare_picture(model: Classifier, crops: int = 1) -> Compose:
    """Return the transform that makes of a picture of any size what a model is made for.

    Parameters
    ----------
    model : Classifier
        Its ``resize`` says how long the picture's shorter side shall be before ``input_shape`` is cut out; None
        resizes the whole picture to that shape, whatever its proportions.  ``mean`` and ``std`` normalise it.
    crops : {1, 10, 144}
        How many parts of the picture to show to the model: the middle; the ten of AlexNet's authors
        (:class:`~minicnn.data.transforms.TenCrop`), taken like theirs from the square in the middle; GoogLeNet's
        (:class:`~minicnn.data.transforms.GoogLeNetCrops`).

    Raises
    ------
    ValueError
        If the model does not look at colours, the number of crops is none of these, or it is not 1 and the model
        looks at whole pictures.

    Examples
    --------
    >>> from minicnn import models, nn
    >>> class Colour(models.Classifier):
    ...     input_shape, resize = (3, 224, 224), 256
    >>> prepare_picture(Colour())
    Compose([Resize(256), CenterCrop((224, 224)), ToFloat(), Normalize(mean=[0.], std=[1.])])
    >>> prepare_picture(Colour(), crops=10).transforms[:3]
    [Resize(256), CenterCrop((256, 256)), TenCrop((224, 224))]
    """
    if crops not in CROPS:
        raise ValueError(f"prepare_picture: crops must be one of {', '.join(map(str, CROPS))}, got {crops!r}")
    channels, size = model.input_shape[0], model.input_shape[1:]
    if channels != 3:
        raise ValueError(
            f"prepare_picture: {type(model).__name__} looks at {channels} channels, a picture has 3"
        )
    if model.resize is not None:
        looks = CROPS[crops](model.resize, size)
    elif crops == 1:
        looks = [Resize(size)]
    else:
        raise ValueError(
            f"prepare_picture: {type(model).__name__} looks at pictures as a whole, crops must be 1, got {crops}"
        )
    return Compose([*looks, ToFloat(), Normalize(model.mean, model.std)])


def _middle(resize: int, size: tuple[int, int]) -> list[Transform]:
    return [Resize(resize), CenterCrop(size)]


def _ten(resize: int, size: tuple[int, int]) -> list[Transform]:
    return [Resize(resize), CenterCrop(resize), TenCrop(size)]


def _googlenet(resize: int, size: tuple[int, int]) -> list[Transform]:
    return [GoogLeNetCrops(size)]


CROPS: dict[int, Callable[[int, tuple[int, int]], list[Transform]]] = {1: _middle, 10: _ten, 144: _googlenet}
"""How to cut a picture, by the number of parts it makes."""


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
