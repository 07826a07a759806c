"""Every operation, held to all that any must have: the examples and drawn cases of the table of operations."""

from __future__ import annotations

import inspect
import pkgutil
from collections import Counter
from importlib import import_module
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from operations import OPERATIONS, Entry
from pieces import SIZES, small_pieces

import minicnn
from minicnn import Tensor, conv, ops
from minicnn import functional as F
from minicnn.backend import parallel
from minicnn.tensor import Function
from minicnn.testing import PROPERTIES, Case

EXAMPLES = [(name, example) for name, entry in OPERATIONS.items() for example in entry.examples]


def example_of(operation: str, example: str) -> Case:
    return OPERATIONS[operation].examples[example]


def properties_of(operation: str, case: Case) -> list[str]:
    """Return the properties that the operation must have for this case: not each is linear, or has items."""
    known = OPERATIONS[operation].operation(case)
    needs = {"adjoint": known.linear, "items": known.itemwise, "alone": case.inputs[1:]}
    return [name for name in PROPERTIES if needs.get(name, True)]


@pytest.mark.parametrize(
    ("operation", "example", "holds"),
    [
        pytest.param(operation, example, holds, id=f"{operation}-{example}-{holds}")
        for operation, example in EXAMPLES
        for holds in properties_of(operation, example_of(operation, example))
    ],
)
def test_examples(operation, example, holds, seed):
    case = example_of(operation, example)
    OPERATIONS[operation].operation(case, seed).check(case, only=[holds])


@pytest.mark.parametrize("operation", OPERATIONS)
@given(data=st.data(), draw_seed=st.integers(0, 2**16))
def test_drawn_cases(operation, seed, count_generated, data, draw_seed):
    case = data.draw(OPERATIONS[operation].cases, label="case")
    with small_pieces():
        OPERATIONS[operation].operation(case, seed + draw_seed).check(case)
    count_generated(operation)


# If an algorithm's forward pass is the definition's, and its backward passes are its exact adjoints, they are
# right, without any differences: for these the plain loops are too slow.  Spectra leave a rounding error where terms
# cancel or a window sees padding alone, which no relative error allows: test_conv.py holds them to the same.
@pytest.mark.parametrize("algorithm", [name for name in conv.algorithms() if name != "fft"])
@pytest.mark.parametrize("operation", ["conv2d", "conv_transpose2d"])
@given(data=st.data(), draw_seed=st.integers(0, 2**16))
def test_drawn_cases_by_each_algorithm(operation, algorithm, seed, data, draw_seed):
    case = data.draw(OPERATIONS[operation].cases, label="case")
    with conv.use(algorithm, "im2col"):  # which is for what the algorithm cannot do
        OPERATIONS[operation].operation(case, seed + draw_seed).check(case, only=["definition", "adjoint"])


@pytest.mark.parametrize(("operation", "example"), EXAMPLES)
def test_a_failure_prints_as_a_script_that_runs(operation, example):
    entry, case = OPERATIONS[operation], example_of(operation, example)
    exec(case.reproduction(entry.call, "definition", definition=entry.definition), {})


POOLS = {
    "max_pool2d": (F.max_pool2d, naive.max_pool2d_indices),
    "adaptive_max_pool2d": (F.adaptive_max_pool2d, naive.adaptive_max_pool2d_indices),
}


@pytest.mark.parametrize("operation", POOLS)
@given(data=st.data())
def test_indices_are_where_the_first_maxima_are(operation, data):
    case = data.draw(OPERATIONS[operation].cases, label="case")
    pool, definition = POOLS[operation]
    _, indices = pool(*map(Tensor, case.inputs), **case.options, return_indices=True)
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(indices.data, definition(*case.inputs, **case.options))


@pytest.mark.parametrize(
    ("operation", "example"),
    [
        (name, example)
        for name, example in EXAMPLES
        if len(inputs := example_of(name, example).inputs) > 1 and len({a.shape for a in inputs}) == 1
    ],
)
def test_a_tensor_given_twice_gets_both_gradients(operation, example, seed):
    entry, case = OPERATIONS[operation], example_of(operation, example)
    same = Case(case.inputs[:1] * len(case.inputs), case.options)
    y, *grads = entry.operation(same, seed).run(same)
    x = Tensor(same.inputs[0], requires_grad=True)
    entry.call(*[x] * len(grads), **same.options).backward(entry.operation(same, seed).cotangent(y.shape))
    np.testing.assert_allclose(x.grad, sum(grads), rtol=1e-12, atol=1e-12)


# Is everything in the table?


def functions() -> set[type[Function]]:
    """Return every Function that minicnn.ops defines."""
    modules = [import_module(f"minicnn.ops.{m.name}") for m in pkgutil.iter_modules(ops.__path__)]
    members = {value for module in modules for value in vars(module).values() if inspect.isclass(value)}
    return {f for f in members if issubclass(f, Function) and f.forward is not Function.forward}


def functions_reached(entries: dict[str, Entry]) -> set[type[Function]]:
    """Return the Functions through which a gradient flows in an example of these entries."""
    reached = set()
    original = Function.gradients

    def watched(self: Function, g: Any) -> Any:
        reached.add(type(self))
        return original(self, g)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Function, "gradients", watched)
        for entry in entries.values():
            for case in entry.examples.values():
                entry.operation(case).run(case)
    return reached


def public_names() -> set[str]:
    """Return the functions of minicnn.functional and the methods and operators of Tensor that apply an operation."""
    methods = {
        name.strip("_")
        for name, method in vars(Tensor).items()
        if inspect.isfunction(method) and {"_apply", "_operators"} & set(method.__code__.co_names)
    }
    return methods | set(F.__all__)


ON_A_GPU_ALONE = {ops.cross_entropy.SoftmaxCrossEntropy, ops.to_device.ToDevice}  # in test_cuda_ops.py


def test_every_function_has_an_example():
    assert functions(), "no Function found: the test looks in the wrong place"
    assert functions() - functions_reached(OPERATIONS) == ON_A_GPU_ALONE


def test_every_public_function_has_an_entry():
    assert public_names() == set(OPERATIONS)


def test_what_is_missing_from_the_table_is_noticed(monkeypatch):
    class Planted(Function):
        def forward(self, x):
            return x

    monkeypatch.setattr(ops.elementwise, "Planted", Planted, raising=False)
    monkeypatch.setattr(F, "__all__", [*F.__all__, "planted"])
    monkeypatch.setattr(Tensor, "planted_too", Tensor.exp, raising=False)
    without_relu = {name: entry for name, entry in OPERATIONS.items() if name != "relu"}
    assert functions() - functions_reached(without_relu) == {Planted, ops.relu.ReLU} | ON_A_GPU_ALONE
    assert public_names() - set(OPERATIONS) == {"planted", "planted_too"}


# What no small case shows


def test_small_pieces_are_many():
    """In every module that shares work among threads, whichever algorithm of convolution it serves."""
    tasks = Counter()

    def counting(name):
        def parallel_for(count, task):
            tasks[name] += count
            parallel.parallel_for(count, task)

        return parallel_for

    def run():
        tasks.clear()
        x, w = (Tensor(np.ones(shape), requires_grad=True) for shape in ((2, 2, 7, 9), (3, 2, 3, 3)))
        for algorithm in conv.algorithms():
            with conv.use(algorithm):
                y = F.batch_norm(F.conv2d(x, w), None, None, training=True)
                (F.max_pool2d(y, 2).flatten(1) @ Tensor(np.ones((18, 5)))).sum().backward()
        return dict(tasks)

    with pytest.MonkeyPatch.context() as patch:
        sharing = {name for name in SIZES if hasattr(import_module(name), "parallel_for")}
        sharing_below = {
            "minicnn.conv.fft_tiles",
            "minicnn.backend.small_products",
            "minicnn.backend.channel_sum",
        }
        assert sharing == set(SIZES) - sharing_below
        for name in sharing:
            patch.setattr(f"{name}.parallel_for", counting(name))
        usual = run()
        with small_pieces():
            small = run()
    for name in sharing:
        assert small[name] > max(3, 2 * usual.get(name, 0)), name


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_a_bit_of_large_work(threads):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 16, 40, 40)).astype(np.float32)
    w = rng.normal(size=(32, 16, 3, 3)).astype(np.float32)
    b = rng.normal(size=32).astype(np.float32)
    v = rng.normal(size=(500, 32 * 400)).astype(np.float32)

    def net():
        tensors = [Tensor(a, requires_grad=True) for a in (x, w, b, v)]
        y = F.conv2d(*tensors[:3], padding=1)
        y = F.batch_norm(y, None, None, training=True)
        y = F.max_pool2d(F.relu(y), 2)
        loss = F.cross_entropy(F.linear(y.flatten(1), tensors[3]), np.arange(4))
        loss.backward()
        return [loss.data, *(t.grad for t in tensors)]

    before = minicnn.get_num_threads()
    try:
        minicnn.set_num_threads(1)
        alone = net()
        minicnn.set_num_threads(threads)
        together = net()
    finally:
        minicnn.set_num_threads(before)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)
