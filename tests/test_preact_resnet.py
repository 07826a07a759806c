"""Residual networks with pre-activation: counts, an untouched trunk, where the activations stand, 1001 layers."""

from __future__ import annotations

import copy
import pickle

import naive
import numpy as np
import pytest
from networks import images, shapes_only

from minicnn import Tensor, manual_seed, models, nn, no_grad, optim, tensor, weights
from minicnn import functional as F
from minicnn.models.preact_resnet import PreActBasicBlock, PreActBlock, PreActBottleneck
from minicnn.study import summary
from minicnn.testing import gradcheck, slim

UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(2016)


def units_of(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, PreActBlock)}


# Counts and sizes


def conv_bn_dense(depth):
    """Count parameters from the description: of pre-activated units, projections without a normalisation."""
    bottleneck, c = depth >= 50, 64
    total = 3 * 64 * 49 + 2 * 64
    for k, count in enumerate(UNITS[depth]):
        w = 64 * 2**k
        out = 4 * w if bottleneck else w
        for i in range(count):
            sizes = [(c, w, 1), (w, w, 3), (w, out, 1)] if bottleneck else [(c, w, 3), (w, w, 3)]
            total += sum(a * b * s * s + 2 * a for a, b, s in sizes)
            total += c * out if c != out else 0
            total -= 2 * c if k == i == 0 else 0  # activated already
            c = out
    return total + 2 * c + 1000 * (c + 1)


@pytest.mark.parametrize(
    ("depth", "parameters", "gmacs"),
    [
        (18, 11_687_720, 1.814),
        (34, 21_795_880, 3.664),
        (50, 25_549_352, 3.858),
        (101, 44_541_480, 7.570),
        (152, 60_185_128, 11.282),
        (200, 64_666_152, 14.776),
    ],
)
def test_imagenet(depth, parameters, gmacs):
    model = shapes_only(f"preact_resnet{depth}")
    found = summary(model)
    assert found.parameters == conv_bn_dense(depth) == parameters
    assert round(found.macs / 1e9, 3) == gmacs  # those of He et al. 2015: the same convolutions, elsewhere
    rows = {row.name: row for row in found.rows}
    wide, last = (4, 3) if depth >= 50 else (1, 2)
    for k, count in enumerate(UNITS[depth]):
        assert len(getattr(model, f"layer{k + 1}")) == count
        for i in range(count):
            shape = rows[f"layer{k + 1}.{i}.conv{last}"].output_shape
            assert shape == (wide * 64 * 2**k, 56 // 2**k, 56 // 2**k)
    assert rows["bn2"].output_shape == (wide * 512, 7, 7)
    assert rows["fc"].output_shape == (1000,)
    layers = [row for row in found.rows if row.macs and "downsample" not in row.name]
    assert len(layers) == depth


@pytest.mark.parametrize(
    ("depth", "block", "parameters"),
    [(110, "basic", 1_727_962), (164, "bottleneck", 1_703_258), (1001, "bottleneck", 10_327_706)],
)
def test_cifar(depth, block, parameters):
    model = shapes_only("preact_resnet_cifar", depth)
    found = summary(model)
    layers = [row.output_shape for row in found.rows if row.macs and "downsample" not in row.name]
    assert len(layers) == depth
    assert found.parameters == parameters
    inner, wide = depth - 2, 1 if block == "basic" else 4
    assert [len(model.layer1), len(model.layer2), len(model.layer3)] == [inner // (6 if wide == 1 else 9)] * 3
    ends = [layers[inner // 3 * k] for k in (1, 2, 3)]
    assert ends == [(16 * wide, 32, 32), (32 * wide, 16, 16), (64 * wide, 8, 8)]


def test_the_papers_count_of_1001_layers_leaves_the_normalisations_out():
    parameters = dict(shapes_only("preact_resnet_cifar", 1001).named_parameters())
    rest = sum(p.size for name, p in parameters.items() if ".bn" not in name and not name.startswith("bn"))
    assert rest == 10_178_490


# The unit


def stepwise(unit, x):
    """Compute a unit's output from the definitions, in training mode."""

    def active(layer, x):
        return np.maximum(naive.batch_norm(x, layer.weight.data, layer.bias.data, layer.eps), 0)

    def cv(layer, x):
        return naive.conv2d(x, layer.weight.data, None, layer.stride[0], layer.kernel_size[0] // 2)

    first = x if unit.bn1 is None else active(unit.bn1, x)
    out = cv(unit.conv2, active(unit.bn2, cv(unit.conv1, first)))
    if isinstance(unit, PreActBottleneck):
        out = cv(unit.conv3, active(unit.bn3, out))
    if unit.downsample is not None:
        return out + cv(unit.downsample, first)
    step = x.shape[2] // out.shape[2]
    out[:, : x.shape[1]] += x[:, :, ::step, ::step]
    return out


@pytest.mark.parametrize("kind", [PreActBasicBlock, PreActBottleneck])
@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("activated", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_unit_by_its_definition(kind, project, activated, stride):
    rng = np.random.default_rng(0)
    unit = kind(3, 4, stride, project, activated).to("float64")
    for parameter in unit.parameters():
        parameter.data[...] = rng.normal(size=parameter.shape)
    x = rng.normal(size=(2, 3, 4, 4))
    np.testing.assert_allclose(unit(Tensor(x)).numpy(), stepwise(unit, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [PreActBasicBlock, PreActBottleneck])
@pytest.mark.parametrize("project", [True, False])
def test_gradients_of_a_unit(kind, project):
    unit = kind(2, 2, 2, project).to("float64")
    x = np.random.default_rng(1).normal(size=(2, 2, 4, 4))
    gradcheck(unit, x, parameters=dict(unit.named_parameters()), directions=2, coordinates=4, elements=8)


@pytest.mark.parametrize("depth", [20, 110])
def test_with_silent_branches_the_trunk_is_the_input(depth):
    model = models.preact_resnet_cifar(depth)
    for unit in units_of(model).values():
        nn.init.zeros_(unit.conv2.weight)
    x = Tensor(np.random.default_rng(0).normal(size=(2, 16, 8, 8)).astype("float32"), requires_grad=True)
    y = model.layer3(model.layer2(model.layer1(x)))
    expected = np.zeros((2, 64, 2, 2), "float32")
    expected[:, :16] = x.data[:, :, ::4, ::4]
    np.testing.assert_array_equal(y.numpy(), expected)  # negative values, too: no ReLU on the way
    y.sum().backward()
    reached = np.zeros(x.shape)
    reached[:, :, ::4, ::4] = 1
    np.testing.assert_array_equal(x.grad, reached)


def test_only_units_that_change_the_shape_project_and_those_of_basic_units_never():
    projecting = {
        name for name, u in units_of(shapes_only("preact_resnet_cifar", 164)).items() if u.downsample
    }
    assert projecting == {"layer1.0", "layer2.0", "layer3.0"}
    projecting = {name for name, u in units_of(shapes_only("preact_resnet18")).items() if u.downsample}
    assert projecting == {"layer2.0", "layer3.0", "layer4.0"}
    assert not any(u.downsample for u in units_of(shapes_only("preact_resnet_cifar", 110)).values())


@pytest.mark.parametrize(("name", "arguments"), [("preact_resnet50", ()), ("preact_resnet_cifar", (11,))])
def test_the_first_activation_comes_before_the_ways_part_and_one_more_after_the_last_sum(name, arguments):
    model = slim(shapes_only(name, *arguments), 16 if name.endswith("50") else 2, num_classes=3).eval()
    assert [path for path, unit in units_of(model).items() if unit.bn1 is None] == ["layer1.0"]
    seen = {}
    model.layer1.register_forward_pre_hook(lambda module, args: seen.update(enters=args[0]))
    stages = [stage for stage_name, stage in model.named_children() if stage_name.startswith("layer")]
    stages[-1].register_forward_hook(lambda module, args, output: seen.update(leaves=output))
    x = images(model, 2, 32)
    scores = model(x)
    entering = F.relu(model.bn1(model.conv1(x)))
    if name == "preact_resnet50":
        entering = model.maxpool(entering)
    np.testing.assert_array_equal(seen["enters"].numpy(), entering.numpy())
    pooled = np.maximum(model.bn2(seen["leaves"]).numpy(), 0).mean((2, 3))
    expected = pooled @ model.fc.weight.data.T + model.fc.bias.data
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_first_weights_keep_the_signals_variance():
    for model in (models.preact_resnet18(num_classes=10), models.preact_resnet_cifar(20)):
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d) and layer.weight.size > 20_000:
                fan_in = layer.in_channels * layer.kernel_size[0] ** 2
                assert layer.weight.data.std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
        np.testing.assert_array_equal(model.fc.bias.data, 0)


# Learning


SMALL = {
    "preact_resnet18": lambda: slim(shapes_only("preact_resnet18"), 16, num_classes=4),
    "preact_resnet50": lambda: slim(shapes_only("preact_resnet50"), 32, num_classes=4),
    "CIFAR, basic": lambda: models.preact_resnet_cifar(8, num_classes=4),
    "CIFAR, bottleneck": lambda: models.preact_resnet_cifar(11, num_classes=4),
}


@pytest.mark.parametrize("name", SMALL)
def test_training_lowers_the_loss(name):
    model = SMALL[name]()
    x, target = images(model, 4, 64), tensor([0, 1, 2, 3])
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model.loss(model(x), target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-4)  # so slim and deep a network is steep
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], losses
    assert model.eval()(x).shape == (4, 4)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_of_a_whole_network(name):
    model = slim(SMALL[name](), 2, dtype="float64")
    x, target = images(model, 3, 32, "float64"), tensor([0, 1, 2])
    gradcheck(
        lambda: model.loss(model(x), target),
        (),
        parameters=dict(model.named_parameters()),
        together=2,
        directions=0,
        coordinates=0,
        elements=0,
    )


def test_saved_and_built_again(tmp_path):
    first = models.preact_resnet_cifar(20, block="bottleneck", num_classes=3)
    first(images(first, 2))  # moves the running statistics
    weights.save(tmp_path / "w.safetensors", first.state_dict(), first.config)
    second = models.get_model(**weights.read_metadata(tmp_path / "w.safetensors"))
    second.load_state_dict(weights.load(tmp_path / "w.safetensors"))
    assert second.config == first.config
    x = images(first, 2)
    with no_grad():
        np.testing.assert_array_equal(second.eval()(x).numpy(), first.eval()(x).numpy())


def test_1001_layers():
    model = models.preact_resnet_cifar(1001)
    loss = model.loss(model(images(model, 1)), tensor([3]))
    loss.backward()
    assert np.isfinite(loss.item())
    assert all(np.isfinite(p.grad).all() and p.grad.any() for n, p in model.named_parameters() if "conv" in n)
    assert repr(model).count("Conv2d") == 1000 + 3
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.state_dict().keys() == model.state_dict().keys()
        np.testing.assert_array_equal(
            other.layer3[110].conv3.weight.data, model.layer3[110].conv3.weight.data
        )


# Which blocks make up a depth, and which depths do not work


@pytest.mark.parametrize(
    ("depth", "block"),
    [
        *[(depth, "basic") for depth in (8, 14, 1202)],
        *[(depth, "bottleneck") for depth in (11, 29, 1001)],
        *[(depth, "basic") for depth in (20, 92, 110)],  # here both would fit
        *[(depth, "bottleneck") for depth in (128, 164)],
    ],
)
def test_the_block_that_a_depth_is_made_of(depth, block):
    model = shapes_only("preact_resnet_cifar", depth)
    kinds = {type(unit) for unit in units_of(model).values()}
    assert kinds == {PreActBasicBlock if block == "basic" else PreActBottleneck}
    assert model.config["block"] is None


def test_the_block_may_be_chosen_where_both_fit():
    for depth in (20, 110, 164):
        for block, kind in (("basic", PreActBasicBlock), ("bottleneck", PreActBottleneck)):
            model = shapes_only("preact_resnet_cifar", depth, block=block)
            assert {type(unit) for unit in units_of(model).values()} == {kind}


@pytest.mark.parametrize(
    ("depth", "block", "message"),
    [
        (
            165,
            None,
            r"6n \+ 2 \(basic blocks\) or 9n \+ 2 \(bottleneck blocks\), got 165; the nearest are 164 and 170",
        ),
        (1000, None, r"6n \+ 2 .* or 9n \+ 2 .*, got 1000; the nearest are 998 and 1001"),
        (1001, "basic", r"6n \+ 2 \(basic blocks\), got 1001; the nearest are 998 and 1004"),
        (8, "bottleneck", r"9n \+ 2 \(bottleneck blocks\), got 8; the nearest is 11"),
        (2, None, r"6n \+ 2 .* got 2; the nearest is 8"),
    ],
)
def test_a_depth_that_does_not_fit(depth, block, message):
    with pytest.raises(ValueError, match=f"preact_resnet_cifar: depth must be {message}$"):
        models.preact_resnet_cifar(depth, block=block)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"preact_resnet_cifar: block must be one of .*, got 'bottle'; did"):
        models.preact_resnet_cifar(164, block="bottle")
    with pytest.raises(TypeError, match=r"preact_resnet_cifar: depth must be an int, got 164\.0"):
        models.preact_resnet_cifar(164.0)
    with pytest.raises(ValueError, match="preact_resnet200: num_classes must be at least 1, got -1"):
        models.preact_resnet200(num_classes=-1)
