"""PyTorch's ``.pt`` and ``.pth`` files, without PyTorch.

Both of its formats are a pickle, which says what tensors there are, and the numbers apart from it in *storages*; a
tensor is a view of a storage, given by an offset, sizes and strides.

- Since version 1.6: a zip file with the members ``data.pkl`` and ``data/0``, ``data/1``, …, one a storage, not
  compressed and therefore mapped.
- Before: five pickles one after the other (a magic number, a version, the machine's byte order, the object, the keys
  of the storages), and then each storage: the number of its elements in 8 bytes, and the elements.

What comes out is the state dict, flat: its tensors as arrays.  If the file holds a dict that has the state dict under
one of the names ``state_dict``, ``model_state_dict``, ``model`` and ``net``, as training programs save it, the rest
(the epoch, the optimizer's state) is dropped.  ``module.`` before every name, which ``DataParallel`` leaves there, is
dropped too.  Anything else that is not a tensor is an error.

References
----------
PyTorch 2, ``torch/serialization.py`` (``_save``, ``_legacy_save``) and ``torch/_utils.py`` (``_rebuild_*``), for what
is written and in which order.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .mapped import Mapped, Refused, item_size, numbers, shown, strided
from .unpickler import Global, read_pickle
from .zip_directory import Member

__all__ = ["DATA", "LEGACY", "from_legacy", "from_zip"]

DATA = "data.pkl"
LEGACY = b"\x80"  # the first byte of a pickle
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PARALLEL = "module."
_PICKLE = 1 << 24  # bytes that the pickles may take; ResNet-152's has 0.1 MB
_REPEATED = 16  # tensors may together have this many times the file's bytes, and what a small one needs:
_REPEATED_ANYHOW = 1 << 24

_STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "bf16",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
    "torch.BoolStorage": "|b1",
    "torch.storage.UntypedStorage": "|u1",
}
_DTYPES = {
    f"torch.uint{bits}": f"<u{bits // 8}" for bits in (16, 32, 64)
}  # the types that have no storage of their own


class _Storage(NamedTuple):
    key: str
    kind: str
    length: int  # in elements

    @property
    def size(self) -> int:
        """In bytes."""
        return self.length * item_size(self.kind)


class _Tensor(NamedTuple):
    """What a pickle says of a tensor."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    kind: str  # the storage's, unless that is of bytes


def from_zip(file: Mapped, directory: Mapping[str, Member]) -> dict[str, np.ndarray]:
    """Return the state dict in a file of PyTorch 1.6 or later.

    Raises
    ------
    Refused
        If it holds anything else, or is damaged.
    """
    pickles = [name for name in directory if name == DATA or name.endswith(f"/{DATA}")]
    if len(pickles) != 1:
        raise Refused(f"holds {len(pickles)} objects; one is read")
    folder = pickles[0].removesuffix(DATA)
    if f"{folder}constants.pkl" in directory:
        raise Refused("is a TorchScript program; what is read is a state dict, as torch.save() writes it")

    def content(name: str) -> np.ndarray:
        member = directory.get(folder + name)
        if member is None or member.deflated:
            raise Refused(
                f"has no member {shown(folder + name)!r}, or a compressed one; PyTorch compresses none"
            )
        return file.bytes[member.start : member.start + member.size]

    if f"{folder}byteorder" in directory and content("byteorder").tobytes() != b"little":
        raise Refused("was written on a big-endian machine: only little-endian numbers are read")
    storages: dict[str, _Storage] = {}
    pickle = content(DATA)
    if len(pickle) > _PICKLE:  # a file may be sparse, and far larger than the memory
        raise Refused(f"has a pickle of {len(pickle)} bytes, more than {_PICKLE}")
    stream = io.BytesIO(pickle.tobytes())
    found = _state_dict(_read_object(stream, storages))
    if stream.read(1):
        raise Refused("has something behind its pickle's end")
    return _arrays(file, found, lambda storage: content(f"data/{storage.key}"))


def from_legacy(file: Mapped) -> dict[str, np.ndarray]:
    """Return the state dict in a file of PyTorch before 1.6.

    Raises
    ------
    Refused
        If it holds anything else, or is damaged.
    """
    stream = io.BytesIO(file.text(0, _PICKLE))
    if read_pickle(stream) != _MAGIC or read_pickle(stream) != _VERSION:
        raise Refused("is a pickle, but not PyTorch's")
    about = read_pickle(stream)
    if type(about) is not dict or about.get("little_endian") is not True:
        raise Refused("was written on a big-endian machine: only little-endian numbers are read")
    storages: dict[str, _Storage] = {}
    found = _state_dict(_read_object(stream, storages))
    keys = read_pickle(stream)
    if (
        type(keys) is not list
        or any(type(key) is not str for key in keys)
        or sorted(keys) != sorted(storages)
    ):
        raise Refused("is damaged: its storages are not those of its tensors")
    at = stream.tell()
    places = {}
    for key in keys:
        length, begin = int.from_bytes(file.text(at, 8), "little"), at + 8
        if length != storages[key].length:
            raise Refused(
                f"is cut short or damaged: a storage has {length} elements, not {storages[key].length}"
            )
        at = begin + storages[key].size
        places[key] = file.bytes[begin:at]
    if at != file.size:
        raise Refused(f"is damaged or cut short: it has {file.size} bytes, its tensors need {at}")
    return _arrays(file, found, lambda storage: places[storage.key])


def _read_object(stream: Any, storages: dict[str, _Storage]) -> Any:
    """Read the pickle with the tensors; the storages it names are added to `storages`."""

    def storage(identity: Any) -> _Storage:
        # A sixth item, None, is in legacy files; before 0.4 it could be a view.
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[5:] not in ((), (None,)):
            raise Refused("names a storage in a way that is not read here")
        word, kind, key, _, length = identity[:5]
        if word != "storage" or type(kind) is not Global or kind.name not in _STORAGES:
            raise Refused("names a storage in a way that is not read here")
        if type(key) is not str or type(length) is not int or length < 0:
            raise Refused("names a storage without key or length")
        described = _Storage(key, _STORAGES[kind.name], length)
        if storages.setdefault(key, described) != described:
            raise Refused(f"describes the storage {shown(key)!r} in two ways")
        return described

    return read_pickle(stream, _GLOBALS, storage)


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any, kind: str = "") -> _Tensor:
    """Stand for torch._utils._rebuild_tensor and _v2; what is left: requires_grad, hooks and at times more."""
    if type(storage) is not _Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise Refused("has a tensor without storage, sizes or strides")
    if any(rest[2:]):
        raise Refused("has a tensor whose numbers are not what they stand for, such as a negated view")
    if len(shape) + len(strides) > 64 or any(type(n) is not int for n in (offset, *shape, *strides)):
        raise Refused("has a tensor whose offset, sizes or strides are no whole numbers, or too many")
    return _Tensor(storage, offset, shape, strides, kind or storage.kind)


def _rebuild_v3(*arguments: Any) -> _Tensor:
    """Stand for torch._utils._rebuild_tensor_v3: bytes without type, and then a type."""
    *first, dtype = arguments[:7]
    if type(dtype) is not Global or dtype.name not in _DTYPES:
        raise Refused("has a tensor of a type that is not read here")
    tensor = _rebuild(*first, *arguments[7:], kind=_DTYPES[dtype.name])
    if tensor.storage.kind != "|u1" or tensor.storage.length % item_size(tensor.kind):
        raise Refused("has a tensor of another type than its storage")
    return tensor


def _rebuild_parameter(tensor: Any, *rest: Any) -> _Tensor:
    if type(tensor) is not _Tensor:
        raise Refused("has a parameter that is no tensor")
    return tensor


def _size(sizes: Any) -> Any:
    return sizes


_GLOBALS = (
    *(Global(name) for name in (*_STORAGES, *_DTYPES)),
    Global("torch._utils._rebuild_tensor", _rebuild),
    Global("torch._utils._rebuild_tensor_v2", _rebuild),
    Global("torch._utils._rebuild_tensor_v3", _rebuild_v3),
    Global("torch._utils._rebuild_parameter", _rebuild_parameter),
    Global("torch._utils._rebuild_parameter_with_state", _rebuild_parameter),
    Global("torch.Size", _size),
)


def _state_dict(found: Any) -> dict[str, _Tensor]:
    """Find the tensors in what a file holds."""
    if type(found) is not dict:
        raise Refused(f"holds {_kind(found)}; what is read is a dict of tensors")
    inner = [name for name in _WRAPPERS if type(found.get(name)) is dict]
    if len(inner) > 1:
        raise Refused(f"holds several state dicts: {', '.join(inner)}")
    state = found[inner[0]] if inner else found
    for name, value in state.items():
        if type(name) is not str or type(value) is not _Tensor:
            raise Refused(f"holds {_kind(value)} called {shown(name)!r}, where only named tensors are read")
    if state and all(name.startswith(_PARALLEL) for name in state):
        return {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()}
    return state


def _kind(value: Any) -> str:
    return "a tensor" if type(value) is _Tensor else f"an object of type {type(value).__name__}"


def _arrays(
    file: Mapped, tensors: Mapping[str, _Tensor], content: Callable[[_Storage], np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the tensors as views of their storages, each of which is made into numbers once."""
    size = sum(prod(tensor.shape) * item_size(tensor.kind) for tensor in tensors.values())
    if size > max(_REPEATED * file.size, _REPEATED_ANYHOW):
        raise Refused(f"has tensors that repeat its numbers to more than {_REPEATED} times its size")
    flat: dict[tuple[_Storage, str], np.ndarray] = {}
    for storage, kind in {(tensor.storage, tensor.kind) for tensor in tensors.values()}:
        raw = content(storage)
        if len(raw) != storage.size:
            raise Refused(f"is damaged: a storage has {len(raw)} bytes, not {storage.size}")
        flat[storage, kind] = numbers(raw, kind)
    return {
        name: strided(flat[tensor.storage, tensor.kind], tensor.offset, tensor.shape, tensor.strides)
        for name, tensor in tensors.items()
    }
