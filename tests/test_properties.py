"""Each property, shown to catch a bug that only it was made for; and the script that a failure leaves."""

import operator
import subprocess
import sys
from functools import partial
from typing import ClassVar

import numpy as np
import pytest

import minicnn
from minicnn import Function, Tensor, nn, tensor
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


class SharesABuffer(Double):
    """y = x², and what is kept for the derivative is kept where the next call keeps its own."""

    kept: ClassVar[dict] = {}

    def forward(self, x):
        self.kept[x.dtype] = x.copy()
        return x * x

    def backward(self, g):
        return 2 * g * self.kept[g.dtype]


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


def test_calls_that_share_a_buffer_are_caught():
    check_properties(lambda x: SharesABuffer()(x), [X], only="gradient")
    with pytest.raises(PropertyError, match="untouched: another call changed the gradient of input 0"):
        check_properties(lambda x: SharesABuffer()(x), [X], only="untouched")


def test_the_adjoint_of_small_numbers_is_checked():
    """Rounded to whole numbers they must not be 0, where every product vanishes, or a divisor."""

    class Scaled(Function):
        """y = x·w, and the gradient of x off by a part that no difference shows."""

        def forward(self, x, w):
            self.x, self.w = x, w
            return x * w

        def backward(self, g):
            return g * self.w * (1 + 1e-8), g * self.x

    with pytest.raises(PropertyError, match="adjoint"):
        check_properties(lambda x, w: Scaled()(x, w), [X, X / 100], linear=[0], only="adjoint")
    check_properties(operator.truediv, [X, abs(X) / 100], linear=[0], only="adjoint")


@pytest.mark.parametrize(
    "call",
    [
        lambda x, unused: x * 2,
        lambda x, y: x * 2 + y.detach() * 0,
        lambda x, y: x.mean() * x.mean() + y.sum() * y.sum(),  # gradients that are broadcast, and then added
        lambda x, y: tensor(np.ones(3, x.dtype)),
    ],
)
def test_right_operations_raise_no_alarm(call):
    check_properties(call, [X, X])


@pytest.mark.parametrize(
    "inputs", [X, Tensor(X), [X.tolist()], [np.float32(X)], [np.float64(0.5)], 0.5, [X[:0]], (Tensor(X),)]
)
def test_inputs_may_be_given_in_many_ways(inputs):
    """In float32 a sum over an axis would depend on the memory's layout: everything is float64."""
    check_properties(lambda x: (x * 3).sum(), inputs)


@pytest.mark.parametrize(
    ("arguments", "traits", "kind", "message"),
    [
        ((double, []), {}, ValueError, "there must be an input, got none"),
        (
            (double, [X, np.arange(3)]),
            {},
            TypeError,
            "input 1 must be of floating-point numbers, got int64; .*options",
        ),
        ((double, [X], [1]), {}, TypeError, "options must be a mapping of names to values, got list"),
        ((3, [X]), {}, TypeError, "call must be a function, got int"),
        ((double, [X]), {"definition": X}, TypeError, "definition must be a function, got ndarray"),
        (
            (double, [X]),
            {"linear": 1},
            ValueError,
            "linear must hold positions of inputs, from 0 to 0, got 1",
        ),
        ((double, [X]), {"itemwise": [-1]}, ValueError, "itemwise must hold positions .* got -1"),
        ((double, [X]), {"seed": -1}, ValueError, "seed must be an int of at least 0, got -1"),
        (
            (lambda x: (x, x), [X]),
            {},
            TypeError,
            "call must return one floating-point Tensor, got tuple; .*one at a time",
        ),
        (
            (lambda x: x > 0, [X]),
            {},
            TypeError,
            "call must return one floating-point Tensor, got a Tensor of bool",
        ),
    ],
)
def test_arguments_that_make_no_sense(arguments, traits, kind, message):
    with pytest.raises(kind, match=f"^check_properties: {message}"):
        check_properties(*arguments, **traits)


@pytest.mark.parametrize(("call", "x"), [(double, np.array(0.5)), (Tensor.sum, X), (lambda x: x[1:], X)])
def test_an_output_without_the_items_of_its_input_is_answered(call, x):
    with pytest.raises(PropertyError, match="items: input 0 and the output must have as many items"):
        check_properties(call, [x], itemwise=[0])


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


def test_a_script_for_labels_as_a_tensor_runs():
    case = Case((X,), {"target": Tensor(np.array([0, 2])), "reduction": "sum"})
    exec(case.reproduction(F.cross_entropy, "gradient"), {})


def activated(x, activation, dtype):
    return activation(x)


def test_options_that_are_functions_are_imported():
    case = Case((X,), {"activation": F.relu, "dtype": np.dtype("float32")})
    exec(case.reproduction(activated, "gradient"), {})


def test_each_function_in_a_script_has_a_name_of_its_own():
    options = {"inputs": [F.relu, F.tanh], "fn": F.sigmoid}
    names = {}
    exec(Case((X,), options).reproduction(F.relu).rpartition("\n")[0], names)
    assert names["options"] == options


@pytest.mark.parametrize(
    ("fn", "options"),
    [
        (lambda x: x, {}),
        (nn.ReLU(), {}),
        (nn.Sequential(nn.ReLU(), nn.Tanh()), {}),  # its repr has several lines
        (nn.ReLU().forward, {}),
        (partial(F.softmax, dim=1), {}),
        (F.relu, {"generator": np.random.default_rng(0)}),
        (F.relu, {"activations": [lambda x: x, (lambda x: -x, nn.Tanh())]}),
        (F.relu, {"where": np.zeros((101, 100))}),
    ],
)
def test_a_script_says_what_is_left_to_fill_in(fn, options):
    script = Case((X,), options).reproduction(fn, "gradient")
    filled_in = {}
    head = script.rpartition("\n")[0]
    exec(head, filled_in)
    assert "= ...  # fill in: " in head
    gaps = [name for name, value in filled_in.items() if value is ...]
    assert gaps
    assert all(name in script.partition("\ninputs = ")[2] for name in gaps)
    assert len(script) < 1500


def test_a_name_that_leads_elsewhere_is_not_imported(monkeypatch):
    """The functional's has the same name, and is another function."""
    impostor = lambda x: x  # noqa: E731
    monkeypatch.setattr(impostor, "__module__", "minicnn.functional.activation")
    monkeypatch.setattr(impostor, "__qualname__", "relu")
    assert "fn = ...  # fill in" in Case((X,)).reproduction(impostor)


def test_a_script_needs_no_definition_where_another_property_failed():
    with pytest.raises(AssertionError) as caught:
        check_properties(lambda x: IsWrongBackward()(x), [X], definition=lambda x: 2 * x)
    assert "definition=" not in caught.value.__notes__[0]


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
        (Tensor(np.array([1, 2])), "Tensor(np.array([1, 2]))"),
        (np.dtype("float32"), "np.dtype('float32')"),
        (slice(np.int64(1), None), "slice(1, None, None)"),
        (np.array(["a"]), "np.array(['a'])"),
    ],
)
def test_literals(value, text):
    assert literal(value) == text


def test_a_script_imports_what_has_a_name_and_says_where_the_rest_stood():
    case = Case((X,))
    assert "from minicnn import Tensor\n" in case.reproduction(Tensor.exp)
    assert "from minicnn.functional import relu\n" in case.reproduction(F.relu)
    assert "test_properties.py:" in case.reproduction(lambda x: x)
