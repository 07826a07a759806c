"""The residual networks of 2015: Table 1's numbers, torchvision's names, the three shortcuts, 1202 layers."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from itertools import product
from pathlib import Path

import naive
import numpy as np
import pytest
from networks import images, shapes_only

from minicnn import Tensor, manual_seed, models, nn, no_grad, optim, tensor, weights
from minicnn.models.residual import BasicBlock, Bottleneck, ResidualBlock, zero_padded
from minicnn.study import summary
from minicnn.testing import gradcheck, slim

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "resnet_memory.py"


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(2015)


def blocks_of(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, ResidualBlock)}


# Counts and sizes


@pytest.mark.parametrize(
    ("name", "options", "parameters", "gmacs"),
    [
        ("resnet18", {}, 11_689_512, 1.814),
        ("resnet34", {}, 21_797_672, 3.664),
        ("resnet50", {}, 25_557_032, 4.089),
        ("resnet101", {}, 44_549_160, 7.801),
        ("resnet152", {}, 60_192_808, 11.514),
        ("resnet18", {"variant": "paper"}, 11_689_512, 1.814),
        ("resnet34", {"variant": "paper"}, 21_797_672, 3.664),
        ("resnet50", {"variant": "paper"}, 25_557_032, 3.858),
        ("resnet101", {"variant": "paper"}, 44_549_160, 7.570),
        ("resnet152", {"variant": "paper"}, 60_192_808, 11.282),
        ("resnet34", {"shortcut": "A"}, 21_623_848, None),
        ("plain18", {}, 11_515_688, None),
        ("plain34", {}, 21_623_848, None),
    ],
)
def test_parameters_and_macs(name, options, parameters, gmacs):
    found = summary(shapes_only(name, **options))
    assert found.parameters == parameters
    assert gmacs in (None, round(found.macs / 1e9, 3))


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962), (1202, 19_421_274)],
)
def test_parameters_for_cifar(depth, parameters):
    def count(*args, **kwargs):
        return sum(p.size for p in shapes_only("resnet_cifar", depth, *args, **kwargs).parameters())

    assert count() == count("A") == count(residual=False) == parameters
    assert count("B") == parameters + 2_752


@pytest.mark.parametrize("name", [*NAMES, "plain18", "plain34"])
def test_table_1_gives_the_output_sizes_and_the_depth(name):
    model = shapes_only(name)
    depth = int(name.removeprefix("resnet").removeprefix("plain"))
    rows = {row.name: row for row in summary(model).rows}
    wide, last = (4, 3) if depth >= 50 else (1, 2)
    assert rows["conv1"].output_shape == (64, 112, 112)
    assert rows["maxpool"].output_shape == (64, 56, 56)
    for k, count in enumerate(BLOCKS[depth]):
        assert len(getattr(model, f"layer{k + 1}")) == count
        for i in range(count):
            shape = rows[f"layer{k + 1}.{i}.bn{last}"].output_shape
            assert shape == (wide * 64 * 2**k, 56 // 2**k, 56 // 2**k)
    assert rows["avgpool"].output_shape == (wide * 512, 1, 1)
    assert rows["fc"].output_shape == (1000,)
    layers = [row for row in rows.values() if row.kind in ("Conv2d", "Linear") and "down" not in row.name]
    assert len(layers) == depth


@pytest.mark.parametrize("depth", [8, 20, 110])
@pytest.mark.parametrize("residual", [True, False])
def test_the_table_of_section_4_2(depth, residual):
    n = (depth - 2) // 6
    rows = [row for row in summary(shapes_only("resnet_cifar", depth, residual=residual)).rows if row.macs]
    sizes = [(16, 32, 32)] * (1 + 2 * n) + [(32, 16, 16)] * 2 * n + [(64, 8, 8)] * 2 * n + [(10,)]
    assert [row.output_shape for row in rows] == sizes
    assert len(sizes) == depth


def test_other_sizes_of_pictures_are_welcome():
    model = slim(shapes_only("resnet18"), 32, num_classes=3)
    assert model(images(model, 2, 64)).shape == (2, 3)
    with pytest.raises(
        ValueError, match=r"ResNetTorchvision: images must be \(N, 3, H, W\), got \(1, 1, 64, 64\)"
    ):
        model(Tensor(np.zeros((1, 1, 64, 64), "float32")))


# Names


def conv(name, k, c, size):
    return {f"{name}.weight": (k, c, size, size)}


def norm(name, c):
    vectors = {f"{name}.{part}": (c,) for part in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {f"{name}.num_batches_tracked": ()}


def torchvision_state(depth):
    """Return the names and shapes of that library's checkpoints, in their order."""
    bottleneck, c = depth >= 50, 64
    state = conv("conv1", 64, 3, 7) | norm("bn1", 64)
    for k, count in enumerate(BLOCKS[depth]):
        w = 64 * 2**k
        out = 4 * w if bottleneck else w
        for i in range(count):
            p = f"layer{k + 1}.{i}"
            sizes = [(w, c, 1), (w, w, 3), (out, w, 1)] if bottleneck else [(w, c, 3), (w, w, 3)]
            for j, size in enumerate(sizes, 1):
                state |= conv(f"{p}.conv{j}", *size) | norm(f"{p}.bn{j}", size[0])
            if i == 0 and (k > 0 or bottleneck):
                state |= conv(f"{p}.downsample.0", out, c, 1) | norm(f"{p}.downsample.1", out)
            c = out
    return state | {"fc.weight": (1000, c), "fc.bias": (1000,)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", ["torchvision", "paper"])
def test_state_has_torchvisions_names_shapes_and_order(name, variant):
    state = shapes_only(name, variant).state_dict()
    expected = torchvision_state(int(name.removeprefix("resnet")))
    assert [(name, array.shape) for name, array in state.items()] == list(expected.items())


def test_plain_nets_have_the_same_names_without_projections():
    residual, plain = (list(shapes_only(name).state_dict()) for name in ("resnet34", "plain34"))
    assert plain == [name for name in residual if "downsample" not in name]


# Strides and shortcuts


@pytest.mark.parametrize(("variant", "halving"), [("torchvision", "conv2"), ("paper", "conv1")])
def test_which_convolution_of_a_bottleneck_halves_the_image(variant, halving):
    model = shapes_only("resnet50", variant)
    strided = {name for name, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)}
    expected = {f"layer{k}.0.{part}" for k in (2, 3, 4) for part in (halving, "downsample.0")}
    assert strided == expected | {"conv1"}


@pytest.mark.parametrize(
    ("name", "shortcut", "projecting"),
    [
        ("resnet34", "A", set()),
        ("resnet34", "B", {"layer2.0", "layer3.0", "layer4.0"}),
        ("resnet34", "C", {f"layer{k + 1}.{i}" for k, n in enumerate(BLOCKS[34]) for i in range(n)}),
        ("resnet50", "A", set()),
        ("resnet50", "B", {"layer1.0", "layer2.0", "layer3.0", "layer4.0"}),
        ("resnet50", "C", {f"layer{k + 1}.{i}" for k, n in enumerate(BLOCKS[50]) for i in range(n)}),
    ],
)
def test_where_an_option_projects(name, shortcut, projecting):
    blocks = blocks_of(shapes_only(name, shortcut=shortcut))
    assert {path for path, block in blocks.items() if block.downsample is not None} == projecting


@pytest.mark.parametrize(("channels", "stride"), [(3, 1), (3, 2), (5, 1), (7, 2), (6, 3)])
def test_option_a_takes_every_other_pixel_and_adds_channels_of_zeros(channels, stride):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6))
    expected = np.zeros((2, channels, -(-5 // stride), -(-6 // stride)))
    for n, c, p, q in product(range(2), range(3), *map(range, expected.shape[2:])):
        expected[n, c, p, q] = x[n, c, stride * p, stride * q]
    np.testing.assert_array_equal(zero_padded(Tensor(x), channels, stride).numpy(), expected)
    gradcheck(lambda x: zero_padded(x, channels, stride), x)


def stepwise(block, x):
    """Compute a block's output from the definitions, in training mode."""

    def bn(layer, x):
        return naive.batch_norm(x, layer.weight.data, layer.bias.data, layer.eps)

    def cv(layer, x):
        return naive.conv2d(x, layer.weight.data, None, layer.stride[0], layer.kernel_size[0] // 2)

    pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    if isinstance(block, Bottleneck):
        pairs.append((block.conv3, block.bn3))
    out = x
    for number, (convolution, norm) in enumerate(pairs):
        out = bn(norm, cv(convolution, np.maximum(out, 0) if number else out))
    if block.downsample is not None:
        out = out + bn(block.downsample[1], cv(block.downsample[0], x))
    elif block.residual:
        step = x.shape[2] // out.shape[2]
        out[:, : x.shape[1]] += x[:, :, ::step, ::step]
    return np.maximum(out, 0)


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("shortcut", ["A", "B", "C", None])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_by_its_definition(kind, shortcut, stride):
    rng = np.random.default_rng(0)
    block = kind(3, 4, stride, shortcut, stride_on_1x1=stride == 2).to("float64")
    for parameter in block.parameters():
        parameter.data[...] = rng.normal(size=parameter.shape)
    x = rng.normal(size=(2, 3, 4, 4))
    np.testing.assert_allclose(block(Tensor(x)).numpy(), stepwise(block, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("shortcut", ["A", "B", "C", None])
def test_gradients_of_a_block(kind, shortcut):
    block = kind(2, 2, 2, shortcut).to("float64")
    x = np.random.default_rng(1).normal(size=(2, 2, 4, 4))
    gradcheck(block, x, parameters=dict(block.named_parameters()), directions=2, coordinates=4, elements=8)


def test_a_plain_block_lets_nothing_past():
    block = BasicBlock(3, 3, shortcut=None)
    nn.init.zeros_(block.bn2.weight)
    x = Tensor(np.ones((1, 3, 4, 4), "float32"))
    np.testing.assert_array_equal(block(x).numpy(), 0)


@pytest.mark.parametrize("name", ["resnet18, option A", "resnet_cifar"])
def test_what_comes_before_the_blocks_and_after(name):
    model = SMALL[name]()
    seen = {}
    model.layer1.register_forward_pre_hook(lambda module, args: seen.update(enters=args[0]))
    stages = [stage for stage_name, stage in model.named_children() if stage_name.startswith("layer")]
    stages[-1].register_forward_hook(lambda module, args, output: seen.update(leaves=output))
    x = images(model, 2, 32)
    scores = model(x)
    entering = np.maximum(model.bn1(model.conv1(x)).numpy(), 0)
    if name == "resnet18, option A":
        entering = naive.max_pool2d(entering, 3, 2, 1)
    np.testing.assert_allclose(seen["enters"].numpy(), entering, rtol=1e-6)
    expected = seen["leaves"].numpy().mean((2, 3)) @ model.fc.weight.data.T + model.fc.bias.data
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_plain_nets_for_cifar_have_no_shortcuts():
    for residual in (True, False):
        blocks = blocks_of(shapes_only("resnet_cifar", 20, residual=residual)).values()
        assert {block.residual for block in blocks} == {residual}


# First weights


def test_the_last_gamma_may_start_at_zero():
    for name, last in (("resnet18", "bn2"), ("resnet50", "bn3")):
        model = getattr(models, name)(zero_init_residual=True, shortcut="A", num_classes=2)
        for path, norm in model.named_modules():
            if isinstance(norm, nn.BatchNorm2d):
                is_last = path.startswith("layer") and path.endswith(last)
                np.testing.assert_array_equal(norm.weight.data, 0 if is_last else 1, err_msg=path)
        x = images(model, 2, 32)
        trunk = x = model.maxpool(nn.ReLU()(model.bn1(model.conv1(x)))).detach()
        for block in blocks_of(model).values():
            trunk = block(trunk)
        expected = zero_padded(x, trunk.shape[1], 8).numpy()  # each block is the identity, of option A
        np.testing.assert_array_equal(trunk.numpy(), expected)
    assert (models.resnet18(num_classes=2).layer1[0].bn2.weight.data == 1).all()


def convolutions(model):
    return [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.size > 20_000]


def test_first_weights_of_torchvision_keep_the_gradients_variance():
    for layer in convolutions(models.resnet18()):
        fan_out = layer.out_channels * layer.kernel_size[0] ** 2
        assert layer.weight.data.std() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)


@pytest.mark.parametrize(
    "build", [lambda: models.resnet18("paper"), models.plain18, lambda: models.resnet_cifar(20)]
)
def test_first_weights_of_the_paper_keep_the_signals_variance(build):
    model = build()
    for layer in convolutions(model):
        fan_in = layer.in_channels * layer.kernel_size[0] ** 2
        assert layer.weight.data.std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
    assert model.fc.weight.data.std() == pytest.approx((2 / model.fc.in_features) ** 0.5, rel=0.1)
    np.testing.assert_array_equal(model.fc.bias.data, 0)


def test_pixels():
    for model in (shapes_only("resnet50", "paper"), shapes_only("plain34"), shapes_only("resnet_cifar", 20)):
        levels = (np.array([[0.0], [1.0]]) - model.mean) / model.std
        np.testing.assert_allclose(levels[1] - levels[0], 255)
        assert ((levels[0] > -130) & (levels[0] < -100)).all()
    assert shapes_only("resnet50").std == (0.229, 0.224, 0.225)
    assert (shapes_only("resnet50").resize, shapes_only("resnet_cifar", 20).resize) == (256, None)


# Learning


SMALL = {
    "resnet18": lambda: slim(shapes_only("resnet18"), 16, num_classes=4),
    "resnet18, option A": lambda: slim(shapes_only("resnet18", shortcut="A"), 16, num_classes=4),
    "resnet50, torchvision": lambda: slim(shapes_only("resnet50"), 32, num_classes=4),
    "resnet50, paper": lambda: slim(shapes_only("resnet50", "paper"), 32, num_classes=4),
    "resnet50, option C": lambda: slim(shapes_only("resnet50", "paper", shortcut="C"), 32, num_classes=4),
    "plain18": lambda: slim(shapes_only("plain18"), 16, num_classes=4),
    "resnet_cifar": lambda: models.resnet_cifar(8, num_classes=4),
    "resnet_cifar, option B": lambda: models.resnet_cifar(8, "B", num_classes=4),
    "plain, CIFAR": lambda: models.resnet_cifar(8, residual=False, num_classes=4),
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


@pytest.mark.parametrize("name", ["resnet18, option A", "resnet50, paper", "plain18", "resnet_cifar"])
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
    first = models.resnet_cifar(8, "B", num_classes=3)
    first(images(first, 2))  # moves the running statistics
    weights.save(tmp_path / "w.safetensors", first.state_dict(), first.config)
    second = models.get_model(**weights.read_metadata(tmp_path / "w.safetensors"))
    second.load_state_dict(weights.load(tmp_path / "w.safetensors"))
    assert second.config == first.config
    x = images(first, 2)
    with no_grad():
        np.testing.assert_array_equal(second.eval()(x).numpy(), first.eval()(x).numpy())


# PyTorch, where it is installed


def in_pytorch(torch, state, blocks, x, stride_on_1x1):
    """Run a network in training mode from its state dict alone, by the names in it."""
    f = torch.nn.functional

    def cv(name, x, stride=1):
        weight = state[f"{name}.weight"]
        return f.conv2d(x, weight, None, stride, weight.shape[2] // 2)

    def bn(name, x):
        return f.batch_norm(x, None, None, state[f"{name}.weight"], state[f"{name}.bias"], training=True)

    x = f.max_pool2d(f.relu(bn("bn1", cv("conv1", x, 2))), 3, 2, 1)
    for k, count in enumerate(blocks, 1):
        for i in range(count):
            p, stride = f"layer{k}.{i}", 2 if k > 1 and i == 0 else 1
            halves = 1 if stride_on_1x1 or f"{p}.conv3.weight" not in state else 2
            out = x
            for j in (1, 2, 3):
                if f"{p}.conv{j}.weight" in state:
                    out = f.relu(out) if j > 1 else out
                    out = bn(f"{p}.bn{j}", cv(f"{p}.conv{j}", out, stride if j == halves else 1))
            if f"{p}.downsample.0.weight" in state:
                x = bn(f"{p}.downsample.1", cv(f"{p}.downsample.0", x, stride))
            x = f.relu(out + x)
    return f.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize(
    ("name", "variant"), [("resnet18", "torchvision"), ("resnet50", "torchvision"), ("resnet50", "paper")]
)
def test_outputs_and_gradients_are_pytorchs(name, variant):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is a peer, not a requirement")
    model = slim(shapes_only(name, variant), 16, num_classes=3, dtype="float64")
    state = {key: torch.tensor(p.data, requires_grad=True) for key, p in model.named_parameters()}
    x, target = images(model, 2, 64, "float64"), [2, 0]
    blocks = BLOCKS[int(name.removeprefix("resnet"))]
    scores = in_pytorch(torch, state, blocks, torch.tensor(x.data), variant == "paper")
    np.testing.assert_allclose(model(x).numpy(), scores.detach().numpy(), rtol=1e-8)
    model.loss(model(x), tensor(target)).backward()
    torch.nn.functional.cross_entropy(scores, torch.tensor(target)).backward()
    for key, parameter in model.named_parameters():
        np.testing.assert_allclose(parameter.grad, state[key].grad.numpy(), rtol=1e-6, atol=1e-9, err_msg=key)


# Very deep


def test_1202_layers():
    model = models.resnet_cifar(1202)
    loss = model.loss(model(images(model, 1)), tensor([3]))
    loss.backward()
    assert np.isfinite(loss.item())
    assert all(np.isfinite(p.grad).all() and p.grad.any() for n, p in model.named_parameters() if "conv" in n)
    assert repr(model).count("Conv2d") == 1201
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.state_dict().keys() == model.state_dict().keys()
        np.testing.assert_array_equal(
            other.layer3[199].conv2.weight.data, model.layer3[199].conv2.weight.data
        )
    del loss, other  # the graph goes without recursion, too


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_a_step_of_resnet_152_takes_less_than_6_gb():
    case = json.dumps(["resnet152", {}, 1])
    done = subprocess.run(
        [sys.executable, BENCHMARK, case], capture_output=True, text=True, check=True, timeout=300
    )
    assert json.loads(done.stdout)["peak_mb"]["after_backward"] < 6000


# Bad input


@pytest.mark.parametrize(
    ("depth", "nearest"),
    [
        (21, "the nearest are 20 and 26"),
        (1200, "the nearest are 1196 and 1202"),
        (9, "the nearest are 8 and 14"),
    ]
    + [(depth, "the nearest is 8") for depth in (-4, 0, 2, 7)],
)
def test_a_depth_that_does_not_fit(depth, nearest):
    rule = rf"resnet_cifar: depth must be 6n \+ 2 \(basic blocks\), got {depth}; {nearest}$"
    with pytest.raises(ValueError, match=rule):
        models.resnet_cifar(depth)


@pytest.mark.parametrize("depth", [20.0, "20", True, None])
def test_a_depth_must_be_an_int(depth):
    with pytest.raises(TypeError, match="resnet_cifar: depth must be an int, got "):
        models.resnet_cifar(depth)


def test_unknown_variants_and_shortcuts():
    with pytest.raises(
        ValueError, match="resnet50: variant must be one of 'torchvision', 'paper', got 'papr'; did"
    ):
        models.resnet50("papr")
    for build in (models.resnet34, lambda shortcut: models.resnet_cifar(20, shortcut)):
        with pytest.raises(ValueError, match="shortcut must be one of 'A', 'B', 'C', got 'D'"):
            build(shortcut="D")
    with pytest.raises(ValueError, match="plain34: num_classes must be at least 1, got 0"):
        models.plain34(num_classes=0)


def test_weights_of_another_depth_are_refused():
    with pytest.raises(
        ValueError, match=r"load_state_dict: .*ResNetTorchvision; unexpected: layer1\.2\.conv1"
    ):
        models.resnet18().load_state_dict(models.resnet34().state_dict())
