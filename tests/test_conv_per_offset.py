"""per_offset: held to the definition, to its promise of no copies, and to the work that it says it does."""

from unittest.mock import patch

import numpy as np
import pytest
from convolutions import (
    asked,
    calls,
    flops,
    forward,
    hold_to_rounding,
    hold_to_the_definition,
    hold_to_the_same_bits,
    hold_to_the_workspace,
    in_any_memory,
    problems,
    with_matmul,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.backend import small_products
from minicnn.backend.workspace import scratch
from minicnn.conv import im2col_chunked, per_offset
from minicnn.conv.problem import DIRECTIONS
from minicnn.conv.work import Pass, Product, Work
from minicnn.geometry import Window2d

SIZES = [
    {"ROWS": 2048},
    {"ROWS": 5, "FEWEST_ROWS": 1, "NARROWEST": 1, "LANES": 3},
    {"FEWEST_ROWS": 999, "NARROWEST": 1},
]
PADDED = Window2d.of("w", 3, 1, 1)
CASES = {
    "3×3": asked((3, 16, 48, 48), 32, PADDED, dtype=np.float32),
    "1×1": asked((3, 64, 40, 40), 32, Window2d.of("w", 1), dtype=np.float32),
    "1×1, few pixels": asked((2, 64, 7, 7), 200, Window2d.of("w", 1), dtype=np.float32),
    "1×1, padded": asked((3, 8, 20, 20), 16, Window2d.of("w", 1, 1, (1, 0, 2, 1)), dtype=np.float32),
    "1×1, strided": asked((3, 64, 41, 41), 32, Window2d.of("w", 1, 2), dtype=np.float32),
    "5×5, strided": asked((2, 24, 47, 47), 32, Window2d.of("w", 5, (2, 3), 2), groups=2, dtype=np.float32),
    "3×3, dilated": asked((2, 16, 32, 32), 16, Window2d.of("w", 3, 1, 0, 2), groups=4, dtype=np.float32),
    "1×1, in groups": asked((3, 32, 24, 40), 48, Window2d.of("w", 1), groups=2, dtype=np.float32),
    "not square": asked((2, 6, 30, 90), 9, Window2d.of("w", (1, 3), 1, (0, 1)), groups=3, dtype=np.float32),
    "several chunks a lane": asked((9, 4, 48, 48), 8, PADDED, dtype=np.float32),
}


@pytest.fixture(autouse=True)
def _blas_packs_everything(monkeypatch):
    """What is copied for products that BLAS does not pack depends on the processor; here nothing is."""
    monkeypatch.setattr(small_products, "has_small_kernels", lambda: False)


@pytest.mark.parametrize("sizes", SIZES, ids=["as it is", "many pieces", "few pixels"])
@settings(max_examples=60)
@given(case=problems(), data=st.data())
def test_it_is_the_definition(sizes, case, data):
    out = data.draw(in_any_memory(np.zeros(case.problem.output_shape)))
    with patch.multiple(per_offset, **sizes):
        hold_to_the_definition(per_offset, case, out)


@pytest.mark.parametrize("name", CASES)
def test_same_bits_for_any_number_of_threads(name):
    hold_to_the_same_bits(per_offset, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_single_precision_errs_by_rounding_alone(name):
    hold_to_rounding(per_offset, CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_it_does_the_work_that_it_says(name):
    """The same products; the same bytes but for 2 %, a few kilobytes of Python's own, and the tiled bias."""
    case = CASES[name]
    for direction, call in calls(per_offset, case).items():
        work = per_offset.work(case.problem, direction)
        result = call().nbytes
        if direction == "backward_data" and name not in ("1×1", "1×1, few pixels", "1×1, in groups"):
            assert work == im2col_chunked.work(case.problem, direction)
            continue
        assert work.flops == flops(per_offset, call), direction
        hold_to_the_workspace(call, result, work.workspace(1), direction)
        with patch.object(per_offset, "parallel_for", wraps=per_offset.parallel_for) as parallel_for:
            call()
        assert [entry.args[0] for entry in parallel_for.call_args_list] == [work.tasks]


def test_its_work_counted_by_hand():
    """Two padded images of 10×10 pixels (12 bytes, 16 of y): 178 rows from the first window to the last, 9 samples."""
    problem = asked((2, 3, 8, 8), 4, PADDED, dtype=np.float32).problem
    slab, room, y = 200 * 12, 200 * 16, 128 * 16
    assert per_offset.work(problem, "forward") == Work(
        (Product(9, 178, 3, 4),),
        (Pass(slab, 8 * 12), Pass(9 * 178 * 16, 178 * 16), Pass(y, 8 * 16)),  # 8 additions and the tail
        calls=8 + 4 * 9,
        shared=9 * 3 * 16,
        private=slab + room + 178 * 16,
    )
    assert per_offset.work(problem, "backward_weight") == Work(
        (Product(9, 4, 178, 3),),
        (Pass(slab, 8 * 12), Pass(room, 8 * 16), Pass(0, 12)),  # one chunk: nothing to add
        calls=8 + 4 * 9,
        private=slab + room,
    )
    with patch.multiple(per_offset, ROWS=64, LANES=2, FEWEST_ROWS=999):
        more = per_offset.work(asked((3, 3, 8, 8), 4, PADDED, dtype=np.float32).problem, "backward_weight")
    kernels = 9 * 3 * 16
    assert more.passes[2] == Pass((3 - 2 + 2) * kernels, 12)  # 3 chunks to 2 lanes, and their sum
    assert (more.tasks, more.shared) == (2, 2 * kernels)
    assert more.private == (slab + room) // 2 + 3 * 16


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("window", [Window2d.of("w", 1), PADDED], ids=["1×1", "3×3"])
def test_no_images_are_no_work(direction, window):
    case = asked((0, 4, 8, 8), 6, window)
    assert per_offset.supports(case.problem, direction)
    assert per_offset.work(case.problem, direction).flops == 0
    result = calls(per_offset, case)[direction]()
    np.testing.assert_array_equal(result, calls(im2col_chunked, case)[direction]())


def test_a_1x1_kernel_has_its_products_on_the_arrays_themselves():
    """One product a chunk: of a view of x, written where y is."""
    case = CASES["1×1"]
    factors = {
        "forward": (case.x, case.w),
        "backward_data": (case.g, case.w),
        "backward_weight": (case.g, case.x),
    }
    for direction, call in calls(per_offset, case).items():
        left, right = factors[direction]
        made = []

        def noting(a, b, left=left, right=right, made=made, **options):
            assert np.shares_memory(a, left)
            assert np.shares_memory(b, right)
            made.append(options["out"].base)
            return np.matmul(a, b, **options)

        with (
            patch.object(per_offset, "scratch", wraps=scratch) as scratched,
            with_matmul(per_offset, noting),
            with_matmul(small_products, noting),
        ):
            call()
        assert len(made) == 3
        assert scratched.call_count == 0


LARGE = per_offset.SHARED  # a product of one pixel is worth sharing


@pytest.mark.parametrize(
    ("shape", "terms", "chunks", "blocks"),
    [
        ((8, 14, 14), LARGE, [(4, 14)] * 2, 1),  # 1,568 pixels: halved, and by whole images
        ((1, 28, 28), LARGE, [(1, 14)] * 2, 1),
        ((8, 7, 7), LARGE, [(8, 7)], 2),  # 392: too few to halve, so the kernels are
        ((2, 16, 16), LARGE, [(1, 16)] * 2, 1),  # 512 are enough
        ((8, 28, 28), LARGE, [(4, 28)] * 2, 1),
        ((9, 28, 28), LARGE, [(2, 28), (2, 28), (2, 28), (3, 28)], 1),  # 7,056 pixels; and an even number
        ((9, 28, 28), 1, [(3, 28)] * 3, 1),
        ((1, 8, 3000), LARGE, [(1, 1)] * 8, 1),
        ((2, 20, 40), LARGE, [(1, 20)] * 2, 1),
        ((5, 30, 30), LARGE, [(1, 30), (1, 30), (1, 30), (2, 30)], 1),
        ((5, 30, 30), 1, [(1, 30), (2, 30), (2, 30)], 1),
        ((1, 1601, 1), LARGE, [(1, 800), (1, 801)], 1),
        ((8, 14, 14), LARGE // 1568 // 128, [(8, 14)], 1),  # a little less than is worth sharing
        ((8, 14, 14), LARGE // 1568 // 128 + 1, [(4, 14)] * 2, 1),
        ((8, 7, 7), LARGE // 392 // 128, [(8, 7)], 1),
        ((2, 16, 16), LARGE // 512 // 128, [(1, 16)] * 2, 1),  # just as much
        ((0, 4, 4), LARGE, [], 1),
    ],
)
def test_what_is_worth_it_is_shared_by_even_pieces(shape, terms, chunks, blocks):
    pieces, kernels = per_offset._cut(*shape, 128, terms)
    assert [per_offset.images_and_rows(chunk) for chunk in pieces] == chunks
    assert len(kernels) == blocks


@pytest.mark.parametrize(("kernels", "blocks"), [(127, [127]), (128, [64, 64]), (131, [65, 66])])
def test_kernels_are_halved_where_the_halves_are_wide(kernels, blocks):
    _, halves = per_offset._cut(1, 7, 7, kernels, LARGE)
    assert [block.stop - block.start for block in halves] == blocks


@pytest.mark.parametrize("window", [Window2d.of("w", (2, 3)), Window2d.of("w", 1)])
def test_the_cut_knows_all_multiply_adds(window):
    """In each direction: those of all groups."""
    case = asked((2, 4, 5, 6), 6, window, groups=2)
    n, _, p, q = case.problem.output_shape
    expected = {"forward": (3, 4), "backward_weight": (3, 4), "backward_data": (2, 6)}
    for direction, call in calls(per_offset, case).items():
        kernels, channels = expected[direction]
        with patch.object(per_offset, "_cut", wraps=per_offset._cut) as cut:
            call()
            per_offset.work(case.problem, direction)
        if direction != "backward_data" or window.samples == 1:
            assert [args.args for args in cut.call_args_list] == [
                (n, p, q, kernels, window.samples * channels)
            ] * 2


def test_pointwise_windows_hang_over_nothing():
    assert per_offset._Grid(Window2d.of("w", 1), 2, 5, 7).drops_none
    assert not per_offset._Grid(Window2d.of("w", 2), 2, 5, 7).drops_none


def test_rows_are_as_long_as_the_last_window_needs():
    grid = per_offset._Grid(Window2d.of("w", (4, 6), (2, 3)), 2, 5, 7)
    assert grid.shape(3) == (2, 5 + 1, 7 + 1, 3)
    assert grid.reach == 10 * 8 + 7


@pytest.mark.parametrize("small", [True, False])
def test_kernels_lie_in_memory_as_products_are_fast(small):
    x, w, _, g, window, groups = asked((1, 4, 5, 5), 6, Window2d.of("w", (2, 3)), groups=2)
    with (
        patch.object(per_offset, "are_small", lambda inner, columns: small),
        patch.object(small_products, "are_small", lambda inner, columns: small),
        patch.object(per_offset, "_convolve") as convolve,
    ):
        per_offset.forward(x, w, None, window, groups, g)
    kernels = convolve.call_args.args[1]
    assert kernels.shape == (2, 3, 2, 2, 3)
    assert (kernels if small else kernels.swapaxes(-1, -2)).flags.c_contiguous


def test_lanes_are_as_many_as_chunks_and_memory_allow():
    assert per_offset._lanes(0, 10) == 1
    assert per_offset._lanes(3, 10) == 3
    assert per_offset._lanes(30, 10) == 8
    assert per_offset._lanes(30, 1 << 24) == 4
    assert per_offset._lanes(30, (1 << 24) + 1) == 3
    assert per_offset._lanes(30, 1 << 27) == 1


@pytest.mark.parametrize("groups", [1, 2])
def test_lanes_are_counted_by_the_bytes_of_dw(groups):
    case = asked((2, 4, 6, 6), 6, Window2d.of("w", (2, 3)), groups, np.float32)
    with patch.object(per_offset, "_lanes", wraps=per_offset._lanes) as lanes:
        dw = calls(per_offset, case)["backward_weight"]()
    assert lanes.call_args.args == (1, dw.nbytes)


def test_windows_that_hang_over_are_dropped_whatever_they_saw():
    """An infinite pixel is in the windows that see it, and in no other, not even in the last of the row above."""
    case = asked((1, 1, 6, 6), 1, Window2d.of("w", 3))
    case.x[0, 0, 3, 0] = np.inf
    y = forward(per_offset, case._replace(w=np.ones_like(case.w)))
    np.testing.assert_array_equal(np.argwhere(np.isinf(y[0, 0])), [(1, 0), (2, 0), (3, 0)])
