"""What the tests of several networks share."""

import numpy as np

import minicnn
from minicnn import Tensor, models


def shapes_only(name, *args, **kwargs):
    """Build a model without values."""
    with minicnn.device("meta"):
        return getattr(models, name)(*args, **kwargs)


def images(model, n, size=None, dtype="float32"):
    """Draw a batch of the model's images, or of square ones."""
    channels, *sides = model.input_shape
    sides = sides if size is None else [size, size]
    return Tensor(np.random.default_rng(5).normal(size=(n, channels, *sides)).astype(dtype))
