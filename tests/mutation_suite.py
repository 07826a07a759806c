"""The checks that minicnn's mutants are run against: `python -m minicnn.testing.mutants`.

The table of operations gives most: every property of every example, once more in small pieces, and of some drawn cases.
Each algorithm of convolution is held to the definition, in pieces as large as they are and in small ones.  What a table
of calls cannot show comes from the tests of single modules.  What is done on a GPU only is done on the stand-in for
one, where there is a C++ compiler.
"""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

# Few examples, the same each time, and no time spent on shrinking them; set before the tests' own settings are made.
settings.register_profile(
    "mutants",
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("mutants")

os.environ |= {"MINICNN_RATES": "default", "MINICNN_AUTOTUNE": "0"}  # as conftest.py has it

import cuda_emulator  # noqa: E402
import standin  # noqa: E402
import test_autocast  # noqa: E402
import test_conv  # noqa: E402
import test_conv_cuda  # noqa: E402
import test_conv_fft  # noqa: E402
import test_conv_per_offset  # noqa: E402
import test_conv_toeplitz  # noqa: E402
import test_conv_winograd  # noqa: E402
import test_cuda_edges  # noqa: E402
import test_cuda_ops  # noqa: E402
import test_cut_work  # noqa: E402
import test_elementwise  # noqa: E402
import test_geometry  # noqa: E402
import test_gpu_fused  # noqa: E402
import test_ops  # noqa: E402
import test_ops_edges  # noqa: E402
import test_pooling_fast  # noqa: E402
import test_small_products  # noqa: E402
import test_tensor  # noqa: E402
from convolutions import Asked, asked, hold_to_the_definition, in_any_memory, problems  # noqa: E402
from operations import OPERATIONS, Entry  # noqa: E402
from pieces import small_pieces  # noqa: E402

from minicnn import conv  # noqa: E402
from minicnn.backend import small_products  # noqa: E402
from minicnn.conv.algorithms import ALGORITHMS  # noqa: E402
from minicnn.conv.problem import DIRECTIONS  # noqa: E402
from minicnn.geometry import Window2d  # noqa: E402
from minicnn.testing import PROPERTIES, Case  # noqa: E402

Named = tuple[str, Callable[[], Any]]

_SHARED = ("conv2d", "conv_transpose2d", "linear", "matmul", "batch_norm")  # among threads
_EXACT = ("definition", "adjoint")  # enough for what is linear in each input
_DEVICE_TESTS = (
    test_cuda_ops.test_output_and_gradients_are_the_cpu_s,
    test_cuda_ops.test_of_halves_only_what_is_stored_is_rounded,
    test_conv_cuda.test_backward_rounds_as_forward_was_allowed_to,
    test_autocast.test_products_give_halves_and_the_delicate_float32,
    test_autocast.test_where_two_dtypes_meet_the_wider_one_wins,
    test_autocast.test_where_two_unlike_halves_meet_float32_does,
    test_cuda_edges.test_an_index_may_come_from_the_host,
    test_cuda_edges.test_arrays_of_two_devices_are_refused_by_the_operations_name,
)
_FIXTURES = {"seed": 0}
_CUT_SMALL = {"small", "pieces"}  # fixtures that do what small_pieces does
_LEFT_OUT = {"test_examples", "test_drawn_cases"}  # made here, in smaller parts
_MODULES = (
    test_ops,
    test_ops_edges,
    test_cut_work,
    test_tensor,
    test_geometry,
    test_conv,
    test_conv_fft,
    test_conv_per_offset,
    test_conv_toeplitz,
    test_conv_winograd,
    test_elementwise,
    test_pooling_fast,
    test_small_products,
)


def checks() -> Iterator[Named]:
    """Yield every check and its name."""
    for name, entry in OPERATIONS.items():
        for example, case in entry.examples.items():
            yield from of_case(f"{name}: {example}", entry, case)
        for i, case in enumerate(drawn(entry.cases)):
            yield from of_case(f"{name}: drawn {i}", entry, case)
    for name in _SHARED:
        yield from of_examples(name, small_pieces, "in small pieces", (*_EXACT, "gradient", "threads"))
    for name in ("conv2d", "conv_transpose2d"):
        for algorithm in ("direct", "im2col"):
            yield from of_examples(name, partial(conv.use, algorithm), f"by {algorithm}", _EXACT)
    yield from of_algorithms()
    for module in _MODULES:
        yield from of_tests(module)
    if cuda_emulator.available() is None:
        yield from on_the_device()


def on_the_device() -> Iterator[Named]:
    """Yield checks of what is not the same on a GPU."""
    tests = {name: test for name, test in vars(test_gpu_fused).items() if name.startswith("test_")}
    tests |= {test.__name__: test for test in _DEVICE_TESTS}
    for name, test in tests.items():
        for i, arguments in enumerate(_parameters(test)):
            yield f"{name} on the device {i}", partial(_on_the_device, test, arguments)


def _on_the_device(test: Callable[..., None], arguments: dict[str, Any]) -> None:
    """Run a test with the fixtures it asks for, and a device to compute on."""
    wanted = inspect.signature(test).parameters
    with standin.installed() as cuda, pytest.MonkeyPatch.context() as monkeypatch:
        noted = test_gpu_fused.noting(monkeypatch)
        given = {**_FIXTURES, "cuda": cuda, "monkeypatch": monkeypatch, "ran": noted}
        test(**arguments, **{name: value for name, value in given.items() if name in wanted})


def of_case(name: str, entry: Entry, case: Case, properties: Any = PROPERTIES) -> Iterator[Named]:
    operation = entry.operation(case)
    for title in properties:
        yield f"{name}: {title}", partial(PROPERTIES[title], operation, case)


def drawn(cases: st.SearchStrategy[Any]) -> list[Any]:
    """Return the first cases that Hypothesis draws."""
    found: list[Any] = []

    @settings(max_examples=12)
    @given(cases)
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    return found


def of_examples(
    name: str, context: Callable[[], AbstractContextManager[Any]], how: str, properties: tuple[str, ...]
) -> Iterator[Named]:
    """Yield checks of an operation's examples that run inside a context."""
    entry = OPERATIONS[name]
    for example, case in entry.examples.items():
        for title, check in of_case(f"{name} {how}: {example}", entry, case, properties):
            yield title, partial(_within, context, check)


def of_algorithms() -> Iterator[Named]:
    """Yield checks that hold each algorithm of convolution to the definition."""
    every = Window2d.of("w", (3, 2), (2, 3), (2, 1, 0, 3), (1, 2))
    wanted = {
        "3×3": asked((2, 2, 7, 6), 3, Window2d.of("w", 3)),
        "3×3, padded": asked((3, 2, 5, 6), 2, Window2d.of("w", 3, 1, (1, 0, 2, 4))),
        "1×1": asked((2, 4, 3, 5), 6, Window2d.of("w", 1), groups=2),
        "1×1, padded": asked((2, 2, 3, 5), 3, Window2d.of("w", 1, 1, (1, 0, 2, 1))),
        "wide": asked((1, 2, 3, 30), 3, Window2d.of("w", (2, 5), 1, (1, 1, 3, 2))),
        "all at once": asked((2, 4, 7, 9), 6, every, groups=2),
    }
    memory = problems().flatmap(lambda case: st.tuples(st.just(case), in_any_memory(_result(case))))
    cases = [(name, case, _result(case)) for name, case in wanted.items()]
    cases += [(f"drawn {i}", *pair) for i, pair in enumerate(drawn(memory))]
    for (algorithm, does), (name, case, out) in itertools.product(ALGORITHMS.items(), cases):
        if all(does.supports(case.problem, direction) for direction in DIRECTIONS):
            check = partial(hold_to_the_definition, does, case, out)
            yield f"{algorithm}: {name}", check
            yield f"{algorithm} in small pieces: {name}", partial(_within, small_pieces, check)


def _result(case: Asked) -> np.ndarray:
    return np.zeros(case.problem.output_shape)


def _within(context: Callable[[], AbstractContextManager[Any]], check: Callable[[], Any]) -> None:
    with context():
        check()


def of_tests(module: ModuleType) -> Iterator[Named]:
    """Yield the tests of a module, one for each set of parameters; those that want other fixtures are left out."""
    for name, test in vars(module).items():
        if not name.startswith("test_") or name in _LEFT_OUT:
            continue
        wanted, used = set(inspect.signature(test).parameters), _used_fixtures(test)
        small = _CUT_SMALL & (wanted | used)
        fixtures = _FIXTURES | dict.fromkeys(small)
        for i, arguments in enumerate(_parameters(test)):
            arguments = {key: value for key, value in fixtures.items() if key in wanted} | arguments
            if set(arguments) == wanted and used <= small:
                check = partial(test, **arguments)
                if small:
                    check = partial(_within, small_pieces, check)
                if hasattr(module, "_blas_packs_everything"):
                    check = partial(_within, _blas_packs_everything, check)
                yield f"{module.__name__}: {name} {i}", check


def _blas_packs_everything() -> AbstractContextManager[Any]:
    """Do what the fixture of that name does for each test of its module."""
    return patch.object(small_products, "has_small_kernels", lambda: False)


def _marks(test: Any, name: str) -> list[pytest.Mark]:
    return [mark for mark in getattr(test, "pytestmark", []) if mark.name == name]


def _used_fixtures(test: Any) -> set[str]:
    return {name for mark in _marks(test, "usefixtures") for name in mark.args}


def _parameters(test: Any) -> Iterator[dict[str, Any]]:
    """Yield what ``pytest.mark.parametrize`` gives a test, mark by mark."""
    axes = []
    for mark in _marks(test, "parametrize"):
        names, rows = mark.args[:2]
        names = [names] if isinstance(names, str) else names
        axes.append([dict(zip(names, _values(row, len(names)), strict=True)) for row in rows])
    for choice in itertools.product(*axes):
        yield {key: value for part in choice for key, value in part.items()}


def _values(row: Any, count: int) -> Any:
    if isinstance(row, type(pytest.param())):
        return row.values
    return row if count > 1 else (row,)
