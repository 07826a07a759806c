"""Winograd's convolution: transforms derived exactly, tiles and stages of any size, and what float32 costs."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import conv
from minicnn.conv import winograd
from minicnn.conv.algorithms import ALGORITHMS
from minicnn.conv.cook_toom import cook_toom
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
