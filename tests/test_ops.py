"""Every operation, held to its definition and to differences: all from the one table in cases.py."""

import inspect
import pkgutil
from importlib import import_module

import numpy as np
import pytest
from cases import CASES, Case

import minicnn
from minicnn import Tensor, ops
from minicnn import functional as F
from minicnn.tensor import Function
from minicnn.testing import gradcheck

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def inputs_of(case: Case, dtype: type = np.float64) -> list[np.ndarray]:
    return [np.asarray(a, dtype) for a in case.inputs(np.random.default_rng(0))]


def run(
    case: Case, arrays: list[np.ndarray], g: np.ndarray | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Output and gradients, for the cotangent `g` or a drawn one."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = case.call(*tensors)
    if g is None:
        g = np.asarray(np.random.default_rng(1).normal(size=y.shape))
    y.backward(g.astype(y.dtype))
    return y.data, [np.zeros(t.shape) if t.grad is None else t.grad for t in tensors]


@each_case
def test_output_equals_the_definition(case):
    arrays = inputs_of(case)
    expected = case.definition(*arrays)
    y = case.call(*map(Tensor, arrays))
    assert y.shape == expected.shape
    np.testing.assert_allclose(y.data, expected, rtol=1e-10, atol=1e-10)


@each_case
def test_gradients_equal_differences(case):
    gradcheck(case.call, inputs_of(case))


@each_case
def test_single_precision_is_kept_and_close(case):
    y64, grads64 = run(case, inputs_of(case))
    y, grads = run(case, inputs_of(case, np.float32))
    if case.name != "astype":
        assert y.dtype == np.float32
    assert all(g.dtype == np.float32 for g in grads)
    for found, expected in zip((y, *grads), (y64, *grads64), strict=True):
        scale = np.abs(expected).max(initial=1.0)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6 * scale)


@each_case
def test_inputs_and_cotangent_are_left_alone(case):
    arrays = inputs_of(case)
    kept = [a.copy() for a in arrays]
    g = np.asarray(np.random.default_rng(1).normal(size=case.definition(*arrays).shape))
    g_kept = g.copy()
    run(case, arrays, g)
    for array, before in zip((*arrays, g), (*kept, g_kept), strict=True):
        np.testing.assert_array_equal(array, before)


def layouts(a: np.ndarray) -> dict[str, np.ndarray]:
    """The same values in other memory: Fortran order, channels last, negative strides, every other element."""
    if not a.ndim:
        return {}
    spread = np.zeros([2 * n for n in a.shape])
    spread[tuple(slice(None, None, 2) for _ in a.shape)] = a
    flip = tuple(slice(None, None, -1) for _ in a.shape)
    found = {
        "fortran": np.asfortranarray(a),
        "negative": np.ascontiguousarray(a[flip])[flip],
        "strided": spread[tuple(slice(None, None, 2) for _ in a.shape)],
    }
    if a.ndim == 4:
        found["channels last"] = np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return found


@each_case
@pytest.mark.parametrize("layout", ["fortran", "negative", "strided", "channels last"])
def test_memory_layout_does_not_matter(case, layout):
    arrays = inputs_of(case)
    other = [layouts(a).get(layout, a) for a in arrays]
    y, grads = run(case, arrays)
    g = np.asarray(np.random.default_rng(1).normal(size=y.shape))
    laid_out = layouts(g).get(layout, g)
    y2, grads2 = run(case, other, laid_out)
    for found, expected in zip((y2, *grads2), (y, *grads), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_every_function_has_a_case(monkeypatch):
    called = set()
    original = Function.gradients

    def watched(self, g):
        called.add(type(self))
        return original(self, g)

    monkeypatch.setattr(Function, "gradients", watched)
    for case in CASES:
        run(case, inputs_of(case))
    modules = [import_module(f"minicnn.ops.{m.name}") for m in pkgutil.iter_modules(ops.__path__)]
    functions = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Function) and value.forward is not Function.forward
    }
    assert functions, "no Function found: the test looks in the wrong place"
    assert {f.__name__ for f in functions - called} == set()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_a_bit(threads):
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
