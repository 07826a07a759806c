"""The four IDX files of MNIST, in which Fashion-MNIST and other sets come as well."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dataset import Dataset
from .idx import read_idx

__all__ = ["DIGITS", "MnistFiles", "grey_dataset"]

DIGITS = tuple("0123456789")

_TRAIN = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
_TEST = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@dataclass(frozen=True)
class MnistFiles:
    """Reads a folder with MNIST's four files, each gzipped or not.

    Parameters
    ----------
    classes : tuple of str, optional
        The classes' names.  Default: the labels' numbers.
    """

    classes: tuple[str, ...] | None = None

    def found_in(self, folder: Path) -> bool:
        """Whether all four files are there."""
        return all(_find(folder, file) for file in _TRAIN + _TEST)

    def read(self, folder: Path, name: str) -> tuple[Dataset, Dataset]:
        """Return the training and the test images, and call both `name`.

        Raises
        ------
        ValueError
            If a file is missing or damaged, or they do not fit together.
        """
        images, test_images = (_array(folder, file, rank=3) for file, _ in (_TRAIN, _TEST))
        labels, test_labels = (_array(folder, file, rank=1) for _, file in (_TRAIN, _TEST))
        if images.shape[1:] != test_images.shape[1:]:
            raise ValueError(
                f"load: training and test images must have one size, those in {folder} "
                f"have shapes {images.shape} and {test_images.shape}"
            )
        classes = self.classes or _numbers(labels, test_labels)
        return (
            grey_dataset(images, labels, classes, name),
            grey_dataset(test_images, test_labels, classes, name),
        )


def _find(folder: Path, file: str) -> Path | None:
    return next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None)


def _array(folder: Path, file: str, rank: int) -> np.ndarray:
    path = _find(folder, file)
    if path is None:
        raise ValueError(f"load: {folder} must hold {file} or {file}.gz, it holds neither")
    array = read_idx(path)
    if array.ndim != rank or array.dtype != np.uint8:
        held = f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"load: {path} must hold uint8 with {rank} axes, it holds {held}")
    return array


def _numbers(*labels: np.ndarray) -> tuple[str, ...]:
    highest = max((int(numbers.max()) for numbers in labels if numbers.size), default=-1)
    return tuple(map(str, range(highest + 1)))


def grey_dataset(images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], name: str) -> Dataset:
    """Return the data set of grey images uint8 (N, H, W) and their labels (N,)."""
    return Dataset(images[:, None], labels.astype(np.int64), classes, name)
