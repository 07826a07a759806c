"""The 5,000 MNIST digits that come with minicnn: 400 of each class to train on and 100 to test on.

:mod:`minicnn.data.build_mnist5k` tells where they come from and how they were divided, ``mnist5k.LICENSE`` on
which terms they are here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .dataset import Dataset
from .mnist import DIGITS, grey_dataset

__all__ = ["FILE", "read_mnist5k"]

FILE = Path(__file__).with_name("mnist5k.npz")


def read_mnist5k() -> tuple[Dataset, Dataset]:
    """Return the 4,000 training and the 1,000 test digits.

    In both the classes take turns, 0, 1, …, 9, 0, 1, ….

    Examples
    --------
    >>> train, test = read_mnist5k()
    >>> test
    Dataset('mnist5k', 1000 images 1×28×28 uint8, 10 classes)
    """
    with np.load(FILE) as arrays:
        images, labels, test_images, test_labels = (
            arrays[name] for name in ("train_images", "train_labels", "test_images", "test_labels")
        )
    return (
        grey_dataset(images, labels, DIGITS, "mnist5k"),
        grey_dataset(test_images, test_labels, DIGITS, "mnist5k"),
    )
