"""Images and their labels."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Dataset"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images in memory, each with the number of its class.

    Parameters
    ----------
    images : numpy.ndarray (N, C, H, W)
        uint8, 0 to 255, or floating point.
    labels : numpy.ndarray (N,), int64
        Class numbers, from 0.
    classes : tuple of str
        The classes' names: label 0 means the first.
    name : str

    Raises
    ------
    TypeError, ValueError
        If the arrays are of another kind or shape, their lengths differ, or a label has no class.

    Examples
    --------
    >>> pair = Dataset(np.zeros((2, 1, 28, 28), np.uint8), np.array([0, 1]), ("cat", "dog"), "pets")
    >>> pair
    Dataset('pets', 2 images 1×28×28 uint8, 2 classes)
    >>> image, label = pair[1]
    >>> image.shape, pair.classes[label]
    ((1, 28, 28), 'dog')
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str = ""

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if not isinstance(images, np.ndarray) or not (images.dtype == np.uint8 or images.dtype.kind == "f"):
            raise TypeError(f"Dataset: images must be an array of uint8 or floats, got {_kind(images)}")
        if not isinstance(labels, np.ndarray) or labels.dtype != np.int64:
            raise TypeError(f"Dataset: labels must be an array of int64, got {_kind(labels)}")
        if images.ndim != 4 or labels.ndim != 1 or len(images) != len(labels):
            raise ValueError(
                f"Dataset: {self.name or 'it'} must have images (N, C, H, W) and as many labels (N,), "
                f"got shapes {images.shape} and {labels.shape}"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise ValueError(
                f"Dataset: labels of {self.name or 'it'} must be in [0, {len(self.classes)}), "
                f"for there are so many classes; they are in [{labels.min()}, {labels.max()}]"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[operator.index(index)], int(self.labels[index])

    def subset(self, indices: slice | Sequence[int] | np.ndarray) -> Dataset:
        """Return some of the images, in the order given.

        Parameters
        ----------
        indices : slice, or sequence of int
            A slice copies nothing.

        Raises
        ------
        TypeError, IndexError
            If an index is no int, or there is no such image.

        Examples
        --------
        >>> pair = Dataset(np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 1]), ("cat", "dog"))
        >>> pair.subset([1, 1, 0]).labels
        array([1, 1, 0])
        """
        chosen = indices if isinstance(indices, slice) else _checked(indices, len(self))
        return Dataset(self.images[chosen], self.labels[chosen], self.classes, self.name)

    def __repr__(self) -> str:
        size = "×".join(map(str, self.images.shape[1:]))
        images = f"{len(self)} images {size} {self.images.dtype}"
        return f"Dataset({self.name!r}, {images}, {len(self.classes)} classes)"


def _checked(indices: Sequence[int] | np.ndarray, length: int) -> np.ndarray:
    chosen = np.asarray(indices)
    if chosen.size == 0:
        return chosen.astype(np.int64).reshape(-1)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise TypeError(f"subset: indices must be a slice or a sequence of ints, got {_kind(chosen)}")
    if not -length <= chosen.min() <= chosen.max() < length:
        reach = f"they reach from {chosen.min()} to {chosen.max()}"
        raise IndexError(f"subset: indices must be in [{-length}, {length}), {reach}")
    return chosen


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__qualname__
