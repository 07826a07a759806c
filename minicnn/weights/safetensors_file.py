"""Reading safetensors: eight bytes of length, a JSON header, then the bytes of each array.

The library that writes these files here copies what it reads, and cannot give NumPy the bfloat16 numbers that many
files hold.  The format is made to be mapped instead.

References
----------
The format and its limits: https://github.com/huggingface/safetensors, README, section "Format".
"""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np

from .mapped import Mapped, Refused, item_size, numbers, shaped, shown

__all__ = ["METADATA", "arrays", "looks_like", "metadata"]

METADATA = "__metadata__"
_KINDS = {"BOOL": "|b1", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "bf16", "I8": "|i1", "U8": "|u1"}
_KINDS |= {f"{name}{8 * size}": f"<{kind}{size}" for name, kind in ("Ii", "Uu") for size in (2, 4, 8)}
_LONGEST = 1 << 22  # bytes of a header; ResNet-152's has about 100,000


def looks_like(file: Mapped) -> bool:
    """Whether the file begins as a safetensors file does."""
    return file.text(8, 1) == b"{"


def arrays(file: Mapped) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file.

    Raises
    ------
    Refused
        If it is none, or not a whole one.
    """
    entries, _, start = _read(file)
    content = file.bytes[start:]
    return {
        entry.name: shaped(numbers(content[entry.begin : entry.end], entry.kind), entry.shape)
        for entry in entries
    }


def metadata(file: Mapped) -> dict[str, str]:
    """Return what the header says besides the arrays.

    Raises
    ------
    Refused
        As :func:`arrays`.
    """
    return _read(file)[1]


class _Entry:
    """What a header says of one array, checked."""

    def __init__(self, name: str, about: Any) -> None:
        if not isinstance(about, dict) or about.keys() != {"dtype", "shape", "data_offsets"}:
            raise Refused(f"is no whole safetensors file: {shown(name)!r} is not described as an array is")
        kind, shape, offsets = about["dtype"], about["shape"], about["data_offsets"]
        if not isinstance(kind, str) or kind not in _KINDS:
            raise Refused(f"is no whole safetensors file for NumPy: {shown(name)!r} has dtype {shown(kind)}")
        if not _sizes(shape) or len(shape) > 32 or not _sizes(offsets) or len(offsets) != 2:
            raise Refused(f"is no whole safetensors file: {shown(name)!r} has no sizes and offsets")
        self.name, self.kind, self.shape = name, _KINDS[kind], shape
        self.begin, self.end = offsets
        if prod(shape) * item_size(self.kind) != self.end - self.begin:
            raise Refused(f"is no whole safetensors file: {shown(name)!r} has another size than its shape")


def _sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _read(file: Mapped) -> tuple[list[_Entry], dict[str, str], int]:
    """Return what the header says of each array, its metadata, and where it ends."""
    header, start = _header(file)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise Refused("is no whole safetensors file: its metadata are no texts")
    entries = [_Entry(name, about) for name, about in header.items()]
    at = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != at:
            raise Refused(f"is no whole safetensors file: {shown(entry.name)!r} leaves a gap or overlaps")
        at = entry.end
    if start + at != file.size:
        raise Refused(
            f"is no whole safetensors file: its arrays take {at} bytes, there are {file.size - start}"
        )
    return entries, metadata, start


def _header(file: Mapped) -> tuple[dict[str, Any], int]:
    """Return the header, and where it ends."""
    length = int.from_bytes(file.text(0, 8), "little")
    if length > min(file.size - 8, _LONGEST):
        raise Refused(f"is no whole safetensors file: it says that its header has {length} bytes")
    try:
        header = json.loads(file.text(8, length).decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Refused(
            "is no whole safetensors file: its header is no JSON, or names an array twice"
        ) from None
    if not isinstance(header, dict):
        raise Refused("is no whole safetensors file: its header is no JSON object")
    return header, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found
