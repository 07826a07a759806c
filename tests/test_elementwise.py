"""Elementwise work in pieces: cut as said, every element once, the same as at once; and the helpers beside it."""

from __future__ import annotations

import tracemalloc
from itertools import permutations
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from operations import OPERATIONS

import minicnn
from minicnn import Tensor
from minicnn import functional as F
from minicnn.backend import cpu, elementwise
from minicnn.backend.channel_sum import channel_sums
from minicnn.backend.elementwise import concatenate, in_pieces, pieces, select
from minicnn.backend.workspace import empty, empty_like, poisoned
from minicnn.testing.values import fill

SMALL: dict[str, Any] = {"_PIECE": 6, "_SHARED": 1, "_LINE": 5}
USUAL = {name: getattr(elementwise, name) for name in SMALL}
SHAPE = (3, 4, 5, 2)


@pytest.fixture
def small():
    with patch.multiple(elementwise, **SMALL):
        yield


def laid_out(array, order):
    """Return the same numbers, with the axes in memory in this order."""
    back = sorted(range(array.ndim), key=order.__getitem__)
    return np.ascontiguousarray(array.transpose(order)).transpose(back)


def affine(x, y, slope, out):
    np.multiply(x, slope, out=out)
    out += y
    out += 0.5


LAST = (0, 2, 3, 1)
LAYOUTS = {
    "C": lambda a: a,
    "channels last": lambda a: laid_out(a, LAST),
    "another order": lambda a: laid_out(a, (3, 0, 1, 2)),
    "a part": lambda a: laid_out(np.concatenate([a, a], axis=1), LAST)[:, : a.shape[1]],
    "strided": lambda a: np.repeat(a, 2, axis=3)[..., ::2],
    "backwards": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    "repeated": lambda a: np.broadcast_to(a[:1], a.shape),
}


# Cutting


@pytest.mark.parametrize("x_layout", LAYOUTS)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "repeated"])
@pytest.mark.usefixtures("small")
def test_pieces_give_what_the_whole_gives(x_layout, layout):
    x, y, slope = LAYOUTS[x_layout](fill(SHAPE)), LAYOUTS[layout](fill(SHAPE, seed=1)), fill((4,), seed=2)
    out = LAYOUTS[layout](np.full(SHAPE, np.nan))
    assert in_pieces(affine, x, y, slope, out) is out
    np.testing.assert_array_equal(out, x * slope[:, None, None] + y + 0.5)


@pytest.mark.parametrize(
    "shape", [(), (0,), (1,), (7,), (3, 4), (0, 3), (1, 1, 1, 1), (2, 1, 3, 1), (2, 13, 1)]
)
@pytest.mark.parametrize("sizes", [SMALL, USUAL], ids=["small pieces", "one piece"])
def test_pieces_of_any_shape(shape, sizes):
    x, slope = np.asarray(fill(shape)), fill(shape[1:2])
    arrays = [x, slope] if len(shape) > 1 else [x]
    with patch.multiple(elementwise, **sizes):
        y = in_pieces(
            lambda x, *rest: np.multiply(x, *rest[:-1] or [2], out=rest[-1]), *arrays, np.empty(shape)
        )
    np.testing.assert_array_equal(y, x * elementwise.by_channel(slope, x.ndim) if len(shape) > 1 else 2 * x)


@pytest.mark.parametrize("order", list(permutations(range(4))))
@pytest.mark.parametrize("values", [False, True], ids=["", "values a channel"])
@pytest.mark.parametrize("whole", [None, 0, 1, 3])
@pytest.mark.usefixtures("small")
def test_every_element_is_in_one_piece_and_pieces_are_small(order, values, whole):
    count = laid_out(np.zeros(SHAPE), order)
    arrays = [np.ones(4), count] if values else [count]
    parts = [part[-1] for part in pieces(arrays, whole)]
    for part in parts:
        part += 1
    assert (count == 1).all()
    line = 5 // 4 * 4 if values and order[-1] == 1 else 5
    most = max(6, 2 * line) if whole is None else 6 * SHAPE[whole]
    assert max(part.size for part in parts) <= most
    assert len(parts) > 5
    if whole is not None:
        assert {part.shape[whole] for part in parts} == {SHAPE[whole]}


def test_dense_arrays_are_cut_into_equal_shares_of_long_lines():
    images = laid_out(np.zeros((16, 24, 64, 64), np.float32), LAST)
    for values in ([], [np.ones(24, np.float32)] * 2):
        parts = pieces([images, *values, images])
        sizes = [part[-1].size for part in parts]
        assert all(
            part[-1].flags.c_contiguous and part[0].ctypes.data == part[-1].ctypes.data for part in parts
        )
        whole, rest = sizes[: len(sizes) // 4 * 4], sizes[len(sizes) // 4 * 4 :]
        assert len(whole) == 8
        assert max(whole) - min(whole) <= elementwise._LINE
        assert sum(rest) < elementwise._LINE
        assert {part[-1].shape[1] for part in parts[: len(whole)]} == {
            elementwise._LINE // 24 * 24 if values else 8192
        }
        assert all(v.shape == part[-1].shape[1:] for part in parts for v in part[1:-1])


@pytest.mark.parametrize("x", [np.zeros((6, 4, 1, 1)), np.zeros((6, 4))[:, :, None, None]])
@pytest.mark.usefixtures("small")
def test_images_of_one_pixel_are_lines_of_channels(x):
    assert {part[-1].ndim for part in pieces([x, np.ones(4), x])} == {2}


def test_small_matrices_are_left_as_they_are():
    x = np.zeros((3, 4)).T
    assert pieces([x, x])[0][0] is x


def test_arrays_are_cut_along_no_more_axes_than_needed():
    with patch.multiple(elementwise, _PIECE=6, _SHARES=4):
        assert elementwise._boxes((8, 2, 3), (0, 1, 2)) == [
            (slice(i, i + 1), slice(None), slice(None)) for i in range(8)
        ]


def test_small_work_is_done_at_once_and_large_work_is_shared():
    def tasks(size, arrays):
        with patch.object(elementwise, "parallel_for", wraps=elementwise.parallel_for) as parallel_for:
            x = np.zeros(size, np.float32)
            in_pieces(lambda *parts: None, *[x] * arrays)
        return [call.args[0] for call in parallel_for.call_args_list]

    assert tasks((3 << 19) - 1, 1) == []
    assert tasks((3 << 17) - 1, 4) == []
    assert tasks(3 << 17, 4) == [4]
    assert tasks(1 << 21, 1) == [8]


# Sums


@pytest.mark.parametrize("sizes", [SMALL, USUAL], ids=["small pieces", "one piece"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_of_terms(sizes, layout):
    x, y, mean = LAYOUTS[layout](fill(SHAPE)), fill(SHAPE, seed=1), fill((4,), seed=2)

    def terms(x, mean, y):
        product = cpu.scratch("test product", y.shape, y.dtype)
        np.subtract(x, mean, out=product)
        product *= y
        return y, product

    with patch.multiple(elementwise, **sizes), poisoned():
        first, second = channel_sums(terms, x, mean, y)
    np.testing.assert_allclose(first, y.sum((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(second, ((x - mean[:, None, None]) * y).sum((0, 2, 3)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1), (1, 7, 1), (2, 1, 3)])
@pytest.mark.usefixtures("small")
def test_sums_over_one_pixel_and_of_one_channel(shape):
    x = fill(shape)
    (found,) = channel_sums(lambda mean, x: (x - mean,), np.zeros(shape[1]), x)
    np.testing.assert_allclose(found, x.sum((0, *range(2, x.ndim))), rtol=1e-12)


# Joining, selecting, and new memory


@pytest.mark.parametrize("sizes", [SMALL, USUAL], ids=["small pieces", "one piece"])
@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_are_joined_in_the_layout_of_the_first(sizes, axis, layout):
    x = LAYOUTS[layout](fill(SHAPE))
    others = [fill((*SHAPE[:axis], n, *SHAPE[axis + 1 :]), seed=n).astype(np.float32) for n in (0, 1, 6)]
    with patch.multiple(elementwise, **sizes):
        joined = concatenate([x, *others], axis)
    np.testing.assert_array_equal(joined, np.concatenate([x, *others], axis))
    assert joined.dtype == np.float64
    assert concatenate(others, axis).dtype == np.float32
    if layout == "channels last":
        assert joined.transpose(LAST).flags.c_contiguous


@pytest.mark.parametrize(("size", "count"), [(48, 0), (50, 2)])
def test_only_large_arrays_are_joined_in_pieces(size, count):
    x = np.zeros(size // 2)
    with (
        patch.object(elementwise, "_SHARED", 100),
        patch.object(elementwise, "pieces", wraps=elementwise.pieces) as cut,
    ):
        concatenate([x, x])
    assert cut.call_count == count


def test_a_selection_takes_no_memory():
    for dtype in ("f2", "f4", "f8"):
        x = np.ones(20_000, dtype)
        kept, out = x > 0, np.empty_like(x)
        tracemalloc.start()
        select(kept, x, out)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < x.nbytes / 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_what_is_selected_keeps_every_bit(dtype):
    x = np.array([1.5, -0.0, np.inf, -np.inf, np.nan, -2.0, 0.0, 6e-8] * 2, dtype)
    kept = np.arange(16) < 8
    out = np.full_like(x, np.nan)
    select(kept, x, out)
    np.testing.assert_array_equal(out, np.where(kept, x, 0))
    assert np.signbit(out).tolist() == [*np.signbit(x[:8]), *[False] * 8]


@pytest.mark.parametrize("side", [3, 60])
def test_new_memory_has_the_layout_asked_for_and_is_aligned_where_it_is_large(side):
    for order in permutations(range(4)):
        x = laid_out(np.zeros((2, 5, side, side), np.float32), order)
        for made, shape, dtype in (
            (empty_like(x), x.shape, "f4"),
            (empty_like(x, "f8"), x.shape, "f8"),
            (empty_like(x, shape=(2, 9, side, side)), (2, 9, side, side), "f4"),
            (empty((2, 5, side, side)), x.shape, "f8"),
        ):
            assert (made.shape, made.dtype) == (shape, dtype)
            assert side == 3 or made.ctypes.data % 64 == 0
            expected = laid_out(np.zeros(shape, dtype), order)
            assert made.strides == expected.strides or made.flags.c_contiguous


# Random masks


@pytest.mark.parametrize("p", [0.001, 0.2, 0.5, 0.7])
def test_a_mask_is_false_as_often_as_asked(p):
    n = 400_000
    share = 1 - cpu.random_mask(np.random.default_rng(0), (n,), p).mean()
    assert abs(share - p) < 4 * (p * (1 - p) / n) ** 0.5


def test_a_mask_runs_over_channels_first():
    """As images lie in memory, so that it is cut as they are."""
    mask = cpu.random_mask(np.random.default_rng(0), (2, 3, 4, 5), 0.4)
    line = cpu.random_mask(np.random.default_rng(0), (120,), 0.4)
    np.testing.assert_array_equal(mask.transpose(LAST).ravel(), line)
    assert mask.transpose(LAST).flags.c_contiguous


# The operations


@pytest.mark.parametrize("name", ["relu", "dropout", "batch_norm", "local_response_norm", "add", "cat"])
@pytest.mark.usefixtures("small")
def test_operations_in_small_pieces(name, seed):
    entry = OPERATIONS[name]
    for case in entry.examples.values():
        properties = ["definition", "gradient", "layout", "untouched", "threads", "poisoned", "released"]
        entry.operation(case, seed).check(case, only=properties)


@pytest.mark.parametrize(
    ("shape", "count"), [((4, 5), 0), ((2, 4, 5), 1), ((2, 4, 5, 6), 1)], ids=["matrix", "3-D", "4-D"]
)
def test_only_sums_of_images_are_done_in_pieces(shape, count):
    with patch.object(cpu, "in_pieces", wraps=cpu.in_pieces) as in_pieces:
        y = Tensor(fill(shape)) + Tensor(fill(shape, seed=1))
    assert in_pieces.call_count == count
    np.testing.assert_array_equal(y.data, fill(shape) + fill(shape, seed=1))


def test_threads_change_no_bit_of_elementwise_work():
    x, other = (laid_out(fill((5, 13, 150, 151), seed=s), LAST).astype(np.float32) for s in (0, 1))
    w, b = fill((13,), seed=2).astype(np.float32), fill((13,), seed=3).astype(np.float32)

    def net():
        tensors = [Tensor(a, requires_grad=True) for a in (x, other, w, b)]
        y = F.relu(F.batch_norm(tensors[0] + tensors[1], None, None, *tensors[2:], training=True))
        y = F.dropout(F.local_response_norm(y, 5), 0.3, generator=np.random.default_rng(0))
        y = F.cat([y, tensors[1]], 1)
        y.backward(np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape))
        return [y.data, *(t.grad for t in tensors)]

    before, results = minicnn.get_num_threads(), []
    try:
        for threads in (1, 3):
            minicnn.set_num_threads(threads)
            results.append([a.tobytes() for a in net()])
    finally:
        minicnn.set_num_threads(before)
    assert results[0] == results[1]
