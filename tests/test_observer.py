"""The engine's observers: they make every run, in order, for their thread, while their block lasts."""

import threading

import numpy as np
import pytest

from minicnn import Function, Tensor, enable_grad, no_grad, tensor
from minicnn.observer import Observer, current, observing


class Recorder(Observer):
    """Notes who begins and ends what."""

    def __init__(self, log, name=""):
        self.log, self.name = log, name

    def _around(self, phase, function, run, *arrays):
        self.log.append(f"{self.name}{phase} {function.name}")
        try:
            return run(*arrays)
        finally:
            self.log.append(f"{self.name}end")

    def forward(self, function, run, *arrays):
        return self._around("forward", function, run, *arrays)

    def backward(self, function, run, g):
        return self._around("backward", function, run, g)


def leaf(*values):
    return Tensor(np.array(values, np.float32), requires_grad=True)


def test_every_run_is_observed_with_what_goes_in_and_comes_out():
    seen = []

    class Looker(Observer):
        def forward(self, function, run, *arrays):
            y = run(*arrays)
            seen.append((function.name, arrays, y))
            return y

        def backward(self, function, run, g):
            gradients = run(g)
            seen.append((function.name, g, gradients, function.edges))
            return gradients

    x, w = leaf(1.0, 2.0), tensor([3.0, 4.0])
    with observing(Looker()):
        y = x * w
        y.backward(np.array([5.0, 6.0]))
    (name, arrays, output), (back_name, g, gradients, edges) = seen
    assert name == back_name == "Multiply"
    assert arrays[0] is x.data
    assert arrays[1] is w.data
    assert output is y.data
    np.testing.assert_array_equal(g, [5, 6])
    np.testing.assert_array_equal(gradients[0], [15, 24])
    assert gradients[1] is None
    assert edges[0] is x
    np.testing.assert_array_equal(x.grad, [15, 24])


def test_what_an_observer_returns_is_what_the_engine_gets():
    class Doubler(Observer):
        def forward(self, function, run, *arrays):
            return 2 * run(*arrays)

        def backward(self, function, run, g):
            return [3 * dx for dx in run(g)]

    x = leaf(1.0)
    with observing(Doubler()):
        y = -x
        y.backward()
    assert y.item() == -2
    assert x.grad.item() == -3


def test_the_first_is_outermost():
    log = []
    with observing(Recorder(log, "a "), Observer(), Recorder(log, "b ")):
        (-leaf(1.0)).backward()
    assert log == [
        *("a forward Negative", "b forward Negative", "b end", "a end"),
        *("a backward Negative", "b backward Negative", "b end", "a end"),
    ]


def test_blocks_end_whatever_happens():
    log = []
    with observing(Recorder(log, "a ")):
        with pytest.raises(ValueError, match="broadcast"), observing(*current.observers, Recorder(log, "b ")):
            leaf(1.0, 2.0) + leaf(1.0, 2.0, 3.0)
        assert log == ["a forward Add", "b forward Add", "b end", "a end"]
        assert len(current.observers) == 1
        with observing():
            -leaf(1.0)
    assert current.observers == ()
    -leaf(1.0)
    assert len(log) == 4


def test_a_function_within_a_function_is_observed_too():
    class Outer(Function):
        def forward(self, x):
            return (Tensor(x) * 2).data

    log = []
    with observing(Recorder(log)):
        assert Outer()(tensor([1.0])).item() == 2
    assert log == ["forward Outer", "forward Multiply", "end", "end"]


def test_an_observer_may_call_operations_when_it_looks_away():
    largest = []

    class Summary(Observer):
        def forward(self, function, run, *arrays):
            y = run(*arrays)
            with observing():
                largest.append(Tensor(y).max().item())
            return y

    with observing(Summary()):
        tensor([1.0, 2.0]) * 3 + 1
    assert largest == [6, 7]


def test_threads_have_their_own():
    log, both = [], threading.Barrier(2, timeout=10)

    def observed():
        with observing(Recorder(log)):
            both.wait()
            both.wait()
            -tensor([1.0])

    thread = threading.Thread(target=observed)
    thread.start()
    both.wait()
    assert current.observers == ()
    tensor([1.0]).exp()
    both.wait()
    thread.join()
    assert log == ["forward Negative", "end"]


def test_gradient_modes_are_another_matter():
    log = []
    with observing(Recorder(log)), no_grad():
        assert not (-leaf(1.0)).requires_grad
        with enable_grad():
            (-leaf(1.0)).backward()
    assert log == ["forward Negative", "end", "forward Negative", "end", "backward Negative", "end"]


def test_a_long_chain_needs_no_deeper_stack():
    log = []
    with observing(Recorder(log)):
        y = x = leaf(1.0)
        for _ in range(3000):
            y = -y
        y.backward()
    assert x.grad.item() == 1
    assert len(log) == 12000
