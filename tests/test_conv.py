"""The convolution algorithms on plain arrays: held to the definition, to each other, and to their promises."""

from itertools import pairwise
from unittest.mock import patch

import convolutions
import naive
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
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minicnn import conv
from minicnn.backend import parallel
from minicnn.conv import im2col, im2col_chunked
from minicnn.conv.chunks import cut
from minicnn.conv.problem import DIRECTIONS, Problem
from minicnn.conv.work import Pass, Product, Work
from minicnn.geometry import Window2d


@st.composite
def problems(draw, algorithm="direct"):
    """Any convolution whose kernel fits and that the algorithm can do: x, w, b and the options."""
    only = algorithm.startswith("winograd")
    per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    groups = 1 if only or algorithm == "toeplitz" else draw(st.integers(1, 3))
    kernel = (3, 3) if only else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    apart = 1 if algorithm == "toeplitz" else 3
    options = {
        "stride": (1, 1) if only else draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "padding": draw(st.tuples(*[st.integers(0, 4)] * 4)),
        "dilation": (1, 1) if only else draw(st.tuples(st.integers(1, apart), st.integers(1, 3))),
        "groups": groups,
    }
    n, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 8)), draw(st.integers(1, 8))
    extent = [d * (k - 1) + 1 for d, k in zip(options["dilation"], kernel, strict=True)]
    top, bottom, left, right = options["padding"]
    assume(height + top + bottom >= extent[0] and width + left + right >= extent[1])
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.normal(size=(n, groups * per_in, height, width))
    w = rng.normal(size=(groups * per_out, per_in, *kernel))
    return x, w, rng.normal(size=groups * per_out), options


@pytest.mark.parametrize("algorithm", conv.algorithms())
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_forward_is_the_definition(algorithm, data):
    x, w, b, options = data.draw(problems(algorithm))
    y = conv.conv2d(x, w, b, **options, algorithm=algorithm)
    expected = naive.conv2d(x, w, b, **options)
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-10)
    positive = conv.conv2d(x, w, b, **options, algorithm=algorithm, relu=True)
    np.testing.assert_allclose(positive, np.maximum(expected, 0), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("algorithm", conv.algorithms())
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_backward_passes_are_the_exact_adjoints(algorithm, data):
    """⟨conv(x, w), g⟩ = ⟨x, dx(g, w)⟩ = ⟨w, dw(x, g)⟩, for the convolution is linear in x and in w."""
    x, w, _, options = data.draw(problems(algorithm))
    y = naive.conv2d(x, w, **options)
    g = np.random.default_rng(0).normal(size=y.shape)
    dx = conv.conv2d_backward_data(g, w, x.shape, **options, algorithm=algorithm)
    dw = conv.conv2d_backward_weight(x, g, w.shape[2:], **options, algorithm=algorithm)
    assert dx.shape == x.shape
    assert dw.shape == w.shape
    inner = (y * g).sum()
    scale = np.abs(y * g).sum() + 1
    assert abs((x * dx).sum() - inner) <= 1e-12 * scale
    assert abs((w * dw).sum() - inner) <= 1e-12 * scale


@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_backward_passes_agree(problem):
    """The adjoint test holds one number; this one holds every element to the definition's."""
    x, w, _, options = problem
    g = np.random.default_rng(0).normal(size=naive.conv2d(x, w, **options).shape)
    dx, dw = (
        [
            conv.conv2d_backward_data(g, w, x.shape, **options, algorithm=a),
            conv.conv2d_backward_weight(x, g, w.shape[2:], **options, algorithm=a),
        ]
        for a in ("direct", "im2col_chunked")
    )
    for found, expected in zip(dw, dx, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


UNFOLDING = pytest.mark.parametrize("algorithm", [im2col, im2col_chunked], ids=["im2col", "im2col_chunked"])
SMALL = {
    im2col: {"COPY_BYTES": 1, "SHARED": 1, "PART": 1, "PARTS": 3, "FEW_ROWS": 5},
    im2col_chunked: {"CHUNK_BYTES": 1, "SAMPLE_BYTES": 1, "PRODUCT_ROWS": 1, "SUM_ROWS": 1, "SHARED": 1},
}


@pytest.mark.parametrize("budget", [1, 300, 5_000, 1 << 22])
@UNFOLDING
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_pieces_of_any_size_give_the_same(algorithm, budget, data):
    """Chunk edges through images, and through rows that overlap, change nothing but the rounding."""
    case = data.draw(convolutions.problems())
    out = data.draw(convolutions.in_any_memory(np.zeros(case.problem.output_shape)))
    sizes = {name: budget if name.endswith("BYTES") else size for name, size in SMALL[algorithm].items()}
    with patch.multiple(algorithm, **sizes):
        hold_to_the_definition(algorithm, case, out)


PADDED, STRIDED = Window2d.of("w", 3, padding=1), Window2d.of("w", 3, stride=2, padding=1)
CASES = {
    "one chunk": asked((1, 4, 9, 9), 8, PADDED, dtype=np.float32),
    "an even number of chunks": asked((3, 64, 20, 20), 64, PADDED, dtype=np.float32),
    "one image": asked((1, 32, 60, 56), 48, PADDED, dtype=np.float32),
    "several chunks an image": asked((1, 64, 72, 72), 64, PADDED, dtype=np.float32),
    "several images, strided": asked((5, 64, 28, 28), 96, STRIDED, dtype=np.float32),
    "one image, strided": asked((1, 64, 57, 57), 64, STRIDED, dtype=np.float32),
    "few pixels": asked((1, 128, 7, 7), 512, PADDED, dtype=np.float32),
    "few pixels of several images": asked((6, 256, 7, 7), 320, PADDED, dtype=np.float32),
    "few pixels, strided": asked((1, 128, 14, 14), 256, STRIDED, dtype=np.float32),
    "few pixels, little to do": asked((1, 16, 5, 5), 32, PADDED, dtype=np.float32),
    "1×1": asked((2, 64, 30, 30), 96, Window2d.of("w", 1), dtype=np.float32),
    "1×1, few pixels": asked((1, 512, 7, 7), 1024, Window2d.of("w", 1), dtype=np.float32),
    "1×1, padded": asked((1, 512, 7, 7), 1024, Window2d.of("w", 1, padding=1), dtype=np.float32),
    "groups": asked((3, 64, 24, 24), 64, PADDED, groups=2, dtype=np.float32),
    "few pixels, groups": asked((1, 256, 6, 6), 512, PADDED, groups=2, dtype=np.float32),
}


@UNFOLDING
@pytest.mark.parametrize("name", CASES)
def test_unfolding_gives_the_same_bits_for_any_number_of_threads(algorithm, name):
    hold_to_the_same_bits(algorithm, CASES[name])


@UNFOLDING
@pytest.mark.parametrize("name", CASES)
def test_unfolding_errs_by_rounding_alone(algorithm, name):
    hold_to_rounding(algorithm, CASES[name])


@UNFOLDING
@pytest.mark.parametrize("name", CASES)
def test_unfolding_does_the_work_that_it_says(algorithm, name):
    """The same products; the same bytes but for 2 %, a few kilobytes of Python's own, and the tiled bias."""
    case = CASES[name]
    module = im2col if im2col_chunked.has_few_pixels(case.problem) else algorithm
    for direction, call in calls(algorithm, case).items():
        work = algorithm.work(case.problem, direction)
        result = call().nbytes
        assert work.flops == flops(module, call), direction
        hold_to_the_workspace(call, result, work.workspace(1), direction)
        with patch.object(module, "parallel_for", wraps=module.parallel_for) as parallel_for:
            call()
        assert work.tasks in [entry.args[0] for entry in parallel_for.call_args_list]


def test_the_work_of_unfolding_counted_by_hand():
    """Two images of 8×8 pixels of 12 bytes, 200 with their padding; 16 bytes of y a pixel, and 9 samples."""
    problem = asked((2, 3, 8, 8), 4, PADDED, dtype=np.float32).problem
    slab, columns, y = Pass(200 * 12, 8 * 12), Pass(128 * 9 * 12, 3 * 12), Pass(128 * 16, 16)
    forward, backward = Product(1, 128, 27, 4), Product(1, 4, 128, 27)
    both = 200 * 12 + 128 * 9 * 12
    kernels = 9 * 3 * 16 * im2col_chunked.are_small(27, 4)
    assert im2col_chunked.work(problem, "forward") == Work(
        (forward,), (slab, columns, y), tasks=1, calls=10, shared=kernels, private=both
    )
    assert im2col_chunked.work(problem, "backward_weight") == Work(
        (backward,), (slab, columns, Pass(0, 9 * 3 * 16)), tasks=1, calls=10, private=both
    )
    assert im2col_chunked.work(problem, "backward_data") == Work(
        (Product(9, 128, 4, 3),),
        (Pass(2 * 9 * 128 * 12, 8 * 12), Pass(128 * 12, 8 * 12)),
        tasks=1,
        calls=36,
        shared=9 * 3 * 16 * im2col_chunked.are_small(4, 3),
        private=128 * 12,
    )
    assert im2col.work(problem, "forward") == Work(
        (forward,), (slab, columns, y), tasks=1, calls=20, shared=128 * 9 * 12, private=200 * 12
    )
    assert im2col.work(problem, "backward_weight") == Work(
        (backward,), (slab, columns), tasks=1, calls=20, shared=128 * 9 * 12, private=200 * 12
    )
    assert im2col.work(problem, "backward_data") == Work(
        (Product(1, 128, 4, 27),),
        (Pass(2 * 128 * 9 * 12, 12), Pass(128 * 12, 64 * 12)),
        calls=20 + 4 * 9,
        shared=128 * 9 * 12,
    )
    with patch.multiple(im2col_chunked, CHUNK_BYTES=1, SUM_ROWS=64, SHARED=1, LANES=1):
        more = im2col_chunked.work(problem, "backward_weight")
    assert more.passes[2] == Pass(
        2 * 9 * 3 * 16, 9 * 3 * 16
    )  # the second chunk's sum is added to the first's
    assert (more.tasks, more.shared, more.private) == (1, 0, both // 2 + 9 * 3 * 16)
    with patch.multiple(im2col_chunked, CHUNK_BYTES=1, SUM_ROWS=64, SHARED=1):
        lanes = im2col_chunked.work(problem, "backward_weight")
    assert lanes.passes[2] == Pass(2 * 2 * 9 * 3 * 16, 9 * 3 * 16)
    assert (lanes.tasks, lanes.shared, lanes.private) == (2, 2 * 9 * 3 * 16, both // 2)


@pytest.mark.parametrize(("kernels", "few"), [(18, False), (19, True), (38, True)])
@UNFOLDING
def test_fewer_pixels_than_kernels_are_one_chunk(algorithm, kernels, few):
    case = asked((2, 4, 3, 3), kernels, PADDED)
    grouped = asked((2, 4, 3, 3), 2 * kernels, PADDED, groups=2)
    for each in (case, grouped):
        assert im2col_chunked.has_few_pixels(each.problem) == few
        for direction, call in calls(im2col_chunked, each).items():
            with patch.object(im2col, direction, wraps=getattr(im2col, direction)) as whole:
                call()
            assert whole.call_count == few
            assert (
                im2col_chunked.work(each.problem, direction) == im2col.work(each.problem, direction)
            ) >= few


@pytest.mark.parametrize(("kernels", "few"), [(13, False), (14, False), (15, True)])
def test_all_pixels_of_an_oblong_output_count(kernels, few):
    assert im2col_chunked.has_few_pixels(asked((1, 4, 2, 7), kernels, PADDED).problem) == few


@pytest.mark.parametrize(
    ("groups", "sizes", "chunks"),
    [
        (1, {"CHUNK_BYTES": 16 * 9 * 4 * 8}, 10),  # 16 pixels, two rows of 8, of 9·4 numbers
        (1, {"CHUNK_BYTES": 1 << 30, "SHARED": 2 * 80 * 9 * 4 * (6 + 32)}, 2),
        (1, {"CHUNK_BYTES": 1 << 30, "SHARED": 2 * 80 * 9 * 4 * (6 + 32) + 1}, 1),
        (2, {"CHUNK_BYTES": 1 << 30, "SHARED": 2 * 80 * 9 * 4 * (3 + 32)}, 2),
        (2, {"CHUNK_BYTES": 1 << 30, "SHARED": 2 * 80 * 9 * 4 * (3 + 32) + 1}, 1),
    ],
)
def test_chunks_are_as_many_as_the_budget_and_the_work_ask_for(groups, sizes, chunks):
    problem = asked((2, 4, 10, 8), 6, PADDED, groups).problem
    with patch.multiple(im2col_chunked, PRODUCT_ROWS=1, COPIED=32, **sizes):
        assert len(im2col_chunked.cut(problem, "forward")) == chunks


@pytest.mark.parametrize(("budget", "tasks"), [(2 * 14 * 8, [2, 2]), (2 * 14 * 8 - 1, [4, 4]), (1, [8, 4])])
def test_columns_are_copied_and_folded_some_images_a_task(budget, tasks):
    """Of 2·7 pixels of one number each; copied some rows, folded at least a whole image a task."""
    one, counts = Window2d.of("w", 1), []
    with (
        patch.object(im2col, "COPY_BYTES", budget),
        patch.object(im2col, "parallel_for", lambda n, task: counts.append(n) or [task(i) for i in range(n)]),
    ):
        x = np.arange(4 * 14.0).reshape(4, 1, 2, 7)
        columns = im2col.unfold(x, one, 1)
        np.testing.assert_array_equal(im2col.fold(columns, x.shape, one), x)
    assert counts == tasks


def test_images_without_channels_have_columns_without_entries():
    columns = im2col.unfold(np.zeros((1, 0, 2, 2)), Window2d.of("w", 1), 1)
    assert columns.shape == (1, 4, 0)
    assert im2col.fold(columns, (1, 0, 2, 2), Window2d.of("w", 1)).shape == (1, 0, 2, 2)


@pytest.mark.parametrize(
    ("groups", "rows", "inner", "columns", "sides"),
    [
        (1, 10, 9, 1, [[10], [1]]),  # 90 multiply-adds: too few to share
        (1, 10, 10, 1, [[5, 5], [1]]),
        (2, 10, 5, 1, [[5, 5], [1]]),
        (1, 1, 10, 11, [[1], [5, 6]]),
        (1, 5, 10, 5, [[2, 3], [5]]),
        (1, 23, 9, 9, [[11, 12], [9]]),
        (1, 24, 9, 9, [[8, 8, 8], [9]]),  # 8 rows a part, where there are enough for three
        (1, 99, 9, 99, [[24, 25, 25, 25], [99]]),  # and four parts at most
        (1, 1, 9, 99, [[1], [24, 25, 25, 25]]),
    ],
)
def test_a_product_of_columns_is_cut_along_its_longer_side(groups, rows, inner, columns, sides):
    with patch.multiple(im2col, SHARED=100, PART=8, PARTS=4):
        parts = im2col._parts(groups, rows, inner, columns)
    edges = [np.cumsum([0, *side]) for side in sides]
    slices = [[slice(*pair) for pair in pairwise(edge)] for edge in edges]
    assert parts == [(some, block) for some in slices[0] for block in slices[1]]


def test_the_product_of_few_rows_is_transposed():
    """Where the right matrix is kernels as they lie in memory."""
    case = asked((1, 4, 3, 3), 16, PADDED)
    for few, expected in ((9, False), (10, True)):
        with (
            patch.object(im2col, "FEW_ROWS", few),
            patch.object(im2col, "scratch", wraps=im2col.scratch) as scratch,
        ):
            for direction, call in calls(im2col, case).items():
                scratch.reset_mock()
                call()
                assert scratch.called == (expected and direction == "forward")


@given(st.integers(0, 9), st.integers(1, 40), st.integers(1, 40), st.integers(1, 2000), st.booleans())
def test_chunks_cover_every_row_once_within_the_budget(n, p, q, pixels, paired):
    seen = np.zeros((n, p), int)
    pieces = cut(n, p, q, pixels, paired)
    for chunk in pieces:
        seen[chunk.images, chunk.rows] += 1
        pixels_of_it = seen[chunk.images, chunk.rows].size * q
        assert pixels_of_it == q or pixels_of_it <= pixels
    assert (seen == 1).all()
    assert not paired or len(pieces) % 2 == 0 or n * p % 2


@pytest.mark.parametrize(
    ("shape", "pixels", "images", "rows"),
    [
        ((1, 9, 4), 36, 1, 2),
        ((1, 9, 4), 12, 1, 4),
        ((1, 9, 4), 20, 1, 2),
        ((1, 3, 4), 4, 1, 3),  # no row can be cut
        ((1, 1, 4), 4, 1, 1),
        ((3, 2, 4), 99, 2, 1),
        ((3, 2, 4), 8, 3, 2),
        ((5, 2, 4), 16, 4, 1),
        ((4, 2, 4), 16, 2, 1),
        ((2, 3, 4), 4, 2, 3),
    ],
)
def test_an_even_number_of_chunks(shape, pixels, images, rows):
    pieces = cut(*shape, pixels, paired=True)
    assert len({chunk.images.start for chunk in pieces}) == images
    assert len({chunk.rows.start for chunk in pieces}) == rows
    assert len(pieces) == images * rows


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_chunks_are_even_in_number_if_there_is_enough_to_do(direction):
    """Of 100 pixels, 27 numbers a window: with 4 kernels, and a copied number as much as 2 products, 16,200."""
    problem = Problem((1, 3, 10, 10), 4, PADDED)
    for limit, count in ((100 * 27 * 6, 2), (100 * 27 * 6 + 1, 1)):
        with patch.multiple(im2col_chunked, SHARED=limit, COPIED=2):
            assert len(im2col_chunked.cut(problem, direction)) == count


@pytest.mark.parametrize("n", [1, 5])
def test_fold_is_the_adjoint_of_unfold(n):
    rng = np.random.default_rng(0)
    window = Window2d.of("test", (3, 2), (2, 1), (1, 2), (1, 2))
    x = rng.normal(size=(n, 4, 7, 8))
    columns = im2col.unfold(x, window, groups=2)
    other = rng.normal(size=columns.shape)
    np.testing.assert_allclose(
        (columns * other).sum(), (x * im2col.fold(other, x.shape, window)).sum(), rtol=1e-12
    )


def test_the_result_is_in_channels_last_memory():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3, 8, 8)), rng.normal(size=(4, 3, 3, 3))
    for a in conv.algorithms():
        assert conv.conv2d(x, w, algorithm=a).transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("algorithm", conv.algorithms())
@pytest.mark.parametrize("order", ["C", "channels last"])
def test_out_is_written_and_returned(algorithm, order):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3, 8, 8)), rng.normal(size=(4, 3, 3, 3))
    out = np.full((2, 4, 6, 6), np.nan)
    if order == "channels last":
        out = np.full((2, 6, 6, 4), np.nan).transpose(0, 3, 1, 2)
    assert conv.conv2d(x, w, out=out, algorithm=algorithm) is out
    np.testing.assert_allclose(out, naive.conv2d(x, w), rtol=1e-10, atol=1e-10)


def test_use_forces_an_algorithm(monkeypatch):
    called = []
    monkeypatch.setattr(im2col, "forward", lambda *args: called.append("im2col"))
    x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    with conv.use("im2col"):
        conv.conv2d(x, w)
        conv.conv2d(x, w, algorithm="direct")
        with conv.use("auto"):
            conv.conv2d(x, w)
    conv.conv2d(x, w)
    assert called == ["im2col"]
    with pytest.raises(ValueError, match="algorithm must be one of"), conv.use("fast"):
        pass


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x, w: conv.conv2d(x[0], w),
            r"conv2d: input must be 4-D \(N, C, H, W\), got shape \(3, 8, 8\)",
        ),
        (lambda x, w: conv.conv2d(x, w[0]), r"conv2d: weight must be 4-D"),
        (
            lambda x, w: conv.conv2d(x, w, out=np.zeros((2, 4, 6, 5))),
            r"conv2d: out must have shape \(2, 4, 6, 6\)",
        ),
        (lambda x, w: conv.conv2d(x, w, out=np.zeros((2, 4, 6, 6), "f4")), r"out must have dtype float64"),
        (
            lambda x, w: conv.conv2d_backward_data(np.zeros((2, 4, 6, 5)), w, x.shape),
            r"conv2d_backward_data: g must have shape \(2, 4, 6, 6\), got \(2, 4, 6, 5\)",
        ),
        (
            lambda x, w: conv.conv2d_backward_weight(x, np.zeros((2, 4, 6, 5)), 3),
            r"conv2d_backward_weight: g must have shape \(2, 4, 6, 6\), got \(2, 4, 6, 5\)",
        ),
        (
            lambda x, w: conv.conv2d_backward_weight(x, np.zeros((2, 4, 6, 6)), 3, groups=2),
            r"conv2d_backward_weight: input has 3 channels, weight expects 2 \(groups=2\)",
        ),
        (
            lambda x, w: conv.conv2d(x, w, np.zeros(3)),
            r"bias must have shape \(4,\), one an output channel, got \(3,\)",
        ),
        (lambda x, w: conv.conv2d(x, w, groups=1.5), r"groups must be an int, got 1.5"),
        (
            lambda x, w: conv.conv2d([[1.0]], w),
            r"minicnn computes on NumPy and CuPy arrays, got builtins\.list",
        ),
        (lambda x, w: conv.conv2d(x, w[:3, :, :1, :1], out=x), r"conv2d: out must not share memory"),
    ],
)
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(np.zeros((2, 3, 8, 8)), np.zeros((4, 3, 3, 3)))


@pytest.mark.parametrize("algorithm", ["auto", *(a for a in conv.algorithms() if a != "direct")])
@pytest.mark.parametrize("direction", ["forward", "data", "weight"])
def test_same_bits_for_any_number_of_threads(direction, algorithm):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 16, 48, 48)).astype(np.float32)
    w = rng.normal(size=(32, 16, 3, 3)).astype(np.float32)
    g = rng.normal(size=(6, 32, 48, 48)).astype(np.float32)
    calls = {
        "forward": lambda: conv.conv2d(x, w, padding=1, algorithm=algorithm),
        "data": lambda: conv.conv2d_backward_data(g, w, x.shape, padding=1, algorithm=algorithm),
        "weight": lambda: conv.conv2d_backward_weight(x, g, 3, padding=1, algorithm=algorithm),
    }
    before = parallel.get_num_threads()
    try:
        results = []
        for n in (1, 2, 5):
            parallel.set_num_threads(n)
            results.append(calls[direction]())
    finally:
        parallel.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
