"""Downloading a data set once, through pooch, with every file held to its checksum."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

__all__ = ["download"]


def download(name: str, files: Mapping[str, str], mirrors: Sequence[str], folder: Path | None = None) -> Path:
    """Bring the files of a data set into a folder, and return the folder.

    A file that is there with the right checksum is not fetched again.  A mirror that does not answer, or
    sends something else, is passed over for the next.

    Parameters
    ----------
    name : str
        The data set.
    files : mapping of str to str
        The files' names and their SHA-256 sums in hexadecimal.
    mirrors : sequence of str
        Addresses that a file's name is appended to.
    folder : path, optional
        Default: a folder of the user's cache.

    Raises
    ------
    ImportError
        If pooch is not installed.
    OSError
        If no mirror has one of the files; every mirror's reason is named.
    """
    pooch = _pooch(name)
    folder = folder or Path(pooch.os_cache("minicnn")) / name
    for file, sha256 in files.items():
        _fetch(pooch, file, sha256, mirrors, folder)
    return folder


def _pooch(name: str) -> ModuleType:
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"load: {name!r} is not on this machine, and downloading it needs pooch: "
            'pip install "minicnn[download]", or name a folder that has it'
        ) from error
    return pooch


def _fetch(pooch: ModuleType, file: str, sha256: str, mirrors: Sequence[str], folder: Path) -> None:
    reasons = []
    for mirror in mirrors:
        try:
            pooch.retrieve(mirror + file, known_hash=f"sha256:{sha256}", fname=file, path=folder)
            return
        except ValueError:  # pooch's word for a wrong checksum
            reasons.append(f"{mirror} sent something else")
        except OSError as error:  # all that requests raises is one
            reasons.append(f"{mirror}: {textwrap.shorten(str(error), 120)}")
    raise OSError(f"load: {file} could not be downloaded; {'; '.join(reasons)}")
