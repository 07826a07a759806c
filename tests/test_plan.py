"""Replayed operations, on the emulated device: the bits of the function itself, whatever changes between two calls."""

import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import pytest
from emulated import launcher, needs_compiler

from minicnn.backend import ladder, plan
from minicnn.backend.ladder.batch_norm import batch_norm_backward, batch_norm_forward, batch_norm_inference
from minicnn.backend.ladder.col2im import col2im
from minicnn.backend.ladder.conv2d_backward_data import conv2d_backward_data
from minicnn.backend.ladder.conv2d_backward_weight import conv2d_backward_bias, conv2d_backward_weight
from minicnn.backend.ladder.conv2d_forward import conv2d_forward
from minicnn.backend.ladder.dropout import dropout, philox
from minicnn.backend.ladder.im2col import im2col
from minicnn.backend.ladder.im2col_conv2d import (
    im2col_conv2d,
    im2col_conv2d_backward_data,
    im2col_conv2d_backward_weight,
)
from minicnn.backend.ladder.lrn import lrn_backward, lrn_forward
from minicnn.backend.ladder.pool import (
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
)
from minicnn.backend.ladder.sgd import sgd, sgd_chunks
from minicnn.backend.ladder.softmax_cross_entropy import softmax_cross_entropy
from minicnn.backend.ladder.winograd import winograd_backward_data, winograd_forward
from minicnn.backend.paper import Paper, Unrecordable, Varying
from minicnn.geometry import Window2d

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import launch_overhead

pytestmark = needs_compiler

SHAPE = (2, 4, 4, 8)
WINDOW = Window2d.of("test", 3, padding=1)
HALF = {"conv2d_forward v8", "conv2d_backward_data v8", "conv2d_backward_weight v8"}  # not made for float32


class Draw:
    """Arrays of one call; each call's are of other memory and other values."""

    def __init__(self, call: int, dtype=np.float32) -> None:
        self.call, self.dtype, self._rng = call, dtype, np.random.default_rng(call)

    def __call__(self, *shape, dtype=None):
        return self._rng.standard_normal(shape).astype(dtype or self.dtype)

    def positive(self, *shape):
        return np.abs(self(*shape)) + np.float32(0.5)

    def below(self, most, *shape, dtype=np.int64):
        return self._rng.integers(0, most, shape, dtype=dtype)


# Every operation of the ladder: the function, and how a call of it is drawn.
OPERATIONS = {
    "lrn_forward": (lrn_forward, lambda a: ((a(*SHAPE), 5, 0.5, 0.75), {})),
    "lrn_backward": (lrn_backward, lambda a: ((a(*SHAPE), a(*SHAPE), 5, 0.5, 0.75, 2.0), {})),
    "max_pool_forward": (max_pool_forward, lambda a: ((a(*SHAPE), (2, 2)), {"padding": 1})),
    "max_pool_backward": (
        max_pool_backward,
        lambda a: ((a(2, 2, 2, 8), a.below(16, 2, 2, 2, 8), SHAPE, 2), {}),
    ),
    "avg_pool_forward": (avg_pool_forward, lambda a: ((a(*SHAPE), 3, 1), {"padding": 1})),
    "avg_pool_backward": (avg_pool_backward, lambda a: ((a(2, 2, 2, 8), SHAPE, 2), {})),
    "batch_norm_inference": (
        batch_norm_inference,
        lambda a: ((a(*SHAPE), a(8), a.positive(8), a(8), a(8)), {"relu": True}),
    ),
    "batch_norm_forward": (
        batch_norm_forward,
        lambda a: ((a(*SHAPE), a(8)), {"running_mean": a(8), "running_var": a.positive(8)}),
    ),
    "batch_norm_backward": (
        batch_norm_backward,
        lambda a: ((a(*SHAPE), a(*SHAPE), a(8), a.positive(8), a(8), a(8)), {}),
    ),
    "im2col": (im2col, lambda a: ((a(*SHAPE), 3), {"padding": 1})),
    "col2im": (col2im, lambda a: ((a(1, 32, 72), SHAPE, 3), {"padding": 1})),
    "conv2d_forward": (
        conv2d_forward,
        lambda a: ((a(*SHAPE), a(8, 3, 3, 8), a(8)), {"window": WINDOW, "relu": True}),
    ),
    "conv2d_backward_data": (
        conv2d_backward_data,
        lambda a: ((a(*SHAPE), a(8, 3, 3, 8), SHAPE), {"window": WINDOW}),
    ),
    "conv2d_backward_weight": (
        conv2d_backward_weight,
        lambda a: ((a(*SHAPE), a(*SHAPE)), {"window": WINDOW}),
    ),
    "conv2d_backward_bias": (conv2d_backward_bias, lambda a: ((a(*SHAPE),), {})),
    "winograd2": (winograd_forward, lambda a: ((a(*SHAPE), a(8, 3, 3, 8), a(8)), {"window": WINDOW})),
    "winograd4": (winograd_forward, lambda a: ((a(*SHAPE), a(8, 3, 3, 8)), {"window": WINDOW})),
    "philox": (
        philox,
        lambda a: ((a.below(2**32, 5, 4, dtype=np.uint32), a.below(2**32, 5, 2, dtype=np.uint32)), {}),
    ),
    "dropout": (dropout, lambda a: ((a(*SHAPE), 0.3), {"seed": 7 + a.call, "offset": 2**40 * a.call})),
    "sgd": (sgd, lambda a: (tuple(a(3, 5) for _ in range(3)), {"lr": 0.5**a.call, "momentum": 0.9})),
    "sgd_chunks": (
        sgd_chunks,
        lambda a: ((*(a(2, 1024) for _ in range(3)), a.below(2, 2, dtype=np.int32), a.positive(2, 5)), {}),
    ),
    "softmax_cross_entropy": (
        softmax_cross_entropy,
        lambda a: ((a(6, 12), a.below(12, 6)), {"weight": a.positive(12), "label_smoothing": 0.1}),
    ),
}
# What else a call may ask for.
OTHERS = {
    "an array left out": (lrn_forward, lambda a: ((a(*SHAPE), 5), {"out": None})),
    "a result given": (lrn_forward, lambda a: ((a(*SHAPE), 5), {"out": a(*SHAPE)})),
    "a result in place": (
        dropout,
        lambda a: ((x := a(*SHAPE),), {"seed": a.call, "out": x}),
    ),
    "no running statistics": (batch_norm_forward, lambda a: ((a(*SHAPE), None, a(8)), {})),
    "double precision": (batch_norm_forward, lambda a: ((a(*SHAPE, dtype=np.float64),), {})),
    "one array twice": (lrn_backward, lambda a: ((x := a(*SHAPE), x, 5), {})),
    "no indices": (max_pool_forward, lambda a: ((a(*SHAPE), 2), {"with_indices": False})),
    "a loss for each sample": (
        softmax_cross_entropy,
        lambda a: ((a(6, 12), a.below(12, 6)), {"reduction": "none", "g": a(6), "out": a(6, 12)}),
    ),
    "no gradient": (softmax_cross_entropy, lambda a: ((a(6, 12), a.below(12, 6)), {"gradient": False})),
    "sums in parts": (
        conv2d_backward_weight,
        lambda a: ((a(*SHAPE), a(*SHAPE)), {"window": WINDOW, "version": "v5", "parts": 3}),
    ),
    "a dtype": (
        conv2d_backward_weight,
        lambda a: (
            (a(*SHAPE, dtype=np.float16), a(*SHAPE, dtype=np.float16)),
            {"window": WINDOW, "dtype": np.dtype("float32")},
        ),
    ),
    "batches, the last a smaller one": (
        winograd_forward,
        lambda a: (
            (a(*SHAPE), a(8, 3, 3, 8)),
            {"window": WINDOW, "version": "winograd2_v1", "workspace": 3072},
        ),
    ),
    "a gradient of images": (
        winograd_backward_data,
        lambda a: ((a(*SHAPE), a(8, 3, 3, 8), SHAPE), {"window": WINDOW}),
    ),
    "an empty batch": (lrn_forward, lambda a: ((a(0, 4, 4, 8), 5), {})),
}


def in_halves(on, x, y, *, seed):
    """Something with places in the middle of arrays: two results in one memory, of which parts are returned."""
    both = on.empty((2, *x.shape), x.dtype)
    dropout(on, x, seed=seed, offset=1, out=both[1])
    dropout(on, y, seed=3, offset=seed, out=both[0])
    last = lrn_forward(on, both[1, 1:], 5, out=both[0, :1])
    on.matmul(both[0, 0, 0], x[1, 2].swapaxes(0, 1), product := on.empty((4, 4), x.dtype))
    on.matmul(product, product.swapaxes(0, 1), square := on.empty((4, 4), x.dtype))
    square[1:3] = 7
    return both[1], last, square, both.reshape(-1)[8:16].reshape(2, 4), x, y[1:]


# By the vendor's library: images at once or one by one, whose columns are themselves, or some of which are misaligned.
OTHERS |= {
    f"{name}, {kernel}×{kernel}, {channels} channels, workspace {workspace}": (
        function,
        lambda a, draw=draw, kernel=kernel, channels=channels, workspace=workspace: (
            draw(a, a(3, 3, 3, channels), a(3, 3, 3, 5), kernel),
            {"padding": kernel // 2, "workspace": workspace},
        ),
    )
    for name, function, draw in (
        ("im2col", im2col_conv2d, lambda a, x, g, k: (x, a(5, k, k, x.shape[3]))),
        (
            "im2col_backward_data",
            im2col_conv2d_backward_data,
            lambda a, x, g, k: (g, a(5, k, k, x.shape[3]), x.shape),
        ),
        ("im2col_backward_weight", im2col_conv2d_backward_weight, lambda a, x, g, k: (x, g, k)),
    )
    for kernel, channels, workspace in ((3, 4, 1 << 20), (1, 4, 1 << 20), (3, 3, 1))
}
OTHERS["places in the middle"] = (in_halves, lambda a: ((a(*SHAPE), a(*SHAPE)), {"seed": a.call}))


def ladders():
    modules = [import_module(f"{ladder.__name__}.{found.name}") for found in iter_modules(ladder.__path__)]
    return {op: versions for one in modules for op, versions in getattr(one, "LADDER", {}).items()}


VERSIONS = [f"{op} {version}" for op, versions in ladders().items() for version in versions]


def operation(name):
    """The function of an operation's version, and how a call of it is drawn."""
    op, version = name.split(" ")
    function, draw = OPERATIONS[op]
    if op in ("philox", "sgd_chunks"):
        return function, draw
    version = f"{op}_{version}" if op.startswith("winograd") else version

    def of_version(a):
        arguments, options = draw(a)
        return arguments, {**options, "version": version}

    return function, of_version


def copied(arguments, options):
    """A call of copies of the arrays, the same array for the same array."""
    known = {}

    def copy(value):
        return known.setdefault(id(value), value.copy()) if isinstance(value, np.ndarray) else value

    return tuple(map(copy, arguments)), {name: copy(value) for name, value in options.items()}


def arrays_of(arguments, options):
    return [value for value in (*arguments, *options.values()) if isinstance(value, np.ndarray)]


def hold(found, expected):
    """Hold results and arrays to the same structure and bits."""
    assert type(found) is type(expected)
    if isinstance(found, tuple | list):
        for one, other in zip(found, expected, strict=True):
            hold(one, other)
    elif found is not None:
        assert (found.shape, found.dtype, found.strides) == (expected.shape, expected.dtype, expected.strides)
        assert found.tobytes() == expected.tobytes()


def refuse(*arguments, **options):
    raise AssertionError("a replayed call checked a launch")


def hold_to_the_function(function, draw, dtype=np.float32, plans=1):
    """Three calls of other values and places, the first recorded, the others replayed; return all their results."""
    on, directly, kept, results = launcher(), launcher(), [], []
    for call in range(3):
        given = draw(Draw(call, dtype))
        same = copied(*given)
        found, expected = on.run(function, *given[0], **given[1]), function(directly, *same[0], **same[1])
        hold(found, expected)
        hold(arrays_of(*given), arrays_of(*same))
        kept.append(given)  # and so the next call's arrays are elsewhere
        results += found if isinstance(found, tuple) else (found,)
        assert len(on.plans) == plans
        if plans:
            on.launch = refuse
    return results


# The same bits


def test_every_operation_is_here():
    assert set(OPERATIONS) == set(ladders())


@pytest.mark.parametrize("name", [name for name in VERSIONS if name != "sgd v1"])
def test_the_bits_of_every_version(name):
    hold_to_the_function(*operation(name), dtype=np.float16 if name in HALF else np.float32)


@pytest.mark.parametrize("name", OTHERS)
def test_the_bits_of_what_else_may_be_asked(name):
    hold_to_the_function(*OTHERS[name])


def test_two_functions_and_the_order_of_their_options():
    on, x, mean, var = launcher(), Draw(0)(*SHAPE), Draw(1)(8), Draw(2)(8)
    for _ in range(2):
        hold(on.run(avg_pool_forward, x, 2), avg_pool_forward(on, x, 2))
        hold(on.run(avg_pool_forward, x, 2, version="v1"), avg_pool_forward(on, x, 2, version="v1"))
        hold(on.run(max_pool_forward, x, 2), max_pool_forward(on, x, 2))
        for names in (("running_mean", "running_var"), ("running_var", "running_mean")):
            running = dict(zip(names, (mean, var), strict=True))
            same = {name: one.copy() for name, one in running.items()}
            on.run(batch_norm_forward, x, **running)
            batch_norm_forward(on, x, **same)
            hold(list(running.values()), list(same.values()))
    assert len(on.plans) == 5


def test_what_no_plan_can_say_is_run_as_it_is():
    hold_to_the_function(*operation("sgd v1"), plans=0)  # computes with the rate
    hold_to_the_function(im2col, lambda a: ((a(*SHAPE), [3, 3]), {}), plans=0)  # a list, which might change


def test_a_function_is_put_on_paper_once():
    def counted(on, x, y):
        called.append(on)
        return lrn_forward(on, x, 5) if y is None else -y

    for y, expected in ((None, 1), (Draw(1)(3), 4)):
        on, x, called = launcher(), Draw(0)(*SHAPE), []
        for _ in range(3):
            on.run(counted, x, y)
        assert len(called) == expected


def test_numbers_that_vary_share_one_plan_and_are_checked_at_each_call():
    on, x, (p, g) = launcher(), Draw(0)(*SHAPE), (Draw(0)(5), Draw(1)(5))
    for seed in (0, 1, 2**64 - 1, np.int32(5)):
        hold(on.run(dropout, x, seed=seed), dropout(on, x, seed=seed))
    for rate in (1, 0.5, np.float32(0.25), np.float64(0.1)):
        before = p.copy()
        on.run(sgd, p, g, lr=rate)
        np.testing.assert_allclose(p, before - np.float32(rate) * g, rtol=1e-6)
    assert len(on.plans) == 2 + 4  # one for each type of number
    for seed, error in (
        (-1, ValueError),
        (2**64, ValueError),
        (1.0, TypeError),
        (True, TypeError),
        ("1", TypeError),
    ):
        same_refusal(error, on, dropout, (x,), {"seed": seed})
    same_refusal(ValueError, on, sgd, (p, g), {"lr": 1e39})


def test_the_cost_of_a_call_can_be_measured(capsys):
    launch_overhead.main(["--smoke"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in launch_overhead.cases(launch_overhead.Nothing()))


# What a plan is not for


def refusal(error, run, *arguments, **options):
    with pytest.raises(error) as caught:
        run(*arguments, **options)
    return type(caught.value), str(caught.value)


def same_refusal(error, on, function, arguments, options):
    """The function's own message, the first time and once more."""
    expected = refusal(error, function, on, *arguments, **options)
    for _ in range(2):
        assert refusal(error, on.run, function, *arguments, **options) == expected


def shifted(array, by=4):
    """A copy that begins so many bytes beyond a multiple of 16."""
    memory = np.empty(array.nbytes + 32, np.uint8)
    start = -memory.ctypes.data % 16 + by
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (shifted, ValueError),
        (lambda x: np.asfortranarray(x), ValueError),
        (lambda x: x[..., ::-1], ValueError),
        (lambda x: x.astype(">f4"), TypeError),
        (lambda x: x.astype(np.float64), ValueError),
        (lambda x: x[0], ValueError),
        (lambda x: None, AttributeError),
        (lambda x: 1.0, AttributeError),
    ],
)
def test_an_array_that_does_not_fit_is_refused_after_one_that_did(change, error):
    on, x = launcher(), Draw(0)(*SHAPE)
    on.run(lrn_forward, x, 5, version="v3")
    same_refusal(error, on, lrn_forward, (change(x), 5), {"version": "v3"})


@pytest.mark.parametrize(
    ("options", "error"),
    [({"size": 5.0}, ValueError), ({"size": True}, ValueError), ({"size": 5, "version": "v9"}, ValueError)],
)
def test_an_option_is_refused_although_one_equal_to_it_was_not(options, error):
    on, x = launcher(), Draw(0)(*SHAPE)
    for size in (5, 1):
        on.run(lrn_forward, x, size=size)
    same_refusal(error, on, lrn_forward, (x,), options)


def test_a_tuple_is_refused_although_one_equal_to_it_was_not():
    on, x = launcher(), Draw(0)(*SHAPE)
    on.run(im2col, x, (1, 2))
    same_refusal(TypeError, on, im2col, (x, (1.0, 2)), {})
    same_refusal(TypeError, on, im2col, (x, (True, 2)), {})


def test_options_that_differ_have_plans_of_their_own():
    on, x = launcher(), Draw(0)(*SHAPE)
    calls = [{"alpha": 0.5}, {"beta": 0.5}, {"k": 0.5}, {"alpha": 0.5, "version": "v1"}, {}]
    for _ in range(2):
        for options in calls:
            hold(on.run(lrn_forward, x, 5, **options), lrn_forward(on, x, 5, **options))
    assert len(on.plans) == len(calls)


def test_memory_that_overlaps_is_refused_after_memory_that_did_not():
    on, both, g = launcher(), Draw(0)(3, *SHAPE), Draw(1)(*SHAPE)
    x, overlapping = both[0], both.reshape(-1)[128 : 128 + x_size()].reshape(SHAPE)
    on.run(lrn_backward, x, g, 5, out=both[1])
    for one, out in ((x, x), (x, x.view()), (x, overlapping), (overlapping, x)):
        same_refusal(ValueError, on, lrn_backward, (one, g, 5), {"out": out})
        same_refusal(ValueError, on, lrn_backward, (g, one, 5), {"out": out})
    on.run(sgd, x, g, both[1], lr=0.1, momentum=0.9)
    same_refusal(ValueError, on, sgd, (x, g, overlapping), {"lr": 0.1, "momentum": 0.9})
    same_refusal(ValueError, on, sgd, (g, x, x), {"lr": 0.1, "momentum": 0.9})


def beyond(on, x, *, first):
    return lrn_forward(on, x.reshape(-1)[first : first + 16].reshape(1, 1, 2, 8), 5)


def test_a_place_in_the_middle_that_is_refused():
    on, x = launcher(), Draw(0)(*SHAPE)
    for _ in range(2):
        hold(on.run(beyond, x, first=8), beyond(on, x, first=8))
    same_refusal(ValueError, on, beyond, (x,), {"first": 9})


def x_size():
    return int(np.prod(SHAPE))


def each(on, x, y):
    return lrn_forward(on, x, 5), lrn_forward(on, y, 5)


def test_memory_that_overlaps_where_it_is_only_read():
    on, directly, both = launcher(), launcher(), Draw(0)(3, *SHAPE)
    x, overlapping = both[0], both.reshape(-1)[128 : 128 + x_size()].reshape(SHAPE)
    for y in (both[1], x, overlapping):
        hold(on.run(each, x, y), each(directly, x, y))
        hold(on.run(each, y, x), each(directly, y, x))
    assert len(on.plans) == 2  # apart, and the same
    on.launch = refuse
    hold(on.run(each, x, overlapping), each(directly, x, overlapping))


def test_memory_of_two_shapes_that_begins_at_one_place():
    on, both = launcher(), Draw(0)(2, *SHAPE)
    for y in (both[1, :1], both[0, :1], both[1, :1]):
        hold(on.run(each, both[0], y), each(on, both[0], y))
        hold(on.run(each, y, both[0]), each(on, y, both[0]))
    assert len(on.plans) == 2


def test_in_place_after_two_arrays_and_two_arrays_after_in_place():
    on = launcher()
    for _ in range(2):
        for in_place in (False, True):
            x = Draw(0)(*SHAPE)
            expected = dropout(on, x, seed=1)
            out = x if in_place else np.empty_like(x)
            found = on.run(dropout, x, seed=1, out=out)
            assert found is out
            hold(found, expected)
            hold(x, expected if in_place else Draw(0)(*SHAPE))
    assert len(on.plans) == 2


def test_an_array_elsewhere_and_no_array_at_all_are_the_functions_to_refuse():
    on, x = launcher(), Draw(0)(*SHAPE)
    on.run(lrn_forward, x, 5)
    holds = on.device.holds
    on.device.holds = lambda array: array is not x and holds(array)
    same_refusal(TypeError, on, lrn_forward, (x, 5), {})
    same_refusal(AttributeError, on, lrn_forward, (x.tolist(), 5), {})


def test_an_error_that_is_mended_is_forgotten(monkeypatch):
    on, x = launcher(), Draw(0)(*SHAPE)
    with monkeypatch.context() as broken:
        broken.setattr(on.device, "function", refuse)
        with pytest.raises(AssertionError):
            on.run(lrn_forward, x, 5)
    on.run(lrn_forward, x, 5)
    assert len(on.plans) == 1


# Memory


def test_results_and_temporaries_are_new_at_each_call():
    for name in ("batch_norm_forward", "softmax_cross_entropy", "conv2d_backward_weight"):
        results = hold_to_the_function(*OPERATIONS[name])
        for i, one in enumerate(results):
            assert not any(np.shares_memory(one, other) for other in results[:i])


def test_a_result_that_is_given_comes_back_itself():
    on = launcher()
    for call in range(2):
        x, out = Draw(call)(*SHAPE), Draw(call)(*SHAPE)
        assert on.run(lrn_forward, x, 5, out=out) is out
        y, _, _ = on.run(batch_norm_forward, x, out=out)
        assert y is out
        assert on.run(sgd, x.reshape(-1), out.reshape(-1), lr=0.1) is None


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "conv2d_backward_weight", "batch_norm_backward"])
def test_views_are_made_only_where_they_are_needed(name):
    on, (function, draw) = launcher(), OPERATIONS[name]
    on.device.view = refuse
    for call in range(2):
        arguments, options = draw(Draw(call))
        on.run(function, *arguments, **options)
    assert len(on.plans) == 1


@pytest.mark.parametrize("replays", [0, 1])
def test_temporaries_go_back_when_they_are_done_with(replays):
    """Columns of one image at a time are no more than two images' columns."""
    on, x, w = launcher(), Draw(0)(5, 4, 4, 8), Draw(1)(8, 3, 3, 8)
    options = {"padding": 1, "workspace": 1}
    for _ in range(replays):
        on.run(im2col_conv2d, x, w, **options)
    empty, alive = on.device.empty, []

    def counted(shape, dtype):
        array = empty(shape, dtype)
        alive.append(weakref.ref(array))
        assert sum(one() is not None for one in alive) <= 1 + 2  # the result, and columns
        return array

    on.device.empty = counted
    assert on.run(im2col_conv2d, x, w, **options).shape == (5, 4, 4, 8)
    assert len(alive) == 6


def test_a_launcher_keeps_so_many_plans(monkeypatch):
    monkeypatch.setattr(plan, "MOST_PLANS", 3)
    on = launcher()
    for _ in range(2):
        for n in range(1, 6):
            x = Draw(n)(n, 2, 2, 4)
            hold(on.run(lrn_forward, x, 5), lrn_forward(on, x, 5))
            assert len(on.plans) <= 3
    assert len(on.plans) == 3


def test_a_plan_keeps_no_array():
    on = launcher()
    (arguments, options), _ = OPERATIONS["batch_norm_backward"][1](Draw(0)), None
    result = on.run(batch_norm_backward, *arguments, **options)
    known = [weakref.ref(one) for one in (*arguments, *result)]
    del arguments, options, result
    assert len(on.plans) == 1
    assert [one() for one in known] == [None] * len(known)


def test_plans_made_by_several_threads():
    on, xs = launcher(), [Draw(n)(n % 3 + 1, 2, 2, 4) for n in range(12)]
    on.device.function = lambda kernel, expression: lambda grid, block, arguments, shared_mem: None
    with ThreadPoolExecutor(4) as threads:
        shapes = [y.shape for y in threads.map(lambda x: on.run(lrn_forward, x, 5), xs)]
    assert shapes == [x.shape for x in xs]
    assert len(on.plans) == 3


# On paper


def test_what_is_known_of_a_symbol():
    paper = Paper(launcher().device)
    paper.empty((5,), np.float32)
    symbol = paper.empty((2, 3, 4), np.float32)
    assert (symbol.shape, symbol.strides, symbol.nbytes, len(symbol)) == ((2, 3, 4), (48, 16, 4), 96, 2)
    part = symbol[1:, None, 2].reshape(2, 2).swapaxes(0, 1)
    assert (part.base, part.offset, part.shape, part.strides) == (1, 80, (2, 2), (4, 8))
    huge = paper.empty((2**20, 2**20), np.float32)[2**19, 5:]
    assert (huge.offset, huge.shape) == (2**41 + 20, (2**20 - 5,))
    number = huge[-1]  # where there is no memory that could be read
    assert (number.offset, number.shape) == (2**41 + 2**22 - 4, ())


@pytest.mark.parametrize(
    "use",
    [
        lambda a: a.swapaxes(0, 1).reshape(6),
        lambda a: a[[0, 1]],
        lambda a: a + 1,
        lambda a: np.ones(3) + a,
        lambda a: np.asarray(a[0]),
        lambda a: np.exp(a),
        lambda a: float(a[0, 0]),
        lambda a: a == a,
        lambda a: bool(a),
        lambda a: a.__setitem__(0, np.ones(3)),
        lambda a: a.__iadd__(Varying(0)),
        lambda a: a.fill(0),
    ],
)
def test_what_is_not(use):
    with pytest.raises((Unrecordable, TypeError, AttributeError)):
        use(Paper(launcher().device).empty((2, 3), np.float32))


@pytest.mark.parametrize(
    "use", [lambda n: n == 0, lambda n: n < 1, lambda n: -n, lambda n: 2 * n, bool, int, float, hash]
)
def test_a_varying_number_has_no_value(use):
    with pytest.raises((Unrecordable, TypeError)):
        use(Varying(0))
