"""Inception v4 and Inception-ResNet-v2: the figures branch by branch, grids, residual scaling; both learn."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, manual_seed, models, nn, no_grad, optim, tensor
from minicnn.backend import meta
from minicnn.models.inception_resnet_v2 import ScaledResidual
from minicnn.models.inception_v4 import TABLE_1, Branches, ReductionA
from minicnn.study import summary
from minicnn.testing import gradcheck, slim

NETWORKS = ("inception_v4", "inception_resnet_v2")

OUTPUTS = {  # Figure 9, and what the shape comments of the authors' program say
    "inception_v4": {
        "stem.0": (32, 149, 149),
        "stem.1": (32, 147, 147),
        "stem.2": (64, 147, 147),
        "stem.3": (160, 73, 73),
        "stem.4": (192, 71, 71),
        "stem": (384, 35, 35),
        "inception_a": (384, 35, 35),
        "reduction_a": (1024, 17, 17),
        "inception_b": (1024, 17, 17),
        "reduction_b": (1536, 8, 8),
        "inception_c": (1536, 8, 8),
        "avgpool": (1536, 1, 1),
        "fc": (1000,),
    },
    "inception_resnet_v2": {
        "stem.0": (32, 149, 149),
        "stem.1": (32, 147, 147),
        "stem.2": (64, 147, 147),
        "stem.3": (64, 73, 73),
        "stem.4": (80, 73, 73),
        "stem.5": (192, 71, 71),
        "stem": (192, 35, 35),
        "mixed_5b": (320, 35, 35),
        "inception_a": (320, 35, 35),
        "reduction_a": (1088, 17, 17),
        "inception_b": (1088, 17, 17),
        "reduction_b": (2080, 8, 8),
        "inception_c": (2080, 8, 8),
        "conv": (1536, 8, 8),
        "avgpool": (1536, 1, 1),
        "fc": (1000,),
    },
}

FIGURES = {  # each branch a line: average and maximum pooling, channels:kernel, and the forks of Figure 6 in brackets
    "inception_v4": {
        "stem.3": ["max", "96:3x3/2"],
        "stem.4": ["64:1x1 96:3x3", "64:1x1 64:1x7 64:7x1 96:3x3"],
        "stem.5": ["192:3x3/2", "max"],
        "inception_a": ["96:1x1", "64:1x1 96:3x3", "64:1x1 96:3x3 96:3x3", "average 96:1x1"],
        "reduction_a": ["384:3x3/2", "192:1x1 224:3x3 256:3x3/2", "max"],
        "inception_b": [
            "384:1x1",
            "192:1x1 224:1x7 256:7x1",
            "192:1x1 192:7x1 224:1x7 224:7x1 256:1x7",
            "average 128:1x1",
        ],
        "reduction_b": ["192:1x1 192:3x3/2", "256:1x1 256:1x7 320:7x1 320:3x3/2", "max"],
        "inception_c": [
            "256:1x1",
            "384:1x1 [256:1x3 | 256:3x1]",
            "384:1x1 448:3x1 512:1x3 [256:1x3 | 256:3x1]",
            "average 256:1x1",
        ],
    },
    "inception_resnet_v2": {
        "mixed_5b": ["96:1x1", "48:1x1 64:5x5", "64:1x1 96:3x3 96:3x3", "average 64:1x1"],
        "inception_a": ["32:1x1", "32:1x1 32:3x3", "32:1x1 48:3x3 64:3x3"],
        "reduction_a": ["384:3x3/2", "256:1x1 256:3x3 384:3x3/2", "max"],
        "inception_b": ["192:1x1", "128:1x1 160:1x7 192:7x1"],
        "reduction_b": ["256:1x1 384:3x3/2", "256:1x1 288:3x3/2", "256:1x1 288:3x3 320:3x3/2", "max"],
        "inception_c": ["192:1x1", "192:1x1 224:1x3 256:3x1"],
    },
}


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(2016)


def shape_of(network: str, **options):
    """Return the network without memory for its weights."""
    with minicnn.device("meta"):
        return getattr(models, network)(**options)


def narrow(network: str, divisor: int = 32, dtype: str | None = None, **options):
    return slim(shape_of(network, **options), divisor, num_classes=5, dtype=dtype)


def images(n: int, size: int = 107, dtype: str = "float32") -> Tensor:
    """Return noise, each image on a colour of its own."""
    rng = np.random.default_rng(5)
    return Tensor((rng.normal(size=(n, 3, size, size)) + 2 * rng.normal(size=(n, 3, 1, 1))).astype(dtype))


def drawn(layer) -> str:
    """Return a layer, or the layers of a branch, as FIGURES has them."""
    if isinstance(layer, nn.Sequential):
        return " ".join(map(drawn, layer))
    if isinstance(layer, Branches):
        return f"[{' | '.join(map(drawn, layer.children()))}]"
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        assert (layer.kernel_size, layer.stride) == ((3, 2) if isinstance(layer, nn.MaxPool2d) else (3, 1))
        return "max" if isinstance(layer, nn.MaxPool2d) else "average"
    conv = layer.conv
    stride = f"/{conv.stride[0]}" if conv.stride != (1, 1) else ""
    return f"{conv.out_channels}:{conv.kernel_size[0]}x{conv.kernel_size[1]}{stride}"


# The numbers


@pytest.mark.parametrize(
    ("network", "parameters", "macs"),
    [
        ("inception_v4", 42_679_816, 12_253_974_624),
        ("inception_resnet_v2", 55_843_464, 13_155_794_016),
    ],
)
def test_totals(network, parameters, macs):
    found = summary(shape_of(network))
    assert (found.parameters, found.macs) == (parameters, macs)


@pytest.mark.parametrize("network", NETWORKS)
def test_outputs(network):
    found = {}

    def note(name):
        return lambda module, args, output: found.update({name: output.shape[1:]})

    model = shape_of(network)
    for name in OUTPUTS[network]:
        dict(model.named_modules())[name].register_forward_hook(note(name))
    model(Tensor(meta.empty((2, 3, 299, 299), np.float32)))
    assert found == OUTPUTS[network]


@pytest.mark.parametrize("network", NETWORKS)
def test_modules_of_the_figures(network):
    model = dict(shape_of(network).named_modules())
    for name, branches in FIGURES[network].items():
        modules = list(model[name]) if isinstance(model[name], nn.Sequential) else [model[name]]
        for module in modules:
            inner = module.branches if isinstance(module, ScaledResidual) else module
            assert [drawn(branch) for branch in inner.children()] == branches, name


@pytest.mark.parametrize(
    ("network", "counts"), [("inception_v4", (4, 7, 3)), ("inception_resnet_v2", (10, 20, 10))]
)
def test_how_many_modules(network, counts):
    model = shape_of(network)
    assert (len(model.inception_a), len(model.inception_b), len(model.inception_c)) == counts


def test_the_papers_own_sums():
    """From 384 maps, Reduction-A makes 1152 and Figure 18 makes 2144: not the 1154 and 2048 of Figures 17 and 19."""
    with minicnn.device("meta"):
        reduction = ReductionA(384, *TABLE_1["Inception-ResNet-v2"])
    maps = reduction(Tensor(meta.empty((1, 384, 35, 35), np.float32)))
    assert maps.shape == (1, 1152, 17, 17)
    added = FIGURES["inception_resnet_v2"]["reduction_b"]
    assert 1152 + sum(int(branch.split()[-1].split(":")[0]) for branch in added[:-1]) == 2144


@pytest.mark.parametrize(("network", "count"), [("inception_v4", 14), ("inception_resnet_v2", 1)])
def test_the_border_does_not_count_in_averages(network, count):
    pools = [module for module in shape_of(network).modules() if isinstance(module, nn.AvgPool2d)]
    assert len(pools) == count
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    for pool in pools:
        averages = pool(Tensor(x)).numpy()[0, 0]
        np.testing.assert_allclose(averages[0, 0], x[0, 0, :2, :2].mean())
        np.testing.assert_allclose(averages[0, 1], x[0, 0, :2, :3].mean())
        np.testing.assert_allclose(averages[2, 1], x[0, 0, 1:, :3].mean())


@pytest.mark.parametrize("network", NETWORKS)
def test_normalisation_and_dropout(network):
    model = shape_of(network)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.1)}
    assert abs((model.dropout(Tensor(np.ones(10_000))).numpy() != 0).mean() - 0.8) < 0.03


# Residual scaling


def test_a_residual_is_scaled():
    """ReLU(x + scale · up(branches(x))), for a scale at which nothing else would do."""
    branches = Branches([nn.Conv2d(3, 2, 1)], [nn.Conv2d(3, 4, 3, padding=1)])
    x = Tensor(np.random.default_rng(0).normal(size=(2, 3, 5, 5)).astype("float32"))
    block = ScaledResidual(branches, 6, 3, scale=100.0, relu=False)
    residual = block.up(branches(x)).numpy()
    np.testing.assert_allclose(block(x).numpy(), x.numpy() + 100 * residual, rtol=1e-5, atol=1e-5)
    block.relu = True
    np.testing.assert_allclose(
        block(x).numpy(), np.maximum(x.numpy() + 100 * residual, 0), rtol=1e-5, atol=1e-5
    )
    block.scale = 0.0
    np.testing.assert_array_equal(block(x).numpy(), np.maximum(x.numpy(), 0))


def scales(model) -> list[float]:
    return [module.scale for module in model.modules() if isinstance(module, ScaledResidual)]


def test_scales():
    assert scales(shape_of("inception_resnet_v2")) == [0.17] * 10 + [0.1] * 20 + [0.2] * 9 + [1.0]
    assert scales(shape_of("inception_resnet_v2", scale=0.3)) == [0.3] * 40
    assert scales(shape_of("inception_resnet_v2", scale=0)) == [0] * 40


def test_with_a_scale_of_0_modules_pass_on_what_they_get():
    model, x = narrow("inception_resnet_v2", scale=0.0), images(2)
    for modules in (model.inception_a, model.inception_b, model.inception_c):
        modules.register_forward_hook(
            lambda module, args, output: np.testing.assert_array_equal(output.numpy(), args[0].numpy())
        )
    with no_grad():
        model(x)
    assert all(int(norm.num_batches_tracked) for norm in model.modules() if isinstance(norm, nn.BatchNorm2d))


def test_the_last_residual_is_not_rectified():
    model, lowest = narrow("inception_resnet_v2"), []
    blocks = [module for module in model.modules() if isinstance(module, ScaledResidual)]
    for block in blocks:
        block.register_forward_hook(lambda module, args, output: lowest.append(output.numpy().min()))
    with no_grad():
        model(images(2))
    assert all(value >= 0 for value in lowest[:-1])
    assert lowest[-1] < 0


def test_the_expansion_has_a_bias_and_no_norm():
    state = shape_of("inception_resnet_v2").state_dict()
    expansions = {name: array.shape for name, array in state.items() if ".up." in name}
    assert len(expansions) == 2 * 40
    assert expansions["inception_a.0.up.weight"] == (320, 128, 1, 1)
    assert expansions["inception_b.19.up.weight"] == (1088, 384, 1, 1)
    assert expansions["inception_c.9.up.bias"] == (2080,)


def test_bad_arguments():
    for network in NETWORKS:
        with pytest.raises(ValueError, match=f"{network}: num_classes must be at least 1, got 0"):
            getattr(models, network)(num_classes=0)
    with pytest.raises(ValueError, match=r"inception_resnet_v2: scale must be in \[0, inf\], got -0.1"):
        models.inception_resnet_v2(scale=-0.1)
    with pytest.raises(TypeError, match="inception_resnet_v2: scale must be a number, got 'a'"):
        models.inception_resnet_v2(scale="a")


# What every network does


@pytest.mark.parametrize("network", NETWORKS)
def test_first_weights(network):
    """He's for v4, Glorot's for Inception-ResNet-v2, and Glorot's in both last layers."""
    model = narrow(network, 8)
    model.reset_parameters()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            samples = np.prod(layer.weight.shape[2:], dtype=int)
            fan_in, fan_out = layer.weight.shape[1] * samples, layer.weight.shape[0] * samples
            he = network == "inception_v4" and name != "fc"
            std = (2 / fan_in) ** 0.5 if he else (2 / (fan_in + fan_out)) ** 0.5
            values = layer.weight.numpy()
            assert abs(values.std() / std - 1) < 5 / values.size**0.5, name
            assert he or np.abs(values).max() <= std * 3**0.5 * 1.0001
            assert layer.bias is None or not layer.bias.numpy().any()


@pytest.mark.parametrize("network", NETWORKS)
def test_pictures_come_from_minus_1_to_1(network):
    model = shape_of(network)
    assert (model.input_shape, model.resize) == ((3, 299, 299), 342)
    mean, std = np.array(model.mean), np.array(model.std)
    np.testing.assert_array_equal((np.zeros(3) - mean) / std, [-1] * 3)
    np.testing.assert_array_equal((np.ones(3) - mean) / std, [1] * 3)


@pytest.mark.parametrize(
    ("network", "divisor", "steps"), [("inception_v4", 16, 9), ("inception_resnet_v2", 32, 6)]
)
def test_it_learns(network, divisor, steps):
    model = narrow(network, divisor)
    x, target = images(6, 139), tensor([0, 1, 2, 3, 4, 0])
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    losses = []
    for _ in range(steps):
        manual_seed(0)  # the same dropout each time
        optimizer.zero_grad()
        loss = model.loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.85 * losses[0]  # few values a channel: batch norm makes it jump


@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_of_the_whole_network(network):
    model, x, target = narrow(network, dtype="float64"), images(2, dtype="float64"), tensor([3, 1])

    def loss():
        manual_seed(0)  # the same dropout each time
        return model.loss(model(x), target)

    parameters = dict(model.named_parameters())
    report = gradcheck(loss, [], parameters=parameters, together=1, directions=0, coordinates=0, elements=0)
    assert any(row.count for row in report.inputs)


@pytest.mark.parametrize("network", NETWORKS)
def test_modes(network):
    model, x = narrow(network), images(2)
    with no_grad():
        assert (model(x).numpy() != model(x).numpy()).any()
        model.eval()
        np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())


@pytest.mark.parametrize("network", NETWORKS)
def test_sizes_of_images(network):
    model = narrow(network).eval()
    with no_grad():
        for size in ((75, 75), (80, 130)):
            assert model(Tensor(np.zeros((1, 3, *size), dtype="float32"))).shape == (1, 5)
    with pytest.raises(ValueError, match=r"images must be \(N, 3, H, W\), got \(1, 1, 299, 299\)"):
        model(Tensor(np.zeros((1, 1, 299, 299), dtype="float32")))
    with pytest.raises(ValueError, match="images must be at least 75×75, got 74×74"):
        model(Tensor(np.zeros((1, 3, 74, 74), dtype="float32")))


@pytest.mark.parametrize("network", NETWORKS)
def test_state_travels(network, tmp_path):
    first, second = narrow(network).eval(), narrow(network).eval()
    x = images(1)
    minicnn.save(tmp_path / "w.safetensors", first.state_dict())
    with no_grad():
        assert (first(x).numpy() != second(x).numpy()).any()
        second.load_state_dict(minicnn.load(tmp_path / "w.safetensors"))
        np.testing.assert_array_equal(first(x).numpy(), second(x).numpy())


@pytest.mark.parametrize(
    ("network", "options"), [("inception_v4", {}), ("inception_resnet_v2", {"scale": 0.25})]
)
def test_the_config_builds_it_again(network, options):
    model = shape_of(network, num_classes=2, **options)
    assert model.config == {"model": network, "num_classes": 2, **options}
    with minicnn.device("meta"):
        again = models.get_model(**model.config)
    assert again.fc.out_features == 2
    assert scales(again) == scales(model)


@pytest.mark.parametrize("network", NETWORKS)
def test_against_pytorch(network):
    """The whole network again, of PyTorch's layers, put together by FIGURES and not by our modules."""
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    model, x = narrow(network, 16), images(2)
    with no_grad():
        model(x)  # moves the running statistics
    model.eval()
    blocks = iter(
        [torch.tensor(array) for name, array in model.state_dict().items() if "num_batches" not in name]
    )  # in the order in which the layers come in FIGURES

    def conv(x, size, stride=1, valid=False):
        w, g, b, mean, var = (next(blocks) for _ in range(5))
        assert list(w.shape[2:]) == size
        x = f.conv2d(x, w, None, stride, 0 if valid else [n // 2 for n in size])
        return f.relu(f.batch_norm(x, mean, var, g, b, False, 0.1, 1e-3))

    def branch(x, text, valid):
        text, _, fork = text.partition(" [")
        for entry in text.split():
            if entry == "max":
                x = f.max_pool2d(x, 3, 2)
            elif entry == "average":
                x = f.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            else:
                kernel, _, stride = entry.split(":")[1].partition("/")
                size = [int(n) for n in kernel.split("x")]
                x = conv(x, size, int(stride or 1), bool(stride) or (valid and size == [3, 3]))
        return module(x, fork.rstrip("]").split(" | ")) if fork else x

    def module(x, branches, valid=False):
        return torch.cat([branch(x, text, valid) for text in branches], 1)

    def residual(x, branches, scale, relu=True):
        y = module(x, branches)
        w, b = next(blocks), next(blocks)
        x = x + scale * f.conv2d(y, w, b)
        return f.relu(x) if relu else x

    figures = FIGURES[network]
    y = conv(torch.tensor(x.numpy()), [3, 3], 2, valid=True)
    y = conv(conv(y, [3, 3], valid=True), [3, 3])
    if network == "inception_v4":
        for name in ("stem.3", "stem.4", "stem.5"):
            y = module(y, figures[name], valid=True)
        for name, count in (("a", 4), ("b", 7), ("c", 3)):
            for _ in range(count):
                y = module(y, figures[f"inception_{name}"])
            if name != "c":
                y = module(y, figures[f"reduction_{name}"])
    else:
        y = conv(f.max_pool2d(y, 3, 2), [1, 1])
        y = f.max_pool2d(conv(y, [3, 3], valid=True), 3, 2)
        y = module(y, figures["mixed_5b"])
        for name, count, scale in (("a", 10, 0.17), ("b", 20, 0.1), ("c", 9, 0.2)):
            for _ in range(count):
                y = residual(y, figures[f"inception_{name}"], scale)
            if name != "c":
                y = module(y, figures[f"reduction_{name}"])
        y = conv(residual(y, figures["inception_c"], 1.0, relu=False), [1, 1])
    expected = f.linear(y.mean((2, 3)), next(blocks), next(blocks)).numpy()
    assert next(blocks, None) is None
    with no_grad():
        np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-3, atol=1e-3)
