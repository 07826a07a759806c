"""The names of convolution algorithms: what is no such name, and what an algorithm of that name cannot do."""

import re
from unittest.mock import patch

import numpy as np
import pytest

from minicnn import conv
from minicnn.conv import choice, model
from minicnn.conv.problem import Problem
from minicnn.geometry import Window2d

X, W, G = np.ones((1, 2, 6, 6)), np.ones((2, 2, 5, 5)), np.ones((1, 2, 2, 2))
CALLS = {
    "conv2d": lambda **options: conv.conv2d(X, W, **options),
    "conv2d_backward_data": lambda **options: conv.conv2d_backward_data(G, W, X.shape, **options),
    "conv2d_backward_weight": lambda **options: conv.conv2d_backward_weight(X, G, 5, **options),
}
EVERY_DIRECTION = pytest.mark.parametrize("op", CALLS)


@EVERY_DIRECTION
@pytest.mark.parametrize("name", ["fast", "", "IM2COL", 3, None, ["direct"]])
def test_an_unknown_algorithm_lists_all(op, name):
    with pytest.raises(ValueError, match=rf"^{op}: algorithm must be one of 'auto'") as caught:
        CALLS[op](algorithm=name)
    assert all(repr(known) in str(caught.value) for known in conv.algorithms())
    assert f"got {name!r}" in str(caught.value)


@EVERY_DIRECTION
def test_a_misspelt_algorithm_is_told_the_nearest(op):
    with pytest.raises(ValueError, match="got 'im2coll'; did you mean 'im2col'"):
        CALLS[op](algorithm="im2coll")


@pytest.mark.parametrize("names", [["fast"], ["direct", "fast"], ["fast", "auto"]])
def test_use_refuses_an_unknown_algorithm_before_its_block(names):
    with pytest.raises(ValueError, match=r"algorithm must be one of .*, got 'fast'"), conv.use(*names):
        pytest.fail("the block was entered")


@EVERY_DIRECTION
def test_an_algorithm_that_cannot_says_why(op):
    said = (
        f"{op}: 'winograd_2x2' cannot do this: the kernel must be 3×3, got 5×5; "
        "input (1, 2, 6, 6), weight (2, 2, 5, 5)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        CALLS[op](algorithm="winograd_2x2")


@EVERY_DIRECTION
def test_where_none_of_those_preferred_can_each_says_why(op):
    names = "winograd_2x2", "winograd_4x4"
    said = "; ".join(f"{name!r} cannot do this: the kernel must be 3×3, got 5×5" for name in names)
    with conv.use(*names), pytest.raises(ValueError, match=re.escape(said)):
        CALLS[op]()


@EVERY_DIRECTION
def test_a_name_goes_before_what_is_preferred(op):
    with conv.use("winograd_2x2"):
        np.testing.assert_allclose(CALLS[op](algorithm="direct"), CALLS[op](algorithm="im2col"), rtol=1e-12)


@EVERY_DIRECTION
def test_an_error_inside_a_block_ends_its_preference(op):
    with pytest.raises(ValueError, match="cannot do this"), conv.use("winograd_2x2"):
        CALLS[op]()
    np.testing.assert_allclose(CALLS[op](), CALLS[op](algorithm="direct"), rtol=1e-12)


@EVERY_DIRECTION
def test_auto_may_come_after_those_preferred(op):
    expected = CALLS[op](algorithm="direct")
    with conv.use("winograd_2x2", "auto"):
        np.testing.assert_allclose(CALLS[op](), expected, rtol=1e-12)
    with conv.use("direct"), conv.use():  # none preferred
        np.testing.assert_allclose(CALLS[op](), expected, rtol=1e-12)


def test_an_algorithm_that_leaves_a_problem_to_another_is_not_picked_for_it():
    """dx of larger kernels than 1×1 by per_offset is im2col_chunked's, whatever its factor."""
    problem = Problem((8, 64, 57, 57), 64, Window2d.of("test", 3, stride=2, padding=1))
    for direction, expected in (("backward_data", False), ("forward", True)):
        with patch.dict(model.FACTORS, {f"per_offset {direction}": 1e-3}):
            picked = choice._fastest.__wrapped__(problem, direction, model.DEFAULT)
        assert (picked == "per_offset") == expected
