"""Winograd's convolution: transforms derived exactly, tiles and stages of any size, and what float32 costs."""

from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from convolutions import asked, hold_to_the_definition, threads
from hypothesis import given
from hypothesis import strategies as st

from minicnn import conv
from minicnn.backend import small_products
from minicnn.conv import chunks, winograd
from minicnn.conv.algorithms import ALGORITHMS
from minicnn.conv.cook_toom import _inverse, cook_toom
from minicnn.conv.problem import DIRECTIONS, Problem
from minicnn.geometry import Window2d

ALGORITHM = pytest.mark.parametrize("algorithm", ["winograd_2x2", "winograd_4x4"])

# Aᵀ, G and Bᵀ of F(2, 3) and F(4, 3) as Lavin and Gray 2016 print them, sections 4.1 and 4.3.
PRINTED = {
    2: (
        [[1, 1, 1, 0], [0, 1, -1, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    ),
    4: (
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
    ),
}


@pytest.mark.parametrize(("m", "points"), [(2, (0, 1, -1)), (4, (0, 1, -1, 2, -2))])
def test_the_usual_points_give_the_printed_transforms(m, points):
    """Up to factors that each multiplication may move from one matrix to another."""
    derived, printed = (
        np.einsum("mi,ir,id->imrd", *map(np.array, matrices))
        for matrices in (cook_toom(m, 3, points), PRINTED[m])
    )
    np.testing.assert_allclose(derived, printed, atol=1e-14)
    assert cook_toom(m, 3, points).filter[-1].tolist() == [0, 0, 1]  # ∞ reads off, and scales nothing


def test_a_matrix_is_inverted_exactly():
    matrix = [[Fraction(x) for x in row] for row in ((2, 1, 3), (4, 5, 1), (1, 7, 2))]
    inverse = _inverse(matrix)
    assert (np.array(matrix) @ np.array(inverse)).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@given(st.data(), st.integers(1, 5), st.integers(1, 5))
def test_any_points_give_a_filter(data, m, r):
    fractions = st.fractions(-3, 3, max_denominator=4)
    points = data.draw(st.lists(fractions, min_size=m + r - 2, max_size=m + r - 2, unique=True))
    output, kernel, transform = cook_toom(m, r, points)
    rng = np.random.default_rng(0)
    d, g = rng.integers(-9, 9, m + r - 1), rng.integers(-9, 9, r)
    found = output @ ((kernel @ g) * (transform @ d))
    scale = np.abs(output) @ (np.abs(kernel) @ np.abs(g) * (np.abs(transform) @ np.abs(d))) + 1
    assert (np.abs(found - np.correlate(d, g)) <= 1e-14 * scale * (m + r)).all()


def test_points_that_make_no_filter():
    with pytest.raises(ValueError, match=r"F\(4, 3\) needs 5 finite points, got 3"):
        cook_toom(4, 3, (0, 1, -1))
    with pytest.raises(ValueError, match="must be different"):
        cook_toom(2, 3, (0, 1, Fraction(2, 2)))


@pytest.mark.parametrize("m", [1, 3])
def test_tiles_may_have_any_size(m):
    case = asked((2, 3, 8, 9), 4, Window2d.of("w", 3, padding=(1, 0, 2, 1)))
    algorithm = winograd.Winograd(m, (0, 1, -1, 2)[: m + 1])
    hold_to_the_definition(algorithm, case, np.zeros(case.problem.output_shape))


def results(x, w, b, g, padding, algorithm):
    options = {"padding": padding, "algorithm": algorithm}
    return (
        conv.conv2d(x, w, b, **options),
        conv.conv2d_backward_data(g, w, x.shape, **options),
        conv.conv2d_backward_weight(x, g, 3, **options),
    )


def arrays(shape, k, padding, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    top, bottom, left, right = padding
    x, w, b = rng.normal(size=shape), rng.normal(size=(k, shape[1], 3, 3)), rng.normal(size=k)
    g = rng.normal(size=(shape[0], k, shape[2] + top + bottom - 2, shape[3] + left + right - 2))
    return [a.astype(dtype) for a in (x, w, b, g)]


@ALGORITHM
@pytest.mark.parametrize("cached", [0, 1 << 30], ids=["stages", "chunks"])
@pytest.mark.parametrize("tiles", [1, 3, 10**6])
@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (0, 0, 0, 0), (3, 0, 1, 4)])
def test_both_orders_of_work_in_pieces_of_any_size(algorithm, cached, tiles, padding, monkeypatch):
    """Images whose last tiles hang over, one chunk and many, one stage and many."""
    monkeypatch.setattr(winograd, "CACHED_BYTES", cached)
    monkeypatch.setattr(winograd, "LEAST_TILES", tiles)
    monkeypatch.setattr(winograd, "CHUNK_BYTES", 1)
    monkeypatch.setattr(winograd, "STAGE_BYTES", 1 if tiles == 1 else 40 * 36 * 8 * 8)
    monkeypatch.setattr(winograd, "KERNEL_PIECE", 1)
    monkeypatch.setattr(winograd, "PIECE_BYTES", 1 if tiles == 3 else 1 << 19)
    given = arrays((3, 3, 11, 14), 5, padding)
    for found, expected in zip(
        results(*given, padding, algorithm), results(*given, padding, "im2col"), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@ALGORITHM
def test_images_that_are_not_channels_last_and_a_batch_of_none(algorithm):
    x, w, b, g = arrays((2, 3, 9, 8), 4, (1, 1, 1, 1))
    expected = results(x, w, b, g, 1, "direct")
    views = [np.ascontiguousarray(a.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1) for a in (x, w, g)]
    for found, one in zip(results(views[0], views[1], b, views[2], 1, algorithm), expected, strict=True):
        np.testing.assert_allclose(found, one, rtol=1e-10, atol=1e-10)
    y, dx, dw = results(x[:0], w, b, g[:0], 1, algorithm)
    assert (y.shape, dx.shape) == (g[:0].shape, x[:0].shape)
    assert not dw.any()


def batches(m, shape, c, k, tiles, shared=False, **sizes):
    """Return the images, rows and place of each piece, batch by batch, with a budget of so many tiles' V and M."""
    budget = int(tiles * (m + 2) ** 2 * (c + k) * 8)
    with patch.multiple(winograd, **{"LEAST_TILES": 1, "PIECE_BYTES": 1 << 40, **sizes}):
        found = winograd.Winograd(m, range(m + 1))._batches(shape, c, k, 8, budget, shared)
    assert {piece.across for batch in found for piece in batch} <= {-(-shape[3] // m)}
    return [[tuple((s.start, s.stop) for s in (p.images, p.rows, p.place)) for p in batch] for batch in found]


def test_a_batch_is_as_large_as_the_budget_allows():
    """Four images of 3 rows of 2 tiles, the last of which hang over."""
    shape = 4, 2, 5, 3
    whole = [[((0, 4), (0, 3), (0, 24))]]
    halves = [[((0, 2), (0, 3), (0, 12))], [((2, 4), (0, 3), (0, 12))]]
    assert batches(2, shape, 1, 2, tiles=24) == whole
    assert batches(2, shape, 3, 2, tiles=24 - 1 / 99) == halves
    assert batches(4, (4, 2, 9, 7), 3, 2, tiles=24 - 1 / 99) == halves
    assert batches(2, shape, 1, 2, tiles=1, LEAST_TILES=12) == halves
    assert batches(2, (1, 2, 5, 3), 1, 2, tiles=3) == [[((0, 1), (i, i + 1), (0, 2))] for i in range(3)]
    assert batches(2, (0, 2, 5, 3), 1, 2, tiles=3) == []


def test_batches_that_threads_share_are_even_in_number_if_each_has_tiles_enough():
    shape = 4, 2, 5, 3
    halves = [[((0, 2), (0, 3), (0, 12))], [((2, 4), (0, 3), (0, 12))]]
    assert batches(2, shape, 1, 2, tiles=24, shared=True, LEAST_TILES=12) == halves
    assert len(batches(2, shape, 1, 2, tiles=24, shared=True, LEAST_TILES=13)) == 1
    assert len(batches(2, (3, 2, 5, 3), 1, 2, tiles=6, shared=True)) == 6
    assert len(batches(2, (3, 2, 5, 3), 1, 2, tiles=6)) == 3


def test_pieces_are_of_the_batch_that_they_are_in():
    """Two batches of two images of 3 rows of 2 tiles, in pieces of 2 rows at most."""
    pieces = [((0, 1), (0, 2)), ((1, 3), (2, 6))]
    for size in (4 * 16 * 5 * 8, 5 * 16 * 5 * 8):
        found = batches(2, (4, 5, 5, 3), 1, 5, tiles=12, PIECE_BYTES=size)
        assert found == [
            [
                ((n, n + 1), rows, (start + a, start + b))
                for n, start in ((first, 0), (first + 1, 6))
                for rows, (a, b) in pieces
            ]
            for first in (0, 2)
        ]
    found = batches(2, (1, 5, 9, 3), 1, 5, tiles=6, PIECE_BYTES=2 * 16 * 5 * 8)
    assert found == [
        [((0, 1), (0, 1), (0, 2)), ((0, 1), (1, 2), (2, 4))],
        [((0, 1), (i, i + 1), (2 * (i - 2), 2 * (i - 1))) for i in (2, 3, 4)],
    ]


@pytest.mark.parametrize(("c", "k"), [(1, 5), (5, 1)])
def test_a_piece_is_as_large_as_its_pixels_may_be(c, k):
    for m, size in ((2, (5, 3)), (4, (9, 7))):
        pixels = (m + 2) ** 2 * 5 * 8  # of a tile
        for limit, rows in (
            (1, [1, 1, 1]),
            (4 * pixels - 1, [1, 1, 1]),
            (4 * pixels, [1, 2]),
            (6 * pixels - 1, [1, 2]),
            (6 * pixels, [3]),
        ):
            (found,) = batches(m, (1, k, *size), c, k, tiles=6, PIECE_BYTES=limit)
            edges = np.cumsum([0, *rows]).tolist()
            assert found == [((0, 1), (a, b), (2 * a, 2 * b)) for a, b in pairwise(edges)]


@ALGORITHM
def test_the_order_of_work_and_its_tasks(algorithm):
    """Kernels that stay in the cache let each chunk be a task; others, each piece of a stage, and each position."""
    m = int(algorithm[-1])
    positions, tiles = (m + 2) ** 2, (8 // m) ** 2  # of an image
    x, w, b, g = arrays((32, 3, 8, 8), 4, (1, 1, 1, 1))
    size = positions * 3 * 4 * 8
    sizes = {"LEAST_TILES": 1, "PIECE_BYTES": 8 * tiles * positions * 4 * 8}
    problem = Problem(x.shape, 4, Window2d.of("test", 3, padding=1), dtype=x.dtype)
    for limit, tasks in ((size, [2]), (size - 1, [4, 4, 4])):  # 4 pieces of 8 images, and 4 calls
        with (
            patch.multiple(winograd, CACHED_BYTES=limit, **sizes),
            patch.object(winograd, "parallel_for", wraps=winograd.parallel_for) as parallel_for,
        ):
            results(x, w, b, g, 1, algorithm)
            said = [ALGORITHMS[algorithm].work(problem, direction).tasks for direction in DIRECTIONS]
        counts = [call.args[0] for call in parallel_for.call_args_list]
        assert said == [tasks[len(tasks) // 2], tasks[len(tasks) // 2], positions]
        assert counts == [1, *tasks, 1, *tasks, 4, positions, 1]  # 1: the kernels


@pytest.mark.parametrize(
    ("sizes", "edges"),
    [
        ({}, [0, 8]),  # 120 kernels: too few to share
        ({"KERNEL_PIECE": 40}, [0, 2, 5, 8]),
        ({"KERNEL_PIECE": 41}, [0, 4, 8]),
        ({"KERNEL_PIECE": 1}, list(range(9))),
        ({"KERNEL_PIECE": 1, "KERNEL_PIECES": 3}, [0, 2, 5, 8]),
    ],
)
def test_kernels_are_transformed_in_pieces(sizes, edges):
    made = []

    def noting(matrix, samples, out):
        assert matrix.dtype == samples.dtype == np.float32
        made.append(len(samples))
        return np.matmul(matrix, samples, out=out)

    numpy = SimpleNamespace(**{**vars(np), "matmul": noting})
    with patch.multiple(winograd, np=numpy, **sizes), threads(1):
        ALGORITHMS["winograd_2x2"]._kernels(np.ones((8, 15, 3, 3), np.float32))
    assert made == np.diff(edges).tolist()


def test_no_more_pixels_are_transformed_than_the_tiles_see():
    """Four rows of four tiles, two rows a piece; and all in the arrays' own precision."""
    x, w, b, g = arrays((1, 3, 8, 8), 4, (1, 1, 1, 1), np.float32)
    seen, types = [], set()

    def slab(x, images, rows, columns):
        seen.append(((rows.start, rows.stop), (columns.start, columns.stop)))
        return chunks.slab(x, images, rows, columns)

    def multiply_columns(a, b, out):
        types.update([a.dtype, b.dtype, out.dtype])
        small_products.multiply_columns(a, b, out)

    with (
        patch.multiple(winograd, slab=slab, multiply_columns=multiply_columns, PIECE_BYTES=8 * 16 * 4 * 4),
        threads(1),
    ):
        results(x, w, b, g, 1, "winograd_2x2")
    data, gradient = [((-1, 5), (-1, 9)), ((3, 9), (-1, 9))], [((0, 4), (0, 8)), ((4, 8), (0, 8))]
    assert seen == [*data, *data, data[0], gradient[0], data[1], gradient[1]]
    assert types == {np.dtype("float32")}


@pytest.mark.parametrize(("height", "width", "detour"), [(8, 6, False), (7, 6, True), (8, 5, True)])
def test_only_tiles_that_hang_over_are_not_written_where_they_belong(height, width, detour):
    x, w, *_ = arrays((2, 3, height, width), 4, (1, 1, 1, 1))
    with patch.object(winograd, "scratch", wraps=winograd.scratch) as scratch:
        conv.conv2d(x, w, padding=1, algorithm="winograd_2x2")
    assert ("winograd image" in {call.args[0] for call in scratch.call_args_list}) == detour


@pytest.mark.parametrize(
    ("algorithm", "roundings"), [("im2col_chunked", 1), ("winograd_2x2", 2), ("winograd_4x4", 10)]
)
@pytest.mark.parametrize("channels", [4, 64, 512])
def test_the_error_in_float32_is_a_few_roundings_of_the_result(algorithm, roundings, channels):
    """The root mean square error over the root mean square of the result, in units of float32's last place."""
    given = arrays((1, channels, 12, 12), 32, (1, 1, 1, 1))
    single = [a.astype(np.float32) for a in given]
    exact = results(*(a.astype(np.float64) for a in single), 1, "im2col")
    for found, expected in zip(results(*single, 1, algorithm), exact, strict=True):
        assert found.dtype == np.float32
        error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
        assert error <= 4 * roundings * np.finfo(np.float32).eps


@ALGORITHM
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kernel": 5}, "the kernel must be 3×3, got 5×5"),
        ({"stride": 2}, r"the stride must be 1, got \(2, 2\)"),
        ({"dilation": 2}, r"the dilation must be 1, got \(2, 2\)"),
        ({"groups": 2}, "groups must be 1, got 2"),
        ({"dtype": np.float16}, "the dtype must be float32 or float64"),
    ],
)
def test_what_it_cannot_do_it_says(algorithm, change, reason):
    case = {"kernel": 3, "stride": 1, "dilation": 1, "groups": 1, "dtype": np.float64} | change
    x = np.zeros((1, 4, 9, 9), case["dtype"])
    w = np.zeros((2, 4 // case["groups"], case["kernel"], case["kernel"]), case["dtype"])
    options = {name: case[name] for name in ("stride", "dilation", "groups")}
    with pytest.raises(ValueError, match=f"conv2d: '{algorithm}' cannot do this: {reason}"):
        conv.conv2d(x, w, **options, algorithm=algorithm)


@ALGORITHM
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_work_counts_the_multiplications_of_the_tiles(algorithm, direction):
    m = int(algorithm[-1])
    problem = Problem((2, 6, 4 * m, 3 * m), 5, Window2d.of("test", 3, padding=1))
    products = ALGORITHMS[algorithm].work(problem, direction).products
    assert products[0].flops == 2 * (m + 2) ** 2 * (2 * 4 * 3) * 6 * 5
