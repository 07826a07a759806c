"""Convolution by spectra: held to the definition for all options, cut small and large; and its promises of cost."""

import math
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import naive
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minicnn.backend import parallel
from minicnn.backend.workspace import poisoned, scratch
from minicnn.conv import fft, fft_tiles, im2col
from minicnn.conv.problem import DIRECTIONS, Problem
from minicnn.geometry import Window2d
from minicnn.testing import LAYOUTS, lay_out

# LEAST_SIDE, RATIO, BLOCK_BYTES and PLANES: as they are, small, and so small that all is done one by one.
AS_IS = fft_tiles.LEAST_SIDE, fft_tiles.RATIO, fft_tiles.BLOCK_BYTES, fft.PLANES
SMALL, SMALLEST = (4, 2, 3000, 3), (1, 1, 1, 1)


@contextmanager
def cut_by(least_side, ratio, block_bytes, planes):
    sizes = {"LEAST_SIDE": least_side, "RATIO": ratio, "BLOCK_BYTES": block_bytes}
    with patch.multiple(fft_tiles, **sizes), patch.object(fft, "PLANES", planes):
        yield


@st.composite
def cases(draw):
    """Any convolution whose kernel fits, in any memory: x, w, b, g, the options, and how it is cut."""
    groups, per_in, per_out = (draw(st.integers(1, 3)) for _ in range(3))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    options = {
        "stride": draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "padding": draw(st.tuples(*[st.integers(0, 4)] * 4)),
        "dilation": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "groups": groups,
    }
    n, height, width = draw(st.integers(0, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    window = window_of(kernel, options)
    top, bottom, left, right = options["padding"]
    assume(height + top + bottom >= window.extent[0] and width + left + right >= window.extent[1])
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def array(*shape):
        return lay_out(rng.normal(size=shape), draw(st.sampled_from(LAYOUTS)))

    x, w = array(n, groups * per_in, height, width), array(groups * per_out, per_in, *kernel)
    g = array(n, len(w), *window.output_size(height, width))
    sizes = draw(st.sampled_from([AS_IS, SMALL, SMALLEST]))
    return SimpleNamespace(
        x=x, w=w, b=rng.normal(size=len(w)), g=g, window=window, options=options, sizes=sizes
    )


def window_of(kernel, options):
    return Window2d.of("test", kernel, options["stride"], options["padding"], options["dilation"])


def definition_backward(x, w, g, options):
    """Return (dx, dw): each product of the definition gives each of them one term."""
    n, c, height, width = x.shape
    groups = options["groups"]
    dx, dw = np.zeros((n, c, 1 + height * width)), np.zeros(w.shape)
    pixels = np.concatenate([np.zeros((n, c, 1)), x.reshape(n, c, height * width)], axis=-1)
    numbers = np.arange(1.0, 1 + height * width).reshape(1, 1, height, width)  # and 0 is the padding
    options = [options[name] for name in ("stride", "padding", "dilation")]
    for p, q, seen, _, _ in naive.windows(numbers, w.shape[2:], *options, 0.0):
        at = seen[0, 0].astype(int)
        for group in range(groups):
            channels, kernels = (slice(group * a // groups, (group + 1) * a // groups) for a in (c, len(w)))
            here = g[:, kernels, p, q]
            terms = np.einsum("nk,kcrs->ncrs", here, w[kernels])
            np.add.at(dx[:, channels], (slice(None), slice(None), at), terms)
            dw[kernels] += np.einsum("nk,ncrs->kcrs", here, pixels[:, channels][:, :, at])
    return dx[..., 1:].reshape(x.shape), dw


def results(x, w, b, g, window, groups):
    """Return what the three directions compute, the forward one into memory that is as x's."""
    y = np.full_like(x, np.nan, shape=g.shape)
    fft.forward(x, w, b, window, groups, y)
    return y, fft.backward_data(g, w, x.shape, window, groups), fft.backward_weight(x, g, window, groups)


@settings(max_examples=60)
@given(case=cases(), layout=st.sampled_from(LAYOUTS[:-1]), relu=st.booleans(), biased=st.booleans())
def test_forward_is_the_definition(case, layout, relu, biased):
    b = case.b if biased else None
    out = lay_out(np.full(case.g.shape, np.nan), layout)
    with cut_by(*case.sizes), poisoned():
        fft.forward(case.x, case.w, b, case.window, case.options["groups"], out, relu)
    y = naive.conv2d(case.x, case.w, b, **case.options)
    np.testing.assert_allclose(out, np.maximum(y, 0) if relu else y, rtol=1e-10, atol=1e-10)


@settings(max_examples=60)
@given(case=cases())
def test_backward_passes_are_the_definition(case):
    with cut_by(*case.sizes), poisoned():
        dx = fft.backward_data(case.g, case.w, case.x.shape, case.window, case.options["groups"])
        dw = fft.backward_weight(case.x, case.g, case.window, case.options["groups"])
    for found, expected in zip(
        (dx, dw), definition_backward(case.x, case.w, case.g, case.options), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sizes", [AS_IS, SMALL], ids=["as is", "small"])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_same_bits_for_any_number_of_threads(groups, sizes):
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(2, 3, 8, 30, 30)).astype(np.float32)
    w = rng.normal(size=(8, 8 // groups, 5, 5)).astype(np.float32)
    window = Window2d.of("test", 5, padding=2)
    before = parallel.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            parallel.set_num_threads(threads)
            with cut_by(*sizes):
                found.append(results(x, w, None, g, window, groups))
    finally:
        parallel.set_num_threads(before)
    for again in found[1:]:
        for a, b in zip(found[0], again, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("dtype", "eps"), [("f2", 2**-10), ("f4", 2**-23), ("g", 1e-14)])
@pytest.mark.parametrize("kernel", [3, 11, 31])
def test_the_error_is_a_few_roundings_of_the_largest_sum(dtype, eps, kernel):
    """At most 6 ε from the scales, 1/√L rounded in each of three transforms of two axes; and the sums' own."""
    rng = np.random.default_rng(0)
    shapes = (2, 3, 40, 40), (2, 3, kernel, kernel), (2, 2, 40, 40)
    x, w, g = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    window = Window2d.of("test", kernel, padding=kernel // 2)
    found = results(x, w / np.array(kernel, dtype), None, g, window, 1)
    x, w, g = (a.astype("f8") for a in (x, w / np.array(kernel, dtype), g))
    y = np.empty_like(g)
    im2col.forward(x, w, None, window, 1, y)
    exact = y, im2col.backward_data(g, w, x.shape, window, 1), im2col.backward_weight(x, g, window, 1)
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == dtype
        assert abs(a - b).max() <= 10 * eps * abs(b).max()


def test_what_is_no_number_or_very_large_stays_in_its_tile():
    window = Window2d.of("test", 5)
    problem = Problem((2, 1, 64, 64), 1, window, 1, np.dtype("f4"))
    each = fft_tiles.plan(problem, "forward").tiles.vertical.each
    x, w = np.random.default_rng(0).normal(size=(2, 1, 64, 64)).astype("f4"), np.ones((1, 1, 5, 5), "f4")
    ys = []
    for first in (x[0, 0, 0, 0], np.nan, 1e9):
        x[0, 0, 0, 0] = first
        ys.append(np.empty(problem.output_shape, "f4"))
        fft.forward(x, w, None, window, 1, ys[-1])
        ys[-1][0, 0, :each, :each] = 0
    np.testing.assert_array_equal(ys[0], ys[1])
    np.testing.assert_array_equal(ys[0], ys[2])


@given(st.integers(1, 3000))
def test_fast_lengths_are_the_least_products_of_small_primes(n):
    found = fft_tiles.fast_length(n)
    smooth = {2**a * 3**b * 5**c for a in range(13) for b in range(9) for c in range(7)}
    assert found == min(length for length in smooth if length >= n)


@given(st.integers(0, 300), st.integers(1, 9), st.integers(1, 70))
def test_tiles_cover_an_axis_and_see_no_more_than_they_may(results, stride, extent):
    tiles, each, side = fft_tiles.cut(results, stride, extent)
    seen = (each - 1) * stride + extent
    assert (tiles - 1) * each < max(results, 1) <= max(tiles * each, 1)
    assert tiles * (each - 1) < max(results, 1)
    assert seen <= max(fft_tiles.LEAST_SIDE, fft_tiles.RATIO * extent)
    assert side == fft_tiles.fast_length(seen)
    if tiles > 1:  # in fewer tiles, they would see more
        fewer = -(-results // (tiles - 1))
        assert (fewer - 1) * stride + extent > max(fft_tiles.LEAST_SIDE, fft_tiles.RATIO * extent)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_tiles_are_of_what_is_computed(direction):
    """Of dx every pixel is a result; y's results see pixels a stride apart."""
    window = Window2d.of("test", (5, 3), (2, 3), padding=2, dilation=(1, 4))
    size, stride = ((70, 90), (1, 1)) if direction == "backward_data" else ((35, 29), (2, 3))
    axes = [fft_tiles.cut(size[i], stride[i], (5, 9)[i]) for i in (0, 1)]
    assert fft_tiles.plan(Problem((3, 2, 70, 90), 4, window), direction).tiles == (3, *axes)


def test_planes_are_transformed_some_rows_or_some_channels_at_a_time():
    def pieces(rows, channels):
        return [[(some.start, some.stop) for some in piece] for piece in fft._pieces(rows, channels)]

    with patch.object(fft, "PLANES", 8):
        assert pieces(5, 3) == [[(0, 2), (0, 3)], [(2, 4), (0, 3)], [(4, 5), (0, 3)]]
        assert pieces(2, 9) == [[(i, i + 1), some] for i in (0, 1) for some in ((0, 8), (8, 9))]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_planes_are_as_large_as_what_is_filled_in(direction):
    """Two of: the kernel's extent, what a tile's results see, what they take up with their stride, all that saw one."""
    window = Window2d.of("test", (5, 3), (2, 3), padding=2, dilation=(1, 4))
    problem = Problem((1, 2, 70, 90), 4, window)
    x, w, g = (np.ones(s, "f4") for s in (problem.input_shape, problem.weight_shape, problem.output_shape))
    with patch.object(fft, "scratch", wraps=scratch) as scratched:
        match direction:
            case "forward":
                fft.forward(x, w, None, window, 1, g)
            case "backward_data":
                fft.backward_data(g, w, x.shape, window, 1)
            case "backward_weight":
                fft.backward_weight(x, g, window, 1)
    tiles = fft_tiles.plan(problem, direction).tiles
    rows, columns = tiles.vertical.each - 1, tiles.horizontal.each - 1
    seen = rows * 2 + 5, columns * 3 + 9
    sizes = {
        "forward": {(5, 9), seen},
        "backward_data": {(5, 9), (rows + 5, columns + 9)},
        "backward_weight": {(rows * 2 + 1, columns * 3 + 1), seen},
    }
    found = {call.args[1][:2] for call in scratched.call_args_list if call.args[0] == "fft planes"}
    assert found - {tiles.sides} == sizes[direction]


@given(case=cases(), direction=st.sampled_from(DIRECTIONS), budget=st.integers(1, 20_000))
def test_blocks_and_spans_hold_everything_once_within_the_budget(case, direction, budget):
    problem = problem_of(case)
    with cut_by(4, 2, budget, 3):
        tiles, blocks, spans = fft_tiles.plan(problem, direction)
    (n, c), k, groups = case.x.shape[:2], len(case.w), problem.groups
    sees = np.zeros((k, c), int)
    for block in blocks:
        parts = (
            np.split(np.arange(a)[some], block.groups)
            for a, some in ((k, block.kernels), (c, block.channels))
        )
        for kernels, channels in zip(*parts, strict=True):
            sees[np.ix_(kernels, channels)] += 1
    np.testing.assert_array_equal(sees, np.kron(np.eye(groups), np.ones((k // groups, c // groups))))
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(tiles.total))
    assert tiles.total == n * tiles.vertical.tiles * tiles.horizontal.tiles
    spectrum = 16 * math.prod(tiles.frequencies)
    for block in blocks:
        kernels, channels = (some.stop - some.start for some in (block.kernels, block.channels))
        assert kernels == 1 or kernels * c // groups * spectrum <= budget
        if block is blocks[0] and len(blocks) > 1:  # the next kernel, or group, would be too much
            more = kernels + (k // groups if kernels >= k // groups else 1)
            assert more * c // groups * spectrum > budget
        for span in spans:
            rows = span.stop - span.start
            assert rows == 1 or rows * (kernels + channels) * spectrum <= budget


@given(case=cases(), direction=st.sampled_from(DIRECTIONS))
def test_it_supports_everything(case, direction):
    assert fft.supports(problem_of(case), direction) is True


def problem_of(case):
    return Problem(case.x.shape, len(case.w), case.window, case.options["groups"], case.x.dtype)


@pytest.mark.parametrize("sizes", [AS_IS, SMALL], ids=["as is", "small"])
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 2), (1, 6)])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_work_is_what_is_done(direction, stride, groups, sizes):
    rng = np.random.default_rng(0)
    window = Window2d.of("test", (5, 3), stride, padding=2)
    problem = Problem((3, 12, 30, 20), 6, window, groups)
    x, w, g = (
        rng.normal(size=shape).astype("f4")
        for shape in (problem.input_shape, problem.weight_shape, problem.output_shape)
    )
    with cut_by(*sizes), noted() as done:
        work = fft.work(problem, direction)
        match direction:
            case "forward":
                fft.forward(x, w, None, window, groups, g)
            case "backward_data":
                fft.backward_data(g, w, x.shape, window, groups)
            case "backward_weight":
                fft.backward_weight(x, g, window, groups)
        plan = fft_tiles.plan(problem, direction)
    assert work.flops == sum(done.flops)
    stages = round(math.log2(math.prod(plan.tiles.sides)) / 2)
    spectra = 8 * math.prod(plan.tiles.frequencies) * sum(done.planes)
    assert [moved for moved, _ in work.passes] == [stages * spectra, spectra]
    used = sum({purpose: size for size, purpose in sorted(done.scratch)}.values())
    assert used <= work.workspace(1) <= 1.5 * used
    assert work.tasks == max(done.tasks)
    assert sum(done.tasks) <= work.calls


@contextmanager
def noted():
    """Note the FLOPs of products, the planes transformed, the scratch memory, and the tasks of transforms."""
    done = SimpleNamespace(flops=[], planes=[], scratch=[], tasks=[])  # several threads append to these

    def matmul(a, b, out):
        done.flops.append(8 * math.prod(out.shape) * a.shape[-1])
        return np.matmul(a, b, out=out)

    def transform(name):
        def counting(a, n, axis, norm, out):
            done.planes.append(math.prod(a.shape[2:]))
            return getattr(np.fft, name)(a, n, axis=axis, norm=norm, out=out)

        return counting

    def room(purpose, shape, dtype):
        found = scratch(purpose, shape, dtype)
        done.scratch.append((found.nbytes, purpose))
        return found

    def shared(count, task):
        if "_multiply" not in task.__qualname__:
            done.tasks.append(count)
        parallel.parallel_for(count, task)

    counting = SimpleNamespace(**{**vars(np.fft), "rfft": transform("rfft"), "irfft": transform("irfft")})
    numpy = SimpleNamespace(**{**vars(np), "matmul": matmul, "fft": counting})
    with patch.multiple(fft, np=numpy, scratch=room, parallel_for=shared):
        yield done
