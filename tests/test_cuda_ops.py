"""Every operation on the GPU, held to what any operation must have: the table of operations with its examples.

The properties hand out host arrays, and look at such.  So each operation is wrapped: what goes in is put on the device
with the strides that it has, and what comes out is fetched; both are Functions, and gradients go the other way.

Two properties have no meaning there: ``threads``, and ``poisoned``, for all of the stand-in's new memory is poisoned
whatever one asks for.  One is added: output and gradients equal those on the CPU.
"""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ml_dtypes  # noqa: F401  (which tells NumPy of bfloat16)
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operations import OPERATIONS
from standin import transfers
from test_ops import functions, properties_of

from minicnn import Tensor, backend, tensor
from minicnn import functional as F
from minicnn.observer import Observer, observing
from minicnn.ops.to_device import ToDevice
from minicnn.testing import LAYOUTS, Case, Operation, lay_out

pytestmark = pytest.mark.usefixtures("cuda")

MEANINGLESS = {"threads", "poisoned"}
ELSEWHERE = {("dropout", "definition")}  # drawn by another generator than the CPU's: test_cuda_dropout.py
DIFFERENCES = 6  # examples of an operation whose gradients are compared with differences too

watchers: list[Callable[[Any, np.ndarray], None]] = []
"""Called with each array that is put on the device, and its values."""


def place(array: np.ndarray) -> Any:
    """Copy an array to the device, with its strides; what lies between its elements is NaN."""
    import cupy

    reach = [(size - 1) * step for size, step in zip(array.shape, array.strides, strict=True)]
    first = -sum(step for step in reach if step < 0)
    room = cupy.full(first + sum(step for step in reach if step > 0) + array.itemsize, 255, np.uint8)
    there = cupy.ndarray(array.shape, array.dtype, memptr=room.data + first, strides=array.strides)
    if 0 not in array.shape:
        there[...] = cupy.asarray(np.ascontiguousarray(array))
    for watcher in watchers:
        watcher(there, array.copy())
    return there


class There(ToDevice):
    """The same values on the device, with the same strides."""

    def __init__(self) -> None:
        super().__init__("cuda")

    def forward(self, x):
        self.home = "cpu"
        return place(x)


class Back(ToDevice):
    """The same values in host memory; their gradient goes to the device with the strides that it has."""

    def __init__(self) -> None:
        super().__init__("cpu")

    def backward(self, g):
        return place(g)


def on_device(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return an operation that computes on the device, on host arrays."""

    def there(*tensors: Tensor, **options: Any) -> Tensor:
        return Back()(call(*(There()(t) for t in tensors), **there_too(options)))

    return there


def there_too(option: Any) -> Any:
    """Return an option with its arrays, which are labels, weights, statistics and indices, on the device."""
    if isinstance(option, np.ndarray):
        return tensor(option, device="cuda")
    if isinstance(option, dict):
        return {name: there_too(value) for name, value in option.items()}
    return tuple(map(there_too, option)) if isinstance(option, tuple) else option


def batch_norm(
    x: Tensor, w: Any = None, b: Any = None, *, eps: float, mean: Any = None, var: Any = None
) -> Tensor:
    """In training, unless the statistics are given."""
    statistics = [None if a is None else a.to(x.dtype) for a in (mean, var)]
    return F.batch_norm(x, *statistics, w, b, training=mean is None, eps=eps)


CALLS = {name: batch_norm if name == "batch_norm" else entry.call for name, entry in OPERATIONS.items()}


def operation_on_device(name: str, case: Case, seed: int = 0) -> Operation:
    return replace(OPERATIONS[name].operation(case, seed), call=on_device(CALLS[name]))


@contextmanager
def watching(watcher: Callable[[Any, np.ndarray], None]) -> Iterator[None]:
    watchers.append(watcher)
    try:
        yield
    finally:
        watchers.remove(watcher)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_put_on_the_device_keeps_its_values_and_strides(layout):
    for array in (np.arange(120.0).reshape(2, 3, 4, 5), np.zeros((3, 2, 2)), np.array(7.0), np.zeros((0, 3))):
        x = lay_out(array, layout)
        there = place(x)
        assert there.strides == x.strides
        np.testing.assert_array_equal(backend.of(there).to_numpy(there), array)


LAYERS = [
    "conv2d",
    "conv_transpose2d",
    "max_pool2d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "batch_norm",
    "dropout",
]
OF_IMAGES = [*LAYERS, "local_response_norm", "relu", "sigmoid", "tanh", "add", "cat", "fold"]


@pytest.mark.parametrize("name", OF_IMAGES)
def test_images_stay_in_channels_last_memory(name):
    for example, case in OPERATIONS[name].examples.items():
        tensors = [
            Tensor(place(lay_out(a, "channels_last" if a.ndim == 4 else "c")), requires_grad=True)
            for a in case.inputs
        ]
        y = CALLS[name](*tensors, **there_too(case.options))
        y.backward(place(lay_out(np.ones(y.shape), "channels_last" if y.ndim == 4 else "c")))
        for array in (y.data, tensors[0].grad):
            if array.ndim == 4 and 0 not in array.strides:
                assert array.transpose(0, 2, 3, 1).flags.c_contiguous, example


# The properties


def unchanged(check: Callable[[], None]) -> None:
    """Demand that nothing that the test put on the device has changed there."""
    seen: list[tuple[Any, np.ndarray]] = []
    with watching(lambda there, values: seen.append((there, values))):
        check()
    for there, values in seen:
        np.testing.assert_array_equal(backend.of(there).to_numpy(there), values)


def released(check: Callable[[], None]) -> None:
    """Demand that nothing that the test put on the device is in memory there afterwards."""
    seen: list[weakref.ref[Any]] = []
    with watching(lambda there, values: seen.append(weakref.ref(there))):
        collecting = gc.isenabled()
        gc.disable()
        try:
            check()
            assert seen
            assert [ref() for ref in seen] == [None] * len(seen)
        finally:
            if collecting:
                gc.enable()


AROUND = {"untouched": unchanged, "released": released}


def properties_there(operation: str, case: Case) -> list[str]:
    return [
        name
        for name in properties_of(operation, case)
        if name not in MEANINGLESS and (operation, name) not in ELSEWHERE
    ]


def hold_to(name: str, case: Case, property: str, seed: int) -> None:
    around = AROUND.get(property, lambda check: check())
    around(lambda: operation_on_device(name, case, seed).check(case, only=[property]))


@pytest.mark.parametrize("name", OPERATIONS)
def test_examples(name, seed):
    failed = []
    for number, (example, case) in enumerate(OPERATIONS[name].examples.items()):
        for property in properties_there(name, case):
            if property == "gradient" and number >= DIFFERENCES:
                continue
            try:
                hold_to(name, case, property, seed)
            except Exception as error:
                failed.append(f"{example}, {property}: {type(error).__name__}: {error}")
    assert not failed, "\n".join(failed)


def scale(expected: np.ndarray) -> float:
    """Return the largest of the finite values, at least 1."""
    return max(np.abs(expected[np.isfinite(expected)]).max(initial=0), 1)


def hold_to_the_cpu_s(name: str, case: Case, seed: int, example: str = "") -> None:
    """Demand the CPU's output and gradients, both of float64."""
    there, here = operation_on_device(name, case, seed), OPERATIONS[name].operation(case, seed)
    for found, expected in zip(there.run(case), here.run(case), strict=True):
        tolerance = 1e-12 * here.condition * scale(expected)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=example)


COMPARED = [name for name in OPERATIONS if name != "dropout"]


@pytest.mark.parametrize("name", COMPARED)
def test_output_and_gradients_are_the_cpu_s(name, seed):
    for example, case in OPERATIONS[name].examples.items():
        hold_to_the_cpu_s(name, case, seed, example)


@pytest.mark.parametrize("name", COMPARED)
@settings(max_examples=30)
@given(data=st.data(), draw_seed=st.integers(0, 2**16))
def test_and_so_they_are_of_drawn_cases(name, seed, data, draw_seed):
    hold_to_the_cpu_s(name, data.draw(OPERATIONS[name].cases, label="case"), seed + draw_seed)


ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
ROUNDINGS = 8  # of numbers stored in half precision, on the longest way through an operation and back


@pytest.mark.parametrize("half", ROUNDOFF)
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("dropout", "to")])
def test_of_halves_only_what_is_stored_is_rounded(name, half, seed):
    """Output and gradients are the CPU's, of float64 and of the same halves, but for some roundings."""
    for example, case in OPERATIONS[name].examples.items():
        inputs = [np.asarray(a.astype(half)) for a in case.inputs]
        same = Case(tuple(a.astype(np.float64) for a in inputs), case.options)
        here = OPERATIONS[name].operation(same, seed)
        (y, *_) = here.run(same)
        g = here.cotangent(y.shape).astype(half)
        found = [y.astype(np.float64) for y in on_the_device(name, inputs, g, case.options)]
        for a, expected in zip(found, here.run(same, g=g.astype(np.float64)), strict=True):
            tolerance = ROUNDINGS * ROUNDOFF[half] * here.condition * scale(expected)
            np.testing.assert_allclose(a, expected, rtol=0, atol=tolerance, err_msg=example)


def on_the_device(name: str, inputs: list[np.ndarray], g: np.ndarray, options: Any) -> list[np.ndarray]:
    """Return the output and the gradients, which must be of the inputs' dtype."""
    tensors = [tensor(a, device="cuda", requires_grad=True) for a in inputs]
    y = CALLS[name](*tensors, **there_too(options))
    if y.requires_grad:
        y.backward(tensor(g, device="cuda"))
    found = [y.data, *(t.data * 0 if t.grad is None else t.grad for t in tensors)]
    assert {a.dtype.name for a in found} == {g.dtype.name}
    return [backend.of(a).to_numpy(a) for a in found]


def test_every_function_runs_there_forward_and_back():
    """But for the one that moves arrays, which the other tests do all the time."""
    forward, back = set(), set()

    class Witness(Observer):
        def forward(self, function, run, *arrays):
            y = run(*arrays)
            if all(backend.device_of(a).startswith("cuda") for a in (*arrays, y)):
                forward.add(type(function))
            return y

        def backward(self, function, run, g):
            grads = run(g)
            if all(backend.device_of(a).startswith("cuda") for a in (g, *grads) if a is not None):
                back.add(type(function))
            return grads

    with observing(Witness()):
        for name, entry in OPERATIONS.items():
            for case in entry.examples.values():
                operation_on_device(name, case).run(case)
    assert functions() - forward == {ToDevice}
    assert functions() - back == {ToDevice}


ALLOWED = {
    # The list is in host memory; an array of the device's would do without.
    ("getitem", "twice"): {"to device: an index of the host's"},
    # The result's shape depends on it.
    ("getitem", "mask"): {"to host: how many a mask chooses"},
}


def transfers_in(name: str, case: Case) -> set[str]:
    """Return what is taken from device to host or back, forward or backward, where all arrays are on the device."""
    inputs = [tensor(a, device="cuda", requires_grad=True) for a in case.inputs]
    options = there_too(case.options)
    transfers.clear()
    y = CALLS[name](*inputs, **options)
    seen = list(transfers)
    g = tensor(np.ones(y.shape), device="cuda")
    transfers.clear()
    if y.requires_grad:
        y.backward(g)
    return {f"{transfer.kind}: {transfer.what}" for transfer in seen + transfers}


@pytest.mark.skipif(
    os.environ.get("MINICNN_TEST_GPU") == "1", reason="the stand-in counts transfers, no real GPU does"
)
def test_no_operation_takes_anything_to_the_host_or_from_it():
    found = {}
    for name, entry in OPERATIONS.items():
        for example, case in entry.examples.items():
            if seen := transfers_in(name, case):
                found[name, example] = seen
    assert found == ALLOWED
