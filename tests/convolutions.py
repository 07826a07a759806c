"""What tests ask of convolution algorithms, whichever they are: any problem, in any memory, and what it costs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import naive
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from minicnn.backend import parallel, small_products
from minicnn.backend.cpu import empty_images
from minicnn.backend.recycling import release
from minicnn.backend.workspace import poisoned
from minicnn.conv import direct, im2col
from minicnn.conv.problem import Direction, Problem
from minicnn.conv.tail import TILE
from minicnn.geometry import Window2d


class Asked(NamedTuple):
    """A convolution with its arrays: g is ∂L/∂y."""

    x: np.ndarray
    w: np.ndarray
    b: np.ndarray | None
    g: np.ndarray
    window: Window2d
    groups: int

    @property
    def problem(self) -> Problem:
        return Problem(self.x.shape, len(self.w), self.window, self.groups, self.x.dtype)


def asked(
    input_shape: tuple[int, int, int, int],
    kernels: int,
    window: Window2d,
    groups: int = 1,
    dtype: Any = float,
    seed: int = 0,
) -> Asked:
    """Fill the arrays of a problem, in channels-last memory."""
    problem = Problem(input_shape, kernels, window, groups, np.dtype(dtype))
    rng = np.random.default_rng(seed)

    def images(n: int, c: int, height: int, width: int) -> np.ndarray:
        return rng.normal(size=(n, height, width, c)).astype(dtype).transpose(0, 3, 1, 2)

    w, b = images(*problem.weight_shape), rng.normal(size=kernels).astype(dtype)
    return Asked(images(*input_shape), w, b, images(*problem.output_shape), window, groups)


@st.composite
def problems(draw: st.DrawFn, most_groups: int = 3, most_dilation: tuple[int, int] = (3, 3)) -> Asked:
    """Draw any convolution whose kernel fits, of arrays in any order of memory; there may be no images."""
    groups = draw(st.integers(1, most_groups))
    per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * 2))
    dilation = draw(st.tuples(*(st.integers(1, most) for most in most_dilation)))
    stride, padding = draw(st.tuples(*[st.integers(1, 4)] * 2)), draw(st.tuples(*[st.integers(0, 4)] * 4))
    if draw(st.booleans()):
        kernel, stride, padding = (1, 1), draw(st.sampled_from([(1, 1), (2, 1)])), (0, 0, 0, 0)
    n, height, width = draw(st.integers(0, 3)), draw(st.integers(1, 8)), draw(st.integers(1, 8))
    window = Window2d.of("conv2d", kernel, stride, padding, dilation)
    top, bottom, left, right = padding
    assume(height + top + bottom >= window.extent[0] and width + left + right >= window.extent[1])
    shape = n, groups * per_in, height, width
    case = asked(shape, groups * per_out, window, groups, seed=draw(st.integers(0, 2**32)))
    x, w, g = (draw(in_any_memory(a)) for a in (case.x, case.w, case.g))
    return case._replace(x=x, w=w, g=g, b=case.b if draw(st.booleans()) else None)


@st.composite
def in_any_memory(draw: st.DrawFn, array: np.ndarray) -> np.ndarray:
    """Draw an array of the same values, with its axes in any order of memory, perhaps with gaps."""
    order = draw(st.permutations(range(4)))
    back = sorted(range(4), key=order.__getitem__)
    copy = np.ascontiguousarray(array.transpose(order)).transpose(back)
    if draw(st.booleans()):
        copy = np.stack([copy, np.full_like(copy, np.nan)], axis=-1)[..., 0]
    return copy


def forward(algorithm: Any, case: Asked, out: np.ndarray | None = None, relu: bool = False) -> np.ndarray:
    """Return y, which the algorithm writes into `out`."""
    y = empty_images(*case.problem.output_shape, case.x.dtype) if out is None else out
    algorithm.forward(case.x, case.w, case.b, case.window, case.groups, y, relu=relu)
    return y


def calls(algorithm: Any, case: Asked) -> dict[Direction, Callable[[], np.ndarray]]:
    """Return what computes each direction of a case."""
    x, w, _, g, window, groups = case
    return {
        "forward": lambda: forward(algorithm, case),
        "backward_data": lambda: algorithm.backward_data(g, w, x.shape, window, groups),
        "backward_weight": lambda: algorithm.backward_weight(x, g, window, groups),
    }


def hold_to_the_definition(algorithm: Any, case: Asked, out: np.ndarray) -> None:
    """Compare all directions, and the ReLU, with plain loops; memory that nobody has written is NaN meanwhile."""
    x, w, b, g, window, groups = case
    options = {
        "stride": window.stride,
        "padding": window.padding,
        "dilation": window.dilation,
        "groups": groups,
    }
    y = naive.conv2d(x, w, b, **options)
    expected = {
        "forward": y,
        "backward_data": direct.backward_data(g, w, x.shape, window, groups),
        "backward_weight": direct.backward_weight(x, g, window, groups),
    }
    out[...] = np.nan
    with poisoned():
        found = {direction: call() for direction, call in calls(algorithm, case).items()}
        assert forward(algorithm, case, out, relu=True) is out
    np.testing.assert_allclose(out, np.maximum(y, 0), rtol=1e-10, atol=1e-10)
    for direction, value in expected.items():
        assert found[direction].shape == value.shape, direction
        np.testing.assert_allclose(found[direction], value, rtol=1e-10, atol=1e-10, err_msg=direction)


def hold_to_rounding(algorithm: Any, case: Asked) -> None:
    """Compare all directions, in the case's own precision, with im2col in double precision.

    A sum of n products, in whatever order, is off by at most n + 1 roundings of the sum of their magnitudes.
    """
    names = ("x", "w", "b", "g")
    exact = case._replace(**{name: getattr(case, name).astype(float) for name in names})
    magnitudes = case._replace(**{name: np.abs(getattr(exact, name)) for name in names})
    n, k, p, q = case.g.shape
    inner = case.w[0].size
    terms = {
        "forward": inner + 1,
        "backward_data": inner * k // case.x.shape[1],
        "backward_weight": n * p * q,
    }
    for direction, call in calls(algorithm, case).items():
        error = np.abs(call() - calls(im2col, exact)[direction]())
        bound = (terms[direction] + 1) * np.finfo(case.x.dtype).eps * calls(im2col, magnitudes)[direction]()
        assert (error <= bound).all(), direction


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = parallel.get_num_threads()
    parallel.set_num_threads(count)
    try:
        yield
    finally:
        parallel.set_num_threads(before)


def hold_to_the_same_bits(algorithm: Any, case: Asked) -> None:
    """Demand results that do not depend on the number of threads."""
    for direction, call in calls(algorithm, case).items():
        results = []
        for count in (1, 2, 3):
            with threads(count):
                results.append(call())
        np.testing.assert_array_equal(results[0], results[1], err_msg=direction)
        np.testing.assert_array_equal(results[0], results[2], err_msg=direction)


def workspace(call: Callable[[], np.ndarray], results: int) -> int:
    """Return the bytes that one thread holds in `call`, at most at once, besides its `results` bytes of results.

    Its scratch memory is new, for :func:`poisoned` has its own, and has grown to its size in a first call.  The buffers
    that NumPy takes for itself where it adds arrays that are not contiguous, 8,192 elements each, are made small.
    """
    usual = np.setbufsize(16)
    try:
        with threads(1), poisoned():
            release()
            tracemalloc.start()
            call()
            tracemalloc.reset_peak()
            call()
            return tracemalloc.get_traced_memory()[1] - results
    finally:
        tracemalloc.stop()
        np.setbufsize(usual)


def hold_to_the_workspace(call: Callable[[], np.ndarray], results: int, expected: int, what: str) -> None:
    """Demand as much memory as expected, but for 2 %, a few kilobytes of Python's own, and the tiled bias."""
    measured = workspace(call, results)
    assert abs(measured - expected) <= 0.02 * measured + 16_000 + 8 * TILE, (what, measured, expected)


def flops(module: Any, call: Callable[[], np.ndarray]) -> int:
    """Return the additions and multiplications of the products that `call`, which uses a module's np.matmul, makes."""
    counted = []

    def counting(a: np.ndarray, b: np.ndarray, **options: Any) -> np.ndarray:
        product = np.matmul(a, b, **options)
        counted.append(2 * product.size * a.shape[-1])
        return product

    with with_matmul(module, counting), with_matmul(small_products, counting):
        call()
    return sum(counted)


def with_matmul(module: Any, matmul: Callable[..., np.ndarray]) -> Any:
    """Let a module, and no other, find this function under ``np.matmul``."""
    return patch.object(module, "np", SimpleNamespace(**{**vars(np), "matmul": matmul}))
