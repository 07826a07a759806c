"""Data: sets of labelled images, batches, what is done to them on the way, and pictures from elsewhere.

>>> train, test = load("mnist5k")
>>> seen = transforms.Compose([transforms.ToFloat(), transforms.Pad(2)])
>>> loader = DataLoader(train, batch_size=32, shuffle=True, transform=seen)
>>> images, labels = next(iter(loader))
>>> images.shape
(32, 1, 32, 32)
"""

from __future__ import annotations

from . import imagenet, transforms
from .dataset import Dataset
from .digit import read_digit
from .idx import read_idx
from .loader import DataLoader
from .loading import load
from .picture import read_picture

__all__ = [
    "DataLoader",
    "Dataset",
    "imagenet",
    "load",
    "read_digit",
    "read_idx",
    "read_picture",
    "transforms",
]
