"""Checkpoints: named arrays, and what describes them, in one safetensors file; and the files of others.

What is written here is safetensors: a length, a JSON header and the raw bytes of each array.  Reading one runs no code,
and the same weights give the same bytes.  For that last reason the description is stored as one JSON text under a
single key: the library writes several keys in a random order.

What is read is also NumPy's and PyTorch's formats, told apart by the first bytes of the file and not by its name.

References
----------
The format: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..atomic import replacing
from . import npz, pytorch, safetensors_file
from .mapped import Mapped, Refused, map_file
from .row_major import row_major
from .zip_directory import members

__all__ = ["load", "read_header", "read_metadata", "save", "write"]

_KEY = "minicnn"


def save(
    path: str | os.PathLike[str], state_dict: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a state dict to a safetensors file.

    If writing is interrupted, a file that was there before is still there, whole.

    Parameters
    ----------
    path : str or path
        Its folder must exist.
    state_dict : mapping of names to arrays or Tensors
        Whatever their memory layout, their values are stored in logical row-major order.
    metadata : mapping, optional
        What else to remember: anything JSON can say.

    Raises
    ------
    TypeError
        If a name is no text, a value is no numeric array, or the metadata cannot be written as JSON.
    ValueError
        If the format keeps a name for itself: ``__metadata__``.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/w.safetensors", {"weight": np.eye(2)}, {"epoch": 3})
    ...     load(f"{folder}/w.safetensors"), read_metadata(f"{folder}/w.safetensors")
    ({'weight': array([[1., 0.], [0., 1.]])}, {'epoch': 3})
    """
    header = {} if metadata is None else {_KEY: json.dumps(dict(metadata), sort_keys=True)}
    write(path, state_dict, header)


def write(path: str | os.PathLike[str], state_dict: Mapping[str, Any], header: Mapping[str, str]) -> None:
    """Write a state dict to a safetensors file with texts of any names in its header, as :func:`save` does."""
    from safetensors.numpy import save as to_bytes

    arrays = {name: row_major(name, value) for name, value in state_dict.items()}
    if safetensors_file.METADATA in arrays:
        raise ValueError(f"save: no array can be called {safetensors_file.METADATA!r} in a safetensors file")
    with replacing(path) as temporary:
        # Not save_file(): it makes files that only their owner may read.
        temporary.write_bytes(to_bytes(arrays, dict(header) or None))


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a state dict from a file: safetensors, ``.npz``, ``.npy``, or PyTorch's ``.pt`` and ``.pth``.

    The file's first bytes tell which of them it is.  No file can make this run code, write anything, or take memory
    out of proportion to its size; PyTorch is not needed.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict of names to NumPy arrays
        Views of the file, which is mapped into memory and read where they are; as soon as one is written to, it has
        that page for itself, and the file stays as it is.  Replacing the file (as :func:`save` does) leaves them
        alone; shortening it in place would not.  Numbers are copied where a view is impossible: bfloat16 becomes
        float32, truth values, big-endian, compressed or unaligned numbers.

        The one array of an ``.npy`` file has the file's name without suffix.  Of a PyTorch checkpoint that holds more
        than the weights, what is under ``state_dict``, ``model_state_dict``, ``model`` or ``net`` is returned;
        ``module.`` before every name is removed.

    Raises
    ------
    ValueError
        If there is no such file, it cannot be read, is damaged, or holds anything but named arrays of numbers.
    """
    with _opened(path) as file:
        first = file.text(0, len(npz.MAGIC))
        if first.startswith((b"PK\3\4", b"PK\5\6")):
            directory = members(file)
            of_pytorch = any(name.split("/")[-1] == pytorch.DATA for name in directory)
            return (pytorch.from_zip if of_pytorch else npz.from_npz)(file, directory)
        if first == npz.MAGIC:
            return npz.from_npy(file)
        if safetensors_file.looks_like(file):
            return safetensors_file.arrays(file)
        if first.startswith(pytorch.LEGACY):
            return pytorch.from_legacy(file)
        if file.text(257, 5) == b"ustar":
            raise Refused(
                "is a tar file, as the first versions of PyTorch wrote: load and save it with a later one"
            )
        raise Refused("is no whole safetensors file, nor one of .npz, .npy, .pt or .pth")


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`save` was given as metadata; empty for a file that has none or comes from elsewhere.

    Raises
    ------
    ValueError
        As :func:`load`.
    """
    text = read_header(path).get(_KEY, "{}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(
            f"load: {os.fspath(path)!r} is no whole safetensors file: its metadata are no JSON object"
        )
    return found


def read_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read all the texts in a safetensors file's header besides the arrays; empty for another kind of file.

    Raises
    ------
    ValueError
        As :func:`load`.
    """
    with _opened(path) as file:
        if safetensors_file.looks_like(file):
            return safetensors_file.metadata(file)
    load(path)  # raises where it is no file of weights at all
    return {}


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Mapped]:
    """Map the file, and make every way of failing to read it one kind of error."""
    name = os.fspath(path)
    try:
        yield map_file(name)
    except FileNotFoundError:
        raise ValueError(f"load: there is no file {name!r}") from None
    except OSError as error:
        raise ValueError(f"load: {name!r} cannot be read: {error.strerror or error}") from None
    except Refused as fault:
        raise ValueError(f"load: {name!r} {fault}") from None
