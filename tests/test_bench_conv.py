"""`minicnn bench conv`: every algorithm on a network's convolutions, measured beside what was predicted."""

import math

import numpy as np
import pytest

from minicnn import conv, models, nn
from minicnn.backend.workspace import scratch
from minicnn.bench import convolutions
from minicnn.bench.convolutions import measure, problems
from minicnn.cli import main
from minicnn.conv.algorithms import ALGORITHMS
from minicnn.conv.problem import DIRECTIONS, Problem
from minicnn.geometry import Window2d

PROBLEM = Problem((2, 8, 12, 12), 8, Window2d.of("conv2d", 3, padding=1))


def test_each_different_convolution_of_a_network_is_found_once():
    model = models.vgg16(num_classes=3)
    before = model.training
    found = problems(model, batch=3)
    names = [name for layers in found.values() for name in layers]
    assert names == [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    assert len(found) == 9  # of 13: the last one or two of a size are alike
    assert {problem.input_shape[0] for problem in found} == {3}
    assert model.training == before
    assert isinstance(model.features[0].weight.data, np.ndarray)


def test_the_hooks_are_gone_and_the_values_back_after_a_failure():
    class Broken(nn.Module):
        input_shape = (3, 8, 8)

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            self.conv(x)
            raise RuntimeError("broken")

    model = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        problems(model, 1)
    assert not model.conv._forward_hooks
    assert float(np.abs(model.conv.weight.data).max()) > 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_each_algorithm_needed(direction):
    result = measure(PROBLEM, direction, conv.algorithms(), rounds=1)
    assert result.pick in result.runs
    assert "im2col_chunked" in result.runs
    assert set(result.runs) | set(result.refusals) == set(conv.algorithms())
    assert result.fastest != "direct"
    for name, one in result.runs.items():
        assert one.seconds > 0, name
        assert one.error < 1e-5, name
    assert result.loss >= 1


def test_the_shortest_of_the_times_counts(monkeypatch):
    monkeypatch.setattr(convolutions, "fastest", lambda problem, direction: "im2col_chunked")
    ticks = iter([0, 5, 10, 13, 20, 29])  # one algorithm, three rounds: 5, 3, 9
    result = measure(PROBLEM, "forward", [], rounds=3, errors=False, clock=lambda: next(ticks))
    assert result.runs["im2col_chunked"].seconds == 3
    assert math.isnan(result.runs["im2col_chunked"].error)


def test_turns_begin_with_another_each_round_and_leave_out_the_hopeless():
    now, turns = 0, []

    def call(name, seconds):
        def run():
            nonlocal now
            turns.append(name)
            now += seconds

        return run

    calls = {"a": call("a", 10), "b": call("b", 30), "c": call("c", 31)}
    assert convolutions._take_turns(calls, 3, lambda: now) == {"a": 10, "b": 30, "c": 31}
    assert turns == [*"abc", *"ba", *"ab"]


def test_workspace_is_what_was_asked_for_beyond_the_result(monkeypatch):
    class Wasteful:
        def __getattr__(self, name):
            return getattr(ALGORITHMS["im2col"], name)

        def backward_data(self, *args):
            scratch("test", (1 << 20,), np.dtype(np.uint8))[...] = 0
            return ALGORITHMS["im2col"].backward_data(*args)

    plain = measure(PROBLEM, "backward_data", ["im2col"], rounds=1, errors=False).runs["im2col"].workspace
    monkeypatch.setitem(convolutions.ALGORITHMS, "wasteful", Wasteful())
    wasteful = (
        measure(PROBLEM, "backward_data", ["wasteful"], rounds=1, errors=False).runs["wasteful"].workspace
    )
    assert 0 <= wasteful - plain - (1 << 20) < 10_000


def test_a_wrong_result_shows_as_an_error(monkeypatch):
    class Wrong:
        def __getattr__(self, name):
            return getattr(ALGORITHMS["im2col"], name)

        def backward_weight(self, *args):
            return 1.01 * ALGORITHMS["im2col"].backward_weight(*args)

    monkeypatch.setitem(convolutions.ALGORITHMS, "wrong", Wrong())
    runs = measure(PROBLEM, "backward_weight", ["wrong"], rounds=1).runs
    assert runs["wrong"].error == pytest.approx(0.01, rel=1e-3)


def test_the_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    options = ["--batch", "2", "--direction", "all", "--rounds", "1"]
    assert main(["bench", "conv", "--model", "lenet5", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert sum("conv" not in line and "→" in line for line in lines) == 6  # two layers, three directions
    assert "winograd_4x4: the kernel must be 3×3, got 5×5" in "\n".join(lines)
    assert "auto is within 10 % of the fastest in" in "\n".join(lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--algorithms", "winograd"], "bench conv: there is no algorithm 'winograd'"),
        (["--algorithms", "im2cool"], "did you mean 'im2col'?"),
        (["--model", "resnet51"], "resnet51"),
        (["--batch", "0"], "--batch"),
        (["--direction", "sideways"], "sideways"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    assert main(["bench", "conv", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
