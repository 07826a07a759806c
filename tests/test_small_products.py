"""Products in blocks that BLAS does not pack: the same numbers, whole blocks and what is left over."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.backend import small_products
from minicnn.backend.small_products import (
    are_small,
    column_products,
    is_small,
    multiply,
    multiply_columns,
    multiply_tall,
    operand,
    tall_blocks,
    tall_products,
)
from minicnn.backend.workspace import poisoned

SIZES = st.integers(0, 9)


@pytest.fixture(autouse=True)
def _small_kernels(monkeypatch):
    """On any processor."""
    monkeypatch.setattr(small_products, "has_small_kernels", lambda: True)


@given(SIZES, SIZES, SIZES, st.lists(st.integers(1, 3), max_size=2), st.booleans(), st.integers(0, 99))
def test_blocks_of_rows(m, k, n, stack, shared, seed):
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=(*stack, m, k)), draw.normal(size=(k, n) if shared else (*stack, k, n))
    out = np.full((*stack, m, n), np.nan)
    with patch.object(small_products, "ROWS", 2):
        multiply(a, b, out)
    np.testing.assert_allclose(out, a @ b, rtol=1e-12, atol=1e-12)


@given(SIZES, SIZES, SIZES, st.integers(0, 99))
def test_blocks_of_columns(m, k, n, seed):
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=(m, k)), draw.normal(size=(k, n))
    out = np.full((m, n + 3), np.nan)[:, :n]  # some columns of a wider array
    with patch.object(small_products, "COLUMNS", 3):
        multiply_columns(a, b, out)
    np.testing.assert_allclose(out, a @ b, rtol=1e-12, atol=1e-12)


@given(st.integers(0, 20), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_blocks_of_both(m, k, n, seed):
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=(m, k)), draw.normal(size=(m, n))
    out = np.full((k, n), np.nan)
    with patch.object(small_products, "TALL", 3), poisoned():
        multiply_tall(a, b, out)
    np.testing.assert_allclose(out, a.T @ b, rtol=1e-12, atol=1e-12)


def test_tall_products_are_those_that_are_made():
    """Of 300 rows two blocks and the rest; of less than two blocks one product, as of large results."""
    assert tall_products(300, 40, 50) == [(40, 128, 50), (40, 128, 50), (40, 44, 50)]
    assert tall_products(256, 40, 50) == [(40, 128, 50)] * 2
    assert tall_products(257, 40, 50) == [(40, 128, 50)] * 2 + [(40, 1, 50)]
    assert tall_products(255, 40, 50) == [(40, 255, 50)]
    assert tall_products(300, 400, 50) == [(400, 300, 50)]
    assert tall_products(0, 40, 50) == []
    assert [tall_blocks(rows, 40, 50) for rows in (255, 256, 384)] == [0, 2, 3]
    with patch.object(small_products, "MULTIPLY_ADDS", 128 * 40 * 50):
        assert (tall_blocks(256, 40, 50), tall_blocks(256, 40, 51)) == (2, 0)
    with patch.object(small_products, "has_small_kernels", lambda: False):
        assert tall_blocks(256, 40, 50) == 0
    seen = []
    with patch.object(small_products.np, "matmul", side_effect=lambda a, b, out: seen.append(a.shape) or out):
        multiply_tall(np.ones((300, 40)), np.ones((300, 50)), np.ones((40, 50)))
        multiply_tall(np.ones((300, 400)), np.ones((300, 50)), np.ones((400, 50)))
    assert seen == [(2, 40, 128), (40, 44), (400, 300)]


def test_rows_of_wider_arrays_are_written_in_place():
    a, b = np.ones((200, 9))[:, :4], np.ones((4, 5))
    wide = np.zeros((200, 8))
    multiply(a, b, wide[:, 2:7])
    np.testing.assert_array_equal(wide[:, 2:7], 4)
    assert not wide[:, :2].any()
    assert not wide[:, 7:].any()


def test_large_matrices_are_left_whole():
    assert are_small(64, 64)
    assert not are_small(512, 512)
    seen = []
    with patch.object(small_products.np, "matmul", side_effect=lambda a, b, out: seen.append(a.shape)):
        multiply(np.ones((640, 512)), np.ones((512, 512)), np.ones((640, 512)))
        multiply(np.ones((650, 64)), np.ones((64, 64)), np.ones((650, 64)))
    assert seen == [(640, 512), (10, 64, 64), (10, 64)]


def test_an_operand_is_turned_only_for_blocks():
    small, large = np.ones((64, 32)).T, np.ones((512, 600)).T
    assert operand(small).flags.c_contiguous
    assert operand(large) is large


def test_nothing_is_cut_where_blas_packs_all(monkeypatch):
    monkeypatch.setattr(small_products, "has_small_kernels", lambda: False)
    assert not are_small(4, 4)
    assert not is_small(4, 4, 4)
    turned = np.ones((4, 3)).T
    assert operand(turned) is turned


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("openblas 0.3.31 SkylakeX", True),
        ("openblas 0.3.31 Cooperlake", True),
        ("openblas 0.3.31 Haswell", False),
        ("mkl 2025 SkylakeX", False),
        ("unknown", False),
    ],
)
def test_which_libraries_have_kernels_for_small_matrices(monkeypatch, name, has):
    monkeypatch.undo()
    monkeypatch.setattr(small_products, "blas_name", lambda: name)
    assert small_products.has_small_kernels.__wrapped__() is has


@pytest.mark.parametrize(
    ("shape", "made"),
    [
        ((36, 36, 1000), [(36, 36, 256)] * 3 + [(36, 36, 232)]),
        ((16, 36, 512), [(16, 36, 256)] * 2),
        ((36, 36, 200), [(36, 36, 200)]),
        ((36, 36, 257), [(36, 36, 256), (36, 36, 1)]),
        ((100, 100, 1000), [(100, 100, 1000)]),
        ((36, 36, 0), []),
    ],
)
def test_the_products_of_blocks_of_columns(shape, made):
    assert column_products(*shape) == made
    m, k, n = shape
    calls = []
    with patch.object(small_products.np, "matmul", lambda a, b, out: calls.append((a.shape, b.shape))):
        multiply_columns(np.ones((m, k)), np.ones((k, n)), np.ones((m, n)))
    counted = sum(b[0] if len(b) == 3 else 1 for _, b in calls)
    assert counted == len(made)


def test_which_products_are_small():
    assert is_small(64, 64, 64)
    assert is_small(10**6, 64, 64)  # in blocks of rows
    assert not is_small(36, 36, 10**6)  # what blocks of columns are, column_products says
    assert not is_small(1000, 1000, 1000)
