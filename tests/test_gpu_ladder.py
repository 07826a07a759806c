"""The benchmark of the CUDA ladder, proven without a GPU: its rows are the kernels', what is wrong is never timed, the
clock counts what it should, the budget is kept, and a record becomes the README's table."""

import contextlib
import json
import math
import multiprocessing
import os
import subprocess
import sys
import types
from pathlib import Path

import fake_gpu
import numpy as np
import pytest
from emulated import launcher, needs_compiler

from minicnn import functional, study
from minicnn.backend import cuda_source, device, ladder, nvrtc
from minicnn.geometry import Window2d
from minicnn.models import get_model
from minicnn.tensor import Tensor

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import gpu_ladder
import readme
from kernel_speed import hardware, oracles, report, timing
from kernel_speed.layers import NETWORKS, layers, tiny
from kernel_speed.operations import OPERATIONS
from kernel_speed.plan import STAGES, Died, Task, plan, rows_within
from kernel_speed.rows import TOLERANCE, Case, Wrong, compared, measure, with_rates
from kernel_speed.worker import Unavailable, Worker

ROOT = Path(__file__).parents[1]

# The layers


def test_the_layers_are_those_of_the_networks():
    found = layers()
    assert len({(layer.kind, layer.name) for layer in found}) == len(found)
    for network, dense in (("vgg16", 123_633_664), ("resnet50", 2_048_000)):
        with device("meta"):
            macs = study.summary(get_model(**NETWORKS[network])).macs
        convolved = [
            layer.flops // 2 * uses.get(network, 0) for layer, uses in found.items() if layer.kernels
        ]
        assert sum(convolved) + dense == macs
    vgg = [layer for layer, uses in found.items() if layer.kind == "conv2d" and "vgg16" in uses]
    assert sum(found[layer]["vgg16"] for layer in vgg) == 13
    assert all(layer.name.startswith("3×3 ") and layer.outputs == layer.shape[:2] for layer in vgg)


def test_tiny_layers_are_of_the_same_kind():
    for layer in layers():
        small = tiny(layer)
        assert small.kind == layer.kind
        assert small.flops < 40_000
        if layer.window is not None:
            assert (small.window.kernel, small.window.stride) == (layer.window.kernel, layer.window.stride)
            assert min(small.outputs) >= min(1, *layer.outputs)


# What is right


def nhwc(array):
    return np.moveaxis(array, 1, -1)


def gradients(function, g, *arrays):
    """The result of a function of minicnn and the gradients of its arguments, images with their channels last."""
    tensors = [Tensor(np.moveaxis(a, -1, 1) if a.ndim == 4 else a, requires_grad=True) for a in arrays]
    y = function(*tensors)
    y.backward(np.moveaxis(g, -1, 1) if g.ndim == 4 else g)
    found = [y.data, *(tensor.grad for tensor in tensors)]
    return [nhwc(array) if array.ndim == 4 else array for array in found]


def close(found, *expected):
    found = found if isinstance(found, tuple) else (found,)
    for a, b in zip(found, expected, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 1, 1), (3, 2, 1), (7, 2, 3), (1, 2, 0), (5, 3, 0), ((2, 3), 1, (0, 1))],
)
def test_oracles_of_convolution_are_minicnns(kernel, stride, padding):
    rng = np.random.default_rng(0)
    window = Window2d.of("test", kernel, stride, padding)
    x, w = rng.normal(size=(2, 9, 11, 5)), rng.normal(size=(4, *window.kernel, 5))
    g = rng.normal(size=(2, *window.output_size(9, 11), 4))
    y, dx, dw = gradients(lambda x, w: functional.conv2d(x, w, stride=stride, padding=padding), g, x, w)
    close(oracles.conv2d(np, x, w, window), y)
    close(oracles.conv2d_backward_data(np, g, w, x.shape, window), dx)
    close(oracles.conv2d_backward_weight(np, x, g, window), dw)
    columns = oracles.im2col(np, x, window)
    close((columns[0] @ w.reshape(4, -1).T).reshape(y.shape), y)
    close(oracles.col2im(np, (g.reshape(-1, 4) @ w.reshape(4, -1))[None], x.shape, window), dx)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil", "width"),
    [
        (2, 2, 0, False, 8),
        (3, 2, 1, False, 8),
        (3, 2, 0, True, 8),
        (3, 1, 1, True, 8),
        (3, 1, 1, False, 2),  # a window reaches beyond both sides
    ],
)
def test_oracles_of_pooling_are_minicnns(kernel, stride, padding, ceil, width):
    rng = np.random.default_rng(0)
    window = Window2d.of("test", kernel, stride, padding, ceil_mode=ceil)
    x = rng.integers(0, 4, (2, 6, width, 3)).astype(float)  # the first of equal ones wins
    g = rng.normal(size=(2, *window.output_size(6, width), 3))
    y, dx = gradients(lambda x: functional.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil), g, x)
    found, places = oracles.max_pool2d(np, x, window)
    close(found, y)
    close(x.reshape(2, -1, 3)[np.arange(2)[:, None, None, None], places, np.arange(3)], y)
    close(oracles.max_pool2d_backward(np, g, places, x.shape, window), dx)
    if not ceil:
        y, dx = gradients(lambda x: functional.avg_pool2d(x, kernel, stride, padding), g, x)
        close(oracles.avg_pool2d(np, x, window), y)
        close(oracles.avg_pool2d_backward(np, g, x.shape, window), dx)


def test_oracles_of_normalisation_and_loss_are_minicnns():
    rng = np.random.default_rng(0)
    x, g, how = *rng.normal(size=(2, 2, 3, 4, 7)), {"size": 5, "alpha": 0.1, "beta": 0.75, "k": 1.5}
    y, dx = gradients(lambda x: functional.local_response_norm(x, **how), g, x)
    close(oracles.local_response_norm(np, x, **how), y)
    close(oracles.local_response_norm_backward(np, g, x, **how), dx)
    w, b = rng.normal(size=(2, 7))
    y, *grads = gradients(
        lambda x, w, b: functional.batch_norm(x, None, None, w, b, training=True, eps=1e-3), g, x, w, b
    )
    close(oracles.batch_norm(np, x, w, b, 1e-3), y, x.mean((0, 1, 2)), x.var((0, 1, 2)))
    close(oracles.batch_norm_backward(np, g, x, w, 1e-3), *grads)
    z, target, g = rng.normal(size=(6, 9)), rng.integers(0, 9, 6), rng.normal(size=6)
    y, dz = gradients(lambda z: functional.cross_entropy(z, target, reduction="none"), g, z)
    close(oracles.cross_entropy(np, z, target), y)
    close(oracles.cross_entropy_backward(np, z, target, g), dz)


@pytest.mark.parametrize(
    ("low", "high", "key", "words"),
    [
        (0, 0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (0x85A308D3243F6A88, 0x0370734413198A2E, 0x299F31D0A4093822, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_the_oracle_of_philox_gives_its_authors_known_answers(low, high, key, words):
    found = oracles.philox(np, np.array([low], np.uint64), high, key)
    assert " ".join(f"{int(word[0]):08x}" for word in found) == words


# The rows are the kernels'


def ladders():
    """Every ladder there is, with its versions."""
    folder = Path(ladder.__file__).parent
    names = (path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    modules = {name: __import__(f"{ladder.__name__}.{name}", fromlist=[name]) for name in sorted(names)}
    return {
        (name, operation): versions
        for name, module in modules.items()
        for operation, versions in getattr(module, "LADDER", {}).items()
    }


def test_rows_tables_and_headers_name_the_same_versions():
    assert {(operation.module, operation.ladder) for operation in OPERATIONS.values()} == set(ladders())
    launched = {name for versions in ladders().values() for names in versions.values() for name in names}
    listed = {name for file in cuda_source.sources().values() for name in file.versions}
    exported = {name for file in cuda_source.sources().values() for name in file.kernels}
    assert launched == listed == exported


def test_every_operation_has_rows_and_the_first_are_those_the_ladder_is_held_to():
    tasks = plan()
    assert {task.operation for task in tasks} == set(OPERATIONS)
    assert len({task.name for task in tasks}) == len(tasks)
    first = [task for task in tasks if task.is_headline]
    assert tasks[: len(first)] == first
    assert {task.operation for task in first} == report.HELD
    then = {task.operation for task in tasks[len(first) : len(first) + 30]}
    assert then >= set(OPERATIONS) - report.HELD
    assert [task.operation for task in plan(["sgd"])] == ["sgd"] * 3


@pytest.fixture(scope="module")
def emulated():
    from kernel_speed.emulator import Emulated

    return Emulated()


@needs_compiler
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_version_is_right_on_a_tiny_layer_and_says_what_it_cannot_do(name, emulated):
    tasks = gpu_ladder.tiny_tasks([name])
    rows = [gpu_ladder.row_of(task, emulated, 2) for task in (tasks[0], tasks[-1])]
    assert report.bad(rows) == []
    assert all(list(row["versions"]) == list(OPERATIONS[name].kernels) for row in rows)
    assert all(row["versions"] and row["mbytes"] > 0 for row in rows)
    right = {version for row in rows for version, result in row["versions"].items() if "error" in result}
    assert right == set(OPERATIONS[name].kernels)


# One row


class Still:
    """A device for calls of our own; it gives out what is right, and NaN while outputs are compared."""

    xp = np

    def __init__(self, seconds=lambda call: 1e-3, broken=False):
        self.seconds = seconds
        self.broken = broken
        self.poison = False

    @contextlib.contextmanager
    def poisoned(self):
        self.poison = True
        yield
        self.poison = False

    def empty(self):
        return np.full((8, 9), math.nan) if self.poison else values()

    def synchronize(self):
        if self.broken:
            raise RuntimeError("the GPU cannot go on")


def values(shape=(8, 9), dtype="float64"):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def row_of(versions, expected=None, **more):
    expected = values() if expected is None else expected
    return measure(Case((expected,), versions, 2_000_000, 4_000_000, **more), Still())


def off_by(error, at=...):
    y = values()
    y[at] += error
    return lambda: y


@pytest.mark.parametrize(
    "call",
    [
        off_by(1e-3),
        off_by(0.1, (0, 0)),
        off_by(math.nan, (-1, -1)),
        off_by(math.inf, (0, 1)),
        lambda: values((9, 8)),
        lambda: np.zeros((8, 9)),
    ],
)
def test_what_is_wrong_is_said_and_not_timed(call):
    row = row_of({"v1": off_by(1e-6), "v2": call})
    assert len(row["versions"]["v1"]["samples_us"]) == timing.MOST
    assert set(row["versions"]["v2"]) == {"unit", "wrong"}
    assert len(report.bad([row | {"operation": "a", "layer": "b", "dtype": "float32"}])) == 1


def test_what_is_not_written_is_wrong():
    device = Still()
    row = measure(Case((values(),), {"v1": device.empty, "v2": values}, 1, 1), device)
    assert list(row["versions"]["v1"]) == ["unit", "wrong"]
    assert not device.poison


def test_integers_are_equal_or_wrong():
    right = np.arange(6)
    row = row_of({"v1": lambda: right.copy(), "v2": lambda: right + (right == 3)}, right)
    assert row["versions"]["v1"]["error"] == 0
    assert row["versions"]["v2"]["wrong"] == "1 of 6 integers are others"


def test_tensor_cores_may_be_as_far_off_as_what_they_multiply():
    units = {"v7": "tf32"}
    row = row_of({"v6": off_by(5e-4), "v7": off_by(5e-4)}, units=units)
    assert "wrong" in row["versions"]["v6"]
    assert row["versions"]["v7"]["error"] == pytest.approx(5e-4, rel=0.3)
    assert row["versions"]["v7"]["unit"] == "tf32"
    assert "error" in row_of({"v1": off_by(5e-3)}, rounding="bf16")["versions"]["v1"]


def test_one_number_among_a_million_is_not_lost_in_the_norm():
    expected = values((1000, 1000))
    found = expected.copy()
    found[500, 500] += 0.05  # 5e-5 of the norm
    row = row_of({"v1": lambda: found}, expected)
    assert "a number by up to 5.0e-02" in row["versions"]["v1"]["wrong"]


def test_errors_of_pieces_are_those_of_the_whole(monkeypatch):
    y = values()
    whole = compared(np, (off_by(1e-5, (3, 4))(),), (y,), 1)
    monkeypatch.setattr("kernel_speed.rows.PIECE", 7)
    assert compared(np, (off_by(1e-5, (3, 4))(),), (y,), 1) == whole > 0
    with pytest.raises(Wrong):
        compared(np, (off_by(0.1, (-1, -1))(),), (y,), 1e-4)


def raising(error):
    def call():
        raise error

    return call


def test_refusals_and_failures_are_told_apart_and_the_others_go_on():
    tried = []
    case = Case(
        (values(),),
        {
            "v1": raising(ValueError("C must be a multiple of 4\nand more")),
            "v2": raising(RuntimeError("out of memory")),
            "v3": values,
            "v4": values,
        },
        1,
        1,
        peers={("PyTorch", "fp32"): lambda: [values()]},
        arrays=lambda result: result[0],
    )
    row = measure(case, Still(), tried.append, {"v4": "it killed its process"})
    versions = row["versions"]
    assert versions["v1"] == {"unit": "fp32", "refused": "C must be a multiple of 4"}
    assert versions["v2"] == {"unit": "fp32", "failed": "RuntimeError: out of memory"}
    assert versions["v3"]["error"] == row["peers"]["PyTorch"]["error"] == 0
    assert versions["v4"] == {"unit": "fp32", "failed": "it killed its process"}
    assert tried == ["v1", "v2", "v3", "PyTorch", "turns"]


def test_a_gpu_that_cannot_go_on_ends_the_row():
    case = Case((values(),), {"v1": raising(RuntimeError("illegal access")), "v2": values}, 1, 1)
    with pytest.raises(RuntimeError, match="cannot go on"):
        measure(case, Still(broken=True))


def test_what_changes_its_arrays_is_set_back_before_each_comparison():
    array = values()

    def add():
        array[...] += 1
        return array

    def reset():
        array[...] = values()

    row = row_of({"v1": add, "v2": add}, values() + 1, reset=reset)
    assert [result["error"] for result in row["versions"].values()] == [0, 0]


def test_rates_follow_from_the_median():
    row = row_of({"v7": values}, units={"v7": "tf32"}, peers={("PyTorch", "fp32"): off_by(1)})
    row["versions"]["v7"]["samples_us"] = [30, 10, 20]
    rated = with_rates(row, {"copy_gbs": 1000.0, "tf32_tflops": 0.5, "fp32_tflops": None})
    found = rated["versions"]["v7"]
    assert (found["median_us"], found["gflops"], found["gbs"]) == (20, 100, 200)
    assert (found["percent_of_flops"], found["percent_of_bandwidth"]) == (20, 20)
    assert "median_us" not in rated["peers"]["PyTorch"]
    assert with_rates({"failed": "x"}, {}) == {"failed": "x"}


# The clock


def call_of(queue, python, gpu):
    """What takes Python so long to queue and then the GPU to do."""

    def call():
        queue.spend(python)
        queue.run(gpu)

    return call


@pytest.fixture
def stopwatch(monkeypatch):
    """A stopwatch of a GPU whose cache takes 100 µs to empty, and Python's clock with it."""
    queue = fake_gpu.Queue()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: queue.python)
    cupy = fake_gpu.cupy(queue)
    cupy.ones = lambda size, dtype: types.SimpleNamespace(max=lambda: queue.run(100e-6))
    return timing.Stopwatch(cupy, 1 << 20), queue


@pytest.mark.parametrize("python", [0, 50e-6, 150e-6, 1e-3])
def test_a_call_is_timed_without_the_time_that_python_takes(stopwatch, python):
    watch, queue = stopwatch
    assert watch.seconds(call_of(queue, python, 20e-6)) == pytest.approx(20e-6 + fake_gpu.MICROSECOND)


def test_a_long_call_is_not_repeated_for_the_little_that_python_may_add(stopwatch):
    watch, queue = stopwatch
    calls = []

    def call():
        calls.append(1)
        call_of(queue, 150e-6, 0.1)()

    assert watch.seconds(call) == pytest.approx(0.1, rel=timing.NOTHING)
    assert len(calls) == 1


def test_a_call_that_waits_for_the_gpu_is_timed_all_the_same(stopwatch):
    watch, queue = stopwatch

    def call():
        call_of(queue, 0, 20e-6)()
        queue.wait()
        queue.spend(5e-6)

    assert watch.seconds(call) == pytest.approx(25e-6 + fake_gpu.MICROSECOND)


def test_calls_take_turns_and_the_slow_ones_fewer():
    log = []
    costs = {"a": 1e-3, "b": 1.0, "c": 2e-3}
    calls = {name: lambda name=name: name for name in costs}

    def seconds(call):
        log.append(call())
        return costs[call()]

    samples = timing.in_turns(calls, seconds)
    counts = {name: len(found) for name, found in samples.items()}
    assert counts == {"a": timing.MOST, "b": timing.FEWEST, "c": timing.MOST}
    assert "".join(log[:9]) == "abcbcacab"
    assert timing.in_turns({}, seconds) == {}


# The budget, and what goes wrong


class Measures:
    """Takes ten seconds for a row; some operations are its end."""

    def __init__(self, clock, log):
        self.clock, self.log = clock, log
        log.append("start")

    def measure(self, task, given_up, patience):
        self.log.append((task.operation, dict(given_up), patience))
        self.clock.now += min(10, patience)
        if task.operation == "breaks" and "v2" not in given_up:
            raise Died("v2", "an illegal access")
        if task.operation == "hangs":
            raise Died("turns", "took too long")
        if patience < 10:
            raise Died("v1", "took too long")
        return {**task.row, "versions": {}}

    def end(self):
        self.log.append("end")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def within(seconds, *operations):
    clock, log, layer = Clock(), [], next(iter(layers()))
    tasks = [Task(operation, layer) for operation in operations]
    return list(rows_within(tasks, lambda: Measures(clock, log), 100 + seconds, clock)), log


def test_rows_are_measured_until_the_budget_is_spent():
    rows, log = within(35, *"abcdef")
    assert [row["operation"] for row in rows] == ["a", "b", "c"]
    assert [entry[2] for entry in log[1:-1]] == [35, 25, 15, 5]
    assert (log[0], log[-1]) == ("start", "end")
    assert within(30.5, *"abcdef")[1][-2][0] == "c"  # half a second is not worth a beginning


def test_a_version_that_broke_its_process_is_not_tried_again():
    rows, log = within(100, "a", "breaks", "breaks", "b")
    why = {"v2": "3×3 3→64, 224×224: an illegal access"}
    assert [row["operation"] for row in rows] == ["a", "breaks", "breaks", "b"]
    assert [(entry[0], entry[1]) for entry in log if isinstance(entry, tuple)] == [
        ("a", {}),
        ("breaks", {}),
        ("breaks", why),
        ("breaks", why),
        ("b", {}),
    ]
    assert log.count("start") == 2


def test_a_row_that_no_version_is_to_blame_for_has_failed():
    rows, log = within(100, "hangs", "a")
    assert rows[0]["failed"] == "turns: took too long"
    assert "versions" in rows[1]
    assert log.count("start") == 2
    assert "turns" in STAGES


@pytest.fixture
def worker():
    workers = []

    def start(main=fake_gpu.process):
        workers.append(Worker(7, main))
        return workers[-1]

    yield start
    for found in workers:
        found.end()


def measured(worker, operation, patience=30):
    return worker.measure(Task(operation, next(iter(layers()))), {"v9": "why"}, patience)


def test_a_process_measures_row_after_row(worker):
    process = worker()
    assert process.ready["batch"] == 7
    assert measured(process, "works") == {"given_up": {"v9": "why"}}
    assert measured(process, "fails")["failed"] == "planted"
    assert measured(process, "works") == {"given_up": {"v9": "why"}}


@pytest.mark.parametrize(
    ("operation", "patience", "why"),
    [
        ("breaks the GPU", 30, "an illegal access"),
        ("dies", 30, "its process ended with status 3"),
        ("hangs", 0.3, "took longer than 0 s"),
    ],
)
def test_the_end_of_a_process_says_what_was_tried(worker, operation, patience, why):
    process = worker()
    measured(process, "works")  # has everything imported
    with pytest.raises(Died, match=why) as error:
        measured(process, operation, patience)
    assert error.value.trying == "v1"
    assert not process.process.is_alive()


@pytest.mark.parametrize(
    ("main", "why"),
    [(fake_gpu.no_gpu, "no GPU here"), (fake_gpu.stillborn, "its process ended with status 4")],
)
def test_a_process_without_a_gpu_says_so(main, why):
    with pytest.raises(Unavailable, match=why):
        Worker(7, main)


BARE = """
import sys
class Bare:
    missing = {"cupy", "torch", "PIL", "rich", "safetensors", "threadpoolctl", "ml_dtypes", "pytest"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Bare())
"""


def test_a_bare_machine_without_a_gpu_gets_one_line(tmp_path):
    """With no package but NumPy; and not through an installed minicnn."""
    (tmp_path / "sitecustomize.py").write_text(BARE)
    found = f"{tmp_path}{os.pathsep}{ROOT / 'benchmarks'}"
    bare = {"env": {"PYTHONPATH": found, "PATH": os.environ["PATH"]}, "cwd": tmp_path}
    command = [sys.executable, "-W", "error", ROOT / "benchmarks" / "gpu_ladder.py", "--out", tmp_path]
    done = subprocess.run(command, **bare, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("gpu_ladder: cuda: CuPy is not installed")
    assert not (tmp_path / "gpu_ladder.json").exists()
    path = str(tmp_path / "gpu_ladder.json")
    recorded = f"import gpu_ladder as g; g.record.write_rows(g.Path({path!r}), {{'rows': []}}, 'x', {{}})"
    subprocess.run([sys.executable, "-W", "error", "-c", recorded], **bare, check=True)
    assert json.loads((tmp_path / "gpu_ladder.json").read_text())["results"] == {"rows": []}


# All of it, on a GPU that is none


@pytest.fixture
def gpu(monkeypatch):
    """CuPy is NumPy, its kernels run in the emulator, and the process is a thread."""
    queue = fake_gpu.Queue()
    kernels = launcher(order="forward", copies="eager").device

    def function(self, kernel, expression):
        run = kernels.function(kernel, expression)

        def timed(*arguments, **options):
            run(*arguments, **options)
            queue.run(10e-6)

        return timed

    monkeypatch.setitem(sys.modules, "cupy", fake_gpu.cupy(queue))
    monkeypatch.setattr(hardware, "_torch", lambda: None)
    monkeypatch.setattr(hardware.Poisoning, "function", function)
    monkeypatch.setattr(hardware.Poisoning, "holds", lambda self, array: isinstance(array, np.ndarray))
    monkeypatch.setattr(hardware.Poisoning, "address", lambda self, array: array.ctypes.data)
    monkeypatch.setattr(hardware, "SIDE", 8)
    monkeypatch.setattr(hardware, "COPIED", 1 << 10)
    monkeypatch.setattr(timing, "LEAST_COLD", 1 << 10)
    monkeypatch.setattr(nvrtc, "version", lambda: (12, 9))
    monkeypatch.setattr(multiprocessing, "get_context", lambda how: fake_gpu.Threads())
    monkeypatch.setattr(gpu_ladder, "compile_ahead", lambda operations, capability: None)
    monkeypatch.setattr(gpu_ladder, "plan", tiny_plan)
    return queue


def tiny_plan(only=()):
    return [Task(task.operation, tiny(task.layer), task.dtype, task.networks) for task in plan(only)]


def one_of_each(tasks):
    return list({(task.operation, task.dtype): task for task in tasks}.values())


@needs_compiler
def test_a_run_leaves_a_record(gpu, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_ladder, "EVERY", 0)
    arguments = ["--only", "sgd", "lrn_forward", "--out", str(tmp_path / "new"), "--batch", "2"]
    assert gpu_ladder.main(arguments) == 0
    record = json.loads((tmp_path / "new" / "gpu_ladder.json").read_text())
    results = record["results"]
    assert record["versions"]["cupy"] == "14.0"
    assert record["versions"]["nvrtc"] == "12.9"
    assert results["device"]["name"] == "Fake GPU"
    assert results["device"]["driver"] == "13.0"
    millisecond = 1e-3 + fake_gpu.MICROSECOND
    assert results["peaks"]["copy_gbs"] == pytest.approx(2 * (1 << 10) / millisecond / 1e9)
    assert results["peaks"]["fp32_tflops"] == pytest.approx(2 * 8**3 / millisecond / 1e12)
    assert results["peaks"]["tf32_tflops"] is None
    assert [row["operation"] for row in results["rows"]] == [
        "lrn_forward",
        "sgd",
        "lrn_forward",
        "sgd",
        "sgd",
    ]
    assert results["left_out"] == []
    assert results["spent_s"] <= results["budget_s"] == gpu_ladder.BUDGET
    row = results["rows"][0]
    assert row["networks"] == {"googlenet": 1}
    assert row["peers"] == {}
    for version, result in row["versions"].items():
        assert version in OPERATIONS["lrn_forward"].kernels
        assert result["median_us"] == 11
        assert len(result["samples_us"]) == timing.MOST
        assert 0 < result["error"] < TOLERANCE["fp32"]
        assert result["percent_of_bandwidth"] > 0
    assert (
        record["command"] == "python benchmarks/gpu_ladder.py --budget 510 --batch 2 --only sgd lrn_forward"
    )
    out = capsys.readouterr().out
    assert "sgd, 37 parameters, float32:  v1 " in out
    assert "5 rows in " in out.splitlines()[-1]


@needs_compiler
def test_pytorch_takes_its_turns_where_it_is(gpu, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(hardware, "_torch", lambda: torch)
    monkeypatch.setattr(timing, "FEWEST", 1)
    monkeypatch.setattr(timing, "MOST", 1)
    monkeypatch.setattr(gpu_ladder, "plan", lambda only: one_of_each(tiny_plan(only)))
    only = ("conv2d_forward", "batch_norm_backward", "softmax_cross_entropy", "sgd", "dropout")
    assert gpu_ladder.main(["--only", *only, "--out", str(tmp_path), "--batch", "2"]) == 0
    record = json.loads((tmp_path / "gpu_ladder.json").read_text())
    assert record["versions"]["torch"] == torch.__version__
    assert min(record["results"]["peaks"].values()) > 0
    peers = {(row["operation"], row["dtype"]): row["peers"] for row in record["results"]["rows"]}
    assert [*peers["conv2d_forward", "float32"]] == [
        "im2col and cuBLAS",
        *(f"PyTorch{layout} {unit}" for unit in ("fp32", "tf32") for layout in ("", " NCHW")),
    ]
    assert [*peers["conv2d_forward", "bfloat16"]] == ["PyTorch bf16", "PyTorch NCHW bf16"]
    assert all("median_us" in peer for found in peers.values() for peer in found.values())


@needs_compiler
def test_what_the_budget_does_not_reach_is_named(gpu, tmp_path):
    clock = iter([0.0, *np.arange(0, 1000, 0.5)]).__next__
    assert gpu_ladder.main(["--only", "sgd", "--out", str(tmp_path), "--budget", "3"], clock) == 0
    results = json.loads((tmp_path / "gpu_ladder.json").read_text())["results"]
    assert 0 < len(results["rows"]) < 3
    assert results["left_out"] == ["sgd, 37 parameters, float32"] * (3 - len(results["rows"]))


@needs_compiler
def test_a_wrong_kernel_is_the_verdict(gpu, tmp_path, monkeypatch, capsys):
    right = oracles.sgd
    monkeypatch.setattr(oracles, "sgd", lambda p, *rest: (right(p, *rest)[0] + 1, right(p, *rest)[1]))
    assert gpu_ladder.main(["--only", "sgd", "--out", str(tmp_path)]) == 1
    assert "sgd, 37 parameters, float32, v1: wrong: " in capsys.readouterr().err


@needs_compiler
def test_outputs_are_poisoned_while_they_are_compared_and_only_then(gpu):
    device = hardware.Gpu()
    with device.poisoned():
        assert np.isnan(device.on.empty((3, 4), "float32")).all()
        assert device.on.empty((0,), "float32").size == 0
    device.device.empty((3, 4), "float32")
    assert not device.device.poison


# The record


def rated(**times):
    return {
        name: {
            "unit": unit,
            "error": 0.0,
            "median_us": us,
            "percent_of_flops": us,
            "percent_of_bandwidth": 2.0,
        }
        for name, (unit, us) in times.items()
    }


def record_rows():
    def row(operation, layer, versions, peers, dtype="float32", network="vgg16", times=1):
        return {
            "operation": operation,
            "layer": layer,
            "dtype": dtype,
            "networks": {network: times},
            "versions": rated(**versions),
            "peers": rated(**peers),
        }

    cudnn = {"PyTorch fp32": ("fp32", 8.0), "PyTorch NCHW fp32": ("fp32", 6.0), "PyTorch tf32": ("tf32", 2.0)}
    return [
        row(
            "conv2d_forward",
            "3×3 64→64, 8×8",
            {"v5": ("fp32", 12.0), "v6": ("fp32", 10.0), "v7": ("tf32", 4.0)},
            cudnn,
            times=3,
        ),
        row(
            "conv2d_forward",
            "3×3 64→64, 4×4",
            {"v5": ("fp32", 4.0), "v6": ("fp32", 5.0), "v7": ("tf32", 4.0)},
            cudnn,
        ),
        row(
            "winograd2_forward",
            "3×3 64→64, 8×8",
            {"v1": ("fp32", 4.0)},
            {"PyTorch fp32": ("fp32", 7.0)},
            times=3,
        ),
        row("conv2d_forward", "1×1 64→64, 8×8", {"v6": ("fp32", 1.0)}, cudnn, network="resnet50"),
        row(
            "conv2d_forward",
            "3×3 64→64, 8×8",
            {"v8": ("bf16", 2.0)},
            {"PyTorch bf16": ("bf16", 3.0)},
            "bfloat16",
        ),
        {
            "operation": "sgd",
            "layer": "a",
            "dtype": "float32",
            "networks": {},
            "failed": "inputs: out of memory",
        },
    ]


@pytest.fixture
def small_vgg(monkeypatch):
    layers = {"3×3 64→64, 8×8": 3, "3×3 64→64, 4×4": 1}
    monkeypatch.setattr(report, "vggs_layers", lambda computation: layers)
    return layers


def test_the_figures_are_those_of_the_record(small_vgg):
    rows = record_rows()
    # Three layers of 4 µs by Winograd and one of 4 by v5; cuDNN's faster layout takes 6 each.
    assert report.against_cudnn(rows, ("conv2d_forward",), "fp32") == pytest.approx(4 * 6 / (3 * 4 + 4))
    assert report.against_cudnn(rows, ("conv2d_forward",), "tf32") == pytest.approx(2 / 4)
    assert math.isnan(report.against_cudnn(rows, ("conv2d_backward_data",), "fp32"))
    steps = {(operation, after): ratio for operation, _, after, ratio in report.ladder_steps(rows)}
    assert steps == {
        ("conv2d_forward", "v6"): pytest.approx(16 / 15),
        ("conv2d_forward", "v7"): pytest.approx(15 / 8),
        ("conv2d_forward", "v8"): pytest.approx(4 / 2),
    }
    held = {what: (found, reached) for what, _, found, reached in report.figures({"rows": rows})}
    assert list(held.values()) == [
        ("1.50×", True),
        ("—", False),
        ("0.50×", False),
        ("—", False),
        ("0 of 3", True),
    ]
    rows[0]["versions"]["v6"]["median_us"] = 13.0
    assert list(report.figures({"rows": rows}))[-1][2:] == ("1 of 3: conv2d_forward v6", False)
    small_vgg["3×3 64→64, 2×2"] = 1  # for which there was no time
    assert math.isnan(report.against_cudnn(rows, ("conv2d_forward",), "fp32"))


def test_vggs_layers_are_all_measured_and_held():
    headline = {task.name for task in plan() if task.is_headline}
    for computation, count in (("conv2d_forward", 13), ("conv2d_backward_data", 12)):
        names = report.vggs_layers(computation)
        assert sum(names.values()) == count
        assert {f"{computation}, {name}, float32" for name in names} <= headline


def test_a_version_is_summed_up_over_its_layers():
    summed = {(operation, version): rest for operation, version, *rest in report.summary(record_rows())}
    layers_, flops, bandwidth, ratio = summed["conv2d_forward", "v6"]
    assert layers_ == 3
    assert flops == pytest.approx((10 * 10 + 5 * 5 + 1) / 16)  # weighted by their time
    assert bandwidth == pytest.approx(2)
    assert ratio == pytest.approx(18 / 16)
    assert summed["conv2d_forward, bfloat16", "v8"][-1] == pytest.approx(1.5)


@pytest.fixture
def pages(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    return tmp_path


def test_the_readme_says_not_yet_measured_while_there_is_no_record(pages):
    assert readme.gpu_ladder() == "Not yet measured: no GPU has run it so far.\n"


def test_a_record_becomes_the_readmes_table(pages, small_vgg):
    results = {
        "rows": record_rows(),
        "left_out": ["x"],
        "batch": 32,
        "device": {"name": "Fake GPU", "driver": "13.0"},
        "peaks": {
            "copy_gbs": 2000.4,
            "fp32_tflops": 50.2,
            "tf32_tflops": 300.0,
            "bf16_tflops": None,
            "fp16_tflops": None,
        },
    }
    record = {
        "results": results,
        "versions": {"cupy": "14.2"},
        "commit": "abc",
        "date": "2026-01-01",
        "command": "run",
    }
    (pages / "gpu_ladder.json").write_text(json.dumps(record))
    text = readme.gpu_ladder()
    assert "| conv2d_forward | v6 | 3 | 8 % | 2 % | 1.12× |" in text
    assert "fp32: speed against cuDNN, TF32 off | ≥ 1.0× | 1.50× | reached |" in text
    assert "a copy 2000 GB/s, matrix products fp32 50 TFLOP/s, tf32 300 TFLOP/s. 1 of 7 rows" in text
    assert "*Fake GPU, driver 13.0; CuPy 14.2, no PyTorch; commit abc, 2026-01-01: `run`*" in text
