"""Batches for training, in an order drawn anew for each epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..random import default_generator
from ..tensor import Tensor
from .check import check_generator, check_images
from .dataset import Dataset
from .transforms import ToFloat, Transform

__all__ = ["DataLoader"]


class DataLoader:
    """Iterates over a data set in batches.

    Each pass over it is one epoch.  A whole batch is gathered and transformed at once, so there is no need
    for worker processes.

    Parameters
    ----------
    dataset : Dataset
    batch_size : int, at least 1
    shuffle : bool
        Whether to draw a new order for each epoch.
    drop_last : bool
        Whether to leave out the last batch if it is smaller than the others.
    transform : callable, optional
        Takes and returns an array (N, C, H, W); see :mod:`minicnn.data.transforms`.  Default: ``ToFloat()``.
    generator : numpy.random.Generator, optional
        Where the order is drawn from.  Default: minicnn's, see :func:`minicnn.manual_seed`.

    Yields
    ------
    images : Tensor (N, C, H, W), floating point
    labels : Tensor (N,), int64

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of range, or the transform returns something else.

    Examples
    --------
    >>> from minicnn.data import load
    >>> train, test = load("mnist5k")
    >>> loader = DataLoader(train, batch_size=64, shuffle=True)
    >>> len(loader)
    63
    >>> images, labels = next(iter(loader))
    >>> images.shape, images.dtype, labels.shape
    ((64, 1, 28, 28), dtype('float32'), (64,))
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        transform: Transform | None = None,
        generator: np.random.Generator | None = None,
    ) -> None:
        if not isinstance(dataset, Dataset):
            raise TypeError(f"DataLoader: dataset must be a Dataset, got {type(dataset).__qualname__}")
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be an int of at least 1, got {batch_size!r}")
        if transform is not None and not callable(transform):
            raise TypeError(f"DataLoader: transform must be callable, got {transform!r}")
        check_generator("DataLoader", generator)
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.transform = transform or ToFloat()
        self.generator = generator

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = self._order()
        for i in range(len(self)):
            yield self._batch(order[i * self.batch_size : (i + 1) * self.batch_size])

    def _order(self) -> np.ndarray:
        if self.shuffle:
            return (self.generator or default_generator()).permutation(len(self.dataset))
        return np.arange(len(self.dataset))

    def _batch(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        images = self.transform(self.dataset.images[chosen])
        check_images("DataLoader: after transform", images)
        if images.dtype == np.uint8 or len(images) != len(chosen):
            raise TypeError(
                f"DataLoader: transform must return floats (N, C, H, W) for the {len(chosen)} given, "
                f"got {images.dtype} of shape {images.shape}"
            )
        return Tensor(images), Tensor(self.dataset.labels[chosen])
