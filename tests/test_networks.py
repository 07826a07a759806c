"""Every architecture, made narrow: its gradients, a training step, evaluation, and its weights to a file and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

import minicnn
from minicnn import Function, Tensor, manual_seed, models, no_grad, optim
from minicnn import functional as F
from minicnn.cli import main
from minicnn.ops.max_pool2d import MaxPool2d
from minicnn.ops.relu import ReLU
from minicnn.testing import GradcheckError, Verdict, check_network, slim
from minicnn.testing.architectures import ARCHITECTURES, architecture_name
from minicnn.testing.kinks import Kinks
from minicnn.testing.network import enough_images

DIVISOR = 16
SIDE = 64  # of the images, for networks that take any size; some need more
SIDES = {"inception_v3": 299, "inception_v4": 96, "inception_resnet_v2": 96}
DEEPEST = 164  # layers; `minicnn gradcheck --all` checks the networks of 1001 and 1202
AS_IT_IS = {"lenet5"}  # small, and in part of layers that slim does not know

CASES = {
    architecture_name(model, options): (model, options)
    for model, forms in ARCHITECTURES.items()
    for options in forms
    if options.get("depth", 0) <= DEEPEST
}


def test_every_model_is_listed():
    assert sorted(ARCHITECTURES) == models.list_models()


def narrow(model: str, options: dict, seed: int = 0):
    """Build a network of few channels, float64; on smaller images too, where it takes any."""
    manual_seed(seed)
    if model in AS_IT_IS:
        return models.get_model(model, **options).to("float64")
    with minicnn.device("meta"):
        network = models.get_model(model, **options)
    if network.any_size:
        channels, *size = network.input_shape
        network.input_shape = (channels, *(min(side, SIDES.get(model, SIDE)) for side in size))
    return slim(network, DIVISOR, dtype="float64")


def batch(network, n: int = 2):
    rng = np.random.default_rng(1)
    return Tensor(rng.normal(size=(n, *network.input_shape))), Tensor(rng.integers(10, size=n))


@pytest.mark.parametrize(("model", "options"), CASES.values(), ids=CASES)
def test_gradients(model, options):
    network = narrow(model, options)
    report = check_network(network, images=enough_images(network), directions=1, groups=2)
    assert report.worst < 1e-6
    assert sum(row.tensors for row in report.rows[1:]) == report.tensors


@pytest.mark.parametrize(("model", "options"), CASES.values(), ids=CASES)
def test_training_evaluation_and_a_file(model, options, tmp_path):
    network = narrow(model, options)
    images, labels = batch(network, 4)

    def loss():
        manual_seed(3)  # the same dropout
        return network.loss(network(images), labels)

    before = loss()
    before.backward()
    slope = sum(float((p.grad**2).sum()) for p in network.parameters())
    optim.SGD(network.parameters(), lr=1e-3 * before.item() / slope).step()
    assert 0.99 * before.item() < loss().item() < before.item()

    with no_grad():
        output = network.eval()(images)
        scores = network.scores(output)
    assert scores.shape[0] == 4
    assert scores.ndim == 2
    assert np.isfinite(scores.data).all()

    minicnn.save(tmp_path / "weights.safetensors", network.state_dict())
    other = narrow(model, options, seed=1).eval()
    with no_grad():
        assert (other.scores(other(images)).data != scores.data).any()
        other.load_state_dict(minicnn.load(tmp_path / "weights.safetensors"))
        np.testing.assert_array_equal(other.scores(other(images)).data, scores.data)


# The check itself: what it must find, and what it says


def spoil(monkeypatch, parameter, change):
    """Let backward give `change` of this parameter's gradient, in whatever operation it is used."""
    right = Function.gradients

    def gradients(function, g):
        found = zip(function.edges, right(function, g), strict=True)
        return [change(dx) if edge is parameter else dx for edge, dx in found]

    monkeypatch.setattr(Function, "gradients", gradients)


SPOILT = {
    "a batch norm's scale, by a thousandth": (
        {"resnet50": "layer2.1.bn2.weight", "googlenet": "inception4b.branch2.1.bn.weight"},
        lambda dw: 1.001 * dw,
    ),
    "a batch norm's shift, its sign": (
        {"resnet50": "layer4.0.downsample.1.bias", "googlenet": "inception3a.branch3.1.bn.bias"},
        lambda db: -db,
    ),
    "a bias, dropped": ({"resnet50": "fc.bias", "googlenet": "aux1.fc2.bias"}, lambda db: 0 * db),
    "a 1×1 convolution, transposed": (
        {"resnet50": "layer1.0.conv1.weight", "googlenet": "aux2.conv.conv.weight"},
        lambda dw: dw.T.reshape(dw.shape).copy(),
    ),
}


@pytest.mark.parametrize("model", ["resnet50", "googlenet"])
@pytest.mark.parametrize(("names", "change"), SPOILT.values(), ids=SPOILT)
def test_a_wrong_gradient_of_one_tensor_is_found_and_named(model, names, change, monkeypatch):
    network = narrow(model, {})
    spoil(monkeypatch, dict(network.named_parameters())[names[model]], change)
    with pytest.raises(GradcheckError, match=f"wrong gradient for {names[model]} ") as caught:
        check_network(network, directions=0)
    assert caught.value.report.wrong == (names[model],)


def test_a_single_wrong_number_is_found_by_moving_them_all(monkeypatch):
    network = narrow("resnet50", {})
    tap = np.zeros(network.conv1.weight.shape)
    tap[1, 2, 3, 4] = 0.01
    spoil(monkeypatch, network.conv1.weight, lambda dw: dw + tap * dw)
    with pytest.raises(GradcheckError, match=r"wrong gradient for conv1\.weight "):
        check_network(network, directions=1, groups=1)


@pytest.mark.parametrize("operation", [ReLU, MaxPool2d])
def test_a_wrong_operation_is_found(operation, monkeypatch):
    right = operation.backward
    monkeypatch.setattr(operation, "backward", lambda function, g: 1.0001 * right(function, g))
    with pytest.raises(GradcheckError, match="wrong gradient for"):
        check_network(narrow("vgg11", {}), directions=1, groups=1)


def test_a_relu_that_is_none_is_found(monkeypatch):
    """Held kinks must not stand in for a forward pass that computes something else."""
    monkeypatch.setattr(ReLU, "forward", lambda function, x: np.where(x > 0, x, 0.1 * x))
    with pytest.raises(
        GradcheckError, match=r"two forward passes .* \(in the second pass, the kinks were held"
    ):
        check_network(narrow("vgg11", {}), directions=1)


def test_what_holding_the_kinks_is_good_for_is_measured(monkeypatch):
    monkeypatch.setattr("minicnn.testing.network._EPS_TOGETHER", 1e-5)
    report = check_network(narrow("vgg11", {}), directions=1, groups=1)
    assert 0 < report.crossed < report.kinks / 1000
    assert report.plain_error > 1e-6 > report.worst


def test_held_kinks_are_the_function_itself_until_one_is_crossed():
    kinks = Kinks()
    x = np.random.default_rng(0).normal(size=(2, 3, 9, 9))

    def f(x):
        return F.max_pool2d(F.relu(Tensor(x)), 3, 2, 1).data

    with kinks.noted():
        y = f(x)
    assert len(kinks) == x.size + y.size
    with kinks.held():
        np.testing.assert_array_equal(f(x), y)
    with kinks.held():
        np.testing.assert_allclose(f(-x), -y, rtol=0, atol=0)  # linear: the same pixels, none cut off
    elsewhere = Kinks()
    with elsewhere.noted():
        assert (f(-x) != -y).any()
    assert kinks.crossed(elsewhere) > x.size
    assert (f(x) == y).all()  # and nothing of it remains


def test_a_gradient_of_0_is_faint_and_said_to_be():
    """The bias of a convolution before a batch norm changes nothing."""
    report = check_network(narrow("vgg11_bn", {}), directions=1)
    assert {f"features.{i}.bias" for i in (0, 4, 8, 11)} <= set(report.faint)
    assert "no larger than what is tolerated, as they should be: features." in str(report)


def test_a_small_network_has_a_direction_for_each_tensor():
    network = models.lenet5("d2l").to("float64")
    report = check_network(network, directions=2)
    assert [row.name for row in report.rows[2:]] == [name for name, _ in network.named_parameters()]
    assert all(row.finding.verdict == Verdict.AGREES for row in report.rows)


def test_the_network_is_left_as_it_was():
    network = narrow("resnet18", {})
    before = {name: parameter.data.copy() for name, parameter in network.named_parameters()}
    check_network(network, directions=1, groups=2)
    for name, parameter in network.named_parameters():
        np.testing.assert_array_equal(parameter.data, before[name])
        assert parameter.grad is None


def test_images_are_enough_for_batch_norm():
    with minicnn.device("meta"):
        found = {
            name: enough_images(models.get_model(name)) for name in ("vgg11", "resnet18", "inception_v3")
        }
    assert found == {"vgg11": 2, "resnet18": 2, "inception_v3": 4}


def test_single_precision_is_refused():
    with pytest.raises(
        ValueError, match=r"check_network: LeNet5Modern must be float64, .* c1\.weight is float32"
    ):
        check_network(models.lenet5())


# The command


@pytest.fixture
def two_networks(monkeypatch):
    forms = {"lenet5": [{"variant": "d2l"}], "resnet_cifar": [{"depth": 8}]}
    monkeypatch.setattr("minicnn.testing.architectures.ARCHITECTURES", forms)


def test_all_networks_are_checked_and_a_file_says_which_are_done(two_networks, tmp_path, capsys):
    record = tmp_path / "gradients.json"
    command = ["gradcheck", "--all", "--slim", "4", "--json", str(record)]
    assert main(command) == 0
    _, *lines, last = capsys.readouterr().out.splitlines()
    assert [line[:28].strip() for line in lines] == ["lenet5 variant=d2l", "resnet_cifar depth=8"]
    assert last.startswith("2 networks, ")
    assert "all agree" in last

    figures = json.loads(record.read_text())
    del figures["resnet_cifar depth=8"]
    figures["lenet5 variant=d2l"]["seconds"] = 999
    record.write_text(json.dumps(figures))
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("999")  # not checked again
    assert json.loads(record.read_text())["resnet_cifar depth=8"]["ok"]


def test_a_wrong_network_among_all_is_shown_and_the_others_go_on(two_networks, monkeypatch, capsys):
    right = ReLU.backward
    monkeypatch.setattr(ReLU, "backward", lambda function, g: 1.01 * right(function, g))  # d2l has none
    assert main(["gradcheck", "--all", "--slim", "4"]) == 1
    out = capsys.readouterr().out
    assert "wrong gradient for" in out
    assert "wrong gradients in resnet_cifar depth=8" in out
