"""The binary form of CIFAR-10 and CIFAR-100.

A file is a row of records, one an image, with nothing before, between or after them::

    CIFAR-10     label                  1024 red   1024 green   1024 blue        3,073 bytes
    CIFAR-100    coarse label, label    1024 red   1024 green   1024 blue        3,074 bytes

There is a form for Python as well, but it is made of pickles, and a pickle may run any code when it is read.

References
----------
A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and the data sets' home page.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from .dataset import Dataset

__all__ = ["CIFAR10", "CIFAR100", "CifarFiles"]

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class CifarFiles:
    """Reads a folder with the archive as it is distributed, or with the files unpacked from it.

    Parameters
    ----------
    archive : str
    train : tuple of str
        The files with the training images, in order.
    test : str
    names : str
        The file with the classes' names, one a line.
    label_bytes : int
        How many labels a record begins with; the last of them is the class.
    """

    archive: str
    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int

    @property
    def _files(self) -> tuple[str, ...]:
        return *self.train, self.test, self.names

    def found_in(self, folder: Path) -> bool:
        """Whether the archive or all the files are there."""
        return (folder / self.archive).is_file() or all((folder / file).is_file() for file in self._files)

    def read(self, folder: Path, name: str) -> tuple[Dataset, Dataset]:
        """Return the training and the test images, and call both `name`.

        Raises
        ------
        ValueError
            If a file is missing or damaged.
        """
        source = folder / self.archive
        if not source.is_file():
            source = folder
        contents = (_unpacked if source.is_file() else _beside)(source, self._files)
        if missing := [file for file in self._files if file not in contents]:
            raise ValueError(f"load: {source} must hold {', '.join(missing)}")
        classes = tuple(contents[self.names].decode("ascii", "replace").split())
        length = self.label_bytes + _PIXELS
        for file in (*self.train, self.test):
            if len(contents[file]) % length or not contents[file]:
                raise ValueError(
                    f"load: {file} of {source} must hold records of {length:,} bytes, "
                    f"it is {len(contents[file]):,} bytes long"
                )
        train = self._dataset(b"".join(contents[file] for file in self.train), classes, name)
        return train, self._dataset(contents[self.test], classes, name)

    def _dataset(self, content: bytes, classes: tuple[str, ...], name: str) -> Dataset:
        records = np.frombuffer(content, np.uint8).reshape(-1, self.label_bytes + _PIXELS)
        planes = records[:, self.label_bytes :].reshape(-1, 3, 32, 32)
        # Channels-last in memory, which is how everything here computes.
        images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return Dataset(images, records[:, self.label_bytes - 1].astype(np.int64), classes, name)


def _unpacked(archive: Path, files: Collection[str]) -> dict[str, bytes]:
    """Read these files out of the archive, whatever folder they are in there, without unpacking it."""
    import tarfile  # it brings all compressors along, and few need them

    contents = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                base = PurePosixPath(member.name).name
                if base in files and (file := tar.extractfile(member)) is not None:
                    contents[base] = file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ValueError(f"load: {archive} is a damaged archive ({error})") from error
    return contents


def _beside(folder: Path, files: Collection[str]) -> dict[str, bytes]:
    """Read those of the files that are in the folder."""
    return {file: (folder / file).read_bytes() for file in files if (folder / file).is_file()}


CIFAR10 = CifarFiles(
    archive="cifar-10-binary.tar.gz",
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test="test_batch.bin",
    names="batches.meta.txt",
    label_bytes=1,
)
CIFAR100 = CifarFiles(
    archive="cifar-100-binary.tar.gz",
    train=("train.bin",),
    test="test.bin",
    names="fine_label_names.txt",
    label_bytes=2,
)
