"""The workspace: one buffer a thread and purpose; poisoned, what was not written shows as NaN."""

import threading

import numpy as np
import pytest

import minicnn
from minicnn import (
    AnomalyError,
    Function,
    Tensor,
    conv,
    detect_anomaly,
    models,
    nn,
    optim,
    poison_workspace,
    tensor,
)
from minicnn import functional as F
from minicnn.backend import cpu
from minicnn.backend.parallel import get_num_threads, parallel_for, set_num_threads
from minicnn.backend.workspace import poisoned, scratch
from minicnn.nn.parameter import new_parameter
from minicnn.observer import current
from minicnn.testing.poisoned import same_when_poisoned

FLOAT = np.dtype("float32")


@pytest.fixture(autouse=True)
def _threads_restored():
    before = get_num_threads()
    yield
    set_num_threads(before)


def is_nan(array):
    return bool(np.isnan(array).all())


def leaf(*values):
    return Tensor(np.array(values, np.float32), requires_grad=True)


# The buffers


def test_a_buffer_is_kept_and_grows():
    a = scratch("test kept", (4, 2), FLOAT)
    b = scratch("test kept", (8,), FLOAT)
    assert np.shares_memory(a, b)
    assert not np.shares_memory(a, scratch("test kept too", (8,), FLOAT))
    grown = scratch("test kept", (9,), np.dtype("float64"))
    assert grown.shape == (9,)
    assert grown.ctypes.data % 64 == 0
    assert not np.shares_memory(a, grown)


def test_poisoned_buffers_are_full_of_nan_at_every_request():
    with poisoned():
        a = scratch("test", (3,), FLOAT)
        assert is_nan(a)
        a[...] = 1
        b = scratch("test", (2,), FLOAT)
        assert np.shares_memory(a, b)
        assert is_nan(a)  # the whole of it
        b[...] = 1
        assert is_nan(scratch("test", (1000,), FLOAT))  # a new one
        assert is_nan(a)  # and the old one
        a[...] = 2
        kept = scratch("test", (1,), FLOAT)
        kept[...] = 3
    assert is_nan(kept)


def test_buffers_from_outside_and_of_outer_blocks_are_left_alone():
    before = scratch("test", (3,), FLOAT)
    before[...] = 1
    with poisoned():
        outer = scratch("test", (3,), FLOAT)
        outer[...] = 2
        with poisoned():
            scratch("test", (3,), FLOAT)[...] = 3
        assert (outer == 2).all()
    assert (before == 1).all()
    assert np.shares_memory(before, scratch("test", (3,), FLOAT))
    assert (before == 1).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_new_memory_is_nan_in_every_float_type(dtype):
    with poison_workspace():
        made = [
            cpu.empty((2, 3), dtype),
            cpu.empty((), dtype),
            cpu.empty_like(np.zeros((3, 2), dtype).T),
            cpu.empty_like(np.zeros((3, 2), int), dtype=dtype),
            cpu.empty_images(1, 2, 3, 4, dtype),
            scratch("test", (3,), np.dtype(dtype)),
        ]
    assert all(a.dtype == dtype and is_nan(a) for a in made)


@pytest.mark.parametrize(("dtype", "value"), [("int64", -1), ("int8", -1), ("uint8", 255), ("bool", True)])
def test_new_memory_in_other_types(dtype, value):
    with poison_workspace():
        made = [
            cpu.empty((2, 3), dtype),
            cpu.empty_images(1, 1, 2, 2, dtype),
            scratch("t", (2,), np.dtype(dtype)),
        ]
    assert all((a == value).all() for a in made)


def test_empty_keeps_the_memory_layout():
    x = np.zeros((2, 3, 4, 5), np.float32).transpose(0, 3, 1, 2)
    for run in (lambda: cpu.empty_like(x), poison_workspace()(lambda: cpu.empty_like(x))):
        assert run().strides == x.strides
        assert run().dtype == x.dtype


# Threads


@pytest.mark.parametrize("threads", [1, 3])
def test_worker_threads_get_poisoned_buffers_too(threads):
    set_num_threads(threads)
    parallel_for(8, lambda i: scratch("test", (5,), FLOAT).fill(1))  # what would be left there
    seen, everyone = {}, threading.Barrier(threads, timeout=10)

    class Shares(Function):
        def forward(self, x):
            def task(i):
                everyone.wait()
                buffer = scratch("test", (5,), FLOAT)
                seen[i] = threading.get_ident(), is_nan(buffer), buffer
                buffer[...] = i

            parallel_for(threads, task)
            return x

    with poison_workspace():
        Shares()(tensor([1.0]))
        assert len({ident for ident, _, _ in seen.values()}) == threads
        assert len({buffer.ctypes.data for _, _, buffer in seen.values()}) == threads
        for _, was_nan, buffer in seen.values():
            assert was_nan
            assert is_nan(buffer)  # again, now that the operation is done
    parallel_for(8, lambda i: scratch("test", (5,), FLOAT).fill(1))


def test_another_thread_keeps_its_numbers():
    """A thread that computes meanwhile, with workers shared, is not disturbed."""
    set_num_threads(2)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4, 8, 20, 20)), rng.normal(size=(8, 8, 3, 3))
    expected = conv.conv2d(x, w, padding=1)
    same = []

    def elsewhere():
        for _ in range(20):
            same.append(np.array_equal(conv.conv2d(x, w, padding=1), expected))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    with poison_workspace():
        for _ in range(20):
            assert np.array_equal(F.conv2d(Tensor(x), Tensor(w), padding=1).data, expected)
    thread.join()
    assert same == [True] * 20


def test_the_block_holds_for_its_thread_only():
    seen = []
    with poison_workspace():
        thread = threading.Thread(target=lambda: seen.append(cpu.empty((0,)).size + len(current.observers)))
        thread.start()
        thread.join()
        assert len(current.observers) == 1
    assert seen == [0]


# Planted bugs: each computes the right thing in a fresh process, or the second time, and NaN inside the block


class ReadsBeforeWriting(Function):
    """y = 2x, through a sum it forgets to start at 0."""

    def forward(self, x):
        total = scratch("test sum", x.shape, x.dtype)
        total += x
        return total * 2

    def backward(self, g):
        return 2 * g


class KeepsScratch(Function):
    """y = x², whose backward reads a view of the workspace."""

    def forward(self, x):
        self.x = scratch("test kept", x.shape, x.dtype)
        self.x[...] = x
        return x * x

    def backward(self, g):
        return 2 * g * self.x


class LeavesAPart(Function):
    """y = x, except that nobody writes the last element."""

    def forward(self, x):
        y = self.be.empty_like(x)
        y[:-1] = x[:-1]
        return y

    def backward(self, g):
        return g


class LeavesAPartOfTheGradient(Function):
    """y = x, and dx is not written where g is 0."""

    def forward(self, x):
        return x

    def backward(self, g):
        dx = self.be.empty(g.shape, g.dtype)
        dx[g != 0] = g[g != 0]
        return dx


class ReturnsScratchAsGradient(Function):
    """y = −x, whose gradient the next convolution would overwrite."""

    def forward(self, x):
        return -x

    def backward(self, g):
        return np.negative(g, out=scratch("test gradient", g.shape, g.dtype))


class UsesOneBufferTwice(Function):
    """y = 6x = 3x + 3x, both terms in one buffer."""

    def forward(self, x):
        a = scratch("test term", x.shape, x.dtype)
        a[...] = 2 * x
        b = scratch("test term", x.shape, x.dtype)
        b += x  # what a holds by now
        return a + b

    def backward(self, g):
        return 6 * g


PLANTED = [
    (ReadsBeforeWriting, "ReadsBeforeWriting, forward: NaN in the output: 3 of 3"),
    (KeepsScratch, "KeepsScratch, backward: NaN in the gradient of input 0: 3 of 3"),
    (LeavesAPart, r"LeavesAPart, forward: NaN in the output: 1 of 3 elements, the first at \(2,\)"),
    (LeavesAPartOfTheGradient, "LeavesAPartOfTheGradient, backward: NaN in the gradient of input 0: 1 of 3"),
    (ReturnsScratchAsGradient, "ReturnsScratchAsGradient, backward: NaN in the gradient of input 0: 3 of 3"),
    (UsesOneBufferTwice, "UsesOneBufferTwice, forward: NaN in the output: 3 of 3"),
]


def run(function):
    x = leaf(1.0, 2.0, 3.0)
    y = function(x)
    y.backward(np.array([1.0, 0.0, 1.0]))
    return [y.data, x.grad]


@pytest.mark.parametrize(("function", "message"), PLANTED)
def test_planted_bugs_show(function, message):
    with poison_workspace():
        assert any(np.isnan(a).any() for a in run(function()))
    with pytest.raises(AnomalyError, match=message), poison_workspace(), detect_anomaly():
        run(function())
    with pytest.raises(AssertionError, match="workspace: result"):
        same_when_poisoned(lambda: run(function()))


def test_poison_does_not_reach_what_comes_after():
    with poison_workspace():
        run(KeepsScratch())
    assert not any(np.isnan(a).any() for a in run(KeepsScratch()))
    scratch("test", (3,), FLOAT)[...] = 1
    assert (scratch("test", (3,), FLOAT) == 1).all()
    assert current.observers == ()


# What is right stays right, to the last bit


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("algorithm", conv.algorithms())
def test_convolutions_do_not_read_what_nobody_wrote(algorithm, threads):
    set_num_threads(threads)
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 4, 7, 6)), rng.normal(size=(6, 4, 3, 3)), rng.normal(size=6)
    laid_out = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    def step(images, options):
        tensors = [Tensor(a, requires_grad=True) for a in (images, w, b)]
        with conv.use(algorithm, "im2col"):  # which is for what the algorithm cannot do
            y = F.conv2d(*tensors, **options)
            y.backward(np.cos(np.arange(y.size)).reshape(y.shape))
        return [y.data, *(t.grad for t in tensors)]

    for options in (
        {},
        {"padding": (3, 0, 0, 4)},
        {"padding": 2, "stride": 2},
        {"padding": (3, 0, 0, 4), "dilation": 2},
    ):
        for images in (x, laid_out):
            same_when_poisoned(lambda i=images, o=options: step(i, o))


@pytest.mark.parametrize("rule", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad])
def test_training_does_not_read_what_nobody_wrote(rule):
    images = np.linspace(-1, 1, 2048, dtype=np.float32).reshape(2, 1, 32, 32)

    def train():
        minicnn.manual_seed(0)
        net = models.lenet5()
        optimizer = rule(net.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            loss = net.loss(net(tensor(images)), tensor([3, 5]))
            loss.backward()
            optimizer.step()
        return [loss.data, *(p.data for p in net.parameters())]

    same_when_poisoned(train)


def test_a_parameter_that_nobody_initialised_shows():
    with poison_workspace():
        assert is_nan(new_parameter((3,)).data)
        assert is_nan(new_parameter((2, 3, 1, 1)).data)
        assert not np.isnan(nn.Linear(2, 2).weight.data).any()


def test_it_nests_and_decorates():
    @poison_workspace()
    def made(depth=0):
        return made(depth - 1) if depth else cpu.empty((2,))

    for _ in range(2):
        assert is_nan(made(3))
    with poison_workspace():
        with pytest.raises(ZeroDivisionError), poison_workspace():
            1 / 0  # noqa: B018
        assert is_nan(cpu.empty((2,)))
        assert len(current.observers) == 1
    with pytest.raises(TypeError, match="positional argument"):
        poison_workspace(print)  # type: ignore[call-arg]
