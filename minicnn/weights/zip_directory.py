"""Where in a zip file its members lie.

The standard library's reader needs many times the memory of the directory it reads, forgives members that overlap, of
which a small file can hold enormous ones, and does not say where a member's bytes begin, which is what mapping needs.
This one reads the directory at the end of the file, checks that the members are named once each, apart from one
another and within the file, and gives their places.

References
----------
PKWARE, APPNOTE.TXT, .ZIP File Format Specification: sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to
4.3.16 (its end, zip64), 4.5.3 (the zip64 extra field).
"""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .mapped import Mapped, Refused, shown

__all__ = ["Member", "leads_out", "members", "unpacked"]

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED, _ENCRYPTED = 0, 8, 1
_MOST = 100_000  # members; ResNet-152 has 932 tensors
_EXTRA = 1 << 10  # bytes of extra fields looked at in an entry; zip64's takes 28
_FULL = 0xFFFFFFFF  # a 32-bit field that says: see the zip64 extra field


class Member(NamedTuple):
    """Where a member's bytes are in the file, and how many they are once unpacked."""

    start: int
    packed: int
    size: int
    deflated: bool


def members(file: Mapped) -> dict[str, Member]:
    """Return the members of a zip file by name.

    Raises
    ------
    Refused
        If it is not a whole zip file from its first byte to its last, or holds what no file of weights needs.
    """
    try:
        return _members(file)
    except (struct.error, UnicodeDecodeError):
        raise Refused("is no whole zip file: its directory is damaged") from None


def leads_out(name: str) -> bool:
    """Whether a member's name would be of a file elsewhere, if somebody unpacked it."""
    return name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/")


def unpacked(file: Mapped, member: Member) -> np.ndarray:
    """Return a member's bytes: a view of the file where they are stored as they are.

    Raises
    ------
    Refused
        If they do not unpack to the size that the directory gives.
    """
    packed = file.bytes[member.start : member.start + member.packed]
    if not member.deflated:
        return packed
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(
            packed.data, member.size + 1
        )  # one more byte shows that there are too many
    except zlib.error:
        content = b""
    if len(content) != member.size:
        raise Refused(f"is damaged: a compressed member does not unpack to {member.size} bytes")
    return np.frombuffer(bytearray(content), np.uint8)


def _members(file: Mapped) -> dict[str, Member]:
    count, first, last = _directory(file)
    if count > _MOST:
        raise Refused(f"has {count} members, more than {_MOST}")
    found: dict[str, Member] = {}
    spans = []
    at = first
    for _ in range(count):
        signature, _, _, flags, method, _, _, _, packed, size, *rest = _ENTRY.unpack(file.text(at, 46))
        name_length, extra_length, comment_length, _, _, _, header = rest
        name = file.text(at + 46, name_length).decode()
        extra = file.text(at + 46 + name_length, min(extra_length, _EXTRA))
        at += 46 + name_length + extra_length + comment_length
        size, packed, header = _wide(extra, size, packed, header)
        _check(signature, name, flags, method, packed, size)
        if name in found:
            raise Refused(f"has two members called {shown(name)!r}")
        start = _content(file, header)
        spans.append((header, start + packed))
        found[name] = Member(start, packed, size, method == _DEFLATED)
    spans = [*sorted(spans), (first, last)]
    if at != last or any(stop > header for (_, stop), (header, _) in pairwise(spans)):
        raise Refused("is no whole zip file: its members overlap, or reach outside of it")
    return found


def _directory(file: Mapped) -> tuple[int, int, int]:
    """Return the number of the directory's entries, where it begins and where it ends."""
    end = file.size - _END.size
    signature, *_, count, size, start, _ = _END.unpack(file.text(max(end, 0), _END.size))
    if signature != b"PK\5\6":
        raise Refused("is no whole zip file: it is cut short, or goes on after the zip file's end")
    at = end - _LOCATOR64.size
    if at >= 0 and file.text(at, 4) == b"PK\6\7":
        _, _, end, _ = _LOCATOR64.unpack(file.text(at, _LOCATOR64.size))
        signature, *_, count, size, start = _END64.unpack(file.text(end, _END64.size))
        if signature != b"PK\6\6":
            raise Refused("is no whole zip file: its zip64 directory is not where it should be")
    if start + size != end:
        raise Refused("is no whole zip file: its directory is not where it should be")
    return count, start, end


def _wide(extra: bytes, *fields: int) -> list[int]:
    """Replace the fields that do not fit 32 bits by those of the zip64 extra field."""
    wide = b""
    while len(extra) >= 4:
        kind, length = struct.unpack("<2H", extra[:4])
        if kind == 1:
            wide = extra[4 : 4 + length]
        extra = extra[4 + length :]
    values = []
    for field in fields:
        if field == _FULL:
            field, wide = struct.unpack("<Q", wide[:8])[0], wide[8:]
        values.append(field)
    return values


def _check(signature: bytes, name: str, flags: int, method: int, packed: int, size: int) -> None:
    if signature != b"PK\1\2":
        raise Refused("is no whole zip file: its directory is damaged")
    if leads_out(name):
        raise Refused(f"has a member whose name leads out of the file: {shown(name)!r}")
    if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
        raise Refused(f"has an encrypted member, or one of a compression not read here: {shown(name)!r}")
    if method == _STORED and packed != size:
        raise Refused(f"has a member of two sizes, {packed} and {size} bytes: {shown(name)!r}")


def _content(file: Mapped, header: int) -> int:
    """Return where the bytes after a local header begin."""
    signature, *_, name_length, extra_length = _LOCAL.unpack(file.text(header, _LOCAL.size))
    if signature != b"PK\3\4":
        raise Refused("is no whole zip file: a member is not where its directory says")
    return header + _LOCAL.size + name_length + extra_length
