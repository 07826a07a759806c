"""From a data set's images to those a model is made for."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import Dataset
from ..data.transforms import Compose, Normalize, Pad, ToFloat
from ..nn import Module

__all__ = ["prepare"]


def prepare(model: Module, dataset: Dataset) -> Compose:
    """Return the transform that brings the images of a data set to what a model states it wants.

    It pads them to the model's ``input_shape`` and normalises them by its ``mean`` and ``std``; for a model that
    states none of these, such as an ``nn.Sequential``, it makes floats from 0 to 1 of them and no more.

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
    if not hasattr(model, "input_shape"):
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
