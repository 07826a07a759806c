"""The GPU's suite, proven without one: who computes something else has no time, what breaks costs no more than itself,
the budget is kept, and a record becomes the README's table and the charts."""

import itertools
import json
import math
import multiprocessing
import os
import subprocess
import sys
import time
import types
from functools import partial
from pathlib import Path

import fake_gpu
import numpy as np
import pytest
import standin.device
from emulated import needs_compiler

from minicnn import functional, nn
from minicnn.bench import MODELS
from minicnn.bench.task import loss_of
from minicnn.models import registry
from minicnn.models.classifier import Classifier

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import gpu_ladder
import gpu_suite
import readme
from gpu_models import (
    checks,
    commands,
    epoch,
    launches,
    networks,
    own,
    report,
    sanitized,
    sanitizer,
    subjects,
    tests,
)
from gpu_models.rows import row_of
from gpu_models.tasks import BATCHES, EPOCH, LAUNCH, NETWORKS, Task, plan
from gpu_models.trials import UNITS, Trials, error_of
from kernel_speed import hardware, timing
from kernel_speed.operations import OPERATIONS
from kernel_speed.plan import Task as LadderTask
from kernel_speed.rows import Wrong
from kernel_speed.worker import Unavailable

ROOT = Path(__file__).parents[1]
SANITIZER = gpu_suite.Suite._sanitizer


# The rows


def test_every_network_has_every_row_and_vgg_is_first():
    assert set(NETWORKS) == set(MODELS)
    assert set(BATCHES) == {1, 32, 128}
    rows = plan()
    assert len({task.name for task in rows}) == len(rows)
    for network, batch, mode in itertools.product(NETWORKS, BATCHES, ("training", "inference")):
        assert Task("network", network, mode, batch) in rows
    assert rows[0] == Task("network", "vgg16", "training", 32)
    assert rows[2] == Task("cpu", "vgg16", "training", 32)
    assert rows.index(Task("epoch", EPOCH[0], "training", EPOCH[1])) < rows.index(rows[0]) + 6
    assert {task.batch for task in rows[-16:]} == {128}
    assert [task.name for task in plan(["nin"], [2])] == [
        "network nin, training, batch 2",
        "network nin, inference, batch 2",
    ]


def test_a_candidate_that_broke_its_process_is_given_up_in_all_rows_of_its_network():
    first, second = (Task("network", "nin", mode, 1) for mode in ("training", "inference"))
    assert first.family == second.family != Task("network", "vgg16", "training", 1).family
    assert first.place != second.place


# What becomes of a candidate


def test_what_is_wrong_is_said():
    right = {"scores": np.array([3.0, 4.0])}
    assert error_of(right, right, "fp32") == 0
    assert error_of({"scores": np.array([3.0, 4.001])}, right, "fp32") == pytest.approx(2e-4, rel=1e-3)
    assert error_of({"scores": np.array([3.0, 4.2])}, right, "tf32") == pytest.approx(0.04, rel=0.1)
    for found in ([3.0, 4.2], [3.0, math.nan], [math.inf, 4.0], [3.0], [[3.0, 4.0]], [0.0, 0.0]):
        with pytest.raises(Wrong, match="scores"):
            error_of({"scores": np.array(found)}, right, "fp32")
    with pytest.raises(Wrong, match="scores"), np.errstate(over="ignore", invalid="ignore"):
        error_of({"scores": np.array([1e300])}, {"scores": np.array([-1e300])}, "fp32")  # ∞ / ∞


def test_gradients_that_rounding_scatters_are_compared_by_their_norms():
    right = {"loss": np.array(1.0), "w": np.array([3.0, 4.0])}
    turned, shrunk = ({"loss": np.array(1.0), "w": w} for w in (np.array([4.0, -3.0]), np.array([0.3, 0.4])))
    assert error_of(turned, right, "bf16") == 0
    for found, unit in ((turned, "fp32"), (shrunk, "bf16"), ({**right, "loss": np.array(1.2)}, "bf16")):
        with pytest.raises(Wrong):
            error_of(found, right, unit)


class Device:
    """A GPU that is none: what it is asked to do, it has done."""

    torch = None
    broken = False

    def __init__(self):
        self.used = self.held = 7_000_000  # by somebody else
        pool = types.SimpleNamespace(total_bytes=lambda: self.held)
        self.xp = types.SimpleNamespace(get_default_memory_pool=lambda: pool)

    def take(self, megabytes, for_good=False):
        self.used += for_good * megabytes * 10**6
        self.held += megabytes * 10**6

    def release(self):
        self.held = self.used

    def synchronize(self):
        if self.broken:
            raise RuntimeError("the GPU cannot go on")


class OutOfMemoryError(RuntimeError):
    """PyTorch's, which is no MemoryError."""


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (Wrong("off"), {"wrong": "off"}),
        (ValueError("one image\nand more"), {"refused": "one image"}),
        (RuntimeError("launch failed"), {"failed": "RuntimeError: launch failed"}),
        (MemoryError("2 GB asked"), {"out_of_memory": "MemoryError: 2 GB asked"}),
        (OutOfMemoryError("2 GB"), {"out_of_memory": "OutOfMemoryError: 2 GB"}),
    ],
)
def test_what_goes_wrong_is_a_candidates_result(error, result):
    tried = []
    trials = Trials(Device(), tried.append, {"c": "it killed its process"})
    assert trials.wanted("a", "b", "c") == ["a", "b"]
    with trials.trial("a", "b"):
        raise error
    assert trials.results == {"a": result, "b": result, "c": {"failed": "it killed its process"}}
    assert not any(map(trials.is_right, "abc"))
    assert tried == ["a"]


def test_a_gpu_that_cannot_go_on_ends_the_row():
    device = Device()
    device.broken = True
    trials = Trials(device, lambda name: None, {})
    with pytest.raises(RuntimeError, match="cannot go on"), trials.trial("a"):
        raise RuntimeError("an illegal access")


# A network's row


class Network:
    """A network that gives the answer, takes the memory and fails where it is told."""

    def __init__(self, device, answer=1.0, megabytes=3, fails=(), log=None):
        if "build" in fails:
            raise MemoryError("90 GB asked")
        self.device, self.given, self.megabytes, self.fails = device, answer, megabytes, fails
        self.trained = False
        self.log = [] if log is None else log
        device.take(1, for_good=True)  # the weights

    def answer(self, unit):
        assert not self.trained
        return {"scores": np.array([self.given, 2.0])}

    def step(self, unit):
        self.trained = True
        self.log.append(unit)
        if unit in self.fails:
            raise RuntimeError(f"{unit} fails")
        self.device.take(self.megabytes)


@pytest.fixture
def row(monkeypatch):
    """What a row is with these libraries, by name the options of their networks."""
    monkeypatch.setattr(networks, "SAMPLE", 1e-6)
    monkeypatch.setattr(timing, "MOST", 3)
    found = types.SimpleNamespace(gflop=lambda mode, batch: 1.0)
    monkeypatch.setattr(networks, "subject", lambda name: found)

    def row(given_up=None, tried=None, **libraries):
        device = Device()
        device.torch = types.SimpleNamespace(cuda=types.SimpleNamespace(memory_reserved=lambda: 0))
        made = [(name, lambda *task, o=options: Network(device, **o)) for name, options in libraries.items()]
        monkeypatch.setattr(networks, "libraries", lambda device: made)
        trying = (lambda name: None) if tried is None else tried.append
        return networks.row(Task("network", "nin", "inference", 2), device, 2, trying, given_up or {})[
            "results"
        ]

    return row


def test_the_first_library_is_who_the_others_are_compared_with(row):
    found = row(torch={}, own={"answer": 1.001}, other={"answer": 3.0})
    assert found["torch fp32"]["error"] is None
    assert found["torch tf32"]["error"] == 0
    assert found["own fp32"]["error"] == pytest.approx(4.5e-4, rel=0.01)
    assert all("median_ms" in found[f"own {unit}"] for unit in UNITS)
    assert set(found["other fp32"]) == {"wrong"}
    assert found["own bf16"]["samples_ms"]


def test_memory_is_what_the_network_and_a_step_add_to_what_was_held_before(row):
    found = row(torch={"megabytes": 5}, own={"megabytes": 3})
    assert found["torch fp32"]["peak_mb"] == 1 + 5
    assert found["own tf32"]["peak_mb"] == 1 + 3


def test_a_network_that_cannot_be_built_is_none_of_its_arithmetics(row):
    found = row(torch={"fails": ("build",)}, own={})
    for unit in UNITS:
        assert found[f"torch {unit}"] == {"out_of_memory": "MemoryError: 90 GB asked"}
        assert found[f"own {unit}"]["median_ms"] > 0


def test_a_sample_is_the_mean_of_steps_that_take_a_while(monkeypatch):
    clock, log = [0.0], []
    monkeypatch.setattr(networks.time, "perf_counter", lambda: clock[0])
    device = Device()

    def step():
        log.append("step")
        clock[0] += 0.002  # Python's, and the GPU is a step behind

    def synchronize():
        log.append("wait")
        clock[0] += 0.008

    device.synchronize = synchronize
    assert networks.seconds(device, step) == pytest.approx(0.002 + 0.008 / 3)
    assert log == ["wait", "step", "wait", "wait", "step", "step", "step", "wait"]


def test_a_launch_is_the_mean_of_calls_without_waiting(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(launches.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(launches, "CALLS", 4)
    device = Device()
    device.synchronize = lambda: clock.__setitem__(0, clock[0] + 1)
    assert launches._seconds(lambda: clock.__setitem__(0, clock[0] + 2e-6), device) == pytest.approx(2e-6)


def test_one_arithmetic_that_fails_costs_no_other(row):
    log, tried = [], []
    found = row({"own fp32": "it broke its process"}, tried, torch={}, own={"fails": ("tf32",), "log": log})
    assert found["own fp32"] == {"failed": "it broke its process"}
    assert found["own tf32"]["failed"] == "RuntimeError: tf32 fails"
    assert "median_ms" in found["own bf16"]
    assert "fp32" not in log
    assert "own fp32" not in tried
    assert tried[-1] == "own bf16"  # whoever is timed is named, should it be the process's end


def test_without_pytorch_short_steps_are_compared_with_the_cpu(monkeypatch):
    monkeypatch.setattr(networks, "Minicnn", lambda *given: types.SimpleNamespace(answer=lambda unit: given))
    found = types.SimpleNamespace(gflop=lambda mode, batch: networks.COMPARED * batch)
    assert networks.on_cpu(found, Task("network", "nin", "training", 1))[1:] == ("training", 1, "cpu")
    assert networks.on_cpu(found, Task("network", "nin", "training", 2)) is None


def test_an_epoch_is_all_batches_and_its_loss_is_compared(monkeypatch):
    images, labels = np.arange(10.0).reshape(10, 1, 1, 1), np.arange(10)
    seen = []

    class Learner:
        def __init__(self, loss):
            self.loss = loss

        def load(self, images, labels):
            assert images.size == len(labels)
            seen.append(len(labels))

        def step(self, unit):
            assert unit == "fp32"

        def answer(self, unit):
            return {"loss": np.array(self.loss)}

    made = [
        (name, lambda *task, loss=loss: Learner(loss)) for name, loss in (("a", 1.0), ("b", 1.01), ("c", 1.2))
    ]
    monkeypatch.setattr(epoch, "libraries", lambda device: made)
    monkeypatch.setattr(epoch, "digits", lambda: (images, labels))
    monkeypatch.setattr(epoch, "WARM", 1)
    found = epoch.row(Task("epoch", "lenet5", "training", 4), Device(), 2, lambda name: None, {})["results"]
    assert found["a"]["error"] is None
    assert found["b"]["error"] == pytest.approx(0.01, rel=0.02)
    assert found["c"] == {
        "error": pytest.approx(1 / 6, rel=0.01),
        "wrong": "the loss after an epoch is 1.2, where 1 is right",
    }
    assert len(found["b"]["samples_ms"]) == epoch.EPOCHS
    assert seen[: 1 + 3 * epoch.EPOCHS] == [4] + [4, 4, 2] * epoch.EPOCHS


def test_the_digits_are_as_many_as_mnists():
    images, labels = epoch.digits()
    assert images.shape == (60_000, 1, 32, 32)
    assert (images.dtype, labels.shape) == (np.float32, (60_000,))
    np.testing.assert_array_equal(images[0], images[4000])


# Operations, beside float64


def test_the_checks_are_right_on_the_cpu_in_float32():
    for function, shapes in checks.CHECKS.values():
        arrays = [np.random.default_rng(0).standard_normal(shape) for shape in shapes]
        exact = checks.computed(function, arrays, "cpu")
        found = checks.computed(function, [array.astype(np.float32) for array in arrays], "cpu")
        for a, b in zip(found, exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


# Programs


def command(program, **row):
    return commands.Command(
        row, (sys.executable, "-c", program), lambda status, said: {"status": status, "said": said}
    )


def test_a_program_is_run_and_read():
    done = command("print('hello'); raise SystemExit(3)", file="x").run(1e9)
    assert done.pop("seconds") >= 0
    assert done == {"file": "x", "status": 3, "said": "hello\n"}


def is_running(pid):
    """Whether the process is there; one that has ended and was not waited for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_that_takes_too_long_is_ended_with_all_it_started(monkeypatch):
    monkeypatch.setattr(commands, "LEAST", 0)
    started = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    program = f"import subprocess, sys, time; print({started}.pid, flush=True); time.sleep(60)"
    found = command(program).run(1.5, lambda: 0.0)
    assert found["status"] == "took longer than 2 s"
    for _ in range(500):
        if not is_running(found["said"].strip()):
            return
        time.sleep(0.01)
    pytest.fail("it still runs")


def test_a_program_for_which_there_is_no_time_is_not_started():
    assert command("", file="x").run(4.0, lambda: 0.0) == {"file": "x", "status": commands.NO_TIME}
    done = list(commands.run_all([command("", number=i) for i in range(3)], 1e9, 2))
    assert sorted(row["number"] for row in done) == [0, 1, 2]


DEVICE_TESTS = """
import os
import warnings
import pytest
@pytest.fixture
def FIXTURE():
    assert os.environ["MINICNN_TEST_GPU"] == "1"
def test_passes(FIXTURE):
    warnings.warn("a library's own")
@pytest.mark.usefixtures("FIXTURE")
def test_fails():
    assert 1 + 1 == 3
def test_is_skipped(FIXTURE):
    pytest.skip("a reason")
def test_is_no_gpus():
    raise RuntimeError
@pytest.fixture
def nothing(FIXTURE):
    pytest.skip("there is none")
@pytest.fixture
def broken(FIXTURE):
    raise RuntimeError("planted")
def test_is_skipped_before_it_begins(nothing):
    pass
def test_fails_before_it_begins(broken):
    pass
def test_ends_the_process(FIXTURE):
    os._exit(7)
""".replace("FIXTURE", "cuda")


def run_tests(folder, text, monkeypatch):
    path = folder / "test_planted.py"
    path.write_text(text)
    monkeypatch.setattr(tests, "files", lambda: [path])
    (only,) = tests.commands(folder)
    return only.run(1e9)


def test_tests_on_the_device_are_run_and_counted_as_far_as_they_come(tmp_path, monkeypatch):
    found = run_tests(tmp_path, DEVICE_TESTS, monkeypatch)
    assert found["file"] == "test_planted.py"
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 2, 2)
    assert found["status"].startswith("pytest's status 7")
    assert [failure.partition("::")[2] for failure in found["failures"]] == [
        "test_fails: E   assert (1 + 1) == 3",
        "test_fails_before_it_begins: E   RuntimeError: planted",
    ]


def test_the_tests_packages_that_are_missing_are_named(monkeypatch):
    assert tests.missing() == []
    monkeypatch.setattr(tests, "NEEDS", ("pytest", "no_such_package"))
    assert tests.missing() == ["no_such_package"]


def test_tests_that_pass_are_no_failure(tmp_path, monkeypatch):
    planted = ("os._exit(7)", "assert 1 + 1 == 3", 'raise RuntimeError("planted")')
    text = DEVICE_TESTS
    for wrong in planted:
        text = text.replace(wrong, "pass")
    found = run_tests(tmp_path, text, monkeypatch)
    assert (found["status"], found["passed"], found["failures"]) == ("passed", 4, [])


def test_the_files_are_those_with_tests_on_the_device(tmp_path):
    assert ROOT / "tests" / "test_cuda_device.py" in tests.files()
    texts = {
        "a": 'pytestmark = pytest.mark.usefixtures("FIXTURE")',
        "b": "def test_it(x, FIXTURE, y):",
        "c": '@pytest.mark.usefixtures("other", "FIXTURE")',
        "d": "pytestmark = [\n    pytest.mark.usefixtures('x'),\n    pytest.mark.usefixtures(\"FIXTURE\"),\n]",
        "e": "@pytest.fixture\ndef on(FIXTURE):",
        "x": "def test_it(FIXTURE_files):",
        "y": "FIXTURE = 1",
    }
    for name, text in texts.items():
        (tmp_path / f"test_{name}.py").write_text(text.replace("FIXTURE", "cuda"))
    assert [path.stem for path in tests.files(tmp_path)] == [f"test_{name}" for name in "abcde"]
    assert Path(__file__) not in tests.files()  # it would run itself


def test_the_sanitizer_is_found_in_a_toolkit_and_read(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sanitizer.find([tmp_path]) is None
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "compute-sanitizer"
    tool.write_text("#!/bin/sh\necho ========= ERROR SUMMARY: 0 errors\n")
    tool.chmod(0o755)
    assert sanitizer.find([tmp_path]) == str(tool)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert sanitizer.find() == str(tool)
    runs = list(sanitizer.commands(str(tool)))
    assert {(run.row["check"], run.row["operation"]) for run in runs} >= set(
        itertools.product(("memcheck", "racecheck"), OPERATIONS)
    )
    assert runs[0].run(1e9)["status"] == "clean"


@pytest.mark.parametrize(
    ("check", "status", "said", "found"),
    [
        ("memcheck", 0, "========= ERROR SUMMARY: 0 errors", {"status": "clean"}),
        (
            "memcheck",
            1,
            "v3 wrong\n= ERROR SUMMARY: 0 errors",
            {"status": "clean, but status 1: = ERROR SUMMARY: 0 errors"},
        ),
        (
            "memcheck",
            86,
            "========= Invalid __global__ read\n========= ERROR SUMMARY: 12 errors",
            {"status": "12 found", "report": ["Invalid __global__ read", "ERROR SUMMARY: 12 errors"]},
        ),
        (
            "racecheck",
            86,
            "========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)",
            {"status": "1 found", "report": ["RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)"]},
        ),
        (
            "memcheck",
            255,
            "========= Error: Device not supported",
            {
                "status": "no summary, status 255: ========= Error: Device not supported",
                "report": ["Error: Device not supported"],
            },
        ),
    ],
)
def test_the_sanitizers_words_are_understood(check, status, said, found):
    assert sanitizer._read(check, status, said) == found


# All of it, over the stand-in


class Tiny(Classifier):
    """A network that the emulator trains in no time."""

    input_shape = (1, 4, 4)
    mean, std = 0.0, 1.0

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(64, 3)

    def forward(self, x):
        return self.fc(self.dropout(functional.relu(self.conv(x)).flatten(1)))


class Normal:
    """CuPy's generator, as far as the suite draws from it."""

    def __init__(self, cupy):
        self.cupy, self.rng = cupy, np.random.default_rng(0)

    def standard_normal(self, shape, dtype="float64"):
        return self.cupy.asarray(self.rng.standard_normal(shape, dtype=np.dtype(dtype)))


@pytest.fixture
def cupy(monkeypatch):
    """The tests' CuPy, with what else the benchmark asks of it; LeNet-5 is tiny, and little is timed."""
    with standin.installed() as found:
        random = types.SimpleNamespace(default_rng=lambda seed: Normal(found))
        monkeypatch.setattr(found, "random", random, raising=False)
        monkeypatch.setattr(found.cuda, "set_allocator", lambda allocator: None, raising=False)
        for module, name, value in (
            (hardware, "SIDE", 8),
            (hardware, "COPIED", 1 << 10),
            (hardware, "SAMPLES", 1),
            (hardware, "_torch", lambda: None),
            (timing, "LEAST_COLD", 1 << 10),
            (timing, "MOST_PASSES", 1),
            (timing, "FEWEST", 1),
            (timing, "MOST", 1),
            (networks, "SAMPLE", 1e-9),
            (launches, "CALLS", 1),
            (launches, "SAMPLES", 1),
            (epoch, "EPOCHS", 1),
            (epoch, "digits", lambda: (np.ones((4, 1, 4, 4), np.float32), np.array([0, 1, 2, 0]))),
        ):
            monkeypatch.setattr(module, name, value)
        monkeypatch.setitem(standin.device.ATTRIBUTES, "L2CacheSize", 1 << 8)
        monkeypatch.setitem(registry._BUILDERS, "lenet5", Tiny)
        subjects.subject.cache_clear()
        yield found
        subjects.subject.cache_clear()


@pytest.fixture
def suite(cupy, tmp_path, monkeypatch):
    """The command, whose GPU's process is a thread and whose checks and programs are few."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda how: fake_gpu.Threads())
    monkeypatch.setattr(gpu_suite, "compile_ahead", lambda operations, capability: None)
    few = {name: checks.CHECKS[name] for name in ("relu", "linear")}
    monkeypatch.setattr(checks, "CHECKS", few)
    monkeypatch.setattr(gpu_suite, "checks", lambda: [*(Task("check", name) for name in few), LAUNCH])
    planted = [
        command("", file="test_x.py"),
        command("raise SystemExit(1)", check="memcheck", operation="sgd"),
    ]
    for one, part, good in zip(planted, ("_tests", "_sanitizer"), ("passed", "clean"), strict=True):
        said = partial(lambda good, status, said: {"status": good if status == 0 else "1 found"}, good)
        found = [commands.Command(one.row, one.arguments, said)]
        monkeypatch.setattr(gpu_suite.Suite, part, lambda self, *folder, found=found: iter(found))

    def run(*arguments, clock=None):
        given = ["--out", str(tmp_path / "new"), "--networks", "lenet5", "--batches", "2", *arguments]
        status = gpu_suite.main(given, **({"clock": clock} if clock else {}))
        path = tmp_path / "new" / "gpu_suite.json"
        return status, json.loads(path.read_text()) if path.exists() else None

    return run


@needs_compiler
def test_a_run_leaves_a_record(suite, capsys):
    status, record = suite("--parts", "tests", "sanitizer", "checks", "networks")
    assert status == 1  # the planted error of the sanitizer's
    results = record["results"]
    assert record["versions"]["cupy"] == standin.cupy.__version__
    assert results["device"]["name"] == "Stand-in for an H100"
    assert [row["status"] for row in results["tests"] + results["sanitizer"]] == ["passed", "1 found"]
    assert results["left_out"] == []
    assert results["spent_s"] <= results["budget_s"] == gpu_suite.BUDGET
    rows = {(row["part"], row["subject"], row["mode"]): row["results"] for row in results["rows"]}
    assert list(rows) == [
        ("check", "relu", ""),
        ("check", "linear", ""),
        ("launch", "operations", ""),
        ("network", "lenet5", "training"),
        ("network", "lenet5", "inference"),
    ]
    assert list(rows["check", "linear", ""]) == list(UNITS)
    assert set(rows["launch", "operations", ""]) == set(launches.LAUNCHES)
    trained = rows["network", "lenet5", "training"]
    assert list(trained) == [f"minicnn {unit}" for unit in UNITS]  # PyTorch is missing
    for result in trained.values():
        assert 0 <= result["error"] < 0.5
        assert result["median_ms"] > 0
        assert result["peak_mb"] > 0
    assert trained["minicnn fp32"]["error"] < 1e-5
    asked = "--budget 510 --parts tests sanitizer checks networks --networks lenet5 --batches 2"
    assert record["command"] == f"python benchmarks/gpu_suite.py {asked}"
    out, err = capsys.readouterr()
    assert "memcheck sgd: 1 found" in err
    assert "lenet5, batch 2" in out
    assert "compute-sanitizer's runs: 0 of 1 (all clean: missed)" in out


@needs_compiler
def test_what_the_budget_does_not_reach_is_named_and_measured_later(suite):
    ticks = itertools.count(0, 0.5)
    status, record = suite("--parts", "checks", "networks", "--budget", "3", clock=lambda: float(next(ticks)))
    assert status == 0
    results = record["results"]
    assert 0 < len(results["rows"]) < 5
    assert len(results["left_out"]) == 5 - len(results["rows"])
    assert "network lenet5, inference, batch 2" in results["left_out"]
    first = results["rows"]
    status, record = suite("--parts", "checks", "networks", "--resume")
    assert status == 0
    assert record["results"]["rows"][: len(first)] == first
    assert len(record["results"]["rows"]) == 5
    assert record["results"]["left_out"] == []


def test_what_is_resumed_must_be_there_and_of_the_same_device(suite, tmp_path, capsys):
    assert suite("--resume")[0] == 2
    assert "there is no record" in capsys.readouterr().err
    suite("--parts", "tests")
    path = tmp_path / "new" / "gpu_suite.json"
    record = json.loads(path.read_text())
    for change, said in (
        ({"commit": "another"}, "of commit another, this is"),
        ({"versions": {**record["versions"], "cupy": "13.0"}}, "of cupy 13.0, this is 14"),
        (
            {"results": {**record["results"], "device": {"name": "Another"}}},
            "of device Another, this is Stand-in",
        ),
    ):
        path.write_text(json.dumps({**record, **change}))
        assert suite("--resume")[0] == 2
        assert said in capsys.readouterr().err


def test_a_program_there_was_no_time_for_is_run_later(suite):
    _, record = suite("--parts", "tests", "--budget", "10")  # of which programs get three seconds
    assert [row["status"] for row in record["results"]["tests"]] == [commands.NO_TIME]
    _, record = suite("--parts", "tests", "--resume")
    assert [row["status"] for row in record["results"]["tests"]] == ["passed"]


def test_programs_are_not_run_twice_and_what_is_missing_is_kept(suite, tmp_path, monkeypatch):
    status, record = suite("--parts", "tests")
    assert status == 0
    assert len(record["results"]["tests"]) == 1
    assert record["results"]["missing"] == []
    monkeypatch.setattr(sanitizer, "find", lambda: None)
    monkeypatch.setattr(gpu_suite.Suite, "_sanitizer", SANITIZER)
    for parts in (["tests", "sanitizer"], ["tests"]):
        _, record = suite("--parts", *parts, "--resume")
        assert len(record["results"]["tests"]) == 1
        assert record["results"]["missing"] == ["compute-sanitizer: nothing was run under it"]


def test_the_ladder_takes_what_is_left(suite, tmp_path, monkeypatch):
    script = tmp_path / "ladder.py"
    script.write_text("import sys; print(*sys.argv[1:]); raise SystemExit(1)")
    monkeypatch.setattr(gpu_ladder, "__file__", str(script))
    status, record = suite("--parts", "ladder", clock=lambda: 100.0)
    (row,) = record["results"]["programs"]
    assert row["status"] == f"status 1: --budget {gpu_suite.BUDGET - commands.LEAST} --out {tmp_path / 'new'}"
    assert status == 1
    status, record = suite("--parts", "ladder", "--budget", "4")
    assert (status, record["results"]["programs"][0]["status"]) == (0, commands.NO_TIME)


@needs_compiler
def test_an_operation_that_is_wrong_on_the_gpu_is_found(cupy, monkeypatch):
    device = hardware.Gpu()
    function = lambda x: x * (1.0 if x.device == "cpu" else 1.001)  # noqa: E731 (planted)
    monkeypatch.setattr(checks, "CHECKS", {"planted": (function, ((3, 4),)), "relu": checks.CHECKS["relu"]})
    assert "error" in row_of(Task("check", "relu"), device, 2)["results"]["fp32"]
    assert list(row_of(Task("check", "planted"), device, 2)["results"]["fp32"]) == ["wrong"]


@needs_compiler
def test_the_epoch_and_the_cpus_row(cupy):
    device = hardware.Gpu()
    found = row_of(Task("epoch", "lenet5", "training", 2), device, 2)
    assert found["images"] == 4
    assert found["results"]["minicnn"]["error"] is None
    assert found["results"]["minicnn"]["median_ms"] > 0
    found = row_of(Task("cpu", "lenet5", "training", 2), device, 1)
    assert found["threads"] == 1
    assert len(found["results"]["minicnn CPU"]["samples_ms"]) >= networks.FEWEST_ON_CPU


@needs_compiler
@pytest.mark.parametrize("name", ["im2col", "sgd", sanitizer.STEP])
def test_what_the_sanitizer_runs_is_right(name, cupy, monkeypatch, capsys):
    monkeypatch.setattr(sanitized, "LARGER", sanitized.tiny(sanitized.LARGER))
    monkeypatch.setitem(sys.modules, "torch", None)
    assert sanitized.main(name) == 0
    assert "right" in capsys.readouterr().out or name == sanitizer.STEP


def test_the_sanitizers_convolutions_have_padding_and_more_than_one_tile():
    cases = list(sanitized.tasks("conv2d_forward"))
    assert {task.dtype for task in cases} == {"float32", "bfloat16"}
    assert any(task.layer.window.padding[0] > 0 for task in cases)
    assert {
        LadderTask("conv2d_forward", sanitized.LARGER, dtype) for dtype in ("float32", "bfloat16")
    } <= set(cases)
    height, width, channels = sanitized.LARGER.shape
    assert sanitized.BATCH * height * width > 128  # rows of version 7's tile
    assert channels % 32 != 0
    assert sanitized.LARGER.kernels > 64


def test_auxiliary_heads_count_in_part():
    one, two, three = np.float64(1), np.float64(2), np.float64(3)
    for output, loss in ((one, 10), ((one, two, three), 10 + 0.3 * 20 + 0.3 * 30)):
        assert loss_of(output, 10, lambda scores, labels: scores * labels) == pytest.approx(loss)


def test_pytorch_computes_what_minicnn_does():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is a peer, not a requirement")
    from gpu_models.pytorch import Pytorch

    found = subjects.subject("lenet5")
    for mode in ("training", "inference"):
        expected = own.Minicnn(found, mode, 3, "cpu").answer("fp32")
        for channels_last in (False, True):
            network = Pytorch(torch, found, mode, 3, channels_last, "cpu")
            assert error_of(network.answer("fp32"), expected, "fp32") < 1e-5
            assert error_of(network.answer("bf16"), expected, "bf16") < 0.5
            network.step("fp32")


# Without a GPU


@pytest.fixture
def bare(tmp_path):
    """Run a program with no package but NumPy, and not with an installed minicnn."""
    packages = "cupy torch PIL rich safetensors threadpoolctl ml_dtypes pytest hypothesis matplotlib"
    (tmp_path / "sitecustomize.py").write_text(
        f"""
import sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {packages.split()!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Bare())
"""
    )
    found = f"{tmp_path}{os.pathsep}{ROOT / 'benchmarks'}"
    environment = {"PYTHONPATH": found, "PATH": os.environ["PATH"]}

    def run(*arguments):
        program = [sys.executable, "-W", "error", *arguments]
        return subprocess.run(program, env=environment, cwd=tmp_path, capture_output=True, text=True)

    return run


def test_without_a_gpu_there_is_one_line(bare, tmp_path):
    done = bare(ROOT / "benchmarks" / "gpu_suite.py", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("gpu_suite: cuda: CuPy is not installed")
    assert not (tmp_path / "out").exists()


BARE = """
import gpu_suite
from gpu_models import networks, sanitized
from gpu_models.rows import row_of
from gpu_models.tasks import Task
class Device:
    torch = None
    def release(self): pass
    def synchronize(self): pass
print(len(networks.on_cpu(networks.subject("lenet5"), Task("network", "lenet5", "training", 32))))
print(row_of(Task("cpu", "lenet5", "training", 2), Device(), 2)["results"])
"""


def test_a_bare_machine_has_what_the_gpus_rows_need(bare):
    done = bare("-c", BARE)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "6",
        "{'minicnn CPU': {'refused': 'without threadpoolctl BLAS takes more threads than it is allowed'}}",
    ]


def test_a_machine_whose_gpu_cannot_be_used_says_so(monkeypatch, capsys):
    def no_gpu(*arguments):
        raise Unavailable("no GPU here")

    monkeypatch.setattr(gpu_suite, "Worker", no_gpu)
    assert gpu_suite.main(["--parts", "checks"]) == 2
    assert capsys.readouterr().err == "gpu_suite: no GPU here\n"


# The record


def timed(ms, mb=100.0):
    return {"error": 1e-6, "peak_mb": mb, "samples_ms": [ms], "median_ms": ms}


def network_row(mode, batch, ours, default, last, subject="vgg16"):
    libraries = {"minicnn": ours, "PyTorch": default, "PyTorch channels-last": last}
    candidates = {
        f"{name} {unit}": timed(ms, 50 * place)
        for place, (name, times) in enumerate(libraries.items(), 1)
        for unit, ms in zip(UNITS, times, strict=True)
    }
    return {
        "part": "network",
        "subject": subject,
        "mode": mode,
        "batch": batch,
        "gflop": 1.0,
        "results": candidates,
    }


def planted():
    rows = [
        network_row("training", 32, (100, 50, 40), (90, 60, 80), (95, 40, 30)),
        network_row("inference", 32, (30, 20, 10), (33, 10, 5), (36, 11, 6)),
        network_row("training", 128, (400, 200, 160), (360, 240, 320), (380, 160, 120)),
        {
            "part": "cpu",
            "subject": "vgg16",
            "mode": "training",
            "batch": 32,
            "results": {"minicnn CPU": timed(6000.0)},
        },
        {
            "part": "epoch",
            "subject": "lenet5",
            "mode": "training",
            "batch": 64,
            "results": {
                "PyTorch": timed(900.0),
                "PyTorch channels-last": timed(1200.0),
                "minicnn": timed(1000.0),
            },
        },
        LAUNCH.row | {"results": {"add": timed(0.006), "conv2d": timed(0.0141)}},
        {"part": "network", "subject": "nin", "mode": "training", "batch": 128, "failed": "inputs: it broke"},
    ]
    rows[2]["results"]["minicnn bf16"] = {"out_of_memory": "MemoryError: 90 GB asked"}
    results = {
        "device": {"name": "Fake GPU", "driver": "13.0"},
        "cpu_threads": 2,
        "missing": ["matplotlib"],
        "tests": [{"file": "test_a.py", "passed": 10, "failed": 0, "skipped": 1, "status": "passed"}],
        "sanitizer": [{"check": "memcheck", "operation": "sgd", "status": "clean"}],
        "programs": [{"program": "gpu_ladder", "status": commands.NO_TIME}],
        "rows": rows,
        "left_out": ["network nin, training, batch 1"],
        "spent_s": 500.0,
    }
    versions = {"cupy": "14.2", "torch": "2.11", "cudnn": 91000}
    return {"results": results, "versions": versions, "commit": "abc", "date": "2026-01-01", "command": "run"}


def figures(results):
    return {what: (found, held) for what, _, found, held in report.figures(results)}


def test_the_figures_are_those_of_the_record():
    record = planted()
    assert list(figures(record["results"]).values()) == [
        ("10 passed, 0 failed, 1 skipped; 1 of 1 files without fault", True),
        ("1 of 1", True),
        ("60.00×", True),
        ("0.90×", True),
        ("14.1 µs, conv2d", True),
        ("0.90×", False),
    ]
    assert report.bad(record["results"]) == ["network, nin, training, 128: inputs: it broke"]
    record["results"]["tests"][0]["status"] = "pytest's status 1: oh"
    record["results"]["rows"][0]["results"]["minicnn fp32"] = {"wrong": "loss"}
    record["results"]["rows"][5]["results"]["conv2d"] = {"failed": "RuntimeError: x"}
    found = list(figures(record["results"]).values())
    assert found[0][1] is False
    assert found[2:5] == [("—", False), ("—", False), ("6.0 µs, add", False)]
    assert len(report.bad(record["results"])) == 4


def test_the_table_has_a_networks_batches_one_below_the_other():
    rows = [
        network_row("training", batch, *[(1, 1, 1)] * 3, name)
        for batch in (32, 1, 128)
        for name in ("nin", "alexnet")
    ]
    names = [line[0] for line in report.table({"rows": rows})]
    assert names == [f"{name}, batch {batch}" for name in ("nin", "alexnet") for batch in (1, 32, 128)]


def test_a_record_of_nothing_reaches_nothing():
    empty = planted()["results"] | {"rows": [], "tests": [], "sanitizer": []}
    assert [held for _, held in figures(empty).values()] == [False] * 4
    assert report.bad(empty) == []
    assert report.layouts(empty) == "channels-last in 0 of 0 cases"


@pytest.fixture
def pages(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    return tmp_path


def test_each_gpu_has_a_table(pages):
    for name in ("One GPU", "Another GPU"):
        text = json.dumps(planted()).replace("Fake GPU", name)
        (pages / f"gpu_suite_{name[0]}.json").write_text(text)
    assert readme.gpu().count("*One GPU, driver") == readme.gpu().count("*Another GPU, driver") == 1


def test_the_readme_says_not_yet_measured_while_there_is_no_record(pages):
    assert readme.gpu() == "Not yet measured: no GPU has run it so far.\n"


def test_a_record_becomes_the_readmes_table(pages):
    (pages / "gpu_suite.json").write_text(json.dumps(planted()))
    text = readme.gpu()
    assert (
        "| VGG-16, a training step, batch 32, fp32: speed against PyTorch, TF32 off | ≥ 0.8× | 0.90× | reached |"
        in text
    )
    assert "| an epoch of LeNet-5, batch 64: speed against PyTorch | ≥ 1× | 0.90× | **missed** |" in text
    assert (
        "| vgg16, batch 32 | 30.0 ms (1.10×) | 20.0 ms (0.50×) | 10.0 ms (0.50×) | 100 ms (0.90×) | 50.0 ms (0.80×) | "
        "40.0 ms (0.75×) |" in text
    )
    assert "| vgg16, batch 128 | — | — | — | 400 ms (0.90×) | 200 ms (0.80×) | out of memory |" in text
    assert (
        "channels-last in 4 of 9 cases. 1 of 8 rows were left out for want of time. Missing there: matplotlib."
        in text
    )
    assert (
        "*Fake GPU, driver 13.0; CuPy 14.2, PyTorch 2.11, cuDNN 91000; commit abc, 2026-01-01: `run`*" in text
    )


def test_a_row_without_pytorch_has_times_alone(pages):
    record = planted()
    for row in record["results"]["rows"]:
        row["results"] = {name: r for name, r in row.get("results", {}).items() if "PyTorch" not in name}
    del record["versions"]["torch"]
    (pages / "gpu_suite.json").write_text(json.dumps(record))
    text = readme.gpu()
    assert "| vgg16, batch 32 | 30.0 ms | 20.0 ms | 10.0 ms | 100 ms | 50.0 ms | 40.0 ms |" in text
    assert "CuPy 14.2, no PyTorch" in text


def test_charts_are_drawn_from_a_record_later(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="charts need matplotlib, which is not installed")
    path = tmp_path / "gpu_suite.json"
    path.write_text(json.dumps(planted()))
    for _ in range(2):
        assert gpu_suite.main(["--charts", str(path)]) == 0
        drawn = {name: (tmp_path / name).read_bytes() for name in ("gpu_speed.svg", "gpu_memory.svg")}
        assert all(picture.count(b"<path") > 10 for picture in drawn.values())
    assert "gpu_memory.svg" in capsys.readouterr().out
    assert drawn == {name: (tmp_path / name).read_bytes() for name in drawn}


def test_without_matplotlib_the_charts_are_for_later(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = tmp_path / "gpu_suite.json"
    path.write_text(json.dumps(planted()))
    assert gpu_suite.main(["--charts", str(path)]) == 0
    assert (
        capsys.readouterr().out
        == "missing: matplotlib: no charts; draw them elsewhere with --charts RECORD\n"
    )
