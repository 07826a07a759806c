"""The benchmark: one description for all, wrong answers void, turns, peers that fail, and what is written of it."""

import dataclasses
import importlib.util
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import bench, device, functional, models, nn, no_grad, study
from minicnn.backend.recycling import lend
from minicnn.bench import benchmark, process
from minicnn.bench.benchmark import MODELS, choose, installed
from minicnn.bench.memory import give_back, peak, reset_peak, resident
from minicnn.bench.network import IMAGE, Network, describe
from minicnn.bench.peers import PEERS, Peer, own
from minicnn.bench.process import PeerError, Process
from minicnn.bench.recording import rows_as_dicts
from minicnn.bench.report import milliseconds
from minicnn.bench.task import Task, settle, write_files
from minicnn.bench.turns import Measured, Row, Timing, compare, measure_row, plan, rounds
from minicnn.cli import main
from minicnn.profiler.limit import GFLOP
from minicnn.tensor import Tensor

CLASSIC = {name: {"model": name, **config} for name, config in MODELS.items()}
LENET = CLASSIC["lenet5"]
ONE = Timing(rounds=1)
needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux's figures")


@pytest.fixture(autouse=True)
def same_threads():
    before = minicnn.get_num_threads()
    yield
    minicnn.set_num_threads(before)


def task_in(folder, mode="inference", batch=1, config=LENET):
    return Task(config, mode, batch, 1, str(folder))


def fake(name, /, **options):
    return Peer(name, "fake_peers", options)


def measured(folder, *peers, timing=ONE, mode="inference", tell=lambda doing: None):
    """The row that these peers make, by their names."""
    row = measure_row("lenet5", task_in(folder, mode), 1.0, peers, timing, tell)
    return row, {m.peer: m for m in row.peers}


# The description


def computed(network, values):
    """What a description computes, by the functions of minicnn.functional that it names."""
    for op in network.operations:
        inputs, options = [values[name] for name in op.inputs], dict(op.options)
        if op.kind != "conv2d" and "padding" in options:
            top, bottom, left, right = options.pop("padding")
            assert (top, left) == (bottom, right)
            options["padding"] = (top, left)
        for useless in {"conv2d": ["kernel_size"], "avg_pool2d": ["dilation"]}.get(op.kind, []):
            del options[useless]
        match op.kind:
            case "batch_norm":
                x, weight, bias, mean, var = inputs
                y = functional.batch_norm(x, mean, var, weight, bias, **options)
            case "add":
                y = inputs[0] + inputs[1]
            case "cat":
                y = functional.cat(inputs, 1)
            case "flatten":
                y = inputs[0].flatten(1)
            case kind:
                y = getattr(functional, kind)(*inputs, **options)
        assert y.shape[1:] == op.shape
        values[op.output] = y
    return [values[name].data for name in network.outputs]


@pytest.mark.parametrize(
    ("config", "training"),
    [
        (LENET, False),
        ({"model": "lenet5", "variant": "d2l"}, False),
        (CLASSIC["nin"], False),
        (CLASSIC["resnet18"], True),
        (CLASSIC["googlenet"], True),
        ({"model": "googlenet", "variant": "paper"}, False),
        (CLASSIC["inception_v3"], False),
    ],
    ids=lambda value: str(value["model"]) if isinstance(value, dict) else None,
)
def test_a_description_computes_what_the_network_computes(config, training):
    minicnn.manual_seed(0)
    model = models.get_model(**config).train(training)
    network = describe(config, training).without_dropout()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    images = Tensor(np.random.default_rng(0).normal(size=(2, *model.input_shape)).astype("float32"))
    parts = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    copies = {name: Tensor(np.array(part.data)) for name, part in parts.items()}
    with no_grad():
        outputs = model(images)
        found = computed(network, {IMAGE: images, **copies})
    expected = outputs if isinstance(outputs, tuple) else (outputs,)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b.data, rtol=1e-4, atol=1e-5 * np.abs(b.data).max())


@pytest.mark.parametrize("name", CLASSIC)
def test_a_description_counts_what_the_study_counts_and_survives_json(name):
    network = describe(CLASSIC[name], training=False)
    with device("meta"):
        assert network.macs == study.summary(models.get_model(**CLASSIC[name])).macs
    assert Network.from_json(network.to_json()) == network


def test_training_has_dropouts_heads_and_their_cost():
    evaluation, training = (describe(CLASSIC["googlenet"], mode) for mode in (False, True))
    assert (len(evaluation.outputs), len(training.outputs)) == (1, 3)
    assert training.macs > evaluation.macs
    drops = [op.options["p"] for op in training.operations if op.kind == "dropout"]
    assert sorted(drops) == [0.2, 0.7, 0.7]
    assert {op.options["p"] for op in training.without_dropout().operations if op.kind == "dropout"} == {0.0}


def test_uses_count_every_operation_and_the_output():
    network = describe(CLASSIC["resnet18"], training=False)
    uses = network.uses()
    first_pool = next(op.output for op in network.operations if op.kind == "max_pool2d")
    assert uses[first_pool] == 2  # the block and its shortcut
    assert uses[network.outputs[0]] == 1


@pytest.mark.parametrize(
    "config", [{"model": "resnet_cifar", "depth": 20}, {"model": "lenet5", "variant": "paper"}]
)
def test_what_has_no_counterpart_is_refused_in_one_sentence(config):
    with pytest.raises(ValueError, match=rf"bench: {config['model']} has .* no counterpart"):
        describe(config, training=False)


# Files that all share


def test_running_statistics_become_those_of_the_images():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, momentum=0.3))
    images = Tensor(np.random.default_rng(0).normal(2.0, 3.0, size=(4, 2, 8, 8)).astype("float32"))
    settle(model, images)
    norm, y = model[1], model[0](images).data
    np.testing.assert_allclose(norm.running_mean.data, y.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var.data, y.var((0, 2, 3), ddof=1), rtol=1e-4)
    assert norm.momentum == 0.3


def test_files_hold_the_weights_the_images_and_both_descriptions(tmp_path):
    networks = write_files(str(tmp_path), LENET, 4)
    task = task_in(tmp_path, "training", 3)
    images = task.images()
    assert images.shape == (3, 1, 32, 32)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, task_in(tmp_path, batch=4).images()[:3])
    assert set(task.labels()) <= set(range(10))
    assert task.network() == networks["training"]
    weights = task.weights()
    assert weights.keys() == models.lenet5().state_dict().keys()
    assert set(task.probes()) <= weights.keys()
    assert {"c1.weight", "output.bias"} <= set(task.probes())


# minicnn as a peer, and the others where they are installed


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with the files of a model, written once."""
    folders = {}

    def of(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name.replace(":", "-"))
            model, _, variant = name.partition(":")
            config = {"model": model, **({"variant": variant} if variant else CLASSIC.get(model, {}))}
            write_files(str(folders[name]), config, 2)
            (folders[name] / "config.json").write_text(json.dumps(config))
        return folders[name], json.loads((folders[name] / "config.json").read_text())

    return of


def answer(peer, task):
    module = importlib.import_module(peer.module)
    assert all(isinstance(version, str) for version in module.versions().values())
    runner = module.prepare(task, **peer.options)
    found = {name: np.array(array) for name, array in runner.answer().items()}
    loss = runner.step()
    assert math.isfinite(loss) if task.training else loss is None
    return found


def test_minicnns_training_answer_is_the_networks_own_loss_and_gradients(shared):
    folder, config = shared("lenet5")
    task = task_in(folder, "training", 2, config)
    found = answer(PEERS["minicnn"], task)
    model = models.get_model(**config)
    model.load_state_dict(task.weights())
    loss = functional.cross_entropy(model(Tensor(task.images())), Tensor(task.labels()))
    loss.backward()
    assert found.keys() == {"loss", *task.probes()}
    np.testing.assert_allclose(found["loss"], loss.item(), rtol=1e-6)
    for name in task.probes():
        np.testing.assert_allclose(
            found[name], dict(model.named_parameters())[name].grad, rtol=1e-4, atol=1e-7
        )


def test_minicnns_answer_is_without_dropout_and_its_steps_are_with(shared):
    folder, config = shared("nin")
    runner = importlib.import_module(PEERS["minicnn"].module).prepare(task_in(folder, "training", 2, config))
    first, second = runner.answer(), runner.answer()
    np.testing.assert_array_equal(first["loss"], second["loss"])
    assert runner.step() != first["loss"]


def test_fused_for_training_it_still_normalises_by_the_batch(tmp_path):
    write_files(str(tmp_path), CLASSIC["resnet18"], 2)
    task = task_in(tmp_path, "training", 2, CLASSIC["resnet18"])
    plain, fused = (own.prepare(task, fused=fused) for fused in (False, True))
    norms = [module for module in fused.model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert any(norm.relu for norm in norms)
    assert len(norms) == sum(isinstance(module, nn.BatchNorm2d) for module in plain.model.modules())
    answers = plain.answer(), fused.answer()
    for name, expected in answers[0].items():
        np.testing.assert_allclose(answers[1][name], expected, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("model", ["lenet5:d2l", "nin", "resnet18", "googlenet:paper"])
@pytest.mark.parametrize("name", [name for name in PEERS if PEERS[name].needs and PEERS[name].usual])
def test_every_installed_peer_gives_minicnns_answer(name, model, mode, shared):
    peer = PEERS[name]
    if peer.missing() or mode not in peer.modes:
        pytest.skip("not installed, or not made for that")
    folder, config = shared(model)
    task = task_in(folder, mode, 2, config)
    errors, wrong = compare({"a": answer(PEERS["minicnn"], task), "b": answer(peer, task)})
    assert not wrong, wrong
    assert errors["b"] < (0.02 if mode == "training" else 1e-4)


# Answers


def scores(*values):
    return {"scores": np.array(values, "float32")}


def test_the_answer_of_the_most_is_the_right_one():
    answers = {"odd": scores(1, 2.1), "a": scores(1, 2), "b": scores(1, 2.0001), "c": scores(1, 2)}
    errors, wrong = compare(answers)
    assert list(wrong) == ["odd"]
    assert wrong["odd"].startswith("wrong: its scores differ from a's by 4.")
    assert errors["b"] == pytest.approx(1e-4 / math.sqrt(5), rel=0.01)


def test_without_a_majority_everyone_is_void():
    _, wrong = compare({"a": scores(1), "b": scores(2)})
    assert wrong.keys() == {"a", "b"}
    assert compare({"a": scores(1)})[1] == {}


@pytest.mark.parametrize(
    "odd", [scores(math.nan, 1), scores(math.inf, 1), scores(1), {"loss": np.zeros(2)}], ids=str
)
def test_an_answer_that_is_no_number_or_of_another_form_is_wrong(odd):
    right = {name: scores(1, 1) for name in "ab"}
    assert compare({**right, "odd": odd})[1].keys() == {"odd"}


@pytest.mark.parametrize(
    ("name", "off", "wrong"), [("loss", 2e-3, {"c"}), ("w", 2e-3, set()), ("w", 0.2, {"c"})]
)
def test_gradients_may_be_further_apart_than_losses(name, off, wrong):
    right = {"loss": np.array(2.0), "w": np.ones(5)}
    answers = {"a": right, "b": right, "c": {**right, name: right[name] * (1 + off)}}
    assert compare(answers)[1].keys() == wrong


def test_nobody_agrees_with_nan_not_even_another():
    assert compare({"a": scores(math.nan), "b": scores(math.nan)})[1].keys() == {"a", "b"}


# Turns

TIMES = st.dictionaries(st.text("abcdef", min_size=1), st.floats(1e-3, 20), min_size=1, max_size=6)


@given(TIMES, st.floats(0.5, 60))
def test_a_plan_keeps_to_its_budget_or_to_the_fewest(seconds, budget):
    counts = plan(seconds, Timing(budget=budget))
    total = sum(counts[peer] * seconds[peer] for peer in seconds)
    assert all((count == 0) == (3 * seconds[peer] > budget) for peer, count in counts.items())
    assert all(count in (0, 3) or 5 <= count <= 15 for count in counts.values())
    taking_part = {peer: count for peer, count in counts.items() if count}
    assert total <= budget * (1 + 1e-9) or set(taking_part.values()) <= {3}
    for a in taking_part:
        assert all(counts[a] >= counts[b] for b in taking_part if seconds[a] < seconds[b])


@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers(0, 15), min_size=1, max_size=6))
def test_rounds_give_everyone_their_turns_spread_evenly(counts):
    turns = list(rounds(counts))
    assert len(turns) == max(counts.values())
    for peer, count in counts.items():
        taken = [i for i, names in enumerate(turns) if peer in names]
        assert len(taken) == count
        assert all(names.count(peer) <= 1 for names in turns)
        if count > 1:
            gaps = np.diff(taken)
            assert gaps.max() - gaps.min() <= 1


def test_the_first_of_a_round_is_another_each_time():
    assert [names[0] for names in rounds(dict.fromkeys("abc", 4))] == ["a", "b", "c", "a"]


def test_peers_take_turns_and_never_work_at_the_same_time(tmp_path):
    log = tmp_path / "log"
    peers = [fake(name, log=str(log), name=name) for name in ("a", "b")]
    row, found = measured(tmp_path, *peers, timing=Timing(rounds=3))
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["name"] for entry in entries] == ["a", "a", "b", "b", *"ab", *"ba", *"ab"]
    assert all(before["end"] <= after["begin"] for before, after in itertools.pairwise(entries))
    assert len({entry["pid"] for entry in entries}) == 2
    for peer in ("a", "b"):
        assert len(found[peer].samples) == 3
        assert min(found[peer].samples) >= 0.06
        assert found[peer].versions == {"fake": "1.0"}
    assert len(row.limit.samples) == 3
    assert row.limit_gflops == pytest.approx(GFLOP / row.limit.median)


def test_quick_steps_are_repeated_within_a_sample(tmp_path):
    log = tmp_path / "log"
    _, found = measured(tmp_path, fake("quick", seconds=0.0005, log=str(log)), timing=Timing(rounds=2))
    steps = len(log.read_text().splitlines()) - 2
    assert 2 * 3 <= steps <= 2 * 101
    assert min(found["quick"].samples) >= 0.0005


def test_until_idle_looks_until_no_more_is_done(monkeypatch):
    busy = iter([1.0, 2.0, 3.0, 3.0])
    monkeypatch.setattr(process, "_cpu_seconds", lambda pid: next(busy))
    process.until_idle(1)
    assert list(busy) == []


@needs_proc
def test_cpu_seconds_are_those_of_all_threads():
    before = process._cpu_seconds(os.getpid())
    done = threading.Event()

    def work():
        while not done.is_set():
            sum(range(1000))

    worker = threading.Thread(target=work)
    worker.start()
    give_up = time.monotonic() + 60
    while (used := process._cpu_seconds(os.getpid()) - before) < 0.05 and time.monotonic() < give_up:
        time.sleep(0.01)
    done.set()
    worker.join()
    assert used >= 0.05
    assert process._cpu_seconds(1 << 22) is None


# Peers that go wrong


def test_a_wrong_answer_voids_the_row_of_its_peer_alone(tmp_path):
    peers = [fake("a"), fake("wrong", answer_is=1.01), fake("b")]
    row, found = measured(tmp_path, *peers)
    assert found["wrong"].void == "wrong: its scores differ from a's by 0.99 %"
    assert found["wrong"].failed
    assert found["wrong"].samples == []
    assert found["a"].samples
    assert found["b"].samples
    assert math.isnan(row.median("wrong"))


def test_whoever_dies_or_raises_is_void_and_the_others_go_on(tmp_path):
    moments = ["prepare", "answer", "sample"]
    peers = [fake(f"dies-{when}", dies=when) for when in moments]
    peers += [fake("a"), *(fake(f"raises-{when}", raises=when) for when in moments), fake("b")]
    row, found = measured(tmp_path, *peers, timing=Timing(rounds=2))
    for when in moments:
        assert found[f"dies-{when}"].void == "its process was killed; is there too little memory?"
        assert found[f"raises-{when}"].void == "RuntimeError: planted"
    assert [m.peer for m in row.peers if not m.failed] == ["a", "b"]
    assert [len(m.samples) for m in (*row.peers, row.limit)] == [0, 0, 0, 2, 0, 0, 0, 2, 2]


def test_a_peer_that_hangs_is_not_waited_for(tmp_path):
    hanging = Process(fake("hangs", hangs="answer"), task_in(tmp_path))
    try:
        assert hanging.reply(120) == {"versions": {"fake": "1.0"}}
        hanging.tell(do="answer", to=str(tmp_path / "answer.npz"))
        with pytest.raises(PeerError, match=r"^took longer than 1 s$"):
            hanging.reply(1)
    finally:
        hanging.end()


def test_a_peer_that_cannot_even_be_imported_says_why(tmp_path):
    _, found = measured(tmp_path, Peer("none", "no_such_module"), fake("a"))
    assert found["none"].void == "ModuleNotFoundError: No module named 'no_such_module'"
    assert found["a"].samples


def test_a_loss_that_is_no_number_is_wrong(tmp_path):
    _, found = measured(tmp_path, fake("nan", loss="nan"), fake("a", loss=1.5), mode="training")
    assert found["nan"].void == "wrong: its loss became nan"
    assert found["a"].samples


def test_a_peer_too_slow_for_the_budget_is_left_out_and_that_is_no_failure(tmp_path):
    timing = Timing(budget=2.5)
    _, found = measured(tmp_path, fake("slow", seconds=1.0), fake("a"), timing=timing)
    assert found["slow"].void.startswith("too slow: 3 samples would take ")
    assert not found["slow"].failed
    assert found["a"].samples


@needs_proc
def test_no_process_is_left_whatever_happens(tmp_path, monkeypatch):
    started = []
    begin = Process.__init__

    def noted(self, *arguments):
        begin(self, *arguments)
        started.append(self.process.pid)

    monkeypatch.setattr(Process, "__init__", noted)

    def tell(doing):
        if doing == "warming up":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, fake("a"), fake("hangs", hangs="sample"), tell=tell)
    assert len(started) == 3
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


@needs_proc
def test_a_peer_whose_parent_was_killed_ends(tmp_path):
    code = (
        "import sys\nfrom minicnn.bench.process import Process\nfrom minicnn.bench.peers import Peer\n"
        "from minicnn.bench.task import Task\n"
        "p = Process(Peer('a', 'fake_peers'), Task({}, 'inference', 1, 1, '.'))\np.reply(60)\n"
        "print(p.process.pid, flush=True)\ninput()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, *sys.path)))}
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 30
    while _alive(child):
        assert time.monotonic() < end
        time.sleep(0.02)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


# Memory


@needs_proc
def test_memory_is_the_most_in_a_step_beyond_what_was_loaded(tmp_path):
    _, found = measured(tmp_path, fake("small"), fake("large", megabytes=80))
    assert 78e6 < found["large"].bytes < 100e6
    assert found["small"].bytes < 10e6


@needs_proc
def test_what_waits_for_the_next_arrays_does_not_count_as_loaded():
    give_back()
    before = resident()
    array = lend(1 << 27)
    array[...] = 1
    del array
    assert resident() > before + (1 << 26)
    give_back()
    assert resident() < before + (1 << 24)


@needs_proc
def test_the_peak_is_forgotten():
    block = np.ones(10_000_000)
    most = peak()
    assert most >= resident()
    del block
    give_back()
    reset_peak()
    assert peak() < most - 70e6


# What is told of it


def row_of(**samples):
    peers = [Measured(name.replace("_", "-"), samples=list(times)) for name, times in samples.items()]
    return Row("lenet5", "inference", 8, 3.0, peers, Measured("sgemm", samples=[GFLOP / 100]))


def test_a_record_has_every_sample_and_what_follows():
    row = row_of(minicnn=[0.1, 0.3, 0.2, 0.25], pytorch=[])
    row.peers[0].bytes, row.peers[0].error = 5_000_000, 1.23456e-6
    row.peers[1].void = "planted"
    (entry,) = rows_as_dicts([row])
    assert entry["sgemm_gflops"] == 100
    assert entry["peers"]["pytorch"] == {"void": "planted"}
    assert entry["peers"]["minicnn"] == {
        "samples_ms": [100, 300, 200, 250],
        "median_ms": 225,
        "quartiles_ms": [175, 262.5],
        "peak_mb": 5,
        "gflops": 13.33,
        "percent_of_sgemm": 13,
        "error": 1.235e-06,
    }


def text_of(row):
    from rich.console import Console

    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 (closed with it)
    with console.file:
        console.print(bench.table(row))
    return console.export_text()


def test_speed_is_measured_by_the_faster_pytorch():
    row = row_of(minicnn=[0.1], pytorch=[0.4], pytorch_channels_last=[0.2], pytorch_compile=[0.05])
    row.peers.append(Measured("jax", void="wrong [by] 3"))
    lines = text_of(row).splitlines()
    by_peer = {line.split()[0]: line for line in lines if line.strip()}
    assert [
        by_peer[m].split()[-1] for m in ("minicnn", "pytorch", "pytorch-channels-last", "pytorch-compile")
    ] == [
        "2.00×",
        "0.50×",
        "1.00×",
        "4.00×",
    ]
    assert "jax: wrong [by] 3" in "\n".join(lines)
    assert "30 %" in by_peer["minicnn"]


def test_without_pytorch_there_is_no_speed():
    assert "×" not in text_of(row_of(minicnn=[0.1])).replace("2048×", "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.0, "2,000"), (0.1, "100"), (0.00999, "9.99"), (1e-6, "0.00100")]
)
def test_milliseconds(seconds, text):
    assert milliseconds(seconds) == text


# The command


def run(*arguments):
    return main(["bench", *map(str, arguments)])


def test_the_command_prints_a_table_and_writes_a_record(tmp_path, capsys):
    path = tmp_path / "record.json"
    words = [
        "peers",
        "lenet5",
        "--peers",
        "minicnn",
        "minicnn-fused",
        "--rounds",
        1,
        "--batch",
        2,
        "--threads",
        1,
    ]
    assert run(*words, "--mode", "inference", "--output", path) == 0
    printed = capsys.readouterr().out
    assert "lenet5, inference, batch 2" in printed
    record = json.loads(path.read_text())
    assert record["command"] == (
        "minicnn bench peers lenet5 --mode inference --batch 2 --peers minicnn minicnn-fused --threads 1 --rounds 1"
    )
    assert record["machine"]["threads"] == 1
    assert record["versions"]["numpy"] == np.__version__
    (row,) = record["results"]["rows"]
    assert row["gflop"] == pytest.approx(2 * 2 * 416520 / 1e9)
    assert [len(peer["samples_ms"]) for peer in row["peers"].values()] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet81"], "bench: there is no model 'resnet81'; did you mean 'resnet18'?"),
        (["lenet5", "--peers", "pytorh"], "bench: there is no peer 'pytorh'; did you mean 'pytorch'?"),
        (["lenet5", "--device", "cude"], "argument --device: device must be 'cpu', 'cuda', 'cuda:N' or"),
        (["lenet5", "--device", "meta"], "nothing is computed"),
        (
            ["lenet5", "--output", "no/such/folder.json"],
            "--output names a folder that does not exist, no/such",
        ),
        (["lenet5", "--rounds", "0"], "must be a whole number of at least 1"),
        (["lenet5", "--budget", "-1"], "must be a number greater than 0"),
        (["resnet_cifar", "--peers", "minicnn"], "resnet_cifar: missing a required argument: 'depth'"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, capsys):
    assert run("peers", *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error.splitlines()[-1]


def test_a_peer_that_is_not_installed_is_told_once(monkeypatch, capsys):
    lacking = dataclasses.replace(PEERS["jax"], needs=("no_such_module",))
    monkeypatch.setitem(PEERS, "jax", lacking)
    monkeypatch.setattr(benchmark, "measure_row", lambda *arguments: row_of(minicnn=[0.1]))
    assert run("peers", "lenet5", "--peers", "minicnn", "jax") == 0
    error = capsys.readouterr().err
    assert error.count("not installed: no_such_module; pip install 'minicnn[bench]' brings them") == 1
    assert run("peers", "lenet5", "--peers", "jax") == 2
    assert "none of these peers is installed" in capsys.readouterr().err


def test_failures_make_the_status_1(monkeypatch, capsys):
    row = row_of(minicnn=[0.1], pytorch=[])
    monkeypatch.setattr(benchmark, "measure_row", lambda *arguments: row)
    words = ["peers", "lenet5", "--peers", "minicnn", "--mode", "training"]
    row.peers[1].void = "too slow"
    assert run(*words) == 0
    row.peers[1].failed = True
    assert run(*words) == 1


def test_the_peers_can_be_listed(capsys):
    assert run("peers", "--peers", "list") == 0
    assert capsys.readouterr().out.split() == list(PEERS)


def test_another_device_reaches_minicnn_alone(monkeypatch):
    monkeypatch.setattr("minicnn.backend.get", lambda name: None)
    peers, _ = installed(benchmark.Settings(peers=("minicnn", "minicnn-fused"), device="cuda"))
    assert [peer.options.get("device") for peer in peers] == ["cuda", "cuda"]
    assert choose("peer", ["minicnn", "minicnn"], list(PEERS)) == ["minicnn"]


@needs_proc
def test_ctrl_c_ends_all_in_one_line():
    command = [
        sys.executable,
        "-m",
        "minicnn",
        "bench",
        "peers",
        "lenet5",
        "--peers",
        "minicnn",
        "--rounds",
        "10000",
    ]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    end = time.monotonic() + 60
    while len(pids := children.read_text().split()) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.5)
    parent.send_signal(signal.SIGINT)
    _, error = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert error.strip().splitlines()[-1] == "minicnn: interrupted"
    assert not [pid for pid in pids if _alive(pid)]


# The pages


@pytest.fixture
def readme(tmp_path, monkeypatch):
    """The generator of the pages' figures, over a record of our own."""
    path = Path(__file__).parents[1] / "benchmarks" / "readme.py"
    spec = importlib.util.spec_from_file_location("readme_of_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path)

    def write(rows):
        record = bench.record(rows, "minicnn bench peers", 2)
        (tmp_path / "benchmark.json").write_text(json.dumps(record))
        return module, record

    return write


def vgg(mode, megabytes=(100, 200), **seconds):
    row = dataclasses.replace(row_of(**{name: [s] for name, s in seconds.items()}), model="vgg16", mode=mode)
    for measured, size in zip(row.peers, megabytes, strict=False):
        measured.bytes = size * 1_000_000
    return row


def test_targets_are_reached_or_missed_as_measured(readme):
    rows = [
        vgg(
            "inference",
            minicnn=0.2,
            pytorch=0.5,
            pytorch_channels_last=0.3,
            minicnn_fused=0.1,
            onnxruntime=0.12,
        ),
        vgg("training", minicnn=0.3, pytorch=0.75, pytorch_channels_last=0.3),
    ]
    module, _ = readme(rows)
    lines = [line for line in module.benchmark_targets().splitlines() if line.startswith("| vgg16")]
    found = [tuple(cell.strip() for cell in line.split("|")[2:5]) for line in lines]
    assert found == [
        ("≥ 3×", "5.00×", "reached"),
        ("≥ 2×", "3.00×", "reached"),
        ("≥ 1.3×", "1.20×", "**missed**"),
        ("≥ 2×", "2.50×", "reached"),
        ("≥ 1.5×", "1.00×", "**missed**"),
        ("≤ PyTorch's 200 MB", "100 MB", "reached"),
    ]


def test_a_target_nobody_could_measure_is_missed(readme):
    row = vgg("inference", minicnn=0.2, pytorch=0.5)
    row.peers[0].samples, row.peers[0].void = [], "wrong"
    module, _ = readme([row])
    targets = [line for line in module.benchmark_targets().splitlines() if line.startswith("| ")][2:]
    assert len(targets) == 21  # of rows that are not in the record, too
    assert all(line.endswith("| — | **missed** |") for line in targets)
    assert "| — | 500 (200 MB) | — |" in module.benchmark()


def test_the_chart_is_the_same_file_for_the_same_record(readme, tmp_path):
    pytest.importorskip("matplotlib")
    module, record = readme([vgg("inference", minicnn=0.2, pytorch=0.5, jax=0.7)])
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    for path in (first, second):
        module.chart.draw(record, path)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_text().count("<path") > 10
