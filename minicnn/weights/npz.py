"""NumPy's own files: ``.npy`` holds one array, ``.npz`` is a zip file of those.

Neither is ever unpickled: arrays of Python objects are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..atomic import replacing
from .mapped import Mapped, Refused, item_size, numbers, shaped, shown
from .row_major import row_major
from .zip_directory import Member, leads_out, unpacked

__all__ = ["MAGIC", "from_npy", "from_npz", "save_npz"]

MAGIC = b"\x93NUMPY"
_HEADER = 1 << 14  # bytes of a header; NumPy's reader takes at most 10,000
_DESCR = re.compile(rb"'descr': *'([<>|=]?\w{1,9})'")
_ORDER = re.compile(rb"'fortran_order': *(True|False)")
_SHAPE = re.compile(rb"'shape': *\(((?:\d{1,19}, *)*(?:\d{1,19})?)\)")
_KINDS = {
    "|b1",
    "|i1",
    "|u1",
    *(f"{end}{kind}{size}" for end in "<>" for kind in "iuf" for size in (2, 4, 8)),
}
_LONGEST_NAME = 60_000  # bytes; a zip file has 16 bits for their number
_UNPACKED = 64  # a compressed file may hold this many times its size, and what a small one needs:
_UNPACKED_ANYHOW = 1 << 24


def from_npy(file: Mapped) -> dict[str, np.ndarray]:
    """Return the one array of a ``.npy`` file, under the file's name without its suffix."""
    return {file.stem: _array(file.bytes)}


def from_npz(file: Mapped, directory: Mapping[str, Member]) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file by name.

    Raises
    ------
    Refused
        If one of its members is no array of numbers, or unpacks to far more than the file's size.
    """
    size = sum(member.size for member in directory.values() if member.deflated)
    if size > max(_UNPACKED * file.size, _UNPACKED_ANYHOW):
        raise Refused(f"unpacks to {size} bytes, more than {_UNPACKED} times its size")
    if any(not name.endswith(".npy") for name in directory):
        raise Refused("is a zip file, but neither NumPy's nor PyTorch's")
    return {name.removesuffix(".npy"): _array(unpacked(file, member)) for name, member in directory.items()}


def save_npz(path: str | os.PathLike[str], state_dict: Mapping[str, Any]) -> None:
    """Write a state dict to an ``.npz`` file, which ``numpy.load`` reads too.

    Parameters
    ----------
    path : str or path
        Its folder must exist.
    state_dict : mapping of names to arrays or Tensors

    Raises
    ------
    TypeError
        If a name is no text, or a value is no numeric array.
    ValueError
        If a name is not one of a file in a zip file: it is absolute, leads upwards or has more than 60,000 bytes.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_npz(f"{folder}/w.npz", {"fc.bias": np.ones(2)})
    ...     dict(np.load(f"{folder}/w.npz"))
    {'fc.bias': array([1., 1.])}
    """
    import zipfile

    arrays = {name: row_major(name, value) for name, value in state_dict.items()}
    for name in arrays:
        if leads_out(f"{name}.npy") or len(name.encode()) > _LONGEST_NAME:
            raise ValueError(f"save_npz: {shown(name)!r} cannot be the name of a file in a zip file")
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            # A ZipInfo made here carries no time of day: the same weights give the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _array(content: np.ndarray) -> np.ndarray:
    """Return the array in the bytes of a ``.npy`` file."""
    kind, column_major, shape, start = _header(content)
    if kind not in _KINDS:
        raise Refused(f"holds an array of dtype {shown(kind)}: only numbers are read")
    if (len(content) - start) % item_size(kind):
        raise Refused(f"is damaged: {len(content) - start} bytes are no whole number of {kind}")
    array = numbers(content[start:], kind)
    return shaped(array, shape[::-1]).T if column_major else shaped(array, shape)


def _header(content: np.ndarray) -> tuple[str, bool, tuple[int, ...], int]:
    """Return the dtype, whether columns come first, the shape, and where the numbers begin.

    The header is a Python dict, written as such.  NumPy has Python parse it; three patterns are enough for what can be
    in it, and no text is too long or too deep for them.
    """
    begin = {b"\1": 10, b"\2": 12}.get(
        content[6:7].tobytes(), 0
    )  # by the version: a length of 2 bytes, or of 4
    length = int.from_bytes(content[8:begin].tobytes(), "little")
    text = content[begin : begin + min(length, _HEADER)].tobytes()
    found = [pattern.findall(text) for pattern in (_DESCR, _ORDER, _SHAPE)]
    if not begin or len(text) != length or any(len(matches) != 1 for matches in found):
        raise Refused("is no whole .npy file, nor a zip file of those: a header is damaged")
    kind, order, sizes = (matches[0].decode() for matches in found)
    return kind, order == "True", tuple(int(size) for size in sizes.replace(",", " ").split()), begin + length
