"""Files made to do harm: each is one line of error, at once, in little memory, and nothing else has happened."""

import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import foreign
import numpy as np
import pytest
from foreign import (
    Name,
    Raw,
    call,
    encoded,
    legacy,
    npy,
    npy_header,
    pickled,
    safetensors,
    storage,
    tensor,
    zipped,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minicnn.weights import load

X = tensor("0", (6,))
SIX = {"0": np.arange(6, dtype="<f4").tobytes()}
HUGE = 2**62


class System:
    """What a hostile pickle is usually made of."""

    def __reduce__(self):
        return os.system, ("touch touched",)


def damaged(content, old, new, nth=-1):
    """The bytes with one occurrence of `old` replaced by as many others."""
    assert len(old) == len(new)
    at = -1
    for _ in range(nth if nth > 0 else content.count(old)):
        at = content.index(old, at + 1)
    return content[:at] + new + content[at + len(old) :]


def two_of_one_name():
    """A zip file that names one member twice: by the other's name, spelt with as many letters."""
    content = zipped({"x": X}, SIX, {"net/data/1": b"1"})
    return content.replace(b"net/data/1", b"net/data/0")


def overlapping():
    """The directory of a zip file that gives two names to the same bytes."""
    content = bytearray(foreign.archive({"a.npy": npy(np.zeros(9)), "b.npy": npy(np.zeros(9))}))
    second = content.rindex(b"PK\1\2")
    content[second + 42 : second + 46] = struct.pack("<L", 0)
    return bytes(content)


def many_members():
    """A directory that says it has four billion entries."""
    content = zipped({"x": X}, SIX)
    end = content[-22:]
    entry = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**32, 2**32, *struct.unpack("<2L", end[12:20])
    )
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(content) - 22, 1)
    return content[:-22] + entry + locator + end


def uncounted():
    """A zip file whose end counts one entry less than its directory has."""
    content = bytearray(zipped({"x": X}, SIX, {"net/version": "3"}))
    for at in (len(content) - 14, len(content) - 12):
        content[at : at + 2] = struct.pack("<H", 2)
    return bytes(content)


def swapped(content, at, value, kind="<L"):
    """The last entry of a zip file's directory with another number at `at`."""
    start = content.rindex(b"PK\1\2") + at
    return content[:start] + struct.pack(kind, value) + content[start + struct.calcsize(kind) :]


def far_zip64():
    """A directory whose zip64 field is behind more of other fields than anybody writes."""
    content, name = npy(np.zeros(9)), b"x.npy"
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 45, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name + content
    extra = struct.pack("<2H", 7, 0) * 300 + struct.pack("<2H2Q", 1, 16, len(content), len(content))
    sizes = 2**32 - 1, 2**32 - 1, len(name), len(extra)
    central = struct.pack("<4s6H3L5H2L", b"PK\1\2", 45, 45, 0, 0, 0, 0, 0, *sizes, 0, 0, 0, 0, 0)
    central += name + extra
    return local + central + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)


def marked(**marks):
    """A tensor whose numbers PyTorch would change after reading, as it does with a negated view."""
    where = storage("0", "Float", 6), 0, (6,), (1,), False, call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", *where, marks)


def said_npy(kind, shape, content=bytes(16)):
    return (
        npy_header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n".encode())
        + content
    )


def view(shape, strides, **options):
    return zipped({"x": tensor("0", shape, strides, **{"count": 6, **options})}, SIX)


def program(instructions):
    return zipped(b"\x80\x02" + instructions, SIX)


def entry(dtype="F32", shape=(6,), offsets=(0, 24), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


BOMB = foreign.archive({"x.npy": npy(np.zeros(1 << 24))}, zipfile.ZIP_DEFLATED)  # 128 MiB in 130 kB

HOSTILE = {
    # Code
    "os.system": (zipped(pickle.dumps({"x": System()}, 2)), r"refers to posix\.system: only tensors"),
    "os.system, protocol 4": (
        zipped(pickle.dumps({"x": System()}, 4)),
        r"refers to posix\.system: only tensors",
    ),
    "os.system, legacy": (legacy(Raw(pickle.dumps(System(), 2)[2:-1])), r"refers to posix\.system"),
    "os.system for a magic": (pickle.dumps(System(), 2), r"refers to posix\.system"),
    "os.system for keys": (
        legacy({"x": X}, SIX, keys=Raw(pickle.dumps(System(), 2)[2:-1])),
        r"posix\.system",
    ),
    "eval": (zipped({"x": call("builtins.eval", "open('touched', 'w')")}), r"refers to builtins\.eval"),
    "a dotted name": (
        program(encoded(Name("collections.OrderedDict.__class__")) + b"."),
        "OrderedDict.__class__",
    ),
    "a module of a known name": (program(b"ccollections OrderedDict\nOrderedDict\n."), "refers to"),
    "a name with an escape": (program(encoded(Name("os.\x1b[2Jx")) + b"."), r"refers to os\.�\[2Jx: only"),
    "a name with newlines": (program(b"\x8c\x03a\nb\x8c\x02c\n\x93."), r"refers to a b\.c: only"),
    "a name with a false escape": (program(b"cos\\o\nx\n."), "no whole pickle|refers to os"),
    "a long name": (program(encoded(Name("a." + "b" * 10**6)) + b"."), r"refers to a\.b*…: only"),
    "INST": (program(b"(ios\nsystem\n."), "a pickle with INST: only"),
    "OBJ": (program(b"(o."), "a pickle with OBJ: only"),
    "NEWOBJ": (program(b")\x81."), "a pickle with NEWOBJ: only"),
    "EXT1": (program(b"\x82\x01."), "a pickle with EXT1: only"),
    "PERSID": (program(b"Pabc\n."), "a pickle with PERSID: only"),
    "NEXT_BUFFER": (program(b"\x97."), "a pickle with NEXT_BUFFER: only"),
    "a call of a text": (program(encoded("os.system") + b")R."), "calls what is no function"),
    "a call of a storage class": (
        program(encoded(Name("torch.FloatStorage")) + b")R."),
        "calls what is no function",
    ),
    "attributes of a tensor": (program(encoded(X) + b"}b."), "sets attributes"),
    "attributes of a class": (program(encoded(Name("torch.FloatStorage")) + b"}b."), "sets attributes"),
    # Memory and stack
    "BYTEARRAY8": (program(b"\x96" + struct.pack("<Q", 2**40) + b"."), "no whole pickle"),
    "BYTEARRAY8, whole": (program(b"\x96" + struct.pack("<Q", 1) + b"a."), "a pickle with BYTEARRAY8: only"),
    "a text of 2^62 bytes": (
        program(b"\x8d" + struct.pack("<Q", HUGE) + b"."),
        "no whole pickle",
    ),
    "a text of 4 GB": (program(b"X" + b"\xff" * 4 + b"."), "no whole pickle"),
    "a number of 2 GB": (program(b"\x8b" + struct.pack("<i", 2**31 - 1) + b"."), "no whole pickle"),
    "a frame of 2^62 bytes": (program(b"\x95" + struct.pack("<Q", HUGE) + b"}."), None),
    "a huge memo index": (program(b"}r\xff\xff\xff\xff."), None),
    "nested lists": (program(b"]" * 10**5 + b"a" * (10**5 - 1) + b"."), "holds an object of type list"),
    "nested dicts": (program(b"}" + b"X\1\0\0\0a}" * 10**5 + b"s" * 10**5 + b"."), "type dict called 'a'"),
    "a nested tuple for a key": (program(b"})" + b"\x85" * 10**5 + b"Ns."), "a tuple for a key"),
    "a list for a key": (program(b"}]Ns."), "a list for a key"),
    "a list in itself": (program(b"]q\1h\1a."), "holds an object of type list"),
    "a dict in itself": (program(b"}q\1X\5\0\0\0modelh\1s."), "type dict called 'model'"),
    "an exponential tuple": (program(b")" + b"q\1h\1\x86" * 10**4 + b"."), "holds an object of type tuple"),
    "keys of one hash": (
        program(b"}(" + b"".join(encoded(i * (2**61 - 1)) + b"N" for i in range(1, 10**5)) + b"u."),
        r"a number beyond 2\^60 for a key",
    ),
    "a call with endless arguments": (
        program(
            b"("
            + b"N" * 10**5
            + b"tq\2"
            + (encoded(Name("torch._utils._rebuild_parameter")) + b"h\2R") * 9
            + b"."
        ),
        r"calls torch\._utils\._rebuild_parameter with 100000 arguments",
    ),
    "endless instructions": (program(b"N" * 1_000_001 + b"."), "more than 1,000,000 steps"),
    "a list copied and copied": (
        program(
            b"](" + b"]NaNa" * 10**5 + b"eq\1" + (encoded(Name("collections.OrderedDict")) + b"h\1\x85R") * 99
        ),
        "more than 1,000,000 steps",
    ),
    "a compressed storage": (zipped({"x": X}, SIX, method=zipfile.ZIP_DEFLATED), "or a compressed one"),
    "a zip bomb": (BOMB, r"unpacks to 134,?217,?\d+ bytes, more than 64 times"),
    "a bomb that lies": (swapped(BOMB, 24, 1000), "does not unpack to 1000 bytes"),
    "members over one another": (overlapping(), "members overlap"),
    "four billion members": (many_members(), "4294967296 members, more than"),
    "a JSON of lists": (safetensors(b'{"a":' + b"[" * 10**6), "is no JSON"),
    "a JSON of dicts": (safetensors(b'{"a":' * 10**5), "is no JSON"),
    "a header of 2^62 bytes": (struct.pack("<Q", HUGE) + b"{}", "its header has"),
    "a JSON of 5 MB": (safetensors(b'{"a":[' + b"[]," * 1_600_000 + b"[]]}"), "its header has 48000"),
    "a zip64 field far away": (far_zip64(), "directory is damaged"),
    "a JSON of 100 MB": (struct.pack("<Q", 10**8) + b"{" + bytes(10**8), "its header has 100000000 bytes"),
    "a .npy header of minus signs": (npy_header(b"-" * 9000 + b"1\n"), "a header is damaged"),
    "a .npy header of brackets": (npy_header(b"(" * 9000 + b"\n"), "a header is damaged"),
    "a .npy of objects": (said_npy("|O", "2,"), r"of dtype \|O: only numbers"),
    "a .npy of records": (npy(np.zeros(2, "f4,f4")), "a header is damaged"),
    "a .npy of texts": (npy(np.array(["ab"])), "of dtype <U2: only numbers"),
    "a .npy of huge shape": (said_npy("<f8", "99999999,"), "cannot have shape"),
    "a .npy of negative shape": (said_npy("<f8", "-2,"), "a header is damaged"),
    "a .npy of endless shape": (said_npy("<f8", "0, " + "9" * 33), "a header is damaged"),
    "a .npy of an empty shape that overflows": (said_npy("<f8", "0, " + "9" * 19, b""), "cannot have shape"),
    "a .npy of a thousand axes": (said_npy("<f8", "1, " * 1000, bytes(8)), "cannot have shape"),
    "a .npy with two shapes": (said_npy("<f8", "2,), 'shape': (2,"), "a header is damaged"),
    "a .npy of version 9": (npy(np.zeros(2)).replace(b"NUMPY\1", b"NUMPY\t"), "a header is damaged"),
    # Views that leave their storage
    "a stride out of the storage": (view((2, 2), (6, 1)), "reaches outside of its 6 numbers"),
    "one too many": (view((7,), (1,)), "outside"),
    "an offset too far": (view((6,), (1,), offset=1), "outside"),
    "an empty view far away": (view((0,), (1,), offset=7), "outside"),
    "a negative offset": (view((1,), (1,), offset=-1), "negative"),
    "a negative size": (view((-1,), (1,)), "negative"),
    "two negative sizes": (view((-2, -3), (1, 1)), "negative"),
    "a negative stride": (view((2,), (-1,), offset=1), "negative"),
    "2^40 elements by stride 0": (view((2**40,), (0,)), "repeat its numbers to more than 16 times"),
    "an offset that overflows": (view((2,), (HUGE,), offset=HUGE), "outside"),
    "a size that overflows": (view((2**63, 2**63), (0, 0)), "repeat its numbers"),
    "an empty shape that overflows": (view((0, 2**70), (1, 1)), "cannot have shape"),
    "another number of strides": (view((2, 3), (1,)), "2 sizes and 1 strides"),
    "a thousand axes": (view((1,) * 1000, (1,) * 1000), "too many"),
    "a text for a size": (view(("6",), (1,)), "no whole numbers"),
    "a truth value for a size": (view((True,), (1,)), "no whole numbers"),
    "a list for a shape": (view([6], (1,)), "without storage, sizes or strides"),
    "numbers repeated": (
        zipped({str(i): tensor("0", (10**5,)) for i in range(100)}, {"0": bytes(4 * 10**5)}),
        "repeat its numbers to more than 16 times its size",
    ),
    # Storages that are not what is said of them
    "a storage longer than its member": (view((6,), (1,), count=7), "24 bytes, not 28"),
    "a storage shorter than its member": (view((5,), (1,), count=5), "24 bytes, not 20"),
    "a storage of 2^62 numbers": (view((1,), (1,), count=HUGE), "24 bytes, not"),
    "a storage of -1 numbers": (view((0,), (1,), count=-1), "without key or length"),
    "a storage that is not there": (zipped({"x": tensor("1", (6,))}, SIX), "no member 'net/data/1'"),
    "a storage outside": (
        zipped({"x": tensor("../data.pkl", (6,))}, SIX),
        "no member 'net/data/../data.pkl'",
    ),
    "a storage of two types": (zipped({"x": X, "y": tensor("0", (3,), kind="Double")}, SIX), "in two ways"),
    "a storage of objects": (
        zipped({"x": tensor("0", (6,), kind="Object")}, SIX),
        r"refers to torch\.ObjectStorage",
    ),
    "a storage of a function": (
        zipped({"x": tensor("0", (6,), kind="torch._utils._rebuild_tensor")}, SIX),
        "not read here",
    ),
    "a view of a storage": (zipped({"x": tensor("0", (6,), more=(("1", 0, 6),))}, SIX), "not read here"),
    "a persistent text": (program(encoded("storage") + b"Q."), "not read here"),
    "a tensor of a text": (
        zipped({"x": call("torch._utils._rebuild_tensor_v2", "x", 0, (), ())}),
        "without storage",
    ),
    "a tensor of nothing": (zipped({"x": call("torch._utils._rebuild_tensor_v2")}), "no whole pickle"),
    "a parameter of a text": (zipped({"x": call("torch._utils._rebuild_parameter", "x", 1, 1)}), "no tensor"),
    "a type of text": (zipped({"x": tensor("0", (6,), tail=("<f4",))}, SIX), "of a type that is not read"),
    "another type": (
        zipped({"x": tensor("0", (6,), tail=(Name("torch.uint32"),))}, SIX),
        "another type than",
    ),
    "a negated tensor": (zipped({"x": marked(neg=True)}, SIX), "not what they stand for"),
    "a negated tensor of another type": (
        zipped(
            {"x": tensor("0", (6,), kind="Byte", tail=(Name("torch.uint16"), {"neg": True}), count=24)}, SIX
        ),
        "not what they stand for",
    ),
    # What is no state dict
    "a tensor": (zipped(X, SIX), "holds a tensor; what is read"),
    "a storage": (zipped({"x": storage("0", "Float", 6)}, SIX), "called 'x', where only named tensors"),
    "an epoch": (zipped({"x": X, "epoch": 3}, SIX), "type int called 'epoch'"),
    "a number for a name": (zipped({0: X}, SIX), "holds a tensor called '0', where only named"),
    "two state dicts": (zipped({"model": {"x": X}, "net": {}}, SIX), "several state dicts: model, net"),
    "two objects": (zipped({"x": X}, SIX, {"other/data.pkl": pickled({})}), "holds 2 objects"),
    "TorchScript": (zipped({"x": X}, SIX, {"net/constants.pkl": b""}), "is a TorchScript program"),
    # Containers
    "big-endian": (zipped({"x": X}, SIX, {"net/byteorder": "big"}), "big-endian machine"),
    "big-endian, legacy": (legacy({"x": X}, SIX, little=False), "big-endian machine"),
    "a member named twice": (two_of_one_name(), "two members called 'net/data/0'"),
    "an absolute name": (zipped({"x": X}, SIX, {"/etc/passwd": b""}), "leads out of the file: '/etc/passwd'"),
    "a name above": (zipped({"x": X}, SIX, {"net/../../x": b""}), "leads out of the file"),
    "a name of Windows": (
        zipped({"x": X}, SIX, {"net/a\\b": b""}).replace(b"a/b", b"a\\b"),
        "leads out of the file",
    ),
    "an encrypted member": (swapped(zipped({"x": X}, SIX), 8, 1, "<H"), "encrypted"),
    "an unknown compression": (swapped(zipped({"x": X}, SIX), 10, 99, "<H"), "compression not read here"),
    "a member of two sizes": (swapped(zipped({"x": X}, SIX), 24, 25), "two sizes, 24 and 25"),
    "a member beyond the end": (swapped(zipped({"x": X}, SIX), 42, 10**6), "damaged"),
    "a member at another place": (swapped(zipped({"x": X}, SIX), 42, 1), "not where its directory says"),
    "a member too long": (
        swapped(swapped(zipped({"x": X}, SIX), 20, 10**6), 24, 10**6),
        "overlap, or reach outside",
    ),
    "more behind the zip file": (zipped({"x": X}, SIX) + b"more", "goes on after"),
    "more before the zip file": (b"PK\3\4" + zipped({"x": X}, SIX), "not where it should be"),
    "more behind the pickle": (zipped(pickled({"x": X}) + b"N.", SIX), "behind its pickle's end"),
    "more behind the storages": (legacy({"x": X}, SIX) + b"more", "its tensors need"),
    "a wrong magic": (legacy({"x": X}, SIX, magic=7), "but not PyTorch's"),
    "keys missing": (legacy({"x": X}, SIX, keys=[]), "its storages are not"),
    "keys twice": (legacy({"x": X}, SIX, keys=["0", "0"]), "its storages are not"),
    "keys of no texts": (legacy({"x": X}, SIX, keys=[["0"]]), "its storages are not"),
    "another count": (legacy({"x": X}, SIX, counts={"0": 5}), "has 5 elements, not 6"),
    "a negative count": (legacy({"x": X}, SIX, counts={"0": -1}), "elements, not 6"),
    "an entry not counted": (uncounted(), "overlap, or reach outside"),
    "a tar file": (b"sys_info".ljust(257, b"\0") + b"ustar".ljust(300, b"\0"), "first versions of PyTorch"),
    "a zip file of texts": (foreign.archive({"a.txt": b"text"}), "neither NumPy's nor PyTorch's"),
    "a trailing .npy": (npy(np.zeros(2)) + bytes(8), "cannot have shape"),
    "safetensors: over-long": (safetensors({"x": entry()}, bytes(25)), "there are 25"),
    "safetensors: overlapping": (safetensors({"x": entry(), "y": entry()}, bytes(24)), "a gap or overlaps"),
    "safetensors: a gap": (safetensors({"x": entry(offsets=(4, 28))}, bytes(28)), "a gap or overlaps"),
    "safetensors: backwards": (
        safetensors({"x": entry(offsets=(24, 0))}, bytes(24)),
        "another size than its shape",
    ),
    "safetensors: overflow": (
        safetensors({"x": entry(shape=(2**33, 2**33, 0), offsets=(0, 0))}),
        "cannot have shape",
    ),
    "safetensors: endless": (
        safetensors({"x": entry(shape=(0, 10**30), offsets=(0, 0))}),
        "cannot have shape",
    ),
    "safetensors: huge sizes": (
        safetensors(b'{"x":{"dtype":"F32","shape":[' + b"9" * 5000 + b"]}}"),
        "is no JSON",
    ),
    "safetensors: a thousand axes": (
        safetensors({"x": entry(shape=(1,) * 1000)}, bytes(24)),
        "no sizes and offsets",
    ),
    "safetensors: fractions": (safetensors({"x": entry(shape=(1.5,))}, bytes(24)), "no sizes and offsets"),
    "safetensors: truth": (safetensors({"x": entry(shape=(True, 6))}, bytes(24)), "no sizes and offsets"),
    "safetensors: more": (safetensors({"x": entry(more=1)}, bytes(24)), "not described as an array"),
    "safetensors: no dtype": (safetensors({"x": entry(dtype=["F32"])}, bytes(24)), "has dtype"),
    "safetensors: twice": (safetensors(b'{"x":1,"x":1}'), "names an array twice"),
    "safetensors: metadata": (safetensors({"__metadata__": {"a": 1}}), "metadata are no texts"),
}
HARMLESS = [name for name, (_, message) in HOSTILE.items() if message is None]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """All of them, in one folder."""
    folder = tmp_path_factory.mktemp("hostile")
    for number, (content, _) in enumerate(HOSTILE.values()):
        (folder / str(number)).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in HARMLESS])
def test_it_is_refused_by_its_rule(files, name, monkeypatch):
    monkeypatch.chdir(files)
    number = str(list(HOSTILE).index(name))
    with pytest.raises(ValueError, match=HOSTILE[name][1]) as caught:
        load(number)
    assert str(caught.value).startswith(f"load: '{number}' ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


WITHIN_LIMITS = """
import os, resource, sys
from minicnn.weights import load
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
for name in sorted(os.listdir("."), key=int):
    try:
        load(name)
        print(name, "loaded")
    except ValueError:
        print(name, "refused")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells how much memory is used")
def test_all_of_them_take_little_memory_and_time_and_do_nothing(files):
    before = sorted(os.listdir(files))
    done = subprocess.run(
        [sys.executable, "-c", WITHIN_LIMITS], cwd=files, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-500:]
    harmless = {str(list(HOSTILE).index(name)) for name in HARMLESS}
    assert done.stdout.split("\n")[:-1] == [
        f"{i} {'loaded' if str(i) in harmless else 'refused'}" for i in range(len(HOSTILE))
    ]
    assert sorted(os.listdir(files)) == before


WHOLE = {
    "zip": zipped({"x": X}, SIX),
    "legacy": legacy({"x": X}, SIX),
    "npz": foreign.archive({"x.npy": npy(np.arange(6.0))}),
    "compressed npz": foreign.archive({"x.npy": npy(np.arange(6.0))}, zipfile.ZIP_DEFLATED),
    "npy": npy(np.arange(6.0)),
    "safetensors": safetensors({"x": entry()}, SIX["0"]),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_every_truncation_is_refused(tmp_path, kind):
    for length in range(len(WHOLE[kind])):
        (tmp_path / "w").write_bytes(WHOLE[kind][:length])
        with pytest.raises(ValueError, match=r"^load: '.*w' "):
            load(tmp_path / "w")


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_an_error_or_some_numbers(tmp_path_factory, data):
    """Whatever bytes change: arrays, or one line; never another exception."""
    content = bytearray(WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        found = load(path)
    except ValueError as error:
        text = str(error)
        assert text.startswith("load: ")
        assert "\n" not in text
    else:
        assert all(isinstance(array, np.ndarray) for array in found.values())
        assert sum(array.nbytes for array in found.values()) <= 1 << 24  # a stride may become 0


@settings(max_examples=300, deadline=None)
@example(b"}.")
@given(st.binary(max_size=60))
def test_any_bytes_for_a_pickle(tmp_path_factory, content):
    """So few are no tensor: they are an error, or, which is a pickle too, an empty dictionary."""
    path = tmp_path_factory.getbasetemp() / "pickle"
    for file in (zipped(b"\x80\x02" + content), foreign.pickled(foreign.MAGIC) + content):
        path.write_bytes(file)
        try:
            found = load(path)
        except ValueError as error:
            text = str(error)
        else:
            text = f"load: {found}"
        assert text == "load: {}" or text.startswith(f"load: '{path}' ")


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_pickle_is_not_read_into_memory_whatever_its_size(tmp_path, kind):
    """A file may be sparse: take no place on the disk and more than there is in memory."""
    size = 1 << 27
    text = b"\x80\x02X" + struct.pack("<I", size)
    with open(tmp_path / "w", "wb") as file:
        if kind == "legacy":
            file.write(foreign.pickled(foreign.MAGIC) + foreign.pickled(1001) + text)
            file.truncate(file.tell() + size)
        else:
            with zipfile.ZipFile(file, "w") as archive, archive.open("net/data.pkl", "w") as member:
                for piece in (text, *[bytes(1 << 22)] * 32):
                    member.write(piece)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^load: "):
            load(tmp_path / "w")
        assert tracemalloc.get_traced_memory()[1] < size // 2
    finally:
        tracemalloc.stop()
