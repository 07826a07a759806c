"""The IDX reader: every type, gzipped or not, and every way a file can be wrong."""

import contextlib
import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from minicnn.data import read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array):
    """Write an array as the format's description has it."""
    head = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
    elements = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return head + struct.pack(f">{array.ndim}I", *array.shape) + elements


def header(code, *shape):
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("idx") / "file"


@st.composite
def written(draw):
    dtype = np.dtype(draw(st.sampled_from(list(CODES))))
    shape = draw(array_shapes(max_dims=4, min_side=0, max_side=4))
    return draw(arrays(dtype, shape))


@given(array=written(), zipped=st.booleans())
def test_reads_what_was_written(file, array, zipped):
    content = idx(array)
    file.write_bytes(gzip.compress(content) if zipped else content)
    read = read_idx(file)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)
    assert read.flags.writeable


GOOD = header(0x08, 2, 2) + b"abcd"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "two zero bytes"),
        (b"\0\0\x08", "two zero bytes"),
        (b"<html>404</html>", "two zero bytes"),
        (b"\0\1" + GOOD[2:], "two zero bytes"),
        (header(0x0A, 2, 2) + b"abcd", "got 0x0A"),
        (header(0x08), "each of its 0 axes"),
        (GOOD[:9], "each of its 2 axes"),
        (GOOD[:-1], "must hold 4 bytes for shape (2, 2), it holds only 3"),
        (GOOD + b"e", "must hold 4 bytes for shape (2, 2), it holds more"),
        (header(0x0E, 1) + b"1234567", "must hold 8 bytes"),
        (header(0x08, *[1] * 70) + b"a", "shape of an array"),
        (header(0x08, 0, *[2**32 - 1] * 3), "shape of an array"),
        (gzip.compress(GOOD)[:-5], "damaged gzip"),
        (gzip.compress(GOOD)[:14], "damaged gzip"),
        (gzip.compress(GOOD)[:2], "damaged gzip"),
        (gzip.compress(GOOD)[:10] + b"\xff" * 20, "damaged gzip"),
        (gzip.compress(GOOD)[:-8] + b"12345678", "damaged gzip"),
        (b"\x1f\x8b no gzip after all", "damaged gzip"),
        (gzip.compress(b"no idx"), "two zero bytes"),
        (gzip.compress(GOOD + b"e"), "it holds more"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(file, content, message):
    file.write_bytes(content)
    with pytest.raises(ValueError, match="read_idx: ") as error:
        read_idx(file)
    assert message in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@given(data=st.data(), zipped=st.booleans())
def test_no_damage_ends_in_another_error(file, data, zipped):
    content = bytearray(gzip.compress(GOOD, mtime=0) if zipped else GOOD)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(ValueError):
        assert read_idx(file).size <= len(content) * 1032  # deflate expands no further


@pytest.mark.parametrize("zipped", [False, True])
def test_a_header_that_lies_takes_no_memory(file, zipped):
    content = header(0x08, 2**31, 28, 28) + bytes(1000)
    file.write_bytes(gzip.compress(content) if zipped else content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="it holds only 1,000"):
            read_idx(file)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


def test_a_missing_file_is_an_os_error(file):
    with pytest.raises(FileNotFoundError):
        read_idx(file.with_name("nowhere"))
