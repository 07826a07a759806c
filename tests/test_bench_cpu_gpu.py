"""`minicnn bench cpu-gpu`: the prediction by hand, where the GPU starts to pay, and a whole run on the stand-in."""

import itertools
import json
import math
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from minicnn import device, get_num_threads, models, nn, set_num_threads, tensor
from minicnn.backend import cpu, gpu_state
from minicnn.bench.cpu_gpu import GPUS, Curve, Gpu, Point, Settings, curves, named, pays_from, results
from minicnn.bench.cpu_gpu import measure as measuring
from minicnn.bench.cpu_gpu.chart import draw, figure
from minicnn.bench.cpu_gpu.job import Inference, LayerTraining, Placed, Training, operations
from minicnn.bench.cpu_gpu.measure import take_turns
from minicnn.bench.cpu_gpu.network import Copies
from minicnn.bench.cpu_gpu.point import CPU, LINES, told
from minicnn.bench.cpu_gpu.report import layers_table, table, verdict
from minicnn.bench.cpu_gpu.roofline import COPY, OPERATION, PART, Work, computing, copying
from minicnn.bench.turns import Timing
from minicnn.cli import main
from minicnn.models import registry

ONE = Timing(rounds=1)
SLOW_LINK = Gpu("made up", flops=1e12, bandwidth=1e11, link=1e9, source="nowhere")


class Tiny(models.Classifier):
    input_shape = (1, 6, 6)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.drop(self.pool(self.relu(self.norm(self.conv(x)))).flatten(1)))


@pytest.fixture(autouse=True)
def same_threads():
    before = get_num_threads()
    yield
    set_num_threads(before)


@pytest.fixture
def tiny(monkeypatch):
    """A network called tiny."""
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))

    @registry.register
    def tiny(num_classes=3):
        return Tiny()

    return "tiny"


@pytest.fixture
def no_gpu(monkeypatch):
    def missing():
        raise RuntimeError("cuda: a GPU was planted nowhere; buy one")

    monkeypatch.setattr(gpu_state, "require", missing)


def on_meta(make, *arguments):
    with device("meta"):
        return make(*arguments)


# The prediction


def test_a_convolutions_time_by_hand():
    """3×3 on 2 images of 3×8×8 with 5 kernels and a border of 1: each output is 27 multiply-adds."""
    conv = on_meta(lambda: nn.Conv2d(3, 5, 3, padding=1))
    works, results = operations(Inference(conv), [np.zeros((2, 3, 8, 8), np.float32)])
    outputs = 2 * 5 * 8 * 8
    moved = 4 * (2 * 3 * 8 * 8 + 5 * 3 * 3 * 3 + 5 + outputs)
    assert works == [Work(2 * 27 * outputs, moved)]
    assert results == [4 * outputs]
    by_arithmetic = Gpu("", flops=1e6, bandwidth=1e12, link=1e6, source="")
    by_traffic = Gpu("", flops=1e12, bandwidth=1e6, link=1e6, source="")
    assert computing(by_arithmetic, works) == pytest.approx(15e-6 + 34560 / 0.5e6)
    assert computing(by_traffic, works) == pytest.approx(15e-6 + moved / 0.5e6)
    assert copying(by_traffic, [1536, *results]) == pytest.approx(2 * 10e-6 + (1536 + 2560) / 0.5e6)
    assert (PART, OPERATION, COPY) == (0.5, 15e-6, 10e-6)  # as the table's caption says


def test_a_training_step_has_both_passes_and_the_update(tiny):
    model = on_meta(models.get_model, tiny)
    inputs = [np.zeros((4, 1, 6, 6), np.float32), np.zeros(4, np.int64)]
    works, results = operations(Training(model), inputs)
    assert model.training
    forward, _ = operations(Inference(model), inputs[:1])
    assert not model.training
    parameters = [p.size for p in model.parameters()]
    assert works[-len(parameters) :] == [Work(4 * size, 20 * size) for size in parameters]
    assert len(works) > 2 * len(forward) + len(parameters)
    assert results == [4]  # the loss


def test_a_layers_training_has_its_gradients():
    layer = on_meta(lambda: nn.Linear(8, 3, bias=False))
    x, g = np.zeros((2, 8), np.float32), np.zeros((2, 3), np.float32)
    works, results = operations(LayerTraining(layer), [x, g])
    assert [work.flops for work in works] == [2 * 2 * 8 * 3, 2 * 2 * 2 * 8 * 3]
    assert results == [g.nbytes, x.nbytes]


def test_the_transfer_is_that_of_the_images_and_the_scores(tiny):
    (curve,) = curves(Settings([tiny], batches=(4,), assumed=SLOW_LINK, timing=ONE))
    (point,) = curve.points
    transfer = point.seconds("predicted_gpu_transfer") - point.seconds("predicted_gpu")
    assert transfer == pytest.approx(2 * 10e-6 + 4 * (4 * 36 + 4 * 3) / 0.5e9)


def test_what_is_known_of_gpus_makes_sense():
    assert set(GPUS) >= {"h100", "h200", "a100", "v100", "t4", "rtx4090"}
    for gpu in GPUS.values():
        assert gpu.source.startswith("NVIDIA ")
        assert 5e12 < gpu.flops < 1e14, gpu  # outside the tensor cores
        assert gpu.link < 0.1 * gpu.bandwidth or gpu.title == "NVIDIA L4"
    assert named("RTX4090") is GPUS["rtx4090"]


# Where the GPU starts to pay


def points(cpu, gpu, batches=(1, 2, 4, 8)):
    return [
        Point("a", batch, samples={CPU: [c] if c else [], "gpu": [g] if g else []})
        for batch, c, g in zip(batches, cpu, gpu, strict=True)
    ]


@pytest.mark.parametrize(
    ("cpu", "gpu", "first", "words"),
    [
        ((1, 2, 4, 8), (9, 9, 9, 9), None, "does not pay up to batch 8"),
        ((1, 2, 4, 8), (0.5, 0.5, 0.5, 0.5), 1, "pays from batch 1 on"),
        ((1, 2, 4, 8), (3, 3, 3, 3), 4, "pays from batch 4 on"),
        ((1, 2, 4, 8), (5, 5, 5, 5), 8, "pays at batch 8"),
        ((1, 2, 4, 8), (2, 2, 4, 4), 8, "pays at batch 8"),  # as fast is not faster
        ((1, 2, 4, 8), (0.5, 3, 3, 3), 4, "pays from batch 4 on"),  # once by chance
        ((1, 2, 4, 8), (0.5, 0.5, 0.5, 9), None, "does not pay up to batch 8"),
        ((1, 2, 4, None), (3, 3, 3, 3), 4, "pays at batch 4"),
        ((1, 2, None, 8), (3, 1, 1, 3), 2, "pays from batch 2 on"),
        ((None, None, None, None), (3, 3, 3, 3), None, "cannot be compared"),
    ],
)
def test_the_gpu_pays_from_where_it_stays_faster(cpu, gpu, first, words):
    found = points(cpu, gpu)
    assert pays_from(found, "gpu") == first
    assert told(found, "gpu") == words
    assert pays_from(found, "predicted_gpu") is None


def test_medians_are_compared():
    point = Point(
        "a", 1, samples={CPU: [1.0, 3.0, 100.0], "gpu": [2.0, 2.0, 2.0]}, predicted={"predicted_gpu": 6.0}
    )
    assert point.seconds(CPU) == 3
    assert point.speedup("gpu") == 1.5
    assert point.speedup("predicted_gpu") == 0.5
    assert math.isnan(point.speedup("gpu_transfer"))


# Turns


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_turns_are_taken_and_quick_calls_repeated():
    clock, log = Clock(), []

    def call(name, seconds):
        def run():
            log.append(name)
            clock.now += seconds

        return run

    calls = {"slow": call("slow", 0.25), "quick": call("quick", 0.03)}
    samples = take_turns(calls, Timing(rounds=2), clock)
    assert log[:4] == ["slow", "quick", "slow", "quick"]
    assert [name for name, _ in itertools.groupby(log[4:])] == ["slow", "quick", "slow"]
    assert log[4:].count("quick") == 2 * 2  # samples of at least 50 ms
    assert samples == {"slow": [pytest.approx(0.25)] * 2, "quick": [pytest.approx(0.03)] * 2}
    assert take_turns(calls, Timing(budget=0.6), clock)["slow"] == []
    assert take_turns({}, ONE, clock) == {}


def test_batches_too_large_for_the_budget_are_not_run(tiny, monkeypatch):
    run = []

    def turns(calls, timing):
        run.append(list(calls))
        return {name: [0.25 + 0.125 * 2 ** len(run)] for name in calls}  # 0.5, 0.75, 1.25, as 1/4 + N/4

    monkeypatch.setattr(measuring, "take_turns", turns)
    settings = Settings([tiny], batches=(1, 2, 4, 8, 16), assumed=SLOW_LINK, timing=Timing(budget=3.75))
    (curve,) = curves(settings)
    assert [bool(names) for names in run] == [True, True, True, False, False]  # 3 · 1.25 s are just enough
    assert [point.void.get(CPU, "")[:8] for point in curve.points] == ["", "", "", "too slow", "too slow"]
    assert all(point.seconds("predicted_gpu") > 0 for point in curve.points)
    lines = text_of(table(curve)).splitlines()
    assert any(line.startswith("8, 16: CPU too slow: 3 samples would take more") for line in lines)


def test_a_first_batch_too_slow_for_the_budget_is_the_last(tiny, monkeypatch):
    monkeypatch.setattr(measuring, "take_turns", lambda calls, timing: {name: [] for name in calls})
    (curve,) = curves(Settings([tiny], batches=(1, 2), timing=Timing(budget=2.0)))
    assert [point.void[CPU] for point in curve.points] == [
        "too slow: 3 samples would take more than the 2 s there are"
    ] * 2


def test_a_batch_that_cannot_be_computed_says_why_and_the_next_is(tiny, monkeypatch):
    def forward(model, x, before=Tiny.forward):
        if len(x) == 1:
            raise ValueError("batch_norm: training needs more than one value a channel")
        return before(model, x)

    monkeypatch.setattr(Tiny, "forward", forward)
    (curve,) = curves(Settings([tiny], batches=(1, 2), assumed=SLOW_LINK, timing=ONE))
    assert curve.points[0].void == {CPU: "batch_norm: training needs more than one value a channel"}
    assert not curve.points[0].failed
    assert curve.points[1].samples[CPU]


# A network's layers


def test_layers_that_are_alike_are_one():
    found = Copies({"model": "lenet5"}).layers()
    assert [layer.names[0] for layer in found if layer.kind != "ReLU"] == [
        "c1",
        "s2",
        "c3",
        "s4",
        "c5",
        "f6",
        "output",
    ]
    assert found[0].input_shape == (1, 32, 32)
    assert found[0].output_shape == (6, 28, 28)
    assert len({(layer.names, layer.input_shape) for layer in found}) == len(found)


def test_alike_layers_of_a_network_have_their_names_together(tiny, monkeypatch):
    class Twice(Tiny):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            return super().forward(self.second(self.first(x)))

    monkeypatch.setitem(registry._BUILDERS, "tiny", Twice)
    layers = Copies({"model": "tiny"}).layers()
    assert layers[0].names == ("first", "second")
    assert layers[0].title == "first +1 Conv2d"
    assert [layer.kind for layer in layers[1:]] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Linear"]


def test_running_statistics_are_those_of_the_images(tiny):
    model = Copies({"model": tiny}).on("cpu")
    images = tensor(np.random.default_rng(0).standard_normal((2, 1, 6, 6), np.float32))
    values = model.conv(images).data
    np.testing.assert_allclose(model.norm.running_mean.data, values.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.norm.running_var.data, values.var((0, 2, 3), ddof=1), rtol=1e-4)
    assert model.norm.momentum == nn.BatchNorm2d(1).momentum


# On the device


@pytest.mark.usefixtures("cuda")
def test_a_whole_run_on_the_device(tiny, tmp_path, capsys):
    words = ["--batch", "2", "1", "--layers", "--training", "--assume", "t4", "--out", str(tmp_path / "new")]
    assert run(tiny, "--smoke", *words) == 0
    printed = capsys.readouterr().out
    assert "no GPU" not in printed
    record = json.loads((tmp_path / "new" / "cpu_gpu.json").read_text())
    results = record["results"]
    assert record["versions"]["cupy"]
    assert results["gpu"]
    assert results["why_no_gpu"] is None
    assert results["predicted_for"]["title"] == "NVIDIA T4"
    assert [(curve["model"], curve["mode"]) for curve in results["curves"]] == [
        (tiny, "inference"),
        (tiny, "training"),
    ]
    for curve in results["curves"]:
        assert [point["batch"] for point in curve["points"]] == [1, 2]
        assert [entry["layer"] for entry in curve["layers"]] == [
            "conv Conv2d",
            "norm BatchNorm2d",
            "relu ReLU",
            "pool MaxPool2d",
            "out Linear",
        ]
        assert set(curve["pays_from_batch"]) == set(LINES) - {CPU}
        for entry in (*curve["points"], *curve["layers"]):
            assert entry["void"] == {}
            assert set(entry["median_ms"]) == set(entry["samples_ms"]) == {CPU, "gpu", "gpu_transfer"}
            assert set(entry["predicted_ms"]) == {"predicted_gpu", "predicted_gpu_transfer"}
            assert entry["predicted_ms"]["predicted_gpu"] < entry["predicted_ms"]["predicted_gpu_transfer"]
    assert "GPU + transfer (predicted)" in (tmp_path / "new" / "cpu_gpu.svg").read_text()


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_wrong_answer_has_no_time(tiny, mode, monkeypatch):
    def on(copies, device, before=Copies.on):
        module = before(copies, device)
        if device == "cuda":
            module.out.bias.data[0] += 1
        return module

    monkeypatch.setattr(Copies, "on", on)
    (curve,) = curves(Settings([tiny], modes=[mode], batches=[2], device="cuda", timing=ONE))
    (point,) = curve.points
    assert point.failed
    assert point.void["gpu"].startswith("WrongAnswer: it differs from the CPU's by ")
    assert set(point.samples) == {CPU}


@pytest.mark.usefixtures("cuda")
def test_a_gpu_that_fails_leaves_the_cpu_and_makes_the_status_1(tiny, monkeypatch, capsys):
    def full(placed):
        raise MemoryError("conv2d: 8 GB were asked for\nand more lines")

    monkeypatch.setattr(Placed, "transferred", full)
    assert run(tiny, "--smoke", "--batch", "1") == 1
    assert "1: GPU MemoryError: conv2d: 8 GB were asked for" in " ".join(capsys.readouterr().out.split())


def test_the_transferred_step_sends_its_input_and_fetches_its_result(monkeypatch):
    sent, fetched = [], []
    layer = nn.Linear(3, 2)
    placed = Placed(Inference(layer), [np.ones((1, 3), np.float32)], "cpu")
    monkeypatch.setattr(cpu, "synchronize", lambda array: sent.append("waited"))
    kind = type(tensor([1.0]))
    monkeypatch.setattr(
        kind, "to", lambda x, target, before=kind.to: sent.append(target) or before(x, target)
    )
    monkeypatch.setattr(kind, "numpy", lambda x, before=kind.numpy: fetched.append(x.shape) or before(x))
    placed.resident()
    assert (sent, fetched) == (["waited"], [])
    placed.transferred()
    assert (sent, fetched) == (["waited", "cpu"], [(1, 2)])


# The command


def run(*arguments):
    return main(["bench", "cpu-gpu", *arguments])


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_it_says_so_and_measures_the_cpu(tiny, capsys):
    assert run(tiny, "--smoke") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("no GPU: a GPU was planted nowhere; buy one\n")
    assert "--assume h100" in printed
    assert "tiny, inference" in printed
    assert "redicted" not in printed.replace("predicted from its data sheet", "")


@pytest.mark.usefixtures("no_gpu")
def test_what_is_predicted_says_so_wherever_it_appears(tiny, tmp_path, capsys):
    assert run(tiny, "--smoke", "--layers", "--assume", "H100", "--out", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "what NVIDIA H100 SXM would take is predicted" in printed
    assert printed.count("Predicted, not measured: NVIDIA H100 SXM at 50%") == 2
    assert "tiny, inference: GPU (predicted) " in printed
    results = json.loads((tmp_path / "cpu_gpu.json").read_text())["results"]
    assert results["gpu"] is None
    assert results["why_no_gpu"] == "a GPU was planted nowhere; buy one"
    assumed = results["predicted_for"]
    assert assumed["published"]["flops"] == 67e12
    assert assumed["assumed"] == {"part_of_peaks": 0.5, "operation_us": 15, "copy_us": 10}
    (curve,) = results["curves"]
    for entry in (*curve["points"], *curve["layers"]):
        assert set(entry["median_ms"]) == {CPU}
        assert all(name.startswith("predicted_") for name in entry["predicted_ms"])
    assert all(line.startswith("predicted_") for line in curve["pays_from_batch"])


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet6"], "bench: there is no model 'lenet6'; did you mean 'lenet5'?"),
        (
            ["lenet5", "--assume", "h10"],
            "there is no GPU 'h10' to assume, did you mean 'h100'? Known are h100, h200",
        ),
        (["lenet5", "--assume", "voodoo"], "there is no GPU 'voodoo' to assume; known are h100, h200"),
        (["lenet5", "--device", "cpu"], "--device must be 'cuda' or 'cuda:N', got 'cpu'"),
        (["lenet5", "--device", "cuda:x"], "device must be 'cpu', 'cuda', 'cuda:N' or 'meta', got 'cuda:x'"),
        (["lenet5", "--batch", "0"], "must be a whole number of at least 1, got '0'"),
        (["lenet5", "--budget", "0"], "must be a number greater than 0"),
        (
            ["lenet5", "--out", "no/such/folder"],
            "--out names a folder in 'no/such', and there is no such folder",
        ),
        (["lenet5", "--out", __file__], "--out must name a folder, "),
        (["resnet_cifar"], "resnet_cifar: missing a required argument: 'depth'"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, capsys):
    assert run(*arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error.splitlines()[-1]


def test_the_gpus_can_be_listed(capsys):
    assert run("--assume", "list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(GPUS)


@pytest.mark.usefixtures("no_gpu")
def test_the_record_has_the_command_that_measures_it_again(tiny, tmp_path):
    options = ["--batch", "1", "--smoke", "--assume", "t4", "--device", "cuda:1", "--threads", "1"]
    assert run(tiny, *options, "--out", str(tmp_path)) == 0
    record = json.loads((tmp_path / "cpu_gpu.json").read_text())
    assert (
        record["command"]
        == "minicnn bench cpu-gpu tiny --batch 1 --smoke --assume t4 --device cuda:1 --threads 1"
    )
    assert record["machine"]["threads"] == 1


# Tables and chart


def curve_with_everything():
    samples = {CPU: [0.5], "gpu": [0.25], "gpu_transfer": [2.0]}
    predicted = {"predicted_gpu": 0.05, "predicted_gpu_transfer": 0.001}
    first = Point("a", 1, Work(2 * 10**9, 10**9), 3, samples, predicted)
    last = Point("a", 2, Work(4 * 10**9, 10**9), 3, {"gpu": [0.25]}, {}, {CPU: "too [slow]"})
    layer = Point("features.and.a.long.name.0 Conv2d", 1, Work(0, 0), 0, samples)
    return Curve("a", "inference", [first, last], [layer])


def text_of(shown):
    from rich.console import Console

    console = Console(width=120)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def test_a_table_has_times_and_factors():
    lines = text_of(table(curve_with_everything(), SLOW_LINK)).splitlines()
    cells = [line.split() for line in lines if line.strip()]
    assert ["1", "2", "2.0", "500", "250", "2.0×", "2,000", "0.2×", "50.0", "10×", "1.00", "500×"] in cells
    assert ["2", "4", "4.0", "—", "250", "—", "—", "—"] in cells
    assert "2: CPU too [slow]" in text_of(table(curve_with_everything(), SLOW_LINK))
    assert all(len(line.rstrip()) <= 120 for line in lines)
    layers = text_of(layers_table(curve_with_everything()))
    assert "features.and.a.long.nam…" in layers
    assert "redicted" not in layers


def test_a_record_says_from_where_each_line_pays():
    (curve,) = results([curve_with_everything()], "A GPU", None, None)["curves"]
    assert curve["pays_from_batch"] == {
        "gpu": 1,
        "gpu_transfer": None,
        "predicted_gpu": 1,
        "predicted_gpu_transfer": 1,
    }
    assert curve["points"][0]["samples_ms"] == {CPU: [500], "gpu": [250], "gpu_transfer": [2000]}
    assert curve["points"][0]["predicted_ms"] == {"predicted_gpu": 50, "predicted_gpu_transfer": 1}
    assert curve["points"][1]["void"] == {CPU: "too [slow]"}
    assert (curve["points"][0]["gflop"], curve["points"][0]["megabytes"]) == (2, 1000)


def test_a_verdict_for_each_line():
    assert verdict(curve_with_everything()) == [
        "a, inference: GPU pays at batch 1",
        "a, inference: GPU + transfer does not pay up to batch 1",
        "a, inference: GPU (predicted) pays at batch 1",
        "a, inference: GPU + transfer (predicted) pays at batch 1",
    ]


def test_the_chart_names_its_lines_and_dashes_predictions():
    pytest.importorskip("matplotlib", reason="charts need matplotlib, which is not installed")
    drawn = figure([curve_with_everything()] * 3, "A CPU", "A GPU", SLOW_LINK)
    assert (
        drawn.get_suptitle()
        == "A CPU against A GPU\ndashed: made up, predicted from its data sheet, not measured"
    )
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == list(LINES.values())
    axes = drawn.axes[0]
    lines = {line.get_label(): line for line in axes.lines if line.get_label() in LINES.values()}
    for label, line in lines.items():
        assert (line.get_linestyle() == "--") == ("predicted" in label)
    np.testing.assert_allclose(lines["GPU"].get_xydata(), [(1, 250), (2, 125)])
    rings = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_label() not in LINES.values()]
    assert sorted(rings) == [[1.0, 1.0], [1.0, 50.0], [1.0, 250.0]]
    texts = {text.get_text() for text in axes.texts}
    assert {"GPU pays at batch 1", "GPU + transfer does not pay up to batch 1"} <= texts
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (
        figure([curve_with_everything()], "A CPU", None, None).get_suptitle() == "A CPU; no GPU was measured"
    )


def test_the_same_times_give_the_same_chart(tmp_path):
    pytest.importorskip("matplotlib", reason="charts need matplotlib, which is not installed")
    files = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for file in files:
        draw(file, [curve_with_everything()], "A CPU", None, SLOW_LINK)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert ElementTree.parse(files[0]).getroot().tag.endswith("svg")


@pytest.mark.usefixtures("no_gpu")
def test_without_matplotlib_there_is_a_record_and_no_chart(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(tiny, "--smoke", "--out", str(tmp_path)) == 0
    assert 'no chart without matplotlib: pip install "minicnn[plot]"' in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["cpu_gpu.json"]
