"""How work is cut into pieces: as large as the limits allow, each part once, and nothing copied that need not be.

That the pieces' results are right is shown elsewhere, and would stay so if each task did the work of all.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from itertools import permutations, product
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from pieces import small_pieces

from minicnn import backend, conv
from minicnn.backend import channel_sum, matmul, small_products
from minicnn.backend.small_products import are_small, is_small, multiply, multiply_columns, operand
from minicnn.backend.workspace import poisoned
from minicnn.conv import chunks, im2col, im2col_chunked, result
from minicnn.conv.problem import Problem
from minicnn.geometry import Window2d
from minicnn.ops.window import padded, surrounded
from minicnn.testing.values import fill

# Matrix products


def products(module, call):
    """Return what `call`, which uses a module's np.matmul, returns, and the shapes of what it multiplies."""
    shapes = []

    def noting(a, b, **options):
        shapes.append((a.shape, b.shape))
        return np.matmul(a, b, **options)

    with patch.object(module, "np", SimpleNamespace(**{**vars(np), "matmul": noting})):
        return call(), shapes


@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [
        # at least 10 multiply-adds and 2 rows or columns a piece, at most 4 pieces
        ([2, 2, 3], 3, [5]),
        ([5], 3, [2, 2, 3]),
        ([2, 2], 5, [1]),
        ([10] * 4, 1, [1]),
        ([1], 1, [10] * 4),
        ([1], 40, [3]),
        ([2, 3], 5, [5]),
        ([3], 1, [3]),
        ([19], 1, [1]),
    ],
)
def test_a_matrix_product_is_cut_along_the_longer_side(rows, inner, columns):
    a, b = fill((sum(rows), inner)), fill((inner, sum(columns)), seed=1)
    with patch.multiple(matmul, _TASK=10, _NARROWEST=2, _MOST_PIECES=4):
        y, shapes = products(matmul, lambda: matmul.matmul(a, b))
    assert sorted(shapes) == [((n, inner), (inner, k)) for n in rows for k in columns]
    np.testing.assert_allclose(y, a @ b, rtol=1e-12)


def test_a_large_result_of_short_sums_is_cut_into_rows():
    """However much wider it is than high: a piece is contiguous, and as large as the limit."""
    a, b = fill((6, 3)), fill((3, 8), seed=1)
    usual = {"_THIN": 4, "_RESULT": 12, "_LOWEST": 1}
    for limits, rows in (
        ({}, [1, 2, 1, 2]),
        ({"_THIN": 3}, [6]),
        ({"_RESULT": 24}, [3, 3]),
        ({"_RESULT": 25}, [6]),
        ({"_RESULT": 1}, [1] * 6),
        ({"_LOWEST": 2}, [2] * 3),
        ({"_LOWEST": 4}, [6]),
    ):
        with patch.multiple(matmul, **{**usual, **limits}):
            y, shapes = products(matmul, lambda: matmul.matmul(a, b))
        assert sorted(shapes) == sorted(((n, 3), (3, 8)) for n in rows)
        np.testing.assert_allclose(y, a @ b, rtol=1e-12)
    with patch.multiple(matmul, **usual | {"_RESULT": 25, "_TASK": 10, "_NARROWEST": 2}):
        _, shapes = products(matmul, lambda: matmul.matmul(a, b))
    assert shapes == [((6, 3), (3, 2))] * 4  # one piece would be no cut: it is cut as any other


def test_few_rows_times_a_large_matrix_are_cut_along_the_sums():
    """Its rows are read as they are in memory; if they are not rows there, it is cut along the columns."""
    a, b = fill((3, 10)), fill((10, 8), seed=1)
    usual = {"_TASK": 10, "_NARROWEST": 2, "_FEW": 3, "_TERMS": 3}
    for limits, inner in (
        ({}, [3, 3, 4]),
        ({"_FEW": 2}, []),
        ({"_TERMS": 5}, [5, 5]),
        ({"_TERMS": 6}, []),
        ({"_TASK": 120}, [3, 3, 4]),
        ({"_TASK": 121}, [10]),
    ):
        with patch.multiple(matmul, **{**usual, **limits}):
            y, shapes = products(matmul, lambda: matmul.matmul(a, b))
        assert sorted(shapes) == ([((3, n), (n, 8)) for n in inner] or [((3, 10), (10, 2))] * 4)
        np.testing.assert_allclose(y, a @ b, rtol=1e-12)
    with patch.multiple(matmul, **usual):
        _, shapes = products(matmul, lambda: matmul.matmul(a, np.asfortranarray(b)))
    assert shapes == [((2, 10), (10, 3))] * 4


def test_few_rows_times_a_transposed_matrix_are_multiplied_the_other_way_round():
    """The weight of a linear layer is large, and its rows are read as they are in memory."""
    x, w = fill((3, 5)), fill((8, 5), seed=1)
    with patch.multiple(matmul, _TASK=10, _NARROWEST=2):
        for columns, expected in (
            (w.T, ((2, 5), (5, 3))),
            (np.ascontiguousarray(w.T), ((3, 5), (5, 2))),
            (np.repeat(w.T, 2, axis=1)[:, ::2], ((3, 5), (5, 2))),
        ):
            y, shapes = products(matmul, lambda b=columns: matmul.matmul(x, b))
            assert shapes == [expected] * 4
            np.testing.assert_allclose(y, x @ w.T, rtol=1e-12)


@pytest.mark.parametrize(
    ("a", "b"), [((2, 4, 5), (5, 3)), ((4, 5), (2, 5, 3)), ((50,), (50, 40)), ((40, 50), (50,))]
)
def test_only_matrices_are_cut(a, b):
    with patch.multiple(matmul, _TASK=1, _NARROWEST=1):
        _, shapes = products(matmul, lambda: matmul.matmul(fill(a), fill(b)))
    assert shapes == [(a, b)]


# Products in blocks that BLAS does not pack


@contextmanager
def small(kernels=True, rows=4, columns=3, multiply_adds=48):
    sizes = {"ROWS": rows, "COLUMNS": columns, "MULTIPLY_ADDS": multiply_adds}
    with patch.multiple(small_products, has_small_kernels=lambda: kernels, **sizes):
        yield


@pytest.mark.parametrize(
    ("blas", "expected"),
    [
        ("openblas 0.3.30 SkylakeX", True),
        ("openblas 0.3.30 SapphireRapids", True),
        ("openblas 0.3.30 Haswell", False),
        ("openblas 0.3.30", False),
        ("mkl 2025 SkylakeX", False),
        ("unknown", False),
    ],
)
def test_the_kernels_are_those_of_openblas_for_avx512(blas, expected):
    with patch.object(small_products, "blas_name", lambda: blas):
        assert small_products.has_small_kernels.__wrapped__() is expected


def test_a_product_is_small_up_to_the_limit():
    with small():
        assert (are_small(3, 4), are_small(4, 3), are_small(12, 1)) == (True, True, True)
        assert (are_small(13, 1), are_small(1, 13), are_small(4, 4)) == (False, False, False)
        assert is_small(1, 48, 1)  # as it is
        assert is_small(99, 3, 4)  # in blocks of rows
        assert not is_small(4, 4, 99)
        assert not any(
            is_small(*shape) for shape in ((1, 49, 1), (1, 17, 3), (5, 13, 1), (49, 1, 13), (5, 4, 4))
        )
    with small(kernels=False):
        assert not are_small(1, 1)
        assert not is_small(1, 1, 1)


def test_an_operand_is_copied_only_where_the_order_matters():
    b = fill((4, 3)).T
    with small():
        assert operand(b).flags.c_contiguous
        np.testing.assert_array_equal(operand(b), b)
    for options in ({"kernels": False}, {"multiply_adds": 47}):
        with small(**options):
            assert operand(b) is b


def multiplied(product, a, b):
    """Return what a product writes, and the shapes of what it has NumPy multiply."""
    shapes = []

    def matmul(a, b, out):
        shapes.append((a.shape, b.shape))
        return np.matmul(a, b, out=out)

    out = np.full((*a.shape[:-1], b.shape[-1]), np.nan)
    with patch.object(small_products, "np", SimpleNamespace(matmul=matmul)):
        product(a, b, out)
    np.testing.assert_allclose(out, a @ b, rtol=1e-12)
    return shapes


@pytest.mark.parametrize("stack", [(), (2,), (2, 3)])
@pytest.mark.parametrize(
    ("options", "rows", "blocks", "rest"),
    [
        ({}, 3, 0, 3),
        ({}, 4, 0, 4),
        ({}, 7, 0, 7),  # one block is nothing gained
        ({}, 8, 2, 0),
        ({}, 11, 2, 3),
        ({"multiply_adds": 47}, 11, 0, 11),
        ({"kernels": False}, 11, 0, 11),
        ({}, 0, 0, 0),
    ],
)
def test_rows_are_cut_into_blocks_and_a_rest(stack, options, rows, blocks, rest):
    a, b = fill((*stack, rows, 6)), fill((*stack, 6, 2), seed=1)
    expected = [((*stack, blocks, 4, 6), (*stack, 1, 6, 2))] if blocks else []
    expected += [((*stack, rest, 6), (*stack, 6, 2))] if rest else []
    with small(**options):
        assert multiplied(multiply, a, b) == expected


@pytest.mark.parametrize(
    ("options", "columns", "blocks", "rest"),
    [
        ({}, 2, 0, 2),
        ({}, 3, 1, 0),
        ({}, 8, 2, 2),
        ({"multiply_adds": 47}, 8, 0, 8),
        ({"kernels": False}, 8, 0, 8),
        ({}, 0, 0, 0),
    ],
)
def test_columns_are_cut_into_blocks_and_a_rest(options, columns, blocks, rest):
    a, b = fill((2, 8)), fill((8, columns), seed=1)
    expected = [((2, 8), (blocks, 8, 3))] if blocks else []
    expected += [((2, 8), (8, rest))] if rest else []
    with small(**options):
        assert multiplied(multiply_columns, a, b) == expected


# Sums over everything but the channels


@pytest.mark.parametrize("pixels", range(1, 40))
def test_a_sum_is_of_blocks_each_summed_once(pixels):
    x = np.arange(pixels * 2.0).reshape(pixels, 2)
    with patch.multiple(channel_sum, _BLOCK=3, _ROW=1), poisoned():
        sums, shapes = products(channel_sum, lambda: channel_sum._sums_of_blocks(x))
        total = channel_sum.channel_sum(x)
    np.testing.assert_array_equal(sums, [x[i : i + 3].sum(0) for i in range(0, pixels, 3)])
    np.testing.assert_array_equal(total, x.sum(0))
    assert [right for _, right in shapes if len(right) == 3] == [(pixels // 3, 3, 2)] * (pixels >= 3)
    assert sum(len(right) == 2 for _, right in shapes) == (pixels % 3 > 0)
    assert not np.shares_memory(total, x)


@pytest.mark.parametrize(
    ("pixels", "row", "width"), [(24, 8, 8), (24, 9, 8), (24, 7, 4), (24, 1, 2), (6, 64, 4)]
)
def test_pixels_of_few_channels_are_joined_to_rows(pixels, row, width):
    """As many as a power of two has of them, if that divides their number."""
    x = np.arange(pixels * 2.0).reshape(pixels, 2)
    with patch.multiple(channel_sum, _ROW=row), poisoned():
        total, shapes = products(channel_sum, lambda: channel_sum.channel_sum(x))
    np.testing.assert_array_equal(total, x.sum(0))
    assert shapes[0][1] == (pixels * 2 // width, width)


def test_only_channels_last_memory_is_summed_by_blocks():
    x = fill((2, 3, 4, 5))
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for array, count in ((x, 0), (last, 1)):
        with patch.object(channel_sum, "channel_sums", wraps=channel_sum.channel_sums) as channel_sums:
            np.testing.assert_allclose(channel_sum.channel_sum(array), x.sum(axis=(0, 2, 3)), rtol=1e-12)
        assert channel_sums.call_count == count
    assert channel_sum.channel_sum(np.zeros((0, 3))).tolist() == [0, 0, 0]
    assert channel_sum.channel_sum(np.zeros((2, 0, 3, 3))).shape == (0,)
    one = fill((1, 3))
    for array in (one, one[:, :, None]):
        total = channel_sum.channel_sum(array)
        np.testing.assert_array_equal(total, one[0])
        assert not np.shares_memory(total, one)


@pytest.mark.parametrize(
    ("means", "deviation", "passes"),
    [
        ((0, 2), 1, 1),  # 4 times the variance: the mean of the squares is exact enough
        ((0, 9), 1, 2),  # 81 times, in one of the channels
        ((1, 1), 1e-3, 2),
        ((0, 0), 0, 1),
    ],
)
def test_deviations_are_summed_only_where_squares_lose_digits(means, deviation, passes):
    x = (fill((4, 2, 9, 9)) * deviation + np.array(means).reshape(2, 1, 1)).astype(np.float32)
    with patch.object(channel_sum, "channel_sums", wraps=channel_sum.channel_sums) as channel_sums:
        mean, var = channel_sum.channel_moments(x)
    assert channel_sums.call_count == passes
    np.testing.assert_allclose(mean, x.mean((0, 2, 3), np.float64), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(var, x.var((0, 2, 3), np.float64), rtol=1e-4)


# Chunks of a convolution


@pytest.mark.parametrize(
    ("problem", "images", "rows"),
    [
        # 2¹⁹ bytes a chunk: here 4 pixels, and at least 8: two rows of 4
        ((3, 10, 4, 1 << 17, 8), [(0, 1), (1, 2), (2, 3)], [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]),
        ((1, 3, 4, 1 << 20, 1), [(0, 1)], [(0, 1), (1, 2), (2, 3)]),  # not one pixel, so a row
        ((5, 2, 2, 1 << 17, 1), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], [(0, 2)]),
        ((5, 2, 2, 1 << 16, 1), [(0, 1), (1, 3), (3, 5)], [(0, 2)]),
        ((5, 2, 2, 1 << 16, 3), [(0, 1), (1, 3), (3, 5)], [(0, 2)]),
        ((1, 7, 1, 1 << 17, 1), [(0, 1)], [(0, 3), (3, 7)]),  # as even as can be
        (
            (2, 3, 4, 4 * ((1 << 17) // 7), 1),
            [(0, 1), (1, 2)],
            [(0, 1), (1, 2), (2, 3)],
        ),  # 7 pixels: a row of 4
        ((5, 1, 1, 1 << 17, 1), [(0, 2), (2, 5)], [(0, 1)]),
        ((1, 1 << 10, 1 << 10, 4, 1), [(0, 1)], [(i << 7, (i + 1) << 7) for i in range(8)]),
    ],
)
def test_chunks_are_as_large_as_the_budget_allows(problem, images, rows):
    """In each direction: for dx the pixels are those of x, and with a stride those of g are fewer."""
    n, p, q, pixel_bytes, least = problem
    case = Problem((n, pixel_bytes // 4, p, q), 1, Window2d.of("w", 1))
    spread = Problem((n, pixel_bytes // 4, p, q), 1, Window2d.of("w", 1, stride=(2, 1)))
    sizes = {"SHARED": 1 << 60, "CHUNK_BYTES": 1, "SAMPLE_BYTES": 1, "PRODUCT_ROWS": 1, "SUM_ROWS": 1}
    used = {
        "forward": ("CHUNK_BYTES", "PRODUCT_ROWS"),
        "backward_data": ("SAMPLE_BYTES", "PRODUCT_ROWS"),
        "backward_weight": ("CHUNK_BYTES", "SUM_ROWS"),
    }
    for direction, (budget, rows_of_product) in used.items():
        with patch.multiple(im2col_chunked, **{**sizes, budget: 1 << 19, rows_of_product: least}):
            pieces = im2col_chunked.cut(case, direction)
            wider = im2col_chunked.cut(spread, direction)
        found = [((c.images.start, c.images.stop), (c.rows.start, c.rows.stop)) for c in pieces]
        assert found == [(i, r) for i in images for r in rows]
        if direction == "backward_data":
            assert wider == chunks.cut(n, p, q, 2 * max((1 << 19) // pixel_bytes, least))


SLABS = {
    "plain": {},
    "padded": {"padding": (2, 0, 1, 3)},
    "padded above and below": {"padding": (1, 0)},
    "padded on both sides": {"padding": (0, 1)},
    "strided": {"stride": (2, 3), "padding": (0, 1)},
    "beside the image": {"padding": (6, 6, 0, 0)},
    "1×1": {"kernel_size": 1},
    "1×1, strided": {"kernel_size": 1, "stride": (1, 2)},
    "1×1, padded": {"kernel_size": 1, "padding": (1, 0, 0, 1)},
    "wide": {"kernel_size": (1, 3), "dilation": (1, 2)},
    "rows above the image": {"kernel_size": (1, 3), "padding": (2, 1, 0, 0)},
    "a column beside the image": {"kernel_size": (3, 1), "stride": (1, 12), "padding": (0, 0, 2, 0)},
}


@pytest.mark.parametrize("name", SLABS)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_chunk_sees_its_pixels_without_a_copy_where_none_is_needed(name, last, groups):
    """The slab is what its windows cover and no more; for a 1×1 kernel its pixels are the columns."""
    window = Window2d.of("w", **{"kernel_size": (2, 3), **SLABS[name]})
    x = fill((3, 4, 7, 9))
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if last else x
    top, bottom, left, right = window.padding
    room = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))).transpose(0, 2, 3, 1)
    p, q = window.output_size(7, 9)
    (sh, sw), (eh, ew) = window.stride, window.extent
    some_rows = slice(0, p), slice(0, 1), slice(1, 3), slice(p - 1, p)
    for images, rows in product((slice(0, 2), slice(1, 3), slice(2, 3)), some_rows):
        chunk = im2col_chunked.Chunk(images, rows)
        slab = chunks.slab(x, images, window.seen(0, rows), window.seen(1, slice(0, q)))
        height, width = (rows.stop - rows.start - 1) * sh + eh, (q - 1) * sw + ew
        expected = room[images, rows.start * sh :][:, :height, :width]
        np.testing.assert_array_equal(slab, expected)
        first = rows.start * sh
        inside = top <= first and first + height <= top + 7 and left == 0 and width <= 9
        assert np.shares_memory(slab, x) == (last and inside)
        columns = im2col_chunked._columns(x, window, groups, chunk)
        seen = im2col.by_group(
            im2col.windows(np.ascontiguousarray(expected), window, *_counts(chunk, q)), groups
        )
        np.testing.assert_array_equal(columns, seen.reshape(groups, -1, window.samples * 4 // groups))
        at_once = name == "1×1" and groups == 1 and slab.flags.c_contiguous
        assert np.shares_memory(columns, x) == (last and at_once)
        assert im2col.are_pixels(window, groups) == (name in ("1×1", "1×1, padded") and groups == 1)


def _counts(chunk, q):
    return chunk.rows.stop - chunk.rows.start, q


X, W = fill((2, 4, 7, 9)), fill((6, 2, 2, 3), seed=1)
OPTIONS = {"stride": (1, 2), "padding": 1, "groups": 2}
P, Q = 8, 5  # output pixels


@pytest.mark.parametrize(
    ("limits", "lanes"),
    [
        ({}, 8),
        ({"LANES": 3}, 3),
        ({"LANE_BYTES": 4 * W.nbytes}, 4),
        ({"LANE_BYTES": 5 * W.nbytes - 1}, 4),
        ({"LANE_BYTES": W.nbytes - 1}, 1),
        ({"SUM_ROWS": P * Q}, 2),  # a chunk an image
    ],
)
def test_lanes_are_as_many_as_chunks_and_memory_allow(limits, lanes):
    g = fill((2, 6, P, Q), seed=2)
    sizes = {"CHUNK_BYTES": 1, "SUM_ROWS": Q, "SHARED": 1, **limits}
    with (
        patch.multiple(im2col_chunked, **sizes),
        patch.object(im2col_chunked, "parallel_for", wraps=im2col_chunked.parallel_for) as parallel_for,
    ):
        dw = conv.conv2d_backward_weight(X, g, (2, 3), **OPTIONS, algorithm="im2col_chunked")
    assert [call.args[0] for call in parallel_for.call_args_list] == [lanes]
    expected = conv.conv2d_backward_weight(X, g, (2, 3), **OPTIONS, algorithm="direct")
    np.testing.assert_allclose(dw, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", list(permutations(range(4))))
@pytest.mark.parametrize("algorithm", conv.algorithms())
def test_a_result_may_lie_in_memory_of_any_order(order, algorithm):
    plain = algorithm.startswith(("winograd", "toeplitz"))  # which do neither groups nor this stride
    w, options = (fill((6, 4, 3, 3), seed=1), {"padding": 1}) if plain else (W, OPTIONS)
    expected = conv.conv2d(X, w, **options, algorithm="direct")
    back = sorted(range(4), key=order.__getitem__)
    out = np.empty([expected.shape[i] for i in order]).transpose(back)
    for pieces in (nullcontext, small_pieces):
        with pieces():
            assert conv.conv2d(X, w, **options, out=out, algorithm=algorithm) is out
        np.testing.assert_allclose(out, expected, rtol=1e-11, atol=1e-11)


# What is not copied, and no larger than it need be


@pytest.mark.parametrize("algorithm", ["im2col_chunked", "per_offset", "toeplitz", "winograd_2x2"])
def test_a_result_in_channels_last_memory_is_written_where_it_is(algorithm):
    last = np.empty((2, 7, 9, 6)).transpose(0, 3, 1, 2)
    for out, count in ((last, 0), (np.empty(last.shape), 1)):
        with patch.object(result, "empty_images", wraps=result.empty_images) as empty_images:
            conv.conv2d(X, fill((6, 4, 3, 3), seed=1), padding=1, out=out, algorithm=algorithm)
        assert empty_images.call_count == count


@pytest.mark.parametrize("padding", [0, (0, 1, 2, 0), (1, 0, 0, 3)])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("size", [(6, 9), (7, 8), (5, 10)])
def test_the_room_for_windows_is_what_they_reach(padding, ceil, size):
    window = Window2d.of("w", (2, 3), (2, 3), padding, 1, ceil)
    top, bottom, left, right = window.reach(*size)
    x = fill((1, 2, *size))
    shape = (1, 2, size[0] + top + max(bottom, 0), size[1] + left + max(right, 0))
    assert padded(backend.cpu, x.shape, x.dtype, window, 7).shape == shape
    room = surrounded(backend.cpu, x, window, 7)
    needed = max(top, bottom, left, right) > 0
    assert (room is x) == (not needed)
    if needed:
        expected = np.full(shape, 7.0)
        expected[:, :, top : top + size[0], left : left + size[1]] = x
        np.testing.assert_array_equal(room, expected)


def test_columns_are_unfolded_from_the_padded_image_and_no_more():
    window = Window2d.of("w", 2, 1, (1, 0, 2, 0))
    with patch.object(im2col, "slab", wraps=im2col.slab) as slab:
        im2col.unfold(fill((1, 1, 3, 3)), window, groups=1)
    assert [call.args[1:] for call in slab.call_args_list] == [(slice(0, 1), slice(-1, 3), slice(-2, 3))]


def test_all_columns_are_x_itself_where_a_kernel_sees_its_pixels_as_they_are():
    x = np.ascontiguousarray(fill((2, 5, 6, 4))).transpose(0, 3, 1, 2)
    for options, same in (({}, True), ({"padding": (0, 0, 0, 1)}, False), ({"stride": (1, 2)}, False)):
        window = Window2d.of("w", 1, **options)
        assert np.shares_memory(im2col._columns(x, window, 1), x) == same
        assert not np.shares_memory(im2col._columns(x, window, 2), x)
        for groups in (1, 2):
            np.testing.assert_array_equal(
                im2col._columns(x, window, groups), im2col.unfold(x, window, groups)
            )
            assert not np.shares_memory(im2col.unfold(x, window, groups), x)


@pytest.mark.parametrize(
    ("limit", "unfolded", "folded"),
    [
        # an image's columns: 30 windows of 4 samples of 2 channels, 1,920 bytes
        (1, 15, 3),
        (1920, 3, 3),
        (2 * 1920, 2, 2),
        (3 * 1920, 1, 1),
    ],
)
def test_columns_are_copied_and_added_in_pieces(limit, unfolded, folded):
    window, x = Window2d.of("w", 2), fill((3, 2, 6, 7))
    with (
        patch.object(im2col, "COPY_BYTES", limit),
        patch.object(im2col, "parallel_for", wraps=im2col.parallel_for) as parallel_for,
    ):
        im2col.fold(im2col.unfold(x, window, 2), x.shape, window)
    assert [call.args[0] for call in parallel_for.call_args_list] == [unfolded, folded]


def test_windows_share_their_pixels_and_cannot_be_written():
    image = np.zeros((1, 4, 4, 2))
    seen = im2col.windows(image, Window2d.of("w", 2), 3, 3)
    assert np.shares_memory(seen, image)
    assert not seen.flags.writeable
