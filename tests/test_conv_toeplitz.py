"""toeplitz: held to the definition, to the matrix of its name, and to the work that it says it does."""

from unittest.mock import patch

import numpy as np
import pytest
from convolutions import (
    asked,
    calls,
    flops,
    hold_to_rounding,
    hold_to_the_definition,
    hold_to_the_same_bits,
    hold_to_the_workspace,
    in_any_memory,
    problems,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.backend import small_products
from minicnn.conv import im2col_chunked, toeplitz
from minicnn.conv.chunks import Chunk
from minicnn.conv.problem import DIRECTIONS
from minicnn.conv.work import Pass, Product, Work
from minicnn.geometry import Window2d

CASES = {
    "LeNet's C1": asked((64, 1, 32, 32), 6, Window2d.of("w", 5), dtype=np.float32),
    "LeNet's C3": asked((64, 6, 14, 14), 16, Window2d.of("w", 5), dtype=np.float32),
    "padded": asked((16, 3, 32, 32), 32, Window2d.of("w", 5, 1, 2), dtype=np.float32),
    "strided and dilated": asked(
        (8, 4, 65, 65), 8, Window2d.of("w", 3, 2, (3, 0, 1, 4), (1, 2)), dtype=np.float32
    ),
    "large": asked((2, 3, 192, 192), 16, Window2d.of("w", 3, 1, 1), dtype=np.float32),
    "ends within a stride": asked((4, 2, 31, 33), 5, Window2d.of("w", 2, 4), dtype=np.float32),
}


@pytest.fixture(autouse=True)
def _blas_packs_everything(monkeypatch):
    """What is copied for products that BLAS does not pack depends on the processor; here nothing is."""
    monkeypatch.setattr(small_products, "has_small_kernels", lambda: False)


SMALL = {"IMAGES": 2, "STRIP_BYTES": 200, "COLUMN_BYTES": 500, "FOLD_BYTES": 500, "LANES": 3}


def as_costs_have_it(columns):
    return toeplitz.block


def smallest(columns):
    return lambda *shapes: 1


def largest(columns):
    return lambda *shapes: columns


@pytest.mark.parametrize("size", [as_costs_have_it, smallest, largest])
@pytest.mark.parametrize("sizes", [{}, SMALL], ids=["as they are", "small"])
@settings(max_examples=40)
@given(case=problems(most_groups=1, most_dilation=(1, 3)), data=st.data())
def test_it_is_the_definition(size, sizes, case, data):
    """Whatever the blocks' size, and the pieces'."""
    out = data.draw(in_any_memory(np.zeros(case.problem.output_shape)))
    with patch.multiple(toeplitz, block=size(out.shape[3]), **sizes):
        hold_to_the_definition(toeplitz, case, out)


@pytest.mark.parametrize("name", CASES)
def test_same_bits_for_any_number_of_threads(name):
    hold_to_the_same_bits(toeplitz, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_single_precision_errs_by_rounding_alone(name):
    hold_to_rounding(toeplitz, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_it_does_the_work_that_it_says(name):
    """The same products; the same bytes but for 2 %, a few kilobytes of Python's own, and the tiled bias."""
    case = CASES[name]
    for direction, call in calls(toeplitz, case).items():
        work = toeplitz.work(case.problem, direction)
        result = call().nbytes
        assert work.flops == flops(toeplitz, call), direction
        hold_to_the_workspace(call, result, work.workspace(1), direction)
        with patch.object(toeplitz, "parallel_for", wraps=toeplitz.parallel_for) as parallel_for:
            call()
        assert parallel_for.call_args_list[0].args[0] == work.tasks


def test_its_work_counted_by_hand():
    """Two blocks a row: 6 padded pixels of 3 channels (72 bytes) give 4 outputs of 4 (64); 10 rows, 3 of a kernel."""
    problem = asked((2, 3, 8, 8), 4, Window2d.of("w", 3, 1, 1), dtype=np.float32).problem
    assert toeplitz.block(problem.window, 3, 4, 8) == 4
    strips, slab, matrix, y = 2 * 2 * 10 * 72, 2 * 10 * 120, 16 * 3 * 72, 2 * 64 * 16
    assert toeplitz.work(problem, "forward") == Work(
        (Product(2 * 8, 2, 54, 16),),
        (Pass(slab, 120), Pass(strips, 72), Pass(y, 64)),
        calls=8 + 3,
        shared=slab + 2 * matrix,
        private=strips,
    )
    strips, shares, dx = 2 * 2 * 10 * 64, 2 * 2 * 8 * 72, 2 * 64 * 12
    assert toeplitz.work(problem, "backward_data") == Work(
        (Product(2 * 8, 2, 48, 18),),
        (Pass(strips + y, 64), Pass(shares + dx, 72)),  # set to 0 and copied; added, set to 0
        calls=8 + 3 + 2,
        shared=shares + 2 * matrix,
        private=strips,
    )
    columns = 2 * 8 * 2 * 3 * 72
    assert toeplitz.work(problem, "backward_weight") == Work(
        (Product(1, 16, 32, 54),),
        (Pass(slab, 120), Pass(columns, 72), Pass(2 * matrix, matrix)),  # set to 0, summed
        calls=8 + 5,
        shared=slab + 2 * matrix,
        private=columns,
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_images_are_no_work(direction):
    case = asked((0, 4, 8, 8), 6, Window2d.of("w", 3))
    assert toeplitz.work(case.problem, direction).flops == 0
    result = calls(toeplitz, case)[direction]()
    np.testing.assert_array_equal(result, calls(im2col_chunked, case)[direction]())


def test_groups_are_left_to_others():
    window = Window2d.of("w", 3)
    for direction in DIRECTIONS:
        assert toeplitz.supports(asked((1, 2, 8, 8), 4, window).problem, direction) is True
        answer = toeplitz.supports(asked((1, 4, 8, 8), 4, window, groups=2).problem, direction)
        assert not answer
        assert answer.reason == "groups must be 1, got 2"


def test_rows_that_are_apart_are_left_to_others():
    for direction in DIRECTIONS:
        apart = asked((1, 2, 8, 8), 4, Window2d.of("w", 3, dilation=(2, 1))).problem
        answer = toeplitz.supports(apart, direction)
        assert not answer
        assert answer.reason == "the kernel's rows must be neighbours, got dilation (2, 1)"
        along = asked((1, 2, 8, 8), 4, Window2d.of("w", 3, dilation=(1, 2))).problem
        assert toeplitz.supports(along, direction) is True


def test_the_matrix_is_banded():
    """Three neighbours of a kernel of two samples: as the module's docstring draws it."""
    w = np.array([[[[1.0, 2.0]]]])
    t = toeplitz._toeplitz(w, Window2d.of("w", (1, 2)), 3)
    np.testing.assert_array_equal(t.reshape(3, -1), [[1, 2, 0, 0], [0, 1, 2, 0], [0, 0, 1, 2]])
    t = toeplitz._toeplitz(w, Window2d.of("w", (1, 2), stride=2, dilation=3), 2)
    np.testing.assert_array_equal(t.reshape(2, -1), [[1, 0, 0, 2, 0, 0], [0, 0, 1, 0, 0, 2]])


@pytest.mark.parametrize(
    ("window", "channels", "kernels", "columns", "outputs"),
    [
        # LeNet's layers, CIFAR's, VGG's first and second: wide where little is computed, one output where much is
        (Window2d.of("w", 5), 1, 6, 28, 7),
        (Window2d.of("w", 5), 6, 16, 10, 2),
        (Window2d.of("w", 5, 1, 2), 3, 32, 32, 2),
        (Window2d.of("w", 3, 1, 1), 3, 64, 224, 1),
        (Window2d.of("w", 3, 1, 1), 64, 64, 224, 1),
        (Window2d.of("w", (1, 5), (1, 3)), 2, 4, 60, 4),
        (Window2d.of("w", (1, 5), (1, 2), 0, (1, 2)), 8, 6, 24, 2),
        (Window2d.of("w", 3), 1, 2, 13, 13),  # a prime: all or one
        (Window2d.of("w", 3), 4, 8, 13, 1),
        (Window2d.of("w", 3), 1, 2, 1, 1),
        (Window2d.of("w", 3), 4, 4, 60, 5),
        (Window2d.of("w", 5), 6, 8, 28, 4),
    ],
)
def test_a_block_is_as_wide_as_is_worth_its_zeros(window, channels, kernels, columns, outputs):
    assert toeplitz.block(window, channels, kernels, columns) == outputs


@pytest.mark.parametrize(
    ("n", "strip_bytes", "expected"),
    [
        (64, 16, [(32, 5), (32, 5)]),
        (70, 16, [(23, 5), (23, 5), (24, 5)]),
        (7, 200, [(7, 5)]),
        (7, 201, [(7, 2), (7, 3)]),
        (1, 9999, [(1, 1)] * 5),
        (0, 16, []),
    ],
)
def test_a_piece_is_as_large_as_the_budget_allows(n, strip_bytes, expected):
    """Five blocks."""
    with patch.object(toeplitz, "STRIP_BYTES", 7000):
        found = toeplitz._pieces(n, 5, strip_bytes)
    assert [(images.stop - images.start, few.stop - few.start) for images, few in found] == expected


@pytest.mark.parametrize(
    ("row_bytes", "chunks"), [(20, [6]), (21, [3, 3]), (41, [1, 2, 1, 2]), (120, [1] * 6)]
)
def test_two_threads_share_the_chunks_evenly(row_bytes, chunks):
    """Six images of 8 blocks."""
    with patch.object(toeplitz, "COLUMN_BYTES", 960):
        found = toeplitz._cut(6, 4, 2, row_bytes)
    assert [chunk.images.stop - chunk.images.start for chunk in found] == chunks


def test_what_is_more_than_a_chunk_makes_an_even_number():
    with patch.object(toeplitz, "COLUMN_BYTES", 960):
        found = toeplitz._cut(9, 4, 3, 26)  # of three images each there would be three
    assert [chunk.images.stop - chunk.images.start for chunk in found] == [2, 2, 2, 3]


@pytest.mark.parametrize(("fold_bytes", "tasks"), [(1, 4), (96, 4), (191, 4), (192, 2), (383, 2), (384, 1)])
def test_shares_are_added_up_some_images_a_task(fold_bytes, tasks):
    """Two blocks' shares, 96 bytes an image in all: whole images, as many as the budget allows."""
    wide = Window2d.of("w", (1, 2), (1, 2))
    shares, dx = np.ones((2, 4, 3, 2, 1)), np.zeros((4, 3, 4, 1))
    counts = []
    with (
        patch.object(toeplitz, "FOLD_BYTES", fold_bytes),
        patch.object(
            toeplitz, "parallel_for", lambda n, task: counts.append(n) or [task(i) for i in range(n)]
        ),
    ):
        toeplitz._fold(shares, dx, wide)
    assert counts == [tasks]
    np.testing.assert_array_equal(dx, 1)


def test_lanes_are_as_many_as_chunks():
    some = Chunk(slice(0, 1), slice(0, 1))
    assert [toeplitz._lanes([some] * count) for count in (0, 1, 5, 20)] == [1, 1, 5, 8]
