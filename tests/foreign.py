"""Files of other programs, built by hand: a tiny writer of pickles, and of the containers they come in."""

import io
import json
import struct
import zipfile
from math import prod

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
SIZES = {
    "Float": 4,
    "Double": 8,
    "Half": 2,
    "BFloat16": 2,
    "Long": 8,
    "Int": 4,
    "Short": 2,
    "Char": 1,
    "Byte": 1,
}
SIZES["Bool"] = 1


class Raw(bytes):
    """Instructions as they are."""


class Name(str):
    """A global."""


def call(name, *arguments):
    return Raw(encoded(Name(name)) + encoded(arguments) + b"R")


def encoded(value):
    """The instructions, of protocol 2, that put a value on the stack."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, Name):
        module, _, name = value.rpartition(".")
        return f"c{module}\n{name}\n".encode()
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        wide = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(wide)]) + wide
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, tuple):
        return b"(" + b"".join(map(encoded, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(encoded, value)) + b"e"
    return b"}(" + b"".join(encoded(key) + encoded(item) for key, item in value.items()) + b"u"


def pickled(value):
    return b"\x80\x02" + encoded(value) + b"."


def storage(key, kind, count, *more):
    name = kind if "." in kind else f"torch.{kind}Storage"
    return Raw(encoded(("storage", Name(name), key, "cpu", count, *more)) + b"Q")


def row_major_strides(shape):
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def tensor(key, shape, strides=None, *, offset=0, kind="Float", count=None, more=(), tail=()):
    """A tensor that has a storage of `count` elements: as many as it has itself, unless told otherwise."""
    strides = row_major_strides(shape) if strides is None else strides
    count = prod(shape) if count is None else count
    hooks = call("collections.OrderedDict")
    where = storage(key, kind, count, *more)
    name = "torch._utils._rebuild_tensor_v3" if tail else "torch._utils._rebuild_tensor_v2"
    return call(name, where, offset, shape, strides, False, hooks, *tail)


def zipped(value, storages=(), members=(), *, folder="net/", method=zipfile.ZIP_STORED):
    """A .pth file as PyTorch writes it since 1.6; `value` may be the bytes of a pickle."""
    out = io.BytesIO()
    pickle = value if isinstance(value, bytes) and not isinstance(value, Raw) else pickled(value)
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(f"{folder}data.pkl", pickle)
        for key, content in dict(storages).items():
            archive.writestr(f"{folder}data/{key}", bytes(content))
        for name, content in dict(members).items():
            archive.writestr(name, content)
    return out.getvalue()


def legacy(value, storages=(), *, keys=None, counts=None, magic=MAGIC, little=True, kinds=None):
    """A .pth file as PyTorch wrote it before 1.6."""
    storages, kinds = dict(storages), kinds or {}
    about = {
        "protocol_version": 1001,
        "little_endian": little,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    head = b"".join(map(pickled, (magic, 1001, about, value, list(storages) if keys is None else keys)))
    for key, content in storages.items():
        count = len(bytes(content)) // SIZES[kinds.get(key, "Float")]
        head += struct.pack("<q", (counts or {}).get(key, count)) + bytes(content)
    return head


def safetensors(header, content=b""):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + content


def npy(array):
    out = io.BytesIO()
    np.lib.format.write_array(out, array)
    return out.getvalue()


def npy_header(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()
