"""profile: every operation's time, counts and layer; the rest; the tables, the picture and the command."""

import gc
import io
import math
import re
import sys
import threading
import weakref
from argparse import Namespace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

import minicnn
from minicnn import AnomalyError, Function, Tensor, detect_anomaly, models, nn, no_grad, tensor
from minicnn import functional as F
from minicnn.cli import main
from minicnn.cli.bench import profile as command
from minicnn.observer import Observer, current, observing
from minicnn.profiler import Profile, Record, limit, median, product_flops, profile, sgemm_limit
from minicnn.profiler.flame import placed, svg, tree
from minicnn.study import summary

SVG = "{http://www.w3.org/2000/svg}"


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self):
        return self.now


class Slow(Function):
    """y = x, and the clock moves: so many seconds forward, so many backward."""

    def __init__(self, clock, forward, backward=0):
        self.clock, self.times = clock, (forward, backward)

    def forward(self, x):
        self.clock.now += self.times[0]
        return x

    def backward(self, g):
        self.clock.now += self.times[1]
        return g


class Layer(nn.Module):
    """A module that is as slow as it is told."""

    def __init__(self, clock, forward, backward=0):
        super().__init__()
        self.slow = clock, forward, backward

    def forward(self, x):
        return Slow(*self.slow)(x)


def leaf(*shape, dtype=np.float32):
    return Tensor(np.ones(shape, dtype), requires_grad=True)


def told(found):
    """Operation, phase and layer of each record."""
    return [(r.operation, r.phase, ".".join(r.path)) for r in found.records]


def seconds(found):
    return [record.seconds for record in found.records]


# Times


def test_times_and_the_rest_add_up_to_the_whole():
    clock = Clock()
    with profile(clock=clock) as p:
        clock.now += 3
        y = Slow(clock, 5, 7)(leaf(1))
        clock.now += 11
        y = Slow(clock, 13, 17)(y)
        y.backward()
        clock.now += 19
    clock.now += 100
    assert [(r.phase, r.seconds) for r in p.records] == [
        ("forward", 5), ("forward", 13), ("backward", 17), ("backward", 7)
    ]  # fmt: skip
    assert p.spent.seconds == 5 + 13 + 17 + 7
    assert p.rest == 3 + 11 + 19
    assert p.seconds == p.spent.seconds + p.rest
    for rows in (p.by_layer(), p.by_operation()):
        assert sum(row.both.seconds for row in rows) == p.spent.seconds
        assert sum(row.forward.seconds for row in rows) == 18


def test_what_an_operation_calls_is_not_its_own_time():
    clock = Clock()

    class Outer(Function):
        def forward(self, x):
            clock.now += 1
            for _ in range(2):
                Middle()(Tensor(x))
            clock.now += 2
            return x

        def backward(self, g):
            clock.now += 50
            Slow(clock, 60)(Tensor(g))
            return g

    class Middle(Function):
        def forward(self, x):
            clock.now += 10
            Slow(clock, 100)(Tensor(x))
            clock.now += 20
            return x

    with profile(clock=clock) as p:
        Outer()(leaf(1)).backward()
        Slow(clock, 7)(leaf(1))
    assert [(r.operation, r.phase, r.seconds) for r in p.records] == [
        ("Slow", "forward", 100), ("Middle", "forward", 30), ("Slow", "forward", 100), ("Middle", "forward", 30),
        ("Outer", "forward", 3), ("Slow", "forward", 60), ("Outer", "backward", 50), ("Slow", "forward", 7),
    ]  # fmt: skip
    assert p.rest == 0


def test_inside_the_block_the_profile_says_what_there_is_so_far():
    clock = Clock()
    with profile(clock=clock) as p:
        assert (p.records, p.seconds, p.rest) == ((), 0, 0)
        clock.now += 1
        Slow(clock, 2)(leaf(1))
        clock.now += 4
        assert (seconds(p), p.seconds, p.rest) == ([2], 3, 1)
        assert "operations" in str(p)
    assert (p.seconds, p.rest) == (7, 5)


def test_an_exception_leaves_what_there_was():
    clock = Clock()

    class Broken(Function):
        def forward(self, x):
            clock.now += 10
            Slow(clock, 20)(Tensor(x))
            raise ZeroDivisionError

    def run():
        with profile(clock=clock) as p:
            found.append(p)
            Slow(clock, 1)(leaf(1))
            with pytest.raises(ZeroDivisionError):
                Broken()(leaf(1))
            Slow(clock, 2)(leaf(1))  # and from here on all is as if nothing had been
            Broken()(leaf(1))

    found = []
    with pytest.raises(ZeroDivisionError):
        run()
    (p,) = found
    assert [(r.operation, r.seconds) for r in p.records] == [("Slow", s) for s in (1, 20, 2, 20)]
    assert p.seconds == 1 + 30 + 2 + 30
    assert p.rest == 20  # of the two that broke
    assert current.observers == ()


def test_an_operation_that_outlives_the_failure_of_another():
    clock = Clock()

    class Fails(Function):
        def forward(self, x):
            clock.now += 5
            raise ZeroDivisionError

    class Catches(Function):
        def forward(self, x):
            clock.now += 1
            with pytest.raises(ZeroDivisionError):
                Fails()(Tensor(x))
            return x

    with profile(clock=clock) as p:
        Catches()(leaf(1))
    assert [(r.operation, r.seconds) for r in p.records] == [("Catches", 1)]


def test_real_times_are_positive_and_within_the_whole():
    x = tensor(np.ones((200, 200)))
    with profile() as p:
        for _ in range(3):
            x = x @ x
    assert all(s > 0 for s in seconds(p))
    assert 0 < p.spent.seconds < p.seconds


# Who is seen


def test_other_threads_are_not_seen_and_have_profiles_of_their_own():
    clock, begun, done, found = Clock(), threading.Event(), threading.Event(), []

    def other():
        begun.wait(10)
        Slow(clock, 1)(leaf(1))
        with profile(clock=clock) as theirs:
            (leaf(2) * 2).sum()
        found.append(theirs)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with profile(clock=clock) as p:
        begun.set()
        assert done.wait(10)
        leaf(3).exp()
    thread.join()
    assert told(p) == [("Exp", "forward", "")]
    assert told(found[0]) == [("Multiply", "forward", ""), ("Sum", "forward", "")]


def test_blocks_nest_and_each_sees_what_is_inside():
    with profile() as outer:
        leaf(1).exp()
        with profile() as inner, profile() as same:
            leaf(1).log()
        leaf(1).sqrt()
    assert told(inner) == told(same) == [("Log", "forward", "")]
    assert [operation for operation, *_ in told(outer)] == ["Exp", "Log", "Sqrt"]
    assert current.observers == ()


def test_without_grad_there_is_no_backward():
    with profile() as p, no_grad():
        nn.Sequential(nn.Linear(2, 2), nn.ReLU())(leaf(1, 2))
    assert [phase for _, phase, _ in told(p)] == ["forward", "forward"]
    assert "backward" not in str(p)


def test_the_work_of_other_observers_is_the_rest():
    clock = Clock()

    class Looker(Observer):
        def forward(self, function, run, *arrays):
            clock.now += 100
            y = run(*arrays)
            clock.now += 100
            return y

    with observing(Looker()), profile(clock=clock) as p:
        Slow(clock, 3)(leaf(1))
    assert seconds(p) == [3]
    assert p.rest == 200


@pytest.mark.parametrize("detector_first", [True, False])
def test_with_the_anomaly_detector(detector_first):
    found = []

    def run():
        x = leaf(2)
        (x * 2).sum().backward()
        (x - 1).log()

    def profiled():
        with profile() as p:
            found.append(p)
            if detector_first:
                run()
            else:
                with detect_anomaly():
                    run()

    def raising():
        if detector_first:
            with detect_anomaly():
                profiled()
        else:
            profiled()

    with pytest.raises(AnomalyError, match="Log, forward: -Inf"):
        raising()
    operations = [(operation, phase) for operation, phase, _ in told(found[0])]
    assert operations == [
        ("Multiply", "forward"), ("Sum", "forward"), ("Sum", "backward"), ("Multiply", "backward"),
        ("Subtract", "forward"), ("Log", "forward"),
    ]  # fmt: skip
    assert current.observers == ()


def test_where_there_is_no_block_nothing_is_done(monkeypatch):
    with profile():
        leaf(1).exp()
    assert current.observers == ()

    def forbidden(*arguments):
        raise AssertionError("an operation was observed")

    monkeypatch.setattr(sys.modules["minicnn.tensor"], "observed", forbidden)  # minicnn.tensor is a function
    (leaf(2) * 2).sum().backward()
    with pytest.raises(AssertionError, match="observed"), profile():
        leaf(1).exp()


def test_the_results_are_the_same_bits():
    def step():
        minicnn.manual_seed(0)
        model = models.lenet5()
        images = tensor(np.random.default_rng(0).random((4, 1, 32, 32), np.float32))
        loss = model.loss(model(images), tensor([1, 2, 3, 4]))
        loss.backward()
        return [loss.data, *(parameter.grad for parameter in model.parameters())]

    plain = step()
    with profile():
        profiled = step()
    for a, b in zip(plain, profiled, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_kept_alive():
    class Net(nn.Module):
        def forward(self, x):
            self.y = x.exp()
            return self.y

    net = Net()
    with profile() as p:
        array = weakref.ref(net(leaf(1000)).data)
    model = weakref.ref(net)
    del net
    gc.collect()
    assert model() is None
    assert array() is None
    assert len(p.records) == 1


# Layers


class Block(nn.Module):
    """Two convolutions and, by itself, the sum and ReLU of a residual block."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1))

    def forward(self, x):
        return F.relu(self.body(x) + x)


def test_operations_belong_to_the_module_that_calls_them():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()
            self.parts = nn.Sequential(nn.Sequential(nn.ReLU()))

        def forward(self, x):
            x = self.parts[0][0](self.block(x))  # not through Sequential's forward
            return x.sum()

    with profile() as p:
        (Net()(leaf(1, 2, 4, 4)) * 2).backward()
    rows = {(row.name, row.operations): row for row in p.by_layer()}
    assert list(rows) == [
        ("block.body.0", ("Conv2d",)),
        ("block.body.1", ("Conv2d",)),
        ("block", ("Add", "ReLU")),
        ("parts.0.0", ("ReLU",)),
        ("Net", ("Sum",)),
        ("", ("Multiply",)),
    ]
    assert {record.kind for record in p.records if record.path == ("Net", "block")} == {"Block"}
    assert ("Net", "parts", "0", "0") in {record.path for record in p.records}
    for name, row in rows.items():
        assert row.backward.seconds > 0, name


def test_a_module_called_twice_is_one_row():
    clock = Clock()
    shared = Layer(clock, 1, 10)
    net = nn.Sequential(shared, Layer(clock, 2, 20), shared)
    with profile(clock=clock) as p:
        net(leaf(1)).backward()
    rows = p.by_layer()
    assert [(row.name, row.calls) for row in rows] == [("0", 2), ("1", 1)]
    assert [(row.forward.seconds, row.backward.seconds) for row in rows] == [(2, 20), (2, 20)]


def test_outermost_modules_of_one_class_are_told_apart():
    first, second, criterion = nn.Linear(2, 3), nn.Linear(3, 2), nn.CrossEntropyLoss()
    with profile() as p:
        for _ in range(2):
            criterion(second(first(leaf(1, 2))), tensor([1])).backward()
    assert [row.name for row in p.by_layer()][:2] == ["Linear", "Linear 2"]
    assert {row.name for row in p.by_layer()} == {"Linear", "Linear 2", "CrossEntropyLoss"}
    assert p.by_layer()[0].calls == 2


def test_parts_of_several_networks_have_their_whole_path():
    one, other = nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())
    with profile() as p:
        other(one(leaf(1)))
    assert [row.name for row in p.by_layer()] == ["Sequential.0", "Sequential 2.0"]


def test_a_network_and_a_loss_are_not_several_networks():
    net, criterion = nn.Sequential(nn.Linear(2, 3)), nn.MSELoss()
    with profile() as p:
        criterion(net(leaf(1, 2)), leaf(1, 3))
    assert [row.name for row in p.by_layer()] == ["0", "MSELoss"]


def test_backward_is_laid_to_the_layer_of_forward_in_whatever_block_that_was():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with profile():
        seen = net(leaf(1, 2)).sum()
    unseen = net(leaf(1, 2)).sum()
    with profile() as p:
        seen.backward()
        unseen.backward()
    layers = [layer for _, _, layer in told(p)]
    assert layers == ["", "Sequential.1", "Sequential.0", "", "", ""]
    assert [row.calls for row in p.by_layer()] == [0] * 5


# Counts


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "googlenet", "resnet18"])
def test_products_count_twice_the_multiply_adds_of_the_summary(name):
    """Which reads them off the modules, not off the operations."""
    with minicnn.device("meta"):
        model = models.get_model(name).eval()
        images = Tensor(minicnn.backend.get("meta").zeros((3, *model.input_shape), np.float32))
        with profile() as p:
            output = model(images)
            output.backward(output.detach())
        rows = summary(model).rows
    macs = {}
    for row in rows:
        macs[row.name] = macs.get(row.name, 0) + row.macs
    counted = {row.name: row for row in p.by_layer() if macs.get(row.name)}
    assert counted.keys() == {name for name, number in macs.items() if number}
    for i, (name, row) in enumerate(counted.items()):
        assert row.forward.flops == 2 * 3 * macs[name]
        assert row.backward.flops == 2 * 3 * macs[name] * (1 if i == 0 else 2)  # images need no gradient


@pytest.mark.parametrize(
    ("run", "forward", "backward"),
    [
        (lambda: F.conv2d(leaf(2, 4, 5, 5), leaf(6, 2, 3, 3), stride=2, groups=2), 2 * 2 * 6 * 4 * 18, 2),
        (lambda: F.conv2d(leaf(1, 1, 3, 3), leaf(1, 1, 3, 3).detach(), leaf(1)), 18, 1),
        (lambda: F.conv_transpose2d(leaf(1, 2, 3, 3), leaf(2, 4, 2, 2)), 2 * 18 * 4 * 4, 2),
        (lambda: F.linear(leaf(3, 5, 4), leaf(2, 4), leaf(2)), 2 * 3 * 5 * 4 * 2, 2),
        (lambda: leaf(3, 4) @ leaf(4, 5), 2 * 3 * 4 * 5, 2),
        (lambda: leaf(7, 3, 4) @ tensor(np.ones((4, 5))), 2 * 7 * 3 * 4 * 5, 1),
        (lambda: leaf(6) @ leaf(6), 12, 2),
        (lambda: leaf(2, 3).exp(), 6, 1),
        (lambda: leaf(2, 3) * leaf(3), 6, 2),
        (lambda: leaf(2, 3).sum(1), 6, 0),
        (lambda: F.max_pool2d(leaf(1, 1, 4, 4), 2), 16, 1),
        (lambda: leaf(1, 3) + tensor(np.ones((4, 3))), 12, 1),
    ],
)  # fmt: skip
def test_flops(run, forward, backward):
    with profile() as p:
        y = run()
        y.backward(np.full(y.shape, 2, np.float32))
    assert [record.flops for record in p.records] == [forward, backward * forward]


def test_an_operation_of_ones_own_says_what_it_multiplies():
    class Gram(Function):
        def forward(self, x):
            return x @ x.T

    product_flops.register(Gram, lambda function, output_shape: 1234)
    with profile() as p:
        Gram()(leaf(2, 3))
    assert [record.flops for record in p.records] == [1234]


@pytest.mark.parametrize(
    ("run", "forward", "backward"),
    [
        (lambda: F.relu(leaf(10)), 20, 30),  # the output is kept
        (lambda: leaf(10, dtype=np.float64).exp(), 2 * 20, 2 * 30),
        (lambda: F.linear(leaf(1, 3), leaf(2, 3)), 3 + 6 + 2, 2 + 3 + 6 + 3 + 6),
        (lambda: (x := leaf(10)) * x, 10 + 10, None),
        (lambda: leaf(2, 5).reshape(10), 0, 0),
        (lambda: leaf(2, 5).transpose(0, 1), 0, 0),
        (lambda: leaf(10)[2:4], 0, 2 + 10),  # a view forward; zeros with a piece filled in backward
        (lambda: leaf(3) + leaf(3), 9, 0),  # g is passed on to both
    ],
)
def test_bytes(run, forward, backward):
    with profile() as p:
        y = run()
        y.backward(np.ones(y.shape, y.dtype))
    there, back = (record.bytes for record in p.records)
    assert there == 4 * forward
    assert backward is None or back == 4 * backward


def test_a_view_of_one_input_is_a_view():
    class First(Function):
        def forward(self, x, y):
            return x[:1]

    with profile() as p:
        First()(leaf(2), leaf(3))
    assert [record.bytes for record in p.records] == [0]


def test_what_touches_nothing_counts_no_flops():
    with profile() as p:
        leaf(2, 3).flatten().backward(np.ones(6, np.float32))
    assert [(record.flops, record.bytes) for record in p.records] == [(0, 0), (0, 0)]


def test_rates():
    record = Record("MatMul", "forward", (), "", (), 0.5, 10**9, 4 * 10**9)
    (row,) = Profile([record], 1.0).by_operation()
    assert (row.both.gflops, row.both.gigabytes) == (2, 8)
    assert row.backward.gflops == row.backward.gigabytes == 0


# The limit


def test_the_limit_is_measured_once_for_each_number_of_threads(monkeypatch):
    rates = iter(range(1, 100))
    monkeypatch.setattr(limit, "sgemm_rate", lambda: next(rates))
    monkeypatch.setattr(limit, "get_num_threads", lambda: threads)
    limit._measured.cache_clear()
    try:
        threads = 1
        first = sgemm_limit()
        threads = 2
        second = sgemm_limit()
        threads = 1
        assert (first, second, sgemm_limit()) == (5, 10, 5)
    finally:
        limit._measured.cache_clear()


def test_the_limit_is_a_rate_of_the_product(monkeypatch):
    times = iter([10.0, 12.0])
    monkeypatch.setattr(limit, "sgemm", lambda: None)
    monkeypatch.setattr(limit.time, "perf_counter", lambda: next(times))
    assert limit.sgemm_rate() == pytest.approx(2048**3 / 1e9)


@pytest.mark.parametrize("bad", [0, -1.0, math.nan])
def test_a_limit_that_is_none(bad):
    with (
        pytest.raises(ValueError, match="limit must be a number of GFLOP/s greater than 0"),
        profile(limit=bad),
    ):
        pass
    assert current.observers == ()


# Tables


def made(limit=None):
    """A profile with round figures: a convolution, a pool that does not learn, a loss."""
    net = ("Net",)
    records = [
        Record("Conv2d", "forward", (*net, "conv"), "Conv2d", (), 0.1, 10**10, 10**8),
        Record("MaxPool2d", "forward", (*net, "pool"), "MaxPool2d", (), 0.05, 10**6, 10**7),
        Record("Sum", "forward", (), "", (), 0.001, 0, 0),
        Record("MaxPool2d", "backward", (*net, "pool"), "MaxPool2d", (), 0.15, 10**6, 10**7),
        Record("Conv2d", "backward", (*net, "conv"), "Conv2d", (), 0.3, 10**10, 10**8),
    ]
    return Profile(records, 1.0, limit)


def test_the_text():
    assert made(limit=100.0).text() == (
        "1000.00 ms, 399.00 of them outside operations\n"
        "                        forward  backward  time  GFLOP  limit\n"
        "layer       operations       ms        ms     %     /s      %     MB  GB/s\n"
        "──────────────────────────────────────────────────────────────────────────\n"
        "conv        Conv2d       100.00    300.00  40.0   50.0     50  200.0   0.5\n"
        "pool        MaxPool2d     50.00    150.00  20.0    0.0      0   20.0   0.1\n"
        "            Sum            1.00             0.1\n"
        "\n"
        "operations               151.00    450.00  60.1   33.3     33  220.0   0.4\n"
        "the rest                                   39.9\n"
        "limit: 100 GFLOP/s"
    )


def test_a_table_of_operations_has_the_longest_first():
    lines = made().text("operation").splitlines()
    assert [line.split()[0] for line in lines[4:7]] == ["Conv2d", "MaxPool2d", "Sum"]
    assert "limit" not in lines[1]
    reversed_ = Profile(list(made().records[1:4]), 1.0)
    assert [row.name for row in reversed_.by_operation()] == ["MaxPool2d", "Sum"]


def test_a_short_table_has_the_longest_rows_and_the_sum_of_the_others():
    lines = made().text(most=1).splitlines()
    assert lines[4].split() == ["conv", "Conv2d", "100.00", "300.00", "40.0", "50.0", "200.0", "0.5"]
    assert lines[5].split() == ["2", "more", "51.00", "150.00", "20.1", "0.0", "20.0", "0.1"]
    assert lines[7].split()[:4] == ["operations", "151.00", "450.00", "60.1"]
    assert made().text(most=3) == made().text()


def test_printed_it_is_short():
    records = [Record("Exp", "forward", ("Net", str(i)), "Exp", (), i + 1.0, 1, 1) for i in range(30)]
    lines = str(Profile(records, 1000.0)).splitlines()
    assert [line.split()[0] for line in lines[4:14]] == [str(i) for i in range(29, 19, -1)]
    assert lines[14].startswith("20 more")


def test_a_table_by_something_else():
    with pytest.raises(ValueError, match="by must be 'layer' or 'operation', got 'model'"):
        made().table("model")  # type: ignore[arg-type]


def test_an_empty_profile_has_a_table_and_a_picture(tmp_path):
    with profile(clock=Clock()) as p:
        pass
    assert str(p).split()[:5] == ["0.00", "ms,", "0.00", "of", "them"]
    p.flame(tmp_path / "empty.svg")
    ElementTree.parse(tmp_path / "empty.svg")


def test_eighty_columns_hold_the_table():
    from rich.console import Console

    with minicnn.device("meta"):
        model = models.googlenet().eval()
        with profile(limit=1.0) as p:
            model(Tensor(minicnn.backend.get("meta").zeros((1, 3, 224, 224), np.float32)))
    file = io.StringIO()
    Console(width=80, file=file).print(p.table())
    assert max(map(len, file.getvalue().splitlines())) <= 80
    headings = file.getvalue().splitlines()[2]
    assert headings.split() == ["layer", "operations", "ms", "%", "/s", "%", "MB", "GB/s"]
    column = slice(0, headings.index("operations"))
    folded = "".join(line[column].strip() for line in file.getvalue().splitlines())
    names = {row.name for row in p.by_layer()}
    assert max(map(len, names)) > column.stop
    assert all(name in folded for name in names)


# Rounds


def rounds(*times):
    return [
        Profile([Record("Exp", "forward", ("Net",), "Net", (), s, 4, 8) for s in own], sum(own) + rest, 50.0)
        for *own, rest in times
    ]


def test_the_median_of_rounds():
    found = median(rounds((1, 20, 5), (3, 10, 400), (2, 90, 4)))
    assert seconds(found) == [2, 20]
    assert found.rest == 5
    assert found.seconds == 27
    assert found.limit == 50
    assert [(record.flops, record.bytes) for record in found.records] == [(4, 8)] * 2


def test_rounds_that_differ_have_no_median():
    with pytest.raises(ValueError, match="2 profiles must be of the same operations in the same order"):
        median(rounds((1, 1), (1, 1, 1)))
    with pytest.raises(ValueError, match="at least one profile"):
        median([])


# The picture


def profiled_network():
    """A real profile: modules in modules, a shared one, operations outside all."""
    shared = nn.ReLU()
    net = nn.Sequential(Block(), shared, nn.Sequential(Block(), shared), nn.Flatten(), nn.Linear(32, 3))
    with profile() as p:
        F.cross_entropy(net(leaf(1, 2, 4, 4)), tensor([1])).backward()
    return p


def test_a_bar_is_as_wide_as_the_time_inside():
    p = profiled_network()
    whole = tree(p)
    assert whole.total == pytest.approx(p.seconds)
    bars = list(placed(whole, 0.0, 1.0))
    for bar, _, width, _ in bars:
        assert width == pytest.approx(bar.total / p.seconds, abs=1e-12)
        if bar.visible:
            for phase, seconds_ in bar.seconds.items():
                assert sum(part.seconds[phase] for part in bar.visible) == pytest.approx(seconds_, abs=1e-12)
    # Each bar lies over one of the storey above, and no two of a storey overlap.
    for storey in range(1, 1 + max(bar.storey for bar in bars)):
        here = [bar for bar in bars if bar.storey == storey]
        above = [bar for bar in bars if bar.storey == storey - 1]
        for one, other in pairwise(here):
            assert one.left + one.width <= other.left + 1e-9
        for bar in here:
            assert any(
                a.left - 1e-9 <= bar.left and bar.left + bar.width <= a.left + a.width + 1e-9 for a in above
            )


def test_the_bars_of_a_network():
    clock = Clock()
    net = nn.Sequential(Layer(clock, 1, 2), nn.Sequential(Layer(clock, 3, 4)))
    with profile(clock=clock) as p:
        Slow(clock, 5)(net(leaf(1))).backward()
        clock.now += 5
    found = [(b.bar.name, b.bar.kind, b.left, b.width, b.storey) for b in placed(tree(p), 0.0, 20.0)]
    assert found == [
        ("everything", "", 0, 20, 0),
        ("Sequential", "", 0, 10, 1),
        ("0", "Layer", 0, 3, 2),
        ("1", "", 3, 7, 2),
        ("0", "Layer", 3, 7, 3),
        ("Slow", "", 10, 5, 1),
        ("the rest", "", 15, 5, 1),
    ]


def test_operations_of_a_module_with_parts_are_bars_too():
    names = [bar.bar.name for bar in placed(tree(profiled_network()), 0.0, 1.0)]
    assert names.count("ReLU") == 2  # of the blocks; a module that is a ReLU alone shows itself
    assert "Conv2d" not in names


def drawn(p):
    """The picture's groups: title, rectangles as (left, top, width, colour), texts as (left, text)."""
    picture = ElementTree.fromstring(svg(p))
    groups = []
    for group in picture.iter(f"{SVG}g"):
        boxes = [
            (*(float(r.get(key, "")) for key in ("x", "y", "width")), r.get("fill"))
            for r in group.iter(f"{SVG}rect")
        ]
        texts = [(float(t.get("x", "")), t.text or "") for t in group.iter(f"{SVG}text")]
        groups.append((group.findtext(f"{SVG}title"), boxes, texts))
    return picture, groups


def bars_of_all_widths():
    """300 modules, one within the other, each with an operation of its own, their names longer than their bars."""
    depths = range(1, 301)
    return Profile([Record("Exp", "forward", ("x" * 200,) * d, "", (), 1.0, 1, 1) for d in depths], 300.0)


@pytest.mark.parametrize("make", [profiled_network, bars_of_all_widths])
def test_what_is_drawn_does_not_overlap_and_labels_stay_in_their_bars(make):
    p = make()
    _, groups = drawn(p)
    by_storey = {}
    for _, boxes, texts in groups:
        left, right = min(b[0] for b in boxes), max(b[0] + b[2] for b in boxes)
        by_storey.setdefault(boxes[0][1], []).extend((b[0], b[0] + b[2]) for b in boxes)
        for x, text in texts:
            assert left <= x
            assert x + 6.62 * len(text) <= right  # DejaVu Sans Mono: 0.602 of 11 pixels a letter
    for boxes in by_storey.values():
        boxes.sort()
        for (_, end), (begin, _) in pairwise(boxes):
            assert end <= begin + 0.002  # as they are written, to a thousandth
        assert boxes[0][0] >= 10
        assert boxes[-1][1] <= 1190


def test_forward_backward_and_the_rest_have_colours_in_proportion():
    clock = Clock()
    with profile(clock=clock) as p:
        Layer(clock, 10, 30)(leaf(1)).backward()
        clock.now += 60
    _, groups = drawn(p)
    (title, boxes, _), (_, layer, _), (_, rest, _) = groups
    assert title.startswith("everything: 100000.00 ms, 100.0 %")
    widths = np.array([box[2] for box in boxes])
    np.testing.assert_allclose(widths / widths.sum(), [0.1, 0.3, 0.6], rtol=1e-4)
    forward, backward, outside = (box[3] for box in boxes)
    assert len({forward, backward, outside}) == 3
    assert [box[3] for box in layer] == [forward, backward]
    assert [box[3] for box in rest] == [outside]


def test_names_are_escaped_everywhere():
    nasty = "<b>&\"'[red]\x1b[2J\x00"
    net = nn.Sequential()
    net.add_module(nasty, nn.ReLU())
    with profile() as p:
        net(leaf(1))
    assert p.by_layer()[0].name == nasty
    shown = "<b>&\"'[red]�[2J�"
    picture, groups = drawn(p)
    assert any(title.startswith(f"{shown} ReLU: ") for title, *_ in groups)
    assert shown in picture.findtext(f"{SVG}desc")
    assert shown in str(p)
    assert nasty not in str(p)


def test_the_picture_has_a_name_and_says_what_it_shows():
    picture, _ = drawn(made())
    named = picture.get("aria-labelledby", "").split()
    assert named == [picture.find(f"{SVG}{tag}").get("id") for tag in ("title", "desc")]
    assert picture.get("role") == "img"
    assert picture.findtext(f"{SVG}title") == "Where the time goes: 1000.00 ms"
    description = picture.findtext(f"{SVG}desc")
    assert "conv 400.00 ms, pool 200.00 ms, Sum 1.00 ms; outside operations 399.00 ms." in description
    legend = [text.text for text in picture.findall(f"{SVG}text")]
    assert legend[1:] == ["forward 151.00 ms", "backward 450.00 ms", "the rest 399.00 ms"]


def test_the_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "flame.svg"
    path.write_text("old")
    made().flame(path)
    assert path.read_text(encoding="utf-8") == svg(made())
    with pytest.raises(FileNotFoundError):
        made().flame(tmp_path / "nowhere" / "flame.svg")
    assert [file.name for file in tmp_path.iterdir()] == ["flame.svg"]


# The command


@pytest.fixture
def small(monkeypatch):
    """The limit for nothing, and the number of threads as it was."""
    monkeypatch.setattr(limit, "sgemm_rate", lambda: 100.0)
    before = minicnn.get_num_threads()
    yield
    minicnn.set_num_threads(before)


def run(*arguments):
    return main(["bench", "profile", *arguments])


@pytest.mark.usefixtures("small")
def test_the_command(tmp_path, capsys):
    path = tmp_path / "lenet.svg"
    assert not run("lenet5", "--batch", "2", "--rounds", "3", "--flame", str(path), "--threads", "1")
    first, title, *lines = capsys.readouterr().out.splitlines()
    assert first == "lenet5, a training step of 2 images, median of 3"
    assert re.fullmatch(r"[\d.]+ ms, [\d.]+ of them outside operations", title)
    layers = [line.split()[0] for line in lines if line]
    assert [name for name in layers if re.fullmatch(r"[csf]\d|output", name)] == [
        "c1", "s2", "c3", "s4", "c5", "f6", "output"
    ]  # fmt: skip
    assert re.fullmatch(r"the optimizer's step, part of the rest: [\d.]+ ms", lines[-2])
    assert lines[-3] == "limit: 100 GFLOP/s"
    assert max(map(len, lines)) <= 80
    ElementTree.parse(path)


@pytest.mark.usefixtures("small")
def test_the_command_without_training(capsys):
    assert not run(
        "lenet5", "--variant", "paper", "--batch", "1", "--rounds", "1", "--inference", "--by", "operation"
    )
    printed = capsys.readouterr().out
    assert printed.startswith("lenet5, a forward pass of 1 image, median of 1\n")
    assert "backward" not in printed
    assert "optimizer" not in printed
    assert re.search(r"^Conv2d +[\d.]+", printed, re.M)


def test_the_rounds_are_steps_after_one_that_does_not_count(monkeypatch):
    rates = iter([1.0, 9.0, 2.0, 3.0, 4.0, 5.0])
    monkeypatch.setattr(limit, "sgemm_rate", lambda: next(rates))
    x, calls = leaf(2), []

    def step():
        calls.append(current.observers != ())
        (x * 2).sum().backward()

    found = command._measure(step, 4)
    assert calls == [False, True, True, True, True]
    assert found.limit == 9
    assert len(found.records) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet6"], "lenet5"),
        (["lenet5", "--variant", "new"], "variant"),
        (["lenet5", "--batch", "0"], "must be a whole number of at least 1, got '0'"),
        (["lenet5", "--rounds", "x"], "must be a whole number of at least 1, got 'x'"),
        (["lenet5", "--by", "name"], "invalid choice: 'name'"),
        (["lenet5", "--flame", "nowhere/f.svg"], "a file in 'nowhere', and there is no such folder"),
        (["lenet5", "--flame", "."], "--flame must name a file, '.' is a folder"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("minicnn: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


def test_the_optimizers_step_is_the_median_of_the_rounds(capsys):
    step = object.__new__(command._Training)
    step.updates = [90.0, 1.0, 2.0, 30.0]  # the first is not of a round
    command._print(made(), Namespace(model="net", batch=1, rounds=3, by="layer"), step)
    printed = capsys.readouterr().out
    assert printed.startswith("net, a training step of 1 image, median of 3\n1000.00 ms, ")
    assert printed.endswith("\nthe optimizer's step, part of the rest: 2000.00 ms\n")
