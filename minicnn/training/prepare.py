"""From a data set's images to those a model is made for."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import Dataset
from ..data.transforms import Compose, Normalize, Pad, ToFloat
from ..models import Classifier
from ..nn import Module

__all__ = ["prepare"]


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


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
