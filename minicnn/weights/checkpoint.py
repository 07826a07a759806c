"""Checkpoints: named arrays, and what describes them, in one safetensors file.

safetensors is a length, a JSON header and the raw bytes of each array.  Reading one runs no code, unlike a pickle, and
the same weights give the same bytes.  For that last reason the description is stored as one JSON text under a single
key: the library writes several keys in a random order.

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

from .. import backend
from ..tensor import Tensor
from .atomic import replacing

__all__ = ["load", "read_metadata", "save"]

_KEY = "minicnn"
_CODES = (
    "?bhilqBHILQefd"  # of NumPy's dtypes that the format has: bool, ints, unsigned ints, floats up to 64 bits
)


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
        If a value no numeric array, or the metadata cannot be written as JSON.
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
    from safetensors.numpy import save as to_bytes

    arrays = {name: _row_major(name, value) for name, value in state_dict.items()}
    header = None if metadata is None else {_KEY: json.dumps(dict(metadata), sort_keys=True)}
    with replacing(path) as temporary:
        # Not save_file(): it makes files that only their owner may read.
        temporary.write_bytes(to_bytes(arrays, header))


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the state dict in a safetensors file.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict of names to NumPy arrays
        Freshly allocated.

    Raises
    ------
    ValueError
        If there is no such file, it cannot be read, or it is no whole safetensors file.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`save` was given as metadata; empty for a file that has none or comes from elsewhere.

    Raises
    ------
    ValueError
        As :func:`load`.
    """
    with _opened(path) as file:
        return json.loads((file.metadata() or {}).get(_KEY, "{}"))


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open the file, and make every way of failing to read it one kind of error."""
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    if os.path.isdir(name):
        raise ValueError(f"load: a checkpoint is a file, {name!r} is a folder")
    try:
        with safe_open(name, framework="numpy") as file:
            yield file
    except FileNotFoundError:
        raise ValueError(f"load: there is no file {name!r}") from None
    except OSError as error:
        raise ValueError(f"load: {name!r} cannot be read: {error}") from None
    except (SafetensorError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"load: {name!r} is no whole safetensors file: {error}") from None


def _row_major(name: str, value: Any) -> np.ndarray:
    """Return the values as the bytes a safetensors file holds: host memory, row-major logical order."""
    array = value.data if isinstance(value, Tensor) else value
    host = np.asarray(backend.of(array).to_numpy(array), order="C")
    if host.dtype.char not in _CODES:
        raise TypeError(f"save: {name!r} must be an array of numbers, got dtype {host.dtype}")
    return host
