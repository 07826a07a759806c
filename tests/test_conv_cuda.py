"""Convolution of CuPy arrays: every algorithm of the GPU against the CPU's definition in float64, and their choice."""

import itertools
import json
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minicnn
from minicnn import conv
from minicnn import functional as F
from minicnn.backend import precision
from minicnn.backend.cupy_device import launcher
from minicnn.conv import choice, tuned
from minicnn.conv.algorithms import algorithms_of
from minicnn.conv.columns import fold, unfold
from minicnn.conv.problem import DIRECTIONS, Problem
from minicnn.geometry import Window2d

pytestmark = pytest.mark.usefixtures("cuda")

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
TOLERANCES = {"float64": 1e-12, "float32": 1e-5, "float16": 3e-3, "bfloat16": 3e-2}

CASES = {  # input (N, C, H, W), kernels, kernel, options
    "one number": ((1, 1, 1, 1), 1, 1, {}),
    "primes": ((2, 3, 7, 5), 5, 3, {"padding": 1}),
    "3x3": ((2, 8, 6, 5), 12, 3, {"padding": 1}),
    "1x1": ((2, 16, 4, 3), 8, 1, {}),
    "1x1 stride": ((1, 5, 5, 4), 3, 1, {"stride": 2}),
    "uneven": ((1, 4, 9, 8), 6, (3, 2), {"stride": (2, 3), "padding": (0, 2, 3, 1), "dilation": (2, 1)}),
    "groups": ((2, 8, 5, 4), 12, 3, {"padding": 1, "groups": 2}),
    "depthwise": ((1, 5, 5, 6), 5, 3, {"padding": 1, "groups": 5}),
}


def problem_of(case, dtype):
    shape, kernels, kernel, options = CASES[case]
    options = dict(options)
    groups = options.pop("groups", 1)
    return Problem(shape, kernels, Window2d.of("test", kernel, **options), groups, np.dtype(dtype))


def drawn(problem, seed=0):
    """x, w, b and g in the problem's dtype."""
    rng = np.random.default_rng(seed)
    shapes = problem.input_shape, problem.weight_shape, (problem.kernels,), problem.output_shape
    return [rng.normal(size=shape).astype(problem.dtype) for shape in shapes]


def options_of(problem):
    window = problem.window
    return {
        "stride": window.stride,
        "padding": window.padding,
        "dilation": window.dilation,
        "groups": problem.groups,
    }


def computed(direction, problem, x, w, b, g, **options):
    """The direction's result, of any device's arrays."""
    options = options_of(problem) | options
    if direction == "forward":
        return conv.conv2d(x, w, b, **options)
    if direction == "backward_data":
        return conv.conv2d_backward_data(g, w, problem.input_shape, **options)
    return conv.conv2d_backward_weight(x, g, problem.window.kernel, **options)


def definition(direction, problem, arrays):
    return computed(direction, problem, *(a.astype(np.float64) for a in arrays), algorithm="direct")


def hold(result, expected, dtype, tolerance=None):
    tolerance = TOLERANCES[np.dtype(dtype).name] if tolerance is None else tolerance
    assert result.dtype == dtype
    assert result.shape == expected.shape
    error = np.abs(result.get().astype(np.float64) - expected).max(initial=0)
    assert error <= tolerance * max(np.abs(expected).max(initial=0), 1), error


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("algorithm", conv.algorithms("cuda"))
def test_every_algorithm_is_the_definition(cuda, algorithm, case, direction):
    computable = 0
    for dtype in ("float32", "float64", "float16", BFLOAT16):
        problem = problem_of(case, dtype)
        arrays = drawn(problem)
        with precision.allow_tf32(algorithm == "implicit_gemm_v7"):
            if not algorithms_of("cuda")[algorithm].supports(problem, direction):
                continue
            computable += 1
            result = computed(direction, problem, *map(cuda.asarray, arrays), algorithm=algorithm)
        tolerance = 3e-3 if algorithm == "implicit_gemm_v7" else None
        hold(result, definition(direction, problem, arrays), dtype, tolerance)
    assert computable or algorithm.startswith("winograd")


# Matrix products


FORMS = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((1, 4), (4, 1)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((4,), (2, 4, 3)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", BFLOAT16, "int64"], ids=str)
@pytest.mark.parametrize("shapes", FORMS, ids=str)
def test_the_forms_of_a_matrix_product(cuda, shapes, dtype):
    from minicnn.backend.gpu_matmul import matmul

    rng = np.random.default_rng(0)
    a, b = ((rng.normal(size=shape) * 3).astype(dtype) for shape in shapes)
    expected = np.matmul(a.astype(np.float64), b.astype(np.float64))
    hold(matmul(cuda.asarray(a), cuda.asarray(b)), expected, dtype, 0 if dtype == "int64" else None)


def test_a_product_of_transposed_matrices(cuda):
    from minicnn.backend.gpu_matmul import matmul

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 3)), rng.normal(size=(10, 8))
    result = matmul(cuda.asarray(a).T, cuda.asarray(b)[::2, ::2][:4])
    hold(result, a.T @ b[::2, ::2][:4], "float64")


def test_one_number_of_halves_is_summed_in_float32(cuda, monkeypatch):
    """CuPy's own sum of it is in halves, where 1 is lost beside 2048."""
    from minicnn.backend import gpu_matmul

    dtypes = []
    product = cuda.matmul
    monkeypatch.setattr(cuda, "matmul", lambda a, b: dtypes.append(a.dtype) or product(a, b))
    a = cuda.ones(4, np.float16)
    for one, other in ((a, a), (a[None], a[:, None]), (a[None], a)):
        assert gpu_matmul.matmul(one, other).dtype == np.float16
    assert dtypes == [np.float32] * 3


@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16], ids=str)
def test_stacks_of_halves_are_multiplied_in_float32(cuda, monkeypatch, dtype):
    """CuPy has no product of stacks of bfloat16."""
    from minicnn.backend import gpu_matmul

    dtypes = []
    product = cuda.matmul
    monkeypatch.setattr(cuda, "matmul", lambda a, b: dtypes.append(a.dtype) or product(a, b))
    a = cuda.ones((2, 3, 3), dtype)
    for one, other in ((a, a), (a, a[0]), (a[0], a), (a[0, 0], a)):
        assert gpu_matmul.matmul(one, other).dtype == dtype
    assert dtypes == [np.float32] * 4


def test_halves_on_a_gpu_without_products_of_them(cuda, monkeypatch):
    from minicnn.backend import gpu_matmul

    monkeypatch.setattr(launcher().device, "capability", 75)
    dtypes = []
    product = cuda.matmul
    monkeypatch.setattr(cuda, "matmul", lambda a, b: dtypes.append(a.dtype) or product(a, b))
    for dtype in (np.float16, BFLOAT16):
        a = cuda.ones((2, 2), dtype)
        assert gpu_matmul.matmul(a, a).dtype == dtype
    assert dtypes == [np.float16, np.float32]


def test_products_are_rounded_to_tf32_only_where_that_is_allowed(cuda):
    from minicnn.backend.gpu_matmul import matmul

    a, unit = cuda.full((64, 64), 1 + 2.0**-12, np.float32), cuda.asarray(np.eye(64, dtype=np.float32))
    with precision.allow_tf32():
        assert_array_equal(matmul(a, unit).get(), np.ones((64, 64), np.float32))
        wide = matmul(a.astype(np.float64), unit.astype(np.float64))
        with precision.allow_tf32(False):
            assert_array_equal(matmul(a, unit).get(), a.get())
    assert_array_equal(wide.get(), a.get())
    assert_array_equal(matmul(a, unit).get(), a.get())


def rounded(cuda, operation, shapes, forward, backward):
    """The gradients of an operation's sum of squares, where rounding is allowed in one pass or the other."""
    values = [1 + 2.0**-12 * np.arange(np.prod(shape)).reshape(shape) for shape in shapes]
    inputs = [
        minicnn.tensor(cuda.asarray(one.astype(np.float32)), device="cuda", requires_grad=True)
        for one in values
    ]
    with precision.allow_tf32(forward):
        y = operation(*inputs)
    with precision.allow_tf32(backward):
        y.backward(cuda.full(y.shape, 1 + 2.0**-12, np.float32))
    return [one.grad.get() for one in inputs]


@pytest.mark.parametrize(
    ("operation", "shapes"),
    [
        (F.conv2d, [(1, 8, 3, 3), (8, 8, 2, 2)]),
        (F.conv_transpose2d, [(1, 8, 3, 3), (8, 8, 2, 2)]),
        (F.linear, [(64, 32), (64, 32)]),
        (lambda a, b: a @ b, [(64, 32), (32, 64)]),
    ],
    ids=["conv2d", "conv_transpose2d", "linear", "matmul"],
)
def test_backward_rounds_as_forward_was_allowed_to(cuda, operation, shapes):
    exact, tf32 = (rounded(cuda, operation, shapes, one, one) for one in (False, True))
    for forward, expected in ((False, exact), (True, tf32)):
        for found, wanted in zip(
            rounded(cuda, operation, shapes, forward, not forward), expected, strict=True
        ):
            assert_array_equal(found, wanted)
    for one, other in zip(exact, tf32, strict=True):
        assert not np.array_equal(one, other)


def test_im2cols_products_are_rounded_where_that_is_allowed(cuda):
    x, w = cuda.full((1, 64, 8, 8), 1 + 2.0**-12, np.float32), cuda.ones((64, 64, 1, 1), np.float32)
    for tf32, expected in ((True, 64), (False, 64 + 2.0**-6)):
        with precision.allow_tf32(tf32):
            result = conv.conv2d(x, w, algorithm="im2col")
        assert_array_equal(result.get(), np.full((1, 64, 8, 8), expected, np.float32))


# Unfolding


WINDOWS = {
    "3x3": ((2, 4, 6, 5), Window2d.of("test", 3, padding=1)),
    "uneven": ((1, 3, 7, 8), Window2d.of("test", (2, 3), (2, 1), (1, 0, 2, 1), (1, 2))),
    "1x1": ((2, 3, 3, 2), Window2d.of("test", 1)),
    "no images": ((0, 3, 3, 2), Window2d.of("test", 2)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
@pytest.mark.parametrize("case", WINDOWS)
def test_unfolding_is_the_cpus(cuda, case, dtype):
    shape, window = WINDOWS[case]
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    columns = unfold(x, window)
    for strided in (cuda.asarray(x), cuda.asarray(x.transpose(0, 2, 3, 1).copy()).transpose(0, 3, 1, 2)):
        assert_array_equal(unfold(strided, window).get(), columns)
    entries = columns % 7  # sums of which float16 holds
    folded = fold(cuda.asarray(entries), shape, window)
    assert folded.dtype == dtype
    assert_array_equal(folded.get(), fold(entries, shape, window))


# What plain arrays may be like


STRIDES = {
    "rows first": lambda a: a.copy(),
    "every second": lambda a: a.repeat(2, axis=3)[..., ::2],
    "reversed": lambda a: a[:, :, ::-1].copy()[:, :, ::-1],
    "broken out": lambda a: np.pad(a, ((0, 0), (0, 1), (0, 0), (0, 0)))[:, :-1],
}


def on_device(cuda, array):
    """The array on the device, its strides kept, from an address that is a multiple of its own item only."""
    base = array if array.base is None else array.base
    while base.base is not None:
        base = base.base
    memory = cuda.empty(base.nbytes + array.itemsize, np.uint8)[array.itemsize :].view(array.dtype)
    memory[...] = cuda.asarray(np.ndarray(base.nbytes // array.itemsize, array.dtype, base.data))
    offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    pointer = memory.data + offset
    return cuda.ndarray(array.shape, array.dtype, pointer, array.strides)


@pytest.mark.parametrize("strides", STRIDES)
@pytest.mark.parametrize(
    ("algorithm", "direction"),
    [
        *itertools.product(("implicit_gemm_v5", "im2col"), DIRECTIONS),
        *itertools.product(("winograd_2x2",), DIRECTIONS[:2]),
    ],
)
def test_other_strides_are_converted(cuda, algorithm, direction, strides):
    problem = problem_of("3x3", "float32")
    x, w, b, g = drawn(problem)
    expected = definition(direction, problem, (x, w, b, g))
    arrays = [on_device(cuda, STRIDES[strides](a)) if a.ndim == 4 else cuda.asarray(a) for a in (x, w, b, g)]
    hold(computed(direction, problem, *arrays, algorithm=algorithm), expected, "float32")


@pytest.mark.parametrize("algorithm", ["implicit_gemm_v5", "im2col", "winograd_2x2"])
def test_out_of_other_strides_and_relu(cuda, algorithm):
    problem = problem_of("3x3", "float32")
    arrays = drawn(problem)
    expected = np.maximum(definition("forward", problem, arrays), 0)
    x, w, b, _ = map(cuda.asarray, arrays)
    n, k, p, q = expected.shape
    for out in (
        cuda.empty(expected.shape, np.float32),
        cuda.empty((n, p, q, k), np.float32).transpose(0, 3, 1, 2),
        cuda.empty((n, k, p, 2 * q), np.float32)[..., ::2],
    ):
        result = conv.conv2d(x, w, b, **options_of(problem), algorithm=algorithm, out=out, relu=True)
        assert result is out
        hold(out, expected, "float32")


@pytest.mark.parametrize("algorithm", ["direct", "implicit_gemm_v5", "im2col", "winograd_4x4"])
def test_without_bias(cuda, algorithm):
    problem = problem_of("3x3", "float32")
    x, w, _, _ = arrays = drawn(problem)
    expected = definition("forward", problem, [x, w, np.zeros(12), arrays[3]])
    result = conv.conv2d(cuda.asarray(x), cuda.asarray(w), **options_of(problem), algorithm=algorithm)
    hold(result, expected, "float32")


def test_results_lie_in_channels_last_memory(cuda):
    problem = problem_of("3x3", "float32")
    arrays = list(map(cuda.asarray, drawn(problem)))
    for direction in DIRECTIONS:
        assert computed(direction, problem, *arrays).transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("algorithm", conv.algorithms("cuda"))
def test_a_batch_of_no_images_starts_nothing(cuda, algorithm, monkeypatch):
    monkeypatch.setattr(launcher(), "run", lambda *arguments, **options: pytest.fail("a kernel is started"))
    dtype = np.float16 if algorithm == "implicit_gemm_v8" else np.float32
    x, g = cuda.empty((0, 4, 5, 5), dtype), cuda.empty((0, 8, 5, 5), dtype)
    w, options = cuda.ones((8, 4, 3, 3), dtype), {"padding": 1, "algorithm": algorithm}
    with precision.allow_tf32():
        assert conv.conv2d(x, w, **options).shape == (0, 8, 5, 5)
        assert conv.conv2d_backward_data(g, w, x.shape, **options).shape == x.shape
        if not algorithm.startswith("winograd"):
            assert_array_equal(conv.conv2d_backward_weight(x, g, 3, **options).get(), np.zeros(w.shape))
        assert conv.conv2d(x, w, padding=1, relu=True).shape == (0, 8, 5, 5)


def test_mixtures_are_refused(cuda):
    x, w = np.ones((1, 1, 3, 3), np.float32), cuda.ones((1, 1, 3, 3), np.float32)
    with pytest.raises(TypeError, match="one device, got some on 'cuda:0' and some on 'cpu'"):
        conv.conv2d(x, w)
    with pytest.raises(TypeError, match="one device"):
        conv.conv2d(w, w, out=x[:, :, :1, :1])
    with pytest.raises(TypeError, match="bfloat16 is for GPUs"):
        conv.conv2d(x.astype(BFLOAT16), x.astype(BFLOAT16))


# Which algorithm


@pytest.fixture
def timed(monkeypatch, tmp_path):
    """Let "auto" take algorithms' times from a dict, and keep what it finds in an empty cache; lists what is asked."""

    class Timed(dict):
        def __init__(self):
            self.asked, self.enough = [], []

    times = Timed()

    def seconds(run, enough):
        name = name_of(run.func.__self__)
        times.asked.append(name)
        times.enough.append(enough)
        if isinstance(times.get(name), Exception):
            raise times[name]
        return times.get(name, 1.0)

    from minicnn.conv import cuda_timing

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MINICNN_AUTOTUNE", "1")
    monkeypatch.setattr(cuda_timing, "seconds", seconds)
    forget(monkeypatch)
    yield times
    forget(monkeypatch)


def forget(monkeypatch):
    """End the process and begin a new one, as far as choices go."""
    for one in tuned._stores.values():
        one.save()
    monkeypatch.setattr(tuned, "_stores", {})
    choice._on_gpu.cache_clear()


def chosen(cuda, case="3x3", direction="forward", dtype="float32"):
    problem = problem_of(case, dtype)
    found = choice.choose("auto", problem, direction, cuda.empty(1, dtype))
    return name_of(found)


def name_of(algorithm):
    return next(name for name, one in algorithms_of("cuda").items() if one is algorithm)


def test_auto_is_the_fastest_and_asks_once(cuda, timed):
    timed["winograd_2x2"] = 0.5
    assert chosen(cuda) == "winograd_2x2"
    asked = list(timed.asked)
    assert len(asked) == len(set(asked)) > 5
    assert "implicit_gemm_v7" not in asked
    assert chosen(cuda) == "winograd_2x2"
    assert timed.asked == asked
    assert chosen(cuda, direction="backward_data") == "winograd_2x2"
    assert len(timed.asked) > len(asked)
    assert conv.choices()[tuned.key(problem_of("3x3", "float32"), "forward", False)] == "winograd_2x2"


def test_three_times_the_best_so_far_is_enough(cuda, timed):
    timed.update(implicit_gemm_v6=2.0, winograd_4x4=0.5)
    chosen(cuda)
    assert timed.asked[:2] == ["implicit_gemm_v6", "winograd_4x4"]
    assert timed.enough[:3] == [float("inf"), 6.0, 1.5]
    assert set(timed.enough[2:]) == {1.5}


def test_each_direction_dtype_and_rounding_is_timed_by_itself(cuda, timed):
    timed.update(implicit_gemm_v7=0.1, implicit_gemm_v3=0.2)
    assert chosen(cuda) == "implicit_gemm_v3"
    with precision.allow_tf32():
        assert chosen(cuda) == "implicit_gemm_v7"
    assert chosen(cuda) == "implicit_gemm_v3"
    assert chosen(cuda, dtype="float64") == "implicit_gemm_v3"
    assert chosen(cuda, dtype="float16") == "implicit_gemm_v8"


def test_a_new_process_reads_what_was_measured(cuda, timed, monkeypatch):
    timed["im2col"] = 0.5
    assert chosen(cuda) == "im2col"
    asked = len(timed.asked)
    forget(monkeypatch)
    timed["direct"] = 0.1
    assert chosen(cuda) == "im2col"
    assert len(timed.asked) == asked


def cache_file(tmp_path):
    for one in tuned._stores.values():
        one.save()
    (file,) = tmp_path.glob("minicnn/conv-choices-*.json")
    return file


def test_the_file_is_merged_with_another_processs(cuda, timed, tmp_path, monkeypatch):
    chosen(cuda)
    first = json.loads(cache_file(tmp_path).read_text())
    forget(monkeypatch)
    tuned.store(cuda.cuda.runtime.getDeviceProperties(0)["name"].decode(), cuda.__version__)
    written = first | {"choices": {"another's": "im2col"}}
    cache_file(tmp_path).write_text(json.dumps(written))
    chosen(cuda, "1x1")
    now = json.loads(cache_file(tmp_path).read_text())
    assert set(now["choices"]) == {
        *first["choices"],
        "another's",
        tuned.key(problem_of("1x1", "float32"), "forward", False),
    }
    assert now["of"] == first["of"]
    assert not list(tmp_path.glob("minicnn/.*"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"choices": {}}', "\0\0", pytest.param("[" * 100_000, id="deep")]
)
def test_a_damaged_file_is_ignored_and_said_once(cuda, timed, tmp_path, monkeypatch, text):
    chosen(cuda)
    asked = len(timed.asked)
    whole = json.loads(cache_file(tmp_path).read_text())
    for damage in (
        text,
        json.dumps(whole | {"choices": {"key": "fft"}}),
        json.dumps(whole | {"choices": []}),
    ):
        cache_file(tmp_path).write_text(damage)
        forget(monkeypatch)
        with pytest.warns(RuntimeWarning, match="cannot be read .* measured anew"):
            chosen(cuda)
        assert len(timed.asked) == 2 * asked
        assert json.loads(cache_file(tmp_path).read_text()) == whole
        del timed.asked[asked:]
        chosen(cuda, "1x1")
        cache_file(tmp_path).write_text(json.dumps(whole))
        del timed.asked[asked:]


@pytest.mark.parametrize("of", ["version", "gpu", "cupy", "kernels"])
def test_choices_of_others_are_forgotten(cuda, timed, tmp_path, monkeypatch, of):
    chosen(cuda)
    asked = len(timed.asked)
    whole = json.loads(cache_file(tmp_path).read_text())
    cache_file(tmp_path).write_text(json.dumps(whole | {"of": whole["of"] | {of: "another"}}))
    forget(monkeypatch)
    chosen(cuda)
    assert len(timed.asked) == 2 * asked
    assert json.loads(cache_file(tmp_path).read_text()) == whole


def test_the_file_is_not_written_again_at_once(cuda, timed, tmp_path, monkeypatch):
    chosen(cuda)
    (file,) = tmp_path.glob("minicnn/conv-choices-*.json")
    first = file.read_text()
    chosen(cuda, "1x1")
    assert file.read_text() == first
    monkeypatch.setattr(tuned, "PAUSE", 0)
    cache_file(tmp_path)
    second = file.read_text()
    assert second != first
    chosen(cuda, "depthwise")
    assert file.read_text() != second


def test_a_cache_that_cannot_be_written(cuda, timed, tmp_path):
    (tmp_path / "minicnn").write_text("no folder")
    timed["im2col"] = 0.5
    assert chosen(cuda) == "im2col"


def test_what_fails_in_another_way_is_passed_over_with_a_warning(cuda, timed):
    timed["implicit_gemm_v8"] = timed["winograd_4x4"] = RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")
    with pytest.warns(RuntimeWarning, match="winograd_4x4 is passed over, for it failed: CUBLAS"):
        assert chosen(cuda) not in ("winograd_4x4", "implicit_gemm_v8")


def test_what_finds_no_memory_or_is_refused_is_passed_over(cuda, timed):
    timed["im2col"] = cuda.cuda.memory.OutOfMemoryError(8, 0)
    timed["winograd_4x4"] = ValueError("refused")
    timed["implicit_gemm_v2"] = 0.9
    assert chosen(cuda) == "implicit_gemm_v2"


def test_without_memory_for_the_arrays_it_is_the_count(cuda, timed, tmp_path, monkeypatch):
    from minicnn.conv import cuda_timing

    def lacks(*arguments):
        raise cuda.cuda.memory.OutOfMemoryError(8, 0)

    monkeypatch.setattr(cuda_timing, "_images", lacks)
    assert chosen(cuda) == "implicit_gemm_v6"
    assert not timed.asked
    assert not list(tmp_path.iterdir())


def test_without_timing_it_is_the_count(cuda, timed, monkeypatch):
    timed["direct"] = 0.1
    with conv.autotune(False):
        assert chosen(cuda) == "implicit_gemm_v6"
        assert chosen(cuda, "depthwise") == "direct"
        assert chosen(cuda, "3x3", "backward_weight") == "implicit_gemm_v6"
        assert chosen(cuda, dtype="float64") == "implicit_gemm_v4"
        assert chosen(cuda, dtype="float16") == "implicit_gemm_v8"
        with precision.allow_tf32():
            assert chosen(cuda) == "implicit_gemm_v7"
            assert chosen(cuda, "depthwise") == "direct"
            assert chosen(cuda, dtype="float16") == "implicit_gemm_v8"
    monkeypatch.setenv("MINICNN_AUTOTUNE", "0")
    assert chosen(cuda) == "implicit_gemm_v6"
    assert not timed.asked
    with conv.autotune():
        assert chosen(cuda) == "direct"


def test_float64_beyond_32_bits_is_unfolded(cuda):
    window = Window2d.of("test", 3, padding=1)
    for images, expected in ((2**16, "implicit_gemm_v4"), (2**20, "im2col")):
        problem = Problem((images, 16, 16, 16), 16, window, dtype=np.dtype("float64"))
        assert name_of(choice.choose("auto", problem, "forward", cuda.empty(1))) == expected


def test_a_kept_choice_that_cannot_do_it_is_measured_anew(cuda, timed, tmp_path, monkeypatch):
    """As the rules of the kernels' host side may change with minicnn."""
    timed["direct"] = 0.5
    chosen(cuda, "1x1")
    kept = json.loads(cache_file(tmp_path).read_text())
    forget(monkeypatch)
    kept["choices"] = dict.fromkeys(kept["choices"], "winograd_2x2")
    cache_file(tmp_path).write_text(json.dumps(kept))
    assert chosen(cuda, "1x1") == "direct"
    assert set(json.loads(cache_file(tmp_path).read_text())["choices"].values()) == {"direct"}


@pytest.mark.parametrize("value", ["off", "2", "false"])
def test_an_environment_variable_with_another_value(cuda, timed, monkeypatch, value):
    monkeypatch.setenv("MINICNN_AUTOTUNE", value)
    with pytest.raises(ValueError, match=f"MINICNN_AUTOTUNE must be 0 or 1, got '{value}'"):
        chosen(cuda)
    with conv.autotune(False):
        chosen(cuda)


@pytest.mark.parametrize("source", [[1], 5, {"a": "fft"}, {3: "im2col"}, {"choices": 7}], ids=str)
def test_what_are_no_choices_to_pin(source):
    with pytest.raises(ValueError, match=r"pin: .* has no choices: "):
        conv.pin(source)


def test_pinned_choices_are_not_measured(cuda, timed, tmp_path, monkeypatch):
    timed["im2col"] = 0.1
    assert chosen(cuda) == "im2col"
    file = tmp_path / "pins.json"
    file.write_text(json.dumps(conv.choices()))
    kept = cache_file(tmp_path)
    timed.update(im2col=1.0, direct=0.01)
    try:
        for source in (file, str(kept), conv.choices()):
            conv.pin(source)
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"{source}".replace("/", "")[:20]))
            forget(monkeypatch)
            assert chosen(cuda) == "im2col"
            with conv.autotune(False):
                assert chosen(cuda) == "im2col"
            with conv.use("implicit_gemm_v3"):
                assert chosen(cuda) == "implicit_gemm_v3"
            assert chosen(cuda, "1x1") == "direct"
        conv.pin({tuned.key(problem_of("1x1", "float32"), "forward", False): "winograd_2x2"})
        with pytest.raises(ValueError, match="'winograd_2x2' cannot do this: the kernel must be"):
            chosen(cuda, "1x1")
    finally:
        conv.pin(None)
    assert chosen(cuda, "1x1") == "direct"


def test_all_of_a_problem_is_in_its_key():
    window = Window2d.of("test", (3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    problem = Problem((8, 64, 56, 56), 128, window)
    others = [
        *(
            replace(problem, input_shape=shape)
            for shape in [(9, 64, 56, 56), (8, 32, 56, 56), (8, 64, 55, 56)]
        ),
        *(
            replace(problem, window=replace(window, **{name: (2, 1)}))
            for name in ("kernel", "stride", "dilation")
        ),
        *(
            replace(problem, window=replace(window, padding=padding))
            for padding in [(1, 0, 1, 1), (1, 1, 1, 0)]
        ),
        replace(problem, kernels=64),
        replace(problem, groups=2),
        replace(problem, dtype=np.dtype("float16")),
    ]
    keys = [tuned.key(one, "forward", False) for one in (problem, *others)]
    keys += [tuned.key(problem, "backward_data", False), tuned.key(problem, "forward", True)]
    assert len(set(keys)) == len(keys)
    assert tuned.key(others[-1], "forward", True) == keys[len(others)]


@pytest.mark.parametrize("text", ["", "[]", '{"key": "fft"}', '{"choices": 1}', '{"of": {}}'])
def test_pins_that_are_none(tmp_path, text):
    file = tmp_path / "pins.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"pins\.json has no choices"):
        conv.pin(file)
    with pytest.raises(
        ValueError, match="pin: the mapping has no choices: an algorithm must be one of 'direct'"
    ):
        conv.pin({"problem": "fft"})
    with pytest.raises(FileNotFoundError):
        conv.pin(tmp_path / "nothing.json")


def test_slow_algorithms_are_not_run_where_they_are_hopeless(cuda, timed):
    large = Problem((8, 256, 56, 56), 256, Window2d.of("test", 3, padding=1))
    from minicnn.conv import cuda_timing

    assert set(cuda_timing._candidates(large, "forward", "implicit_gemm_v6")).isdisjoint(cuda_timing.SLOW)
    assert cuda_timing._candidates(large, "forward", "implicit_gemm_v6")[0] == "implicit_gemm_v6"
    assert "implicit_gemm_v2" in cuda_timing._candidates(large, "forward", "direct")


@pytest.mark.parametrize(
    ("enough", "milliseconds", "calls"), [(0.001, 1.1, 2), (0.001, 0.9, 6), (1.0, 4.0, 4)], ids=str
)
def test_an_algorithm_is_run_a_few_times_at_most(cuda, monkeypatch, enough, milliseconds, calls):
    from minicnn.conv import cuda_timing

    monkeypatch.setattr(cuda.cuda, "get_elapsed_time", lambda start, end: milliseconds)
    ran = []
    assert cuda_timing.seconds(lambda: ran.append(1), enough) == milliseconds / 1000
    assert len(ran) == calls


def test_timing_runs_the_algorithms_and_leaves_nothing(cuda, timed, monkeypatch):
    from minicnn.conv import cuda_timing

    def once(run, enough):
        run()
        return 1.0

    monkeypatch.setattr(cuda_timing, "seconds", once)
    problem = problem_of("3x3", "float32")
    arrays = list(map(cuda.asarray, drawn(problem)))
    before = cuda.get_default_memory_pool().used_bytes()
    for direction in DIRECTIONS:
        hold(
            computed(direction, problem, *arrays),
            definition(direction, problem, [a.get() for a in arrays]),
            "float32",
        )
    assert cuda.get_default_memory_pool().used_bytes() == before


def test_names_of_another_device(cuda):
    x, w = cuda.ones((1, 1, 4, 4), np.float32), cuda.ones((1, 1, 3, 3), np.float32)
    with pytest.raises(
        ValueError, match=r"conv2d: on 'cuda' the algorithms are 'auto', 'direct', .*, got 'fft'"
    ):
        conv.conv2d(x, w, algorithm="fft")
    with pytest.raises(
        ValueError, match=r"on 'cpu' the algorithms are 'auto', 'direct', .*, got 'implicit_gemm_v5'"
    ):
        conv.conv2d(x.get(), w.get(), algorithm="implicit_gemm_v5")
    with pytest.raises(ValueError, match="got 'implicit_gem'; did you mean 'implicit_gemm_v"):
        conv.conv2d(x, w, algorithm="implicit_gem")
    with conv.use("fft"):
        assert conv.conv2d(x.get(), w.get()).shape == (1, 1, 2, 2)
        with pytest.raises(ValueError, match="got 'fft'"):
            conv.conv2d(x, w)
    with conv.use("winograd_4x4", "auto"):
        for one in (x, x.get()):
            assert conv.conv2d(one, w if one is x else w.get(), stride=2).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda', got 'tpu'"):
        conv.algorithms("tpu")


def test_what_a_device_cannot_do(cuda, monkeypatch):
    monkeypatch.setattr(launcher().device, "capability", 75)
    for algorithm, dtype, reason in (
        ("implicit_gemm_v6", "float32", "needs compute capability 8.0, the device has 7.5"),
        ("implicit_gemm_v5", "float64", "is not made for float64"),
        ("implicit_gemm_v7", "float32", "rounds float32 to TF32"),
        ("im2col", "float16", "must be float32 or float64, got float16"),
        ("winograd_4x4", BFLOAT16, "must be float32 or float64, got bfloat16"),
    ):
        answer = algorithms_of("cuda")[algorithm].supports(problem_of("3x3", dtype), "forward")
        assert not answer
        assert reason in answer.reason
    x = cuda.ones((1, 1, 3, 3), np.float16)
    with pytest.raises(
        ValueError, match=r"conv2d: no algorithm can do this: .* 8\.0, the device has 7\.5.*input"
    ):
        conv.conv2d(x, x)
    groups = algorithms_of("cuda")["winograd_2x2"].supports(problem_of("groups", "float32"), "forward")
    assert groups.reason == "groups must be 1, got 2"


def test_every_answer_on_paper_is_the_kernels(cuda):
    """What supports() says beforehand, the ladder says when it is run."""
    for case, (direction, dtype) in itertools.product(
        CASES, itertools.product(DIRECTIONS, ("float32", "float64", "float16"))
    ):
        problem = problem_of(case, dtype)
        arrays = list(map(cuda.asarray, drawn(problem)))
        for name, algorithm in algorithms_of("cuda").items():
            if name.startswith("implicit") and name[-1] != "7" and not algorithm.supports(problem, direction):
                with pytest.raises((TypeError, ValueError)):
                    run_of(algorithm, direction, problem, *arrays)


def run_of(algorithm, direction, problem, x, w, b, g):
    if direction == "forward":
        algorithm.forward(x, w, b, problem.window, problem.groups, g)
    elif direction == "backward_data":
        algorithm.backward_data(g, w, problem.input_shape, problem.window, problem.groups)
    else:
        algorithm.backward_weight(x, g, problem.window, problem.groups)
