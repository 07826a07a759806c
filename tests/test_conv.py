"""The convolution algorithms on plain arrays: held to the definition, to each other, and to their promises."""

import naive
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minicnn import conv
from minicnn.backend import parallel
from minicnn.conv import im2col, im2col_chunked
from minicnn.geometry import Window2d


@st.composite
def problems(draw, algorithm="direct"):
    """Any convolution whose kernel fits and that the algorithm can do: x, w, b and the options."""
    only = algorithm.startswith("winograd")
    per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    groups = 1 if only or algorithm == "toeplitz" else draw(st.integers(1, 3))
    kernel = (3, 3) if only else draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    options = {
        "stride": (1, 1) if only else draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "padding": draw(st.tuples(*[st.integers(0, 4)] * 4)),
        "dilation": (1, 1) if only else draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
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


@pytest.mark.parametrize("budget", [1, 300, 5_000, 1 << 19])
@settings(max_examples=25, deadline=None)
@given(problem=problems())
def test_chunks_of_any_size_give_the_same(budget, problem):
    """Chunk edges through images, and through rows that overlap, change nothing but the rounding."""
    x, w, b, options = problem
    y = naive.conv2d(x, w, b, **options)
    g = np.random.default_rng(0).normal(size=y.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(im2col_chunked, "CHUNK_BYTES", budget)
        patch.setattr(im2col_chunked, "PRODUCT_ROWS", 1)
        patch.setattr(im2col_chunked, "SUM_ROWS", 1)
        options = options | {"algorithm": "im2col_chunked"}
        np.testing.assert_allclose(conv.conv2d(x, w, b, **options), y, rtol=1e-10, atol=1e-10)
        for found, expected in (
            (
                conv.conv2d_backward_data(g, w, x.shape, **options),
                conv.conv2d_backward_data(g, w, x.shape, **options | {"algorithm": "im2col"}),
            ),
            (
                conv.conv2d_backward_weight(x, g, w.shape[2:], **options),
                conv.conv2d_backward_weight(x, g, w.shape[2:], **options | {"algorithm": "im2col"}),
            ),
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@given(
    st.integers(0, 9), st.integers(1, 40), st.integers(1, 40), st.integers(1, 1 << 17), st.integers(1, 600)
)
def test_chunks_cover_every_row_once_within_the_budget(n, p, q, pixel_bytes, least):
    seen = np.zeros((n, p), int)
    for chunk in im2col_chunked.cut(n, p, q, pixel_bytes, least):
        seen[chunk.images, chunk.rows] += 1
        pixels = seen[chunk.images, chunk.rows].size * q
        assert pixels == q or pixels <= max(least, im2col_chunked.CHUNK_BYTES // pixel_bytes)
    assert (seen == 1).all()


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
        (lambda x, w: conv.conv2d([[1.0]], w), r"minicnn computes on NumPy arrays, got builtins\.list"),
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
