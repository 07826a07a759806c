"""How well a trained classifier does on data it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Evaluation"]

@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found.

    Attributes
    ----------
    loss : float
        Mean over the images.
    confusion : numpy.ndarray of shape (K, K), int64
        ``confusion[i, j]`` images of class i were taken for class j.

    Examples
    --------
    >>> found = Evaluation(loss=0.1, confusion=np.array([[9, 1], [0, 10]]))
    >>> found.images, found.accuracy
    (20, 0.95)
    """

    loss: float
    confusion: np.ndarray

    @property
    def images(self) -> int:
        """How many images were judged."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of the images whose class was found."""
        return float(np.trace(self.confusion) / max(self.images, 1))
