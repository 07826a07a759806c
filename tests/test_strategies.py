"""The strategies: what they draw is legal, covers what it is there for, and shrinks to what one can read."""

import inspect
import math
import re
import subprocess
import sys
from collections import Counter
from random import Random

import naive
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

import minicnn
from minicnn import Tensor, nn
from minicnn import functional as F
from minicnn.geometry import Window2d
from minicnn.ops.relu import ReLU
from minicnn.testing import GradcheckError, gradcheck
from minicnn.testing.case import Case, literal
from minicnn.testing.layer_case import LayerCase, with_values
from minicnn.testing.layouts import LAYOUTS, lay_out
from minicnn.testing.small_network import SmallNetwork
from minicnn.testing.strategies import (
    arrays,
    broadcastable,
    conv_cases,
    conv_transpose_cases,
    layers,
    pool_cases,
    shapes,
    small_networks,
    windows,
)
from minicnn.testing.strategies.layers import LAYERS
from minicnn.testing.values import VALUES, fill, fill_weight

NAMES = {
    "np": np,
    "F": F,
    "nn": nn,
    "Case": Case,
    "LayerCase": LayerCase,
    "lay_out": lay_out,
    "with_values": with_values,
}
"""What the reprs need to be Python."""

ROUNDING = 1e-12
"""What backward may leave where a derivative is 0, terms that cancel, at values of about 1."""

FEW = settings(max_examples=settings().max_examples // 8)  # of each of many


def drawn(strategy, count):
    """All that a run of `count` examples draws, the same in each run: what is rare is there or is not."""
    found = []

    @seed(0)
    @settings(max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=HealthCheck)
    @given(strategy)
    def run(value):
        found.append(value)

    run()
    return found


def smallest(strategy, condition=lambda value: True):
    plain = settings(
        max_examples=2000,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=HealthCheck,
    )
    return find(strategy, condition, settings=plain, random=Random(0))


def same(a, b):
    return a.dtype == b.dtype and a.strides == b.strides and np.array_equal(a, b)


# Memory layouts


STRIDES = {  # of (2, 3, 4, 5) numbers of 8 bytes
    "c": (480, 160, 40, 8),
    "fortran": (8, 16, 48, 192),
    "channels_last": (480, 8, 120, 24),
    "strided": (7680, 1280, 160, 16),
    "negative": (-480, -160, -40, -8),
    "broadcast": (480, 160, 40, 8),  # nothing repeats
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_what_they_say(layout):
    x = np.arange(120.0).reshape(2, 3, 4, 5)
    y = lay_out(x, layout)
    assert y.strides == STRIDES[layout]
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(x, y)
    assert (lay_out(np.arange(120).reshape(x.shape), layout) == x).all(), "integers too"
    assert lay_out(np.array([True, False]), layout).tolist() == [True, False], "and masks"
    for shape in ((), (1,), (0, 3), (2, 0), (3, 4)):
        z = lay_out(np.ones(shape, np.float32), layout)
        assert isinstance(z, np.ndarray)
        assert (z.shape, z.dtype, z.sum()) == (shape, np.float32, math.prod(shape))


def test_images_without_a_batch_have_channels_last_too():
    assert lay_out(np.zeros((3, 4, 5)), "channels_last").strides == (8, 120, 24)


def test_a_stray_read_between_strided_elements_is_nan():
    x = lay_out(np.ones((2, 3)), "strided")
    assert x.base is not None
    assert np.isnan(x.base).sum() == x.base.size - 6


def test_broadcast_shares_memory_just_where_values_repeat():
    x = np.tile(np.arange(3.0)[:, None], (2, 1, 4))
    y = lay_out(x, "broadcast")
    assert y.strides == (0, 8, 0)
    np.testing.assert_array_equal(y, x)
    assert not y.flags.writeable
    x[1, 2, 3] = 7
    assert lay_out(x, "broadcast").strides == (96, 32, 8)


def test_an_unknown_layout_is_refused():
    with pytest.raises(
        ValueError, match=r"lay_out: layout must be one of 'c', .*'fortan'; did you mean 'fortran'"
    ):
        lay_out(np.zeros(2), "fortan")


# Values


@pytest.mark.parametrize("values", VALUES)
@given(shape=shapes(min_dims=0, min_side=0), seed=st.integers(0, 1000))
def test_values_are_of_their_kind(values, shape, seed):
    x = fill(shape, values, seed)
    assert x.shape == shape
    assert x.flags.c_contiguous
    assert same(x, fill(shape, values, seed)), "the same for the same seed"
    low, high = {"positive": (0.5, 2.5), "negative": (-2.5, -0.5), "distinct": (-2, 2)}.get(
        values, (-9e6, 9e6)
    )
    assert ((low <= x) & (x <= high)).all()
    if values in ("positive", "negative", "distinct"):
        gaps = np.diff(np.sort([0.0, *x.flat]))
        assert gaps.min(initial=1.0) >= min(0.25, 1 / (2 * x.size or 1)), "apart, and away from 0"
    if values != "ill-scaled":
        assert (fill(shape, values, seed, np.float32) == x).all(), "no digit lost in single precision"
    assert x.size > 16 or all(len(repr(v)) <= 10 for v in x.ravel().tolist()), "short to print"


def test_kinds_with_kinks_have_many():
    ties = fill((10, 10), "ties")
    assert set(ties.flat) == {-1, 0, 1}
    assert (ties == 0).sum() > 10
    assert {len(set(fill((4, 4), "equal", seed).flat)) for seed in range(50)} == {1}
    assert {fill(1, "equal", seed).item() for seed in range(50)} == {-1, 0, 1}


def test_integers_are_whole_and_ill_scaled_numbers_span_decades():
    x = fill(100, "integers")
    np.testing.assert_array_equal(x, np.round(x))
    assert set(x) == set(range(-4, 5))
    y = np.abs(fill(200, "ill-scaled"))
    assert y.max() / y.min() > 1e11
    assert (fill(200, "ill-scaled") < 0).any()
    assert len(set(fill(200, "ill-scaled"))) > 100


def test_seeds_give_other_values():
    assert len({fill((2, 3), seed=seed).tobytes() for seed in range(50)}) > 45
    assert len({frozenset(fill(16, seed=seed)) for seed in range(50)}) > 45, "not just in another order"


def test_weights_keep_the_scale():
    assert np.abs(fill_weight((8, 3, 3, 3))).sum((1, 2, 3)).max() <= 2
    np.testing.assert_array_equal(fill_weight((5,), 3), fill((5,), seed=3))


def test_an_empty_weight_has_no_fan_in_to_divide_by():
    assert fill_weight((2, 0)).shape == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((2,), "tied"), ValueError, r"fill: values must be one of 'distinct', .*, got 'tied'"),
        (((2, -1),), ValueError, "fill: each length in shape must be at least 0, got -1"),
        ((2.5,), TypeError, "fill: each length in shape must be an int, got 2.5"),
        (((2,), "ties", -1), ValueError, "fill: seed must be at least 0, got -1"),
        (
            ((2,), "distinct", 0, int),
            TypeError,
            "fill: dtype must be float32 or float64 for 'distinct' values",
        ),
        (
            ((2,), "ties", 0, np.uint8),
            TypeError,
            "fill: dtype must be float32, float64 or a signed integer for",
        ),
        (((2,), "ill-scaled", 0, np.float16), TypeError, "for 'ill-scaled' values, got float16"),
    ],
)
def test_numbers_that_cannot_be_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fill(*arguments)


@pytest.mark.parametrize("values", ["ties", "equal", "integers"])
def test_whole_numbers_fit_integers(values):
    np.testing.assert_array_equal(fill((3, 4), values, 1, np.int8), fill((3, 4), values, 1))


# Shapes and arrays


@given(shapes(min_dims=2, max_dims=3, min_side=2, max_side=5), shapes(4))
def test_shapes_keep_to_their_bounds(shape, four):
    assert 2 <= len(shape) <= 3
    assert set(shape) <= {2, 3, 4, 5}
    assert len(four) == 4


@given(broadcastable(3, max_dims=3))
def test_broadcastable_shapes_broadcast(three):
    assert len(three) == 3
    assert len(np.broadcast_shapes(*three)) <= 3


def test_broadcastable_shapes_differ_in_length_and_side():
    found = drawn(broadcastable(), 200)
    assert any(len(a) != len(b) for a, b in found)
    assert any(len(a) == len(b) and a != b for a, b in found)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_have_the_layout_asked_for(layout):
    for x in drawn(arrays((2, 3, 4, 5), values="ties", layout=layout), 20):
        if layout == "broadcast":
            assert 0 in x.strides
        else:
            assert x.strides == STRIDES[layout]


def test_arrays_draw_every_kind_in_every_layout():
    found = drawn(arrays((2, 3, 4), values=("ties", "negative"), layout=LAYOUTS, dtype=np.float32), 500)
    assert {x.dtype for x in found} == {np.dtype(np.float32)}
    kinds = Counter((x.strides if 0 not in x.strides else 0, bool((x < 0).all())) for x in found)
    assert {strides for strides, _ in kinds} >= {0, (48, 16, 4), (4, 8, 24), (4, 32, 8), (-48, -16, -4)}
    assert len([strides for strides, negative in kinds if negative]) >= 6


def test_distinct_values_are_not_broadcast():
    found = drawn(arrays((3, 3), values=("distinct", "equal"), layout=("c", "broadcast")), 200)
    assert {(len(set(x.flat)), 0 in x.strides) for x in found} == {(9, False), (1, False), (1, True)}
    with pytest.raises(ValueError, match="layout 'broadcast' repeats values"):
        arrays(layout="broadcast")
    with pytest.raises(ValueError, match=r"arrays: values must be one of .*, got 'tie'; did you mean 'ties'"):
        arrays(values=("distinct", "tie"))
    with pytest.raises(ValueError, match="arrays: layout must have at least one name"):
        arrays(layout=())


@pytest.mark.parametrize(
    ("strategy", "error", "message"),
    [
        (lambda: shapes(-1), ValueError, "shapes: ndim must be at least 0, got -1"),
        (
            lambda: shapes(min_dims=3, max_dims=2),
            ValueError,
            "min_dims must be at most max_dims, got 3 and 2",
        ),
        (lambda: shapes(min_side=5), ValueError, "shapes: min_side must be at most max_side, got 5 and 4"),
        (lambda: shapes(max_side=-1), ValueError, "shapes: max_side must be at least 0, got -1"),
        (lambda: broadcastable(0), ValueError, "broadcastable: count must be at least 1, got 0"),
        (lambda: broadcastable(min_side=5), ValueError, "broadcastable: min_side must be at most max_side"),
        (lambda: arrays((2, -1)), ValueError, "arrays: each length in shape must be at least 0, got -1"),
        (
            lambda: arrays([2, 3]),
            TypeError,
            r"arrays: shape must be a tuple of ints, or a strategy .*\[2, 3\]",
        ),
        (lambda: arrays(values=3), TypeError, "arrays: values must be a name, or several in order, got 3"),
        (lambda: arrays(layout={"c", "fortran"}), TypeError, "arrays: layout must be a name, or several in"),
        (lambda: arrays(dtype=int), TypeError, "arrays: dtype must be float32 or float64 for 'distinct'"),
        (lambda: windows(0, 3), ValueError, "windows: height must be at least 1, got 0"),
        (lambda: windows(3, 3.0), TypeError, "windows: width must be an int, got 3.0"),
        (lambda: windows(3, 3, max_kernel=0), ValueError, "windows: max_kernel must be at least 1, got 0"),
        (lambda: windows(3, 3, max_dilation=0), ValueError, "windows: max_dilation must be at least 1"),
        (lambda: windows(3, 3, max_padding=-1), ValueError, "windows: max_padding must be at least 0"),
        (
            lambda: windows(3, 3, pooling=True, max_stride=0),
            ValueError,
            "windows: max_stride must be at least",
        ),
        (lambda: windows(3, 3, blind=True), ValueError, "windows: blind must be False unless pooling"),
        (lambda: conv_cases(max_side=0), ValueError, "conv_cases: max_side must be at least 1, got 0"),
        (lambda: conv_cases(layout="broadcast"), ValueError, "layout 'broadcast' repeats values"),
        (lambda: conv_transpose_cases(max_side=0), ValueError, "conv_transpose_cases: max_side must be at"),
        (lambda: conv_transpose_cases(values="tie"), ValueError, "got 'tie'; did you mean 'ties'"),
        (lambda: pool_cases(max_side=0), ValueError, "pool_cases: max_side must be at least 1, got 0"),
        (lambda: pool_cases(layout="C"), ValueError, "arrays: layout must be one of 'c', .*, got 'C'"),
        (lambda: layers("ReLU", dtype=int), TypeError, "dtype must be float32 or float64"),
        (
            lambda: small_networks(max_steps=0),
            ValueError,
            "small_networks: max_steps must be at least 1, got 0",
        ),
        (lambda: small_networks(dtype=int), TypeError, "small_networks: dtype must be float32 or float64"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_is_drawn(strategy, error, message):
    with pytest.raises(error, match=message):
        strategy()


def test_arrays_shrink_to_short_literals():
    several = arrays(values=("distinct", "ties"), layout=("c", "negative"))
    assert literal(smallest(several)) == "np.array([-1.5])"
    assert literal(smallest(several, lambda x: x.ndim == 2 and (x == 0).any())) == "np.array([[0.0]])"
    backwards = smallest(several, lambda x: x.size > 1 and x.strides[0] < 0)
    assert literal(backwards) == "lay_out(np.array([-1.5, 1.0]), 'negative')"
    one = smallest(several, lambda x: x.strides[0] < 0)
    assert literal(one) == "lay_out(np.array([-1.5]), 'negative')", "the layout of one element too"


# Windows


@given(st.data(), st.integers(1, 8), st.integers(1, 8), st.booleans(), st.booleans())
def test_windows_are_legal(data, height, width, pooling, blind):
    options = data.draw(windows(height, width, pooling=pooling, blind=pooling and blind))
    x = Tensor(np.zeros((1, 1, height, width)))
    if pooling:
        y = F.max_pool2d(x, **options)
        assert blind or np.isfinite(y.data).all()
    else:
        kernel = naive.pairs(options.pop("kernel_size"))
        y = F.conv2d(x, Tensor(np.zeros((1, 1, *kernel))), **options)
    assert min(y.shape) >= 1


def test_every_legal_pool_is_drawn():
    """All windows of a small search space, found here by trying, are found by drawing."""

    def axis(size):
        for kernel in (1, 2, 3):
            for stride in (1, 2):
                for padding in range(kernel // 2 + 1):
                    for ceil in (False, True):
                        if naive.out_size(size, kernel, stride, padding, padding, 1, ceil):
                            yield kernel, stride, padding, ceil

    legal = {((k, l), (s, t), (p, q), c) for k, s, p, c in axis(1) for l, t, q, d in axis(3) if c == d}
    limits = {"max_kernel": 3, "max_stride": 2, "max_dilation": 1}
    found = set()
    for options in drawn(windows(1, 3, pooling=True, **limits), 3000):
        kernel = naive.pairs(options["kernel_size"])
        stride, padding = (
            naive.pairs(options.get(name, usual)) for name, usual in (("stride", kernel), ("padding", 0))
        )
        found.add((kernel, stride, padding, options.get("ceil_mode", False)))
    assert {window for window in found if max(window[1]) <= 2} == legal


def test_every_legal_convolution_window_is_drawn():
    def axis(size):
        for kernel, dilation, stride, before, after in np.ndindex(2, 2, 2, 2, 2):
            if naive.out_size(size, kernel + 1, stride + 1, before, after, dilation + 1):
                yield kernel + 1, dilation + 1, stride + 1, before, after

    limits = {"max_kernel": 2, "max_stride": 2, "max_dilation": 2, "max_padding": 1}
    found, named = set(), set()
    for options in drawn(windows(1, 3, **limits), 6000):
        (k, l), (d, e), (s, t) = (
            naive.pairs(options.get(name, 1)) for name in ("kernel_size", "dilation", "stride")
        )
        padding = options.get("padding", 0)
        if isinstance(padding, str):
            named.add((padding, k, l, d, e, s, t))
        else:
            top, bottom, left, right = naive.four(padding)
            found.add(((k, d, s, top, bottom), (l, e, t, left, right)))
    assert {(a, b) for a, b in found if max(a[3:] + b[3:]) <= 1} == {(a, b) for a in axis(1) for b in axis(3)}
    assert {n[1:5] for n in named if n[0] == "same"} == {
        tuple(n + 1 for n in m) for m in np.ndindex(2, 2, 2, 2)
    }


def edges(options, height, width, pooling):
    """What is strange about a window."""
    kernel = naive.pairs(options["kernel_size"])
    stride = options.get("stride", kernel if pooling else 1)
    padding, ceil_mode = options.get("padding", 0), options.get("ceil_mode", False)
    window = Window2d.of("test", kernel, stride, padding, options.get("dilation", 1), ceil_mode)
    rows, columns = window.output_size(height, width)
    (top, bottom, left, right), (sh, _) = window.padding, window.stride
    room = height + top + bottom - window.extent[0]
    starts = [p * sh - top for p in range(rows)]
    return {
        name
        for name, holds in {
            "kernel = padded input": window.extent == (height + top + bottom, width + left + right),
            "kernel 1": kernel == (1, 1),
            "even kernel": kernel[0] % 2 == 0 and kernel[1] % 2 == 0,
            "not square": kernel[0] != kernel[1] and sh != window.stride[1] and top != left,
            "stride > kernel": sh > kernel[0] > 1,
            "rest": room > 0 and room % sh > 0,
            "many windows": rows > 2 and columns > 2,
            "padding > kernel": top > kernel[0],
            "asymmetric": top != bottom and left != right,
            "same": padding == "same",
            "valid": padding == "valid",
            "hanging window": ceil_mode and room > 0 and starts[-1] + window.extent[0] > height + bottom,
            "no hanging window": ceil_mode and room > 0 and room % sh == 0,
            "dropped window": ceil_mode and -(-room // sh) + 1 > rows,
            "hanging window alone": room < 0,
            "ceil mode with padding": ceil_mode and top > 0,
            "dilation over the image": kernel[0] > 1 and window.dilation[0] >= height,
            "blind window": any(
                all(not 0 <= start + r * window.dilation[0] < height for r in range(kernel[0]))
                for start in starts
            ),
        }.items()
        if holds
    }


BOTH = {
    "kernel = padded input",
    "kernel 1",
    "even kernel",
    "not square",
    "stride > kernel",
    "rest",
    "many windows",
    "dilation over the image",
    "blind window",
}
CONV = {"padding > kernel", "asymmetric", "same", "valid"}
POOL = {
    "hanging window",
    "no hanging window",
    "dropped window",
    "hanging window alone",
    "ceil mode with padding",
}


@pytest.mark.parametrize("pooling", [False, True])
def test_windows_have_edges_on_purpose(pooling):
    sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))
    strategy = sizes.flatmap(
        lambda size: windows(*size, pooling=pooling, blind=pooling).map(lambda options: (options, *size))
    )
    seen = Counter(edge for one in drawn(strategy, 1000) for edge in edges(*one, pooling))
    assert seen.keys() >= BOTH | (POOL if pooling else CONV)


def test_windows_shrink_to_few_options():
    def needs(name, value):
        return lambda options: options.get(name) == value

    assert smallest(windows(5, 5)) == {"kernel_size": 1}
    assert smallest(windows(5, 5), needs("padding", "same")) == {"kernel_size": 1, "padding": "same"}
    assert smallest(windows(5, 5, pooling=True), needs("ceil_mode", True)) == {
        "kernel_size": 1,
        "ceil_mode": True,
    }
    assert smallest(windows(5, 5), lambda o: len(naive.pairs(o.get("padding", 0))) == 4)["kernel_size"] == 1


# Convolutions and pools


CASES = {
    "conv2d": (conv_cases, F.conv2d, naive.conv2d),
    "conv_transpose2d": (conv_transpose_cases, F.conv_transpose2d, naive.conv_transpose2d),
    "max_pool2d": (pool_cases, F.max_pool2d, naive.max_pool2d),
    "avg_pool2d": (lambda **kw: pool_cases("average", **kw), F.avg_pool2d, naive.avg_pool2d),
}


@pytest.mark.parametrize("name", CASES)
def test_drawn_cases_run_and_equal_their_definition(name):
    strategy, call, definition = CASES[name]
    for case in drawn(strategy(unbatched=True, layout=("c", "strided")), 60):
        x, *rest = case.inputs
        batch = x if x.ndim == 4 else x[None]
        expected = definition(batch, *rest, **case.options)
        y = call(*map(Tensor, case.inputs), **case.options)
        np.testing.assert_allclose(y.data, expected if x.ndim == 4 else expected[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_the_repr_of_a_case_makes_it_again(name):
    strategy = CASES[name][0](values=("ties", "ill-scaled"), layout=LAYOUTS, dtype=np.float32)
    for case in drawn(strategy, 60):
        again = eval(repr(case), NAMES)
        assert again.options == case.options
        assert all(
            a.dtype == b.dtype and np.array_equal(a, b)
            for a, b in zip(again.inputs, case.inputs, strict=True)
        )


def test_convolutions_are_small_and_of_all_kinds():
    seen, most = Counter(), 0
    for case in drawn(conv_cases(unbatched=True), 250):
        x, w, *b = case.inputs
        groups = case.options.get("groups", 1)
        y = F.conv2d(*map(Tensor, case.inputs), **case.options)
        most = max(most, y.size * w[0].size)
        depthwise = groups == x.shape[-3] > 1
        seen.update(
            {
                "bias" if b else "no bias",
                f"{x.ndim}-D",
                f"{len(x)} images" if x.ndim == 4 else "unbatched",
                "depthwise" if depthwise and len(w) == groups else "",
                "several kernels a channel" if depthwise and len(w) > groups else "",
                "grouped" if 1 < groups < x.shape[-3] else "",
            }
        )
    assert 1000 < most <= 5000
    assert seen.keys() >= {
        *("bias", "no bias", "unbatched", "1 images", "2 images", "3 images"),
        *("depthwise", "several kernels a channel", "grouped"),
    }


def test_transposed_convolutions_are_small_and_of_all_kinds():
    seen = Counter()
    for case in drawn(conv_transpose_cases(), 250):
        x, w, *b = case.inputs
        assert x.size * w[0].size <= 5000
        assert x.ndim == 4
        options = {name: naive.pairs(case.options.get(name, 1)) for name in ("stride", "dilation")}
        extra, padding = (naive.pairs(case.options.get(name, 0)) for name in ("output_padding", "padding"))
        seen.update([*case.options, "bias" if b else "no bias"])
        seen["output padding > padding"] += extra[0] > padding[0]
        seen["output padding by dilation"] += options["stride"][0] <= extra[0] < options["dilation"][0]
    names = {"stride", "padding", "output_padding", "dilation", "groups", "bias", "no bias"}
    assert +seen == seen
    assert seen.keys() >= names | {"output padding > padding", "output padding by dilation"}


def test_pools_are_of_all_kinds():
    seen = Counter()
    for case in drawn(pool_cases("max"), 250):
        (x,) = case.inputs
        if case.options.get("padding", 0):
            seen["all below 0 under padding"] += bool((x < 0).all()) and len(set(x.flat)) > 1
            seen["all the same"] += x.size > 2 and len(set(x.flat)) == 1
        seen["ties"] += 1 < len(set(x.flat)) <= 3 < x.size
        seen["dilation"] += "dilation" in case.options
    assert min(seen.values()) > 0
    averages = [case.options for case in drawn(pool_cases("average"), 250)]
    assert not any("dilation" in options for options in averages)
    kinds = {
        (o.get("count_include_pad", True), o.get("divisor_override")) for o in averages if o.get("padding")
    }
    assert {(True, None), (False, None), (True, 3)} <= kinds


def test_an_unknown_kind_of_pool_is_refused():
    with pytest.raises(ValueError, match="pool_cases: kind must be one of 'max', 'average', got 'avg'"):
        pool_cases("avg")


def test_cases_shrink_to_one_pixel():
    one = "np.array([[[[-1.5]]]])"
    assert repr(smallest(conv_cases())) == f"Case(({one}, {one}), {{}})"
    assert repr(smallest(conv_transpose_cases())) == f"Case(({one}, {one}), {{}})"
    assert repr(smallest(pool_cases())) == f"Case(({one},), {{'kernel_size': 1}})"
    bias = smallest(conv_cases(), lambda case: len(case.inputs) == 3 and case.inputs[0].shape[3] > 1)
    assert repr(bias) == f"Case((np.array([[[[-1.5, 1.0]]]]), {one}, np.array([-1.5])), {{}})"


# Layers


def test_every_layer_of_nn_is_drawn():
    """A layer that maps one tensor to one tensor has a forward of one argument."""
    known = {
        name
        for name, layer in vars(nn).items()
        if inspect.isclass(layer)
        and issubclass(layer, nn.Module)
        and list(inspect.signature(layer.forward).parameters) == ["self", "input"]
    }
    assert "Conv2d" in known
    assert known == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
@given(data=st.data())
@FEW
def test_layers_have_right_gradients_and_print_as_themselves(name, data):
    case = data.draw(layers(name))
    layer, x, _ = case
    assert type(layer).__name__ == name
    assert all(part.dtype == np.float64 for part in layer.parameters())
    again = eval(repr(case), NAMES)
    assert again.layer.training == layer.training
    np.testing.assert_array_equal(again.x, x)
    np.testing.assert_array_equal(again.layer(Tensor(again.x)).data, layer(Tensor(x)).data)
    parameters = dict(layer.named_parameters())
    gradcheck(layer, x, parameters=parameters, elements=16, directions=2, coordinates=2, atol=ROUNDING)


def test_layers_are_drawn_in_all_modes():
    for layer, wanted in {
        "BatchNorm2d": {"training", "evaluation", "affine", "plain", "untracked", "plain average"},
        "Conv2d": {"reflect", "circular", "replicate", "zeros", "grouped", "3-D", "4-D"},
        "Dropout": {"all dropped", "scaled at test", "nothing dropped"},
    }.items():
        seen = {mode for case in drawn(layers(layer), 150) for mode in modes(case)}
        assert seen >= wanted


def modes(case):
    layer = case.layer
    assert layer(Tensor(case.x)).size > 0
    yield "training" if case.layer.training else "evaluation"
    yield f"{case.x.ndim}-D"
    if isinstance(layer, nn.BatchNorm2d):
        yield "affine" if layer.affine else "plain"
        yield "tracked" if layer.track_running_stats else "untracked"
        yield "moving average" if layer.momentum else "plain average"
    elif isinstance(layer, nn.Conv2d):
        if layer.padding not in ((0, 0), "valid"):
            yield layer.padding_mode
        yield "grouped" if layer.groups > 1 else "whole"
    elif isinstance(layer, nn.Dropout):
        yield {0: "nothing dropped", 1: "all dropped"}.get(layer.p, "some dropped")
        yield "scaled at test" if layer.scale_at_test else "scaled in training"


def test_layers_take_a_dtype_and_a_layout():
    for case in drawn(layers("Linear", "BatchNorm2d", layout="negative", dtype=np.float32), 30):
        assert {part.dtype for part in case.layer.parameters()} <= {np.dtype(np.float32)}
        assert case.x.dtype == np.float32
        assert max(case.x.strides) < 0
        assert case.layer(Tensor(case.x)).dtype == np.float32
        np.testing.assert_array_equal(
            eval(repr(case), NAMES).layer(Tensor(case.x)).data, case.layer(Tensor(case.x)).data
        )


def test_layers_shrink():
    assert repr(smallest(layers("Linear"))) == (
        "LayerCase(with_values(nn.Linear(in_features=1, out_features=1, bias=False), 0), np.array([-1.5]))"
    )
    with pytest.raises(ValueError, match=r"layers: names must be one of .*, got 'Conv'; did you mean"):
        layers("Conv")


def test_drawing_layers_leaves_the_default_generator_alone():
    generator = minicnn.manual_seed(0)
    before = generator.bit_generator.state
    drawn(layers("Conv2d", "Linear", "BatchNorm2d", "Sequential"), 30)
    drawn(small_networks(), 10)
    assert generator.bit_generator.state == before
    assert nn.Linear(1, 1).weight.device == "cpu", "the meta device is left again"


def test_values_of_layers_hide_no_wrong_gradient():
    layer = with_values(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)))
    for name, part in [*layer.named_parameters(), *layer.named_buffers()]:
        if part.dtype == np.float64:
            assert np.unique(part.data).size == part.size, name
            assert (part.data != 0).all(), name
    assert (layer[1].running_var.data > 0).all()
    assert layer[1].num_batches_tracked.item() == 0
    assert layer[0].weight.data.strides[1] == 8, "channels-last, as ever"


# Small networks


@given(small_networks())
def test_small_networks_have_right_gradients(network):
    gradcheck(network, network.inputs, elements=0, directions=1, coordinates=2, together=2, atol=ROUNDING)


@given(small_networks())
def test_the_repr_of_a_network_defines_it(network):
    names = {}
    exec(repr(network), names)
    assert all(map(same, names["inputs"], network.inputs))
    y = names["network"](*map(Tensor, names["inputs"]))
    np.testing.assert_array_equal(y.data, network(*map(Tensor, network.inputs)).data)


def test_small_networks_need_all_they_have():
    for network in drawn(small_networks(), 100):
        head, *lines = network.source.splitlines()
        names = re.findall(r"\b[xwbh]\d+", network.source)
        assert min(Counter(names).values()) > 1, "each value is made once, and used"
        assert len(network.inputs) == len(re.findall(r"\w\d", head))
        for letter in "xwbh":
            numbers = list(dict.fromkeys(name for name in names if name[0] == letter))
            assert sorted(numbers) == [f"{letter}{i}" for i in range(len(numbers))], "without gaps"
        assert len(lines) <= 7


def test_small_networks_have_all_operations():
    text = "".join(network.source for network in drawn(small_networks(), 250))
    assert set(re.findall(r"F\.(\w+)\(", text)) == {
        *("conv2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "batch_norm", "linear", "cat", "pad"),
        *("relu", "sigmoid", "tanh", "softmax", "local_response_norm"),
    }


@pytest.mark.parametrize(
    "pattern",
    [
        r"(h\d) = .*\n(.*\n)*    h\d = (?!\1)h\d \+ \1\n",  # a residual
        r"F.cat\(\[(h\d), (?!\1)h\d",  # two branches meet
        r"x1.*, w0",  # several images, and weights
        r"h5",  # six lines
    ],
)
def test_small_networks_reuse_and_join_values(pattern):
    assert smallest(small_networks(), lambda network: re.search(pattern, network.source))


def test_small_networks_shrink_line_by_line():
    found = smallest(small_networks(), lambda network: network.source.count("\n") == 5)
    lines = ["h0 = F.relu(x0)", "h1 = F.relu(h0)", "h2 = F.relu(h1)", "return h2"]
    assert [line.strip() for line in found.source.splitlines()] == ["def network(x0):", *lines]


def test_a_wrong_gradient_shrinks_to_one_line(monkeypatch):
    backward = ReLU.backward
    monkeypatch.setattr(ReLU, "backward", lambda self, g: 1.01 * backward(self, g))

    def is_wrong(network):
        try:
            gradcheck(network, network.inputs, elements=0, directions=1, coordinates=0)
        except GradcheckError:
            return True
        return False

    found = smallest(small_networks(), lambda network: "F.relu" in network.source and is_wrong(network))
    assert found.source == "def network(x0):\n    h0 = F.relu(x0)\n    return h0\n"
    assert found.inputs[0].size <= 2, "one is below 0"


def test_a_networks_inputs_print_with_their_layout():
    network = SmallNetwork("def network(x0):\n    return x0\n", (lay_out(np.eye(2), "negative"),))
    assert "from minicnn.testing import lay_out\n" in repr(network)
    assert "inputs = (lay_out(np.array([[1.0, 0.0], [0.0, 1.0]]), 'negative'),)" in repr(network)


# What a failing test prints


@pytest.mark.parametrize(
    ("strategy", "printed"),
    [
        (arrays((2, 1)), "x=np.array([[-1.5], [1.0]])"),
        (arrays((2, 1), layout="negative"), "x=lay_out(np.array([[-1.5], [1.0]]), 'negative')"),
        (st.lists(arrays(()), min_size=1), "x=[np.array(-1.5)]"),
        (arrays((20, 60)), ", -1.5703125]])"),
        (pool_cases(), "x=Case((np.array([[[[-1.5]]]]),), {'kernel_size': 1})"),
        (layers("Tanh"), "x=LayerCase(with_values(nn.Tanh(), 0), np.array([-1.5]))"),
        (small_networks(), "\ndef network(x0):\n    h0 = F.relu(x0)\n    return h0\n\ninputs = (np.array("),
    ],
)
def test_a_failing_case_prints_as_python(strategy, printed):
    @settings(database=None)
    @given(strategy)
    def fails(x):
        raise AssertionError

    with pytest.raises(AssertionError) as failure:
        fails()
    notes = "\n".join(failure.value.__notes__)
    assert printed in notes
    assert "..." not in notes, "nothing is left out"


# Without Hypothesis


def test_without_hypothesis_only_the_strategies_are_missing():
    script = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import minicnn.testing, minicnn.testing.layouts, minicnn.testing.values\n"
        "import minicnn.testing.layer_case, minicnn.testing.small_network\n"
        "try:\n    import minicnn.testing.strategies\n"
        "except ImportError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == 'minicnn.testing.strategies needs Hypothesis: pip install "minicnn[test]"\n'
