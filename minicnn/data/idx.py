"""IDX, the file format of MNIST and its relatives.

An IDX file is an array: two zero bytes, one for the type of its elements, one for the number of axes, the
length of each axis, the elements in row-major order.  All numbers are big-endian::

    00 00 08 03   00 00 EA 60   00 00 00 1C   00 00 00 1C   …          uint8, 3 axes: 60,000 × 28 × 28

The header is not trusted: no more memory is taken than there are bytes in the file.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np

__all__ = ["read_idx"]

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20  # bytes


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file, gzipped or not.

    Parameters
    ----------
    path : str or path
        Whether it is gzipped is seen from its contents, not from its name.

    Returns
    -------
    numpy.ndarray
        Of the file's shape and type, in the machine's byte order.

    Raises
    ------
    ValueError
        If the file is no IDX file, is damaged, or is shorter or longer than its header says.
    OSError
        If it cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(file)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
        file.seek(0)
        if not zipped:
            return _read(file, path)
        try:
            with gzip.open(file) as unzipped:
                return _read(unzipped, path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"read_idx: {path} is a damaged gzip file ({error})") from error


def _read(file: _Readable, path: Path) -> np.ndarray:
    dtype, shape = _header(file, path)
    size = math.prod(shape) * dtype.itemsize
    data = _at_most(file, size + 1)
    if len(data) != size:
        held = f"only {len(data):,}" if len(data) < size else "more"
        raise ValueError(f"read_idx: {path} must hold {size:,} bytes for shape {shape}, it holds {held}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(file: _Readable, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"read_idx: {path} must begin with two zero bytes as IDX files do, got {magic!r}")
    code, rank = magic[2:]
    if code not in _DTYPES:
        known = ", ".join(f"0x{known:02X}" for known in _DTYPES)
        raise ValueError(f"read_idx: the element type of {path} must be one of {known}, got 0x{code:02X}")
    lengths = file.read(4 * rank)
    if rank == 0 or len(lengths) < 4 * rank:
        raise ValueError(f"read_idx: {path} must give the length of each of its {rank} axes, it ends before")
    shape = tuple(np.frombuffer(lengths, ">u4").tolist())
    # An axis of length 0 makes room for any others, but NumPy still wants their product to be a size.
    if rank > 32 or math.prod(length or 1 for length in shape) > 1 << 48:
        raise ValueError(f"read_idx: {path} must have the shape of an array, it announces {shape}")
    return np.dtype(_DTYPES[code]), shape


def _at_most(file: _Readable, size: int) -> bytearray:
    """Read `size` bytes, or as many as there are, and never set aside memory for more."""
    data = bytearray()
    while len(data) < size and (chunk := file.read(min(_CHUNK, size - len(data)))):
        data += chunk
    return data
