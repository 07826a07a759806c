"""Products cut into blocks: which are, into which, and where BLAS is better left alone."""

from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest

from minicnn.backend import small_products
from minicnn.backend.small_products import are_small, is_small, multiply, multiply_columns, operand
from minicnn.testing.values import fill


@contextmanager
def small(kernels=True, rows=4, columns=3, multiply_adds=48):
    sizes = {"ROWS": rows, "COLUMNS": columns, "MULTIPLY_ADDS": multiply_adds}
    with patch.multiple(small_products, has_small_kernels=lambda: kernels, **sizes):
        yield


@pytest.mark.parametrize(
    ("blas", "expected"),
    [
        ("openblas 0.3.30 SkylakeX", True),
        ("openblas 0.3.30 SapphireRapids", True),
        ("openblas 0.3.30 Haswell", False),
        ("openblas 0.3.30", False),
        ("mkl 2025 SkylakeX", False),
        ("unknown", False),
    ],
)
def test_the_kernels_are_those_of_openblas_for_avx512(blas, expected):
    with patch.object(small_products, "blas_name", lambda: blas):
        assert small_products.has_small_kernels.__wrapped__() is expected


def test_a_product_is_small_up_to_the_limit():
    with small():
        assert (are_small(3, 4), are_small(4, 3), are_small(12, 1)) == (True, True, True)
        assert (are_small(13, 1), are_small(1, 13), are_small(4, 4)) == (False, False, False)
        assert is_small(1, 48, 1)  # as it is
        assert is_small(99, 3, 4)  # in blocks of rows
        assert is_small(4, 4, 99)  # in blocks of columns
        assert not any(
            is_small(*shape) for shape in ((1, 49, 1), (1, 17, 3), (5, 13, 1), (49, 1, 13), (5, 4, 4))
        )
    with small(kernels=False):
        assert not are_small(1, 1)
        assert not is_small(1, 1, 1)


def test_an_operand_is_copied_only_where_the_order_matters():
    b = fill((4, 3)).T
    with small():
        assert operand(b).flags.c_contiguous
        np.testing.assert_array_equal(operand(b), b)
    for options in ({"kernels": False}, {"multiply_adds": 47}):
        with small(**options):
            assert operand(b) is b


def made(product, a, b):
    """Return what a product writes, and the shapes of what it has NumPy multiply."""
    shapes = []

    def matmul(a, b, out):
        shapes.append((a.shape, b.shape))
        return np.matmul(a, b, out=out)

    out = np.full((*a.shape[:-1], b.shape[-1]), np.nan)
    with patch.object(small_products, "np", SimpleNamespace(matmul=matmul)):
        product(a, b, out)
    np.testing.assert_allclose(out, a @ b, rtol=1e-12)
    return shapes


@pytest.mark.parametrize("stack", [(), (2,), (2, 3)])
@pytest.mark.parametrize(
    ("options", "rows", "blocks", "rest"),
    [
        ({}, 3, 0, 3),
        ({}, 4, 0, 4),
        ({}, 7, 0, 7),  # one block is nothing gained
        ({}, 8, 2, 0),
        ({}, 11, 2, 3),
        ({"multiply_adds": 47}, 11, 0, 11),
        ({"kernels": False}, 11, 0, 11),
        ({}, 0, 0, 0),
    ],
)
def test_rows_are_cut_into_blocks_and_a_rest(stack, options, rows, blocks, rest):
    a, b = fill((*stack, rows, 6)), fill((*stack, 6, 2), seed=1)
    expected = [((*stack, blocks, 4, 6), (*stack, 1, 6, 2))] if blocks else []
    expected += [((*stack, rest, 6), (*stack, 6, 2))] if rest else []
    with small(**options):
        assert made(multiply, a, b) == expected


@pytest.mark.parametrize(
    ("options", "columns", "blocks", "rest"),
    [
        ({}, 2, 0, 2),
        ({}, 3, 1, 0),
        ({}, 8, 2, 2),
        ({"multiply_adds": 47}, 8, 0, 8),
        ({"kernels": False}, 8, 0, 8),
        ({}, 0, 0, 0),
    ],
)
def test_columns_are_cut_into_blocks_and_a_rest(options, columns, blocks, rest):
    a, b = fill((2, 8)), fill((8, columns), seed=1)
    expected = [((2, 8), (blocks, 8, 3))] if blocks else []
    expected += [((2, 8), (8, rest))] if rest else []
    with small(**options):
        assert made(multiply_columns, a, b) == expected
