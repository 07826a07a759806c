"""From ImageNet's normalisation to TensorFlow's: for weights that were trained there and are used here.

torchvision's weights of GoogLeNet and Inception v3 come from TensorFlow, whose networks took pixels from −1 to 1.
Its loader normalises all images by ImageNet's mean and deviation, so these networks undo that first.
"""

from __future__ import annotations

from .. import functional as F
from ..tensor import Tensor
from .classifier import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["transform_input"]


def transform_input(x: Tensor) -> Tensor:
    """Turn images normalised by ImageNet's mean and deviation into images of pixels from −1 to 1.

    A pixel p from 0 to 1 arrives as x = (p − μ) / σ, with its channel's μ and σ, and leaves as
    (p − ½) / ½ = x · σ / ½ + (μ − ½) / ½.

    Parameters
    ----------
    x : Tensor (N, 3, H, W)

    Examples
    --------
    >>> from minicnn import tensor
    >>> white = tensor([[[[(1 - mean) / std]] for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD)]])
    >>> transform_input(white).data.ravel().round(6).tolist()
    [1.0, 1.0, 1.0]
    """
    channels = [
        x[:, c : c + 1] * (std / 0.5) + (mean - 0.5) / 0.5
        for c, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
    ]
    return F.cat(channels, 1)
