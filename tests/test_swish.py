"""The example of a layer of one's own."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models
from minicnn.testing import GradcheckError, check_network, check_properties, check_symmetry

spec = importlib.util.spec_from_file_location("swish", Path(__file__).parents[1] / "examples" / "swish.py")
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)


@pytest.mark.parametrize("beta", [-1.3, 0.0, 0.7, 3.0])
def test_the_function(beta):
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 2))
    inputs = x, np.array(beta)
    check_properties(
        example.swish, inputs, definition=lambda x, beta: x / 2 * (1 + np.tanh(beta * x / 2)), itemwise=[0]
    )
    assert check_symmetry(example.swish, inputs).ok


def test_its_limits():
    x = np.linspace(-3, 3, 8)
    np.testing.assert_array_equal(example.swish(Tensor(x), Tensor(np.array(0.0))).data, x / 2)
    np.testing.assert_allclose(
        example.swish(Tensor(x), Tensor(np.array(1e3))).data, np.maximum(x, 0), atol=1e-99
    )


def test_it_overflows_nowhere():
    x = Tensor(np.array([-1e4, 0.0, 1e4], np.float32), requires_grad=True)
    beta = Tensor(np.array(1.0, np.float32), requires_grad=True)
    with minicnn.detect_anomaly():
        y = example.swish(x, beta)
        y.sum().backward()
    assert (*y.data, *x.grad, beta.grad) == (0, 0, 1e4, 0, 0.5, 1, 0)


def test_check_network_takes_a_parameter_without_axes(monkeypatch):
    minicnn.manual_seed(0)
    model = models.lenet5(activation=example.Swish).to("float64")
    assert dict(model.named_parameters())["squash.beta"].shape == ()
    assert check_network(model, directions=1).ok

    right = example.SwishFunction.backward

    def wrong(function, g):
        dx, dbeta = right(function, g)
        return dx, 1.01 * dbeta

    monkeypatch.setattr(example.SwishFunction, "backward", wrong)
    with pytest.raises(GradcheckError) as caught:
        check_network(model)
    assert caught.value.report.wrong == ("squash.beta",)
