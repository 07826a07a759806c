"""Each property, shown to catch a bug that only it was made for; and the script that a failure leaves."""

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest

import minicnn
from minicnn import Function, Tensor
from minicnn import functional as F
from minicnn.testing import Case, PropertyError, check_properties, lay_out
from minicnn.testing.case import literal

X = np.array([[0.5, -1.25, 2.0], [1.5, 0.25, -0.75]])


class Double(Function):
    """y = 2 x, right in every way: the bugs below are planted in copies of it."""

    def forward(self, x):
        return 2 * x

    def backward(self, g):
        return 2 * g


def double(x):
    return Double()(x)


class WritesItsInput(Double):
    def forward(self, x):
        y = 2 * x
        x += 1e-9
        return y


class WritesTheCotangent(Double):
    def backward(self, g):
        g *= 2
        return g


class ForgetsItsDtype(Double):
    def forward(self, x):
        return 2.0 * x.astype("float64")


class LosesPrecision(Double):
    def forward(self, x):
        return x * x.dtype.type(2) if x.dtype == "float64" else (x.astype("float16") * 2).astype("float32")


class ReadsMemoryOrder(Double):
    def backward(self, g):
        return 2 * g.ravel(order="K").reshape(g.shape)


class KeepsItsInput(Double):
    kept: ClassVar[list] = []

    def forward(self, x):
        self.kept.append(x)
        return 2 * x


class MixesItems(Double):
    """y = 2 x + the batch's mean, with the right gradient for that."""

    def forward(self, x):
        return 2 * x + x.mean(axis=0)

    def backward(self, g):
        return 2 * g + g.sum(axis=0) / len(g)


class DependsOnThreads(Double):
    def forward(self, x):
        return 2 * x * (1 + 1e-14 * minicnn.get_num_threads())


class IsWrongBackward(Double):
    def backward(self, g):
        return 2.02 * g


class IsWrongForward(Double):
    def forward(self, x):
        return 2 * x + 1e-9


class ReadsUnwrittenMemory(Double):
    def forward(self, x):
        y = self.be.empty_like(x)
        y[1:] = 2 * x[1:]
        return y

    def backward(self, g):
        dx = 2 * g
        dx[0] = 0
        return dx


class TakesTheOthersNeed(Double):
    """y = 2 a + b, which looks at the wrong input's need."""

    def forward(self, a, b):
        return 2 * a + b

    def backward(self, g):
        return (2 * g if self.needs[1] else 0 * g), g


PLANTED = {
    "definition": (IsWrongForward, {"definition": lambda x: 2 * x}),
    "gradient": (IsWrongBackward, {}),
    "adjoint": (IsWrongBackward, {"linear": [0]}),
    "untouched": (WritesTheCotangent, {}),
    "single": (ForgetsItsDtype, {}),
    "layout": (ReadsMemoryOrder, {}),
    "released": (KeepsItsInput, {}),
    "items": (MixesItems, {"itemwise": [0]}),
    "alone": (TakesTheOthersNeed, {}),
    "threads": (DependsOnThreads, {}),
    "poisoned": (ReadsUnwrittenMemory, {}),
}


def inputs_of(function):
    return [X, X] if function is TakesTheOthersNeed else [X]


def test_a_right_operation_has_them_all():
    check_properties(double, [X], definition=lambda x: 2 * x, linear=[0], itemwise=[0])


@pytest.mark.parametrize("name", PLANTED)
def test_each_catches_what_it_is_for(name):
    function, traits = PLANTED[name]
    with pytest.raises(
        AssertionError, match={"gradient": "gradcheck", "poisoned": "never written"}.get(name, name)
    ):
        check_properties(lambda *x: function()(*x), inputs_of(function), only=[name], **traits)


@pytest.mark.parametrize("name", ["definition", "single", "layout", "released", "items", "alone", "threads"])
def test_the_gradient_check_sees_none_of_these(name):
    function, _ = PLANTED[name]
    check_properties(lambda *x: function()(*x), inputs_of(function), only=["gradient"])


@pytest.mark.parametrize("function", [WritesItsInput, LosesPrecision])
def test_further_bugs_are_caught(function):
    with pytest.raises(AssertionError, match=r"untouched|single"):
        check_properties(lambda x: function()(x), [X], only=["untouched", "single"])


def test_affine_is_no_more_than_affine():
    with pytest.raises(PropertyError, match=r"adjoint: ⟨A\(x \+ u\) − A\(x\), g⟩"):
        check_properties(F.relu, [X], linear=[0])
    check_properties(lambda x: x * 3 + 1, [X], linear=[0])


def test_shared_inputs_get_the_sum_of_the_items_gradients():
    class CountsOnce(Function):
        """y = x + b, with b's gradient of the first item only."""

        def forward(self, x, b):
            return x + b

        def backward(self, g):
            return g, g[0]

    with pytest.raises(PropertyError, match="items: gradient of input 1"):
        check_properties(lambda x, b: CountsOnce()(x, b), [X, X[0]], itemwise=[0], only=["items"])


def test_unknown_property_is_refused():
    with pytest.raises(ValueError, match=r"only must name definition, gradient.*got 'speed'"):
        check_properties(double, [X], only=["speed"])


def test_a_failure_leaves_a_script_that_fails_the_same_way(tmp_path):
    with pytest.raises(PropertyError) as caught:
        check_properties(F.relu, [X], linear=[0], seed=3)
    (note,) = caught.value.__notes__
    script = tmp_path / "again.py"
    script.write_text(note.partition("This does it again:")[2])
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert str(caught.value) in run.stderr


def test_a_case_prints_as_python_that_makes_it_again():
    case = Case(
        (
            X,
            np.float32([[-np.inf, np.nan]]),
            np.zeros((0, 2), np.float32),
            np.array(0.1),
            lay_out(np.arange(24.0).reshape(1, 2, 3, 4), "channels_last"),
        ),
        {"stride": (2, 1), "labels": np.array([1, 2]), "p": 0.5, "low": -np.inf, "mode": "same", "dims": [1]},
    )
    names = {"np": np, "Case": Case, "lay_out": lay_out}
    again = eval(repr(case), names)
    for a, b in zip(case.inputs, again.inputs, strict=True):
        assert (a.dtype, a.shape, a.strides) == (b.dtype, b.shape, b.strides)
        np.testing.assert_array_equal(a, b)
    assert repr(again) == repr(case)
    assert list(again.options) == list(case.options)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        ((1,), "(1,)"),
        (None, "None"),
        (np.float64(0.5), "0.5"),
        (np.array([True, False]), "np.array([True, False])"),
        (np.array([1], np.int32), "np.array([1], 'int32')"),
        (slice(1, None, 2), "slice(1, None, 2)"),
        ((Ellipsis, None), "(Ellipsis, None)"),
    ],
)
def test_literals(value, text):
    assert literal(value) == text


def test_a_script_imports_what_has_a_name_and_says_where_the_rest_stood():
    case = Case((X,))
    assert "from minicnn import Tensor\n" in case.reproduction(Tensor.exp)
    assert "from minicnn.functional import relu\n" in case.reproduction(F.relu)
    assert "test_properties.py:" in case.reproduction(lambda x: x)
