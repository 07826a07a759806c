"""What a classifier says of images, and of an image of which it sees several crops."""

from __future__ import annotations

import numpy as np

from .. import functional as F
from ..nn import Module
from ..tensor import Tensor, no_grad
from .beside import beside
from .evaluate import evaluating, scores_of

__all__ = ["predict_crops"]

_BATCH = 16  # crops at a time: a large network's first layers need some 25 MB for each


def predict_crops(model: Module, images: np.ndarray, crops: int = 1) -> np.ndarray:
    """Return the probability of each class: for each image the mean over its crops of the softmax.

    The model is put into evaluation mode meanwhile.

    Parameters
    ----------
    model : Module
        A :class:`~minicnn.models.Classifier`, or any module that returns a score for each class (N, K).
    images : numpy.ndarray (N · crops, C, H, W), floating point
        The crops of the first image, then those of the second, and so on, as
        :class:`~minicnn.data.transforms.TenCrop` returns them; prepared for the model.
    crops : int, at least 1

    Returns
    -------
    numpy.ndarray (N, K)

    Raises
    ------
    ValueError
        If there are no images, or their number is no multiple of `crops`.
    FloatingPointError
        If the model's answer is no number: a weight or a pixel is not finite, or too large.

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
    section 4.1.  C. Szegedy et al., "Going Deeper with Convolutions", 2014, section 7.

    Examples
    --------
    >>> from minicnn import nn
    >>> two_crops = np.log([[[[1.0]], [[3.0]]], [[[3.0]], [[1.0]]]])
    >>> predict_crops(nn.Flatten(), two_crops, crops=2)
    array([[0.5, 0.5]])
    """
    if crops < 1 or not len(images) or len(images) % crops:
        raise ValueError(
            f"predict_crops: there must be {crops} crops for each image, got {len(images)} in all"
        )
    with evaluating(model), no_grad():
        parts = [images[i : i + _BATCH] for i in range(0, len(images), _BATCH)]
        found = [F.softmax(scores_of(model)(model(beside(model, Tensor(part)))), 1).numpy() for part in parts]
    each = np.concatenate(found)
    if not np.isfinite(each).all():
        raise FloatingPointError(
            f"predict_crops: probabilities must be finite, {type(model).__name__}'s are not; look for nan and "
            "infinity in its weights"
        )
    return each.reshape(-1, crops, each.shape[1]).mean(1)
