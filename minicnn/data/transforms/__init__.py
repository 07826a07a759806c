"""Transforms: callables that make of a batch of images what a network shall see.

Each takes a whole batch, an array (N, C, H, W) of uint8 (0 to 255) or floats, and leaves it as it was.  Names
and parameters are torchvision's, which works on one image at a time.

Most return N images.  Those that look at an image in several ways return (N · count, C, h, w), the views of the first
image before those of the second, and so can stand in a chain like any other.

>>> import numpy as np
>>> transform = Compose([ToFloat(), Pad(2), Normalize(mean=0.5, std=0.25)])
>>> transform(np.full((1, 1, 28, 28), 255, np.uint8))[0, 0, 1:3, 16]
array([-2.,  2.], dtype=float32)
"""

from __future__ import annotations

from .affine import RandomAffine
from .compose import Compose, Transform
from .crop import CenterCrop, RandomCrop
from .flip import RandomHorizontalFlip
from .googlenet_crops import GoogLeNetCrops
from .pad import Pad
from .pixels import Normalize, ToFloat
from .random_resized_crop import RandomResizedCrop
from .resize import Resize
from .ten_crop import TenCrop

__all__ = [
    "CenterCrop",
    "Compose",
    "GoogLeNetCrops",
    "Normalize",
    "Pad",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "Resize",
    "TenCrop",
    "ToFloat",
    "Transform",
]
