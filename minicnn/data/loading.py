"""From a name or a folder to the images in it."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from .catalogue import SOURCES
from .cifar import CIFAR10, CIFAR100
from .dataset import Dataset
from .download import download
from .mnist import MnistFiles
from .mnist5k import read_mnist5k

__all__ = ["load"]

_DEBIAN = Path("/usr/share/datasets")  # where packages such as dataset-fashion-mnist put theirs


def load(source: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Return the training and the test part of a data set.

    Parameters
    ----------
    source : str or path
        - ``"mnist5k"``: 5,000 digits of MNIST that come with minicnn;
        - ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"``, ``"cifar100"``;
        - a folder with MNIST's four files, gzipped or not, or the binary form of CIFAR-10 or CIFAR-100.

    Returns
    -------
    tuple of Dataset
        The training part and the test part.

    Raises
    ------
    ValueError
        If there is no such data set or folder, or its files are missing, damaged or do not fit together.
    ImportError, OSError
        If it had to be downloaded and pooch is not installed, or no mirror could help.

    Notes
    -----
    A set named "mnist" is looked for in the folder ``mnist`` of the folder that the environment variable
    MINICNN_DATA names, and in /usr/share/datasets/mnist, Debian's place for it.  If it is in neither, it is
    downloaded (``pip install "minicnn[download]"``) to the first of them, or to the user's cache where there is
    no MINICNN_DATA.  The others likewise.

    Examples
    --------
    >>> train, test = load("mnist5k")
    >>> train
    Dataset('mnist5k', 4000 images 1×28×28 uint8, 10 classes)
    """
    name = os.fspath(source)
    if name == "mnist5k":
        return read_mnist5k()
    if name in SOURCES:
        return SOURCES[name].layout.read(_located(name), name)
    if Path(name).is_dir():
        return _from_folder(Path(name))
    known = ("mnist5k", *SOURCES)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    names = ", ".join(map(repr, known))
    raise ValueError(f"load: source must be a folder or one of {names}, got {name!r}{hint}")


def _located(name: str) -> Path:
    """Return a folder with the files of a data set, which may first have to be downloaded."""
    source = SOURCES[name]
    own = os.environ.get("MINICNN_DATA")
    mine = Path(own).expanduser() / name if own else None
    for folder in (mine, _DEBIAN / name):
        if folder is not None and source.layout.found_in(folder):
            return folder
    return download(name, source.files, source.mirrors, mine)


def _from_folder(folder: Path) -> tuple[Dataset, Dataset]:
    layouts = MnistFiles(), CIFAR10, CIFAR100
    # A folder that fits none is read as MNIST's, whose error names what is missing.
    layout = next((layout for layout in layouts if layout.found_in(folder)), layouts[0])
    return layout.read(folder, folder.resolve().name)
