"""GoogLeNet: Table 1 row by row, torchvision's names, the auxiliary heads and their weight; every variant learns."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, manual_seed, models, nn, no_grad, optim, tensor
from minicnn.backend import meta
from minicnn.models.googlenet import GoogLeNetOutput, GoogLeNetPaper, Inception, NaiveInception
from minicnn.study import summary
from minicnn.testing import gradcheck, slim

VARIANTS = ("torchvision", "paper")

TABLE_1 = {  # typed from the paper: the output, then inception's six columns, then "ops" in millions
    "conv1": ((64, 112, 112), (), 34),
    "maxpool1": ((64, 56, 56), (), 0),
    "conv2+conv3": ((192, 56, 56), (), 360),
    "maxpool2": ((192, 28, 28), (), 0),
    "inception3a": ((256, 28, 28), (64, 96, 128, 16, 32, 32), 128),
    "inception3b": ((480, 28, 28), (128, 128, 192, 32, 96, 64), 304),
    "maxpool3": ((480, 14, 14), (), 0),
    "inception4a": ((512, 14, 14), (192, 96, 208, 16, 48, 64), 73),
    "inception4b": ((512, 14, 14), (160, 112, 224, 24, 64, 64), 88),
    "inception4c": ((512, 14, 14), (128, 128, 256, 24, 64, 64), 100),
    "inception4d": ((528, 14, 14), (112, 144, 288, 32, 64, 64), 119),
    "inception4e": ((832, 14, 14), (256, 160, 320, 32, 128, 128), 170),
    "maxpool4": ((832, 7, 7), (), 0),
    "inception5a": ((832, 7, 7), (256, 160, 320, 32, 128, 128), 54),
    "inception5b": ((1024, 7, 7), (384, 192, 384, 48, 128, 128), 71),
    "avgpool": ((1024, 1, 1), (), 0),
    "fc": ((1000,), (), 1),
}


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(2014)


def shape_of(variant: str, **options):
    """Return the network without memory for its weights."""
    with minicnn.device("meta"):
        return models.googlenet(variant, **options)


def narrow(variant: str, divisor: int = 16, dtype: str | None = None, **options):
    return slim(shape_of(variant, **options), divisor, num_classes=5, dtype=dtype)


def images(model, n: int, dtype: str = "float32") -> Tensor:
    """Return noise, each image on a colour of its own."""
    rng = np.random.default_rng(5)
    noise, colours = rng.normal(size=(n, *model.input_shape)), rng.normal(size=(n, 3, 1, 1))
    return Tensor((noise + 2 * colours).astype(dtype))


def outputs(model) -> dict[str, tuple[int, ...]]:
    """Return the shape of what each module returns in training mode, without the batch."""
    shapes = {}

    def note(name):
        return lambda module, args, output: shapes.update({name: output.shape[1:]})

    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(note(name))
    model(Tensor(meta.empty((2, *model.input_shape), np.float32)))
    return shapes


# The numbers


@pytest.mark.parametrize(
    ("variant", "aux_logits", "parameters", "macs"),
    [
        ("paper", False, 6_998_552, 1_582_671_872),
        ("paper", True, 13_378_280, 1_582_671_872),
        ("torchvision", False, 6_624_904, 1_498_376_192),
        ("torchvision", True, 13_004_888, 1_498_376_192),
    ],
)
def test_totals(variant, aux_logits, parameters, macs):
    """In evaluation mode the heads cost nothing: the multiply-adds are the same."""
    found = summary(shape_of(variant, aux_logits=aux_logits))
    assert (found.parameters, found.macs) == (parameters, macs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_of_table_1(variant):
    found = outputs(shape_of(variant))
    for row, (shape, _, _) in TABLE_1.items():
        assert found[row.split("+")[-1]] == shape, row


@pytest.mark.parametrize("variant", VARIANTS)
def test_columns_of_table_1(variant):
    """Each branch's channels; in torchvision's form the column "#5×5" is of 3×3 kernels."""
    largest = 5 if variant == "paper" else 3
    model = dict(shape_of(variant).named_modules())
    for row, (_, columns, _) in TABLE_1.items():
        if columns:
            found = [m for name, m in model.items() if name.startswith(row) and isinstance(m, nn.Conv2d)]
            assert tuple(layer.out_channels for layer in found) == columns
            assert [layer.kernel_size[0] for layer in found] == [1, 1, 3, 1, largest, 1]


def test_multiply_adds_of_table_1():
    """They are what the paper prints, but in two rows; the first of them is explained by a separable convolution."""
    rows = summary(shape_of("paper")).rows
    deviating = {}
    for name, (_, _, printed) in TABLE_1.items():
        found = sum(row.macs for row in rows if row.name.split(".")[0] in name.split("+"))
        if abs(found / 1e6 - printed) >= 1:
            deviating[name] = found
    assert deviating == {"conv1": 118_013_952, "inception5a": 51_079_168}
    assert round((3 * 8 * 7 * 7 + 3 * 8 * 64) * 112 * 112 / 1e6) == TABLE_1["conv1"][2]


def test_the_papers_heads():
    found = outputs(shape_of("paper"))
    for head, channels in (("aux1", 512), ("aux2", 528)):
        layers = [found[f"{head}.{name}"] for name in ("pool", "conv", "fc1", "fc2")]
        assert layers == [(channels, 4, 4), (128, 4, 4), (1024,), (1000,)]


def test_the_papers_heads_average_5x5_pixels_3_apart():
    x = np.random.default_rng(0).normal(size=(1, 2, 14, 14))
    model = shape_of("paper")
    for head in (model.aux1, model.aux2):
        y = head.pool(Tensor(x)).numpy()
        np.testing.assert_allclose(y[:, :, 1, 3], x[:, :, 3:8, 9:14].mean((2, 3)))


def test_the_heads_are_on_4a_and_4d():
    """What is below a head gets a gradient from it; what is above gets none."""
    for head, modules in (("aux1", "3a 3b 4a"), ("aux2", "3a 3b 4a 4b 4c 4d")):
        model = narrow("torchvision")
        getattr(model(images(model, 2)), head).sum().backward()
        reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
        assert reached == {"conv1", "conv2", "conv3", head} | {f"inception{m}" for m in modules.split()}


def test_the_order_of_figure_3():
    rows = {v: summary(shape_of(v)).rows for v in VARIANTS}
    kinds = {v: [row.kind for row in rows[v] if row.kind != "ReLU"] for v in VARIANTS}
    norm = "LocalResponseNorm"
    assert kinds["paper"][:7] == ["Conv2d", "MaxPool2d", norm, "Conv2d", "Conv2d", norm, "MaxPool2d"]
    assert kinds["torchvision"][:5] == ["Conv2d", "BatchNorm2d", "MaxPool2d", "Conv2d", "BatchNorm2d"]
    assert norm not in kinds["torchvision"]
    assert "BatchNorm2d" not in kinds["paper"]
    for kind in kinds.values():
        assert kind[-3:] == ["AdaptiveAvgPool2d", "Dropout", "Linear"]


def test_settings_of_layers():
    def of(variant, kind):
        return {name: m for name, m in shape_of(variant).named_modules() if isinstance(m, kind)}

    for variant, main in (("paper", 0.4), ("torchvision", 0.2)):
        dropped = {name: m.p for name, m in of(variant, nn.Dropout).items()}
        assert dropped == {"dropout": main, "aux1.dropout": 0.7, "aux2.dropout": 0.7}
        assert all(m.ceil_mode for m in of(variant, nn.MaxPool2d).values())
    assert {(m.eps, m.momentum) for m in of("torchvision", nn.BatchNorm2d).values()} == {(1e-3, 0.1)}
    windows = {name: m.kernel_size for name, m in of("torchvision", nn.MaxPool2d).items()}
    assert {name for name, size in windows.items() if size == 2} == {"maxpool4"}


# Names


def _torchvisions_state() -> dict[str, tuple[int, ...]]:
    """Return names and shapes in the order in which torchvision's module tree has them."""
    state: dict[str, tuple[int, ...]] = {}

    def conv_bn(name, c, k, size):
        state[f"{name}.conv.weight"] = (k, c, size, size)
        state.update({f"{name}.bn.{n}": (k,) for n in ("weight", "bias", "running_mean", "running_var")})
        state[f"{name}.bn.num_batches_tracked"] = ()

    def linear(name, c, k):
        state.update({f"{name}.weight": (k, c), f"{name}.bias": (k,)})

    conv_bn("conv1", 3, 64, 7)
    conv_bn("conv2", 64, 64, 1)
    conv_bn("conv3", 64, 192, 3)
    c = 192
    for name, (shape, columns, _) in TABLE_1.items():
        if columns:
            k1, red3, k3, red5, k5, proj = columns
            conv_bn(f"{name}.branch1", c, k1, 1)
            conv_bn(f"{name}.branch2.0", c, red3, 1)
            conv_bn(f"{name}.branch2.1", red3, k3, 3)
            conv_bn(f"{name}.branch3.0", c, red5, 1)
            conv_bn(f"{name}.branch3.1", red5, k5, 3)
            conv_bn(f"{name}.branch4.1", c, proj, 1)
            c = shape[0]
    for name, c in (("aux1", 512), ("aux2", 528)):
        conv_bn(f"{name}.conv", c, 128, 1)
        linear(f"{name}.fc1", 2048, 1024)
        linear(f"{name}.fc2", 1024, 1000)
    linear("fc", 1024, 1000)
    return state


@pytest.mark.parametrize("aux_logits", [True, False])
def test_state_is_torchvisions_in_its_order(aux_logits):
    state = shape_of("torchvision", aux_logits=aux_logits).state_dict()
    expected = _torchvisions_state()
    assert [(name, array.shape) for name, array in state.items()] == [
        item for item in expected.items() if aux_logits or not item[0].startswith("aux")
    ]


# The module


def test_the_naive_module_pools_all_channels():
    module = NaiveInception(6, 2, 3, 4)
    x = np.random.default_rng(0).normal(size=(1, 6, 5, 5))
    y = module.to("float64")(Tensor(x)).numpy()
    assert y.shape == (1, 2 + 3 + 4 + 6, 5, 5)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    np.testing.assert_array_equal(y[:, 9:, 2, 3], padded[:, :, 2:5, 3:6].max((2, 3)))
    np.testing.assert_array_equal(y[:, 9:, 0, 0], padded[:, :, :3, :3].max((2, 3)))


def test_the_module_puts_its_branches_side_by_side():
    module = Inception(6, 2, 3, 4, 1, 2, 3)
    x = Tensor(np.random.default_rng(0).normal(size=(1, 6, 5, 5)).astype("float32"))
    parts = [getattr(module, f"branch{i}")(x).numpy() for i in (1, 2, 3, 4)]
    assert [part.shape[1] for part in parts] == [2, 4, 2, 3]
    np.testing.assert_array_equal(module(x).numpy(), np.concatenate(parts, 1))


@pytest.mark.parametrize("module", [NaiveInception(6, 2, 3, 4), Inception(6, 2, 3, 4, 1, 2, 3)])
def test_gradients_of_the_modules(module):
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 4))
    gradcheck(module, x, parameters=dict(module.named_parameters()))


def test_the_module_against_pytorch():
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    module = Inception(12, 5, 4, 6, 2, 3, 4)
    x = np.random.default_rng(0).normal(size=(2, 12, 7, 9)).astype("float32")
    p = {name: torch.tensor(array) for name, array in module.state_dict().items()}

    def conv(name, y):
        weight = p[f"{name}.conv.weight"]
        return torch.relu(f.conv2d(y, weight, p[f"{name}.conv.bias"], padding=weight.shape[-1] // 2))

    t = torch.tensor(x)
    expected = [
        conv("branch1", t),
        conv("branch2.1", conv("branch2.0", t)),
        conv("branch3.1", conv("branch3.0", t)),
    ]
    expected.append(conv("branch4.1", f.max_pool2d(t, 3, 1, 1)))
    np.testing.assert_allclose(
        module(Tensor(x)).detach().numpy(), torch.cat(expected, 1), rtol=1e-4, atol=1e-5
    )


# First weights and input


def _weights_and_biases(variant):
    dense = models.googlenet(variant, num_classes=10)
    layers = {n: m for n, m in dense.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    biases = {n: m.bias.numpy() for n, m in layers.items() if m.bias is not None}
    return {n: m.weight.numpy() for n, m in layers.items()}, biases


def test_first_weights_of_the_paper():
    """Caffe's: uniform of variance 1 / fan-in, biases 0.2, of the scores' layers 0."""
    weights, biases = _weights_and_biases("paper")
    assert {n for n, b in biases.items() if (b == 0).all()} == {"fc", "aux1.fc2", "aux2.fc2"}
    assert all((b == np.float32(0.2)).all() for n, b in biases.items() if b.any())
    for w in weights.values():
        bound = (3 * len(w) / w.size) ** 0.5
        assert 0.98 * bound < abs(w).max() <= bound * (1 + 1e-6)
        assert abs((w.astype("float64") ** 2).mean() / (bound**2 / 3) - 1) < 5 * (0.8 / w.size) ** 0.5


def test_first_weights_of_torchvision():
    weights, biases = _weights_and_biases("torchvision")
    for w in weights.values():
        assert abs(w.std() / 0.01 - 1) < 5 / (2 * w.size) ** 0.5
    drawn = weights["aux1.fc1"].astype("float64")
    assert abs((drawn**4).mean() / 0.01**4 - 3) < 0.05  # normal, and nothing cut off
    for name, bias in biases.items():
        bound = weights[name].shape[1] ** -0.5
        assert bias.any()
        assert abs(bias).max() <= bound


def test_input_of_the_paper_is_on_a_scale_of_255():
    mean, std = np.array(GoogLeNetPaper.mean), np.array(GoogLeNetPaper.std)
    np.testing.assert_allclose((1 - mean) / std, 255 - 255 * mean)


def test_transform_input_gives_pixels_from_minus_1_to_1():
    pixels = np.random.default_rng(0).uniform(size=(2, 3, 64, 64))
    model = narrow("torchvision", transform_input=True, dtype="float64").eval()
    mean, std = (np.array(v).reshape(3, 1, 1) for v in (model.mean, model.std))
    seen = []
    with model.conv1.register_forward_pre_hook(lambda module, args: seen.append(args[0].numpy())):
        model(Tensor((pixels - mean) / std))
    np.testing.assert_allclose(seen[0], 2 * pixels - 1, rtol=0, atol=1e-14)


def test_transform_input_is_remembered():
    model = shape_of("torchvision", num_classes=7, transform_input=True, aux_logits=False)
    assert model.config == {
        "model": "googlenet", "variant": "torchvision", "num_classes": 7, "aux_logits": False, "transform_input": True,
    }  # fmt: skip
    with minicnn.device("meta"):
        again = models.get_model(**model.config)
    assert again.transform_input
    assert not again.aux_logits
    assert again.fc.out_features == 7
    assert not shape_of("torchvision").transform_input


# The heads


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_returned(variant):
    for aux_logits in (True, False):
        model = narrow(variant, aux_logits=aux_logits)
        x = images(model, 2)
        output = model(x)
        assert isinstance(output, GoogLeNetOutput) == aux_logits
        if aux_logits:
            assert [y.shape for y in output] == [(2, 5)] * 3
            assert model.scores(output) is output.logits
        logits = model.eval()(x)
        assert isinstance(logits, Tensor)
        assert logits.shape == (2, 5)
        assert model.scores(logits) is logits


def test_evaluation_does_not_touch_the_heads():
    model = narrow("paper").eval()
    x = images(model, 1)
    with no_grad():
        before = model(x).numpy()
        for head in (model.aux1, model.aux2):
            head.register_forward_hook(lambda *_: pytest.fail("a head was called"))
            for p in head.parameters():
                p.data[...] = np.nan
        np.testing.assert_array_equal(model(x).numpy(), before)


def test_each_head_counts_for_three_tenths():
    """Logits so far apart that the cross entropies are 1, 100 and 10,000: each digit tells its weight."""
    model, target = shape_of("torchvision"), tensor([0])

    def losing_by(amount):  # log(1 + e^amount) = amount but for e^−amount
        return tensor([[0.0, float(amount)]])

    one = np.log(np.e - 1)  # log(1 + e^one) = 1
    output = GoogLeNetOutput(losing_by(one), losing_by(100), losing_by(10_000))
    assert model.loss(output, target).item() == pytest.approx(1 + 30 + 3000, rel=1e-6)
    assert model.loss(output.logits, target).item() == pytest.approx(1, rel=1e-6)


# What every variant does


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_learns(variant):
    model = narrow(variant)
    x, target = images(model, 4), tensor([0, 1, 2, 3])
    optimizer = optim.Adam(model.parameters(), lr=0.003)

    def loss():
        manual_seed(0)  # the same dropout each time
        return model.loss(model(x), target)

    before = loss().item()
    for _ in range(5):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.9 * before


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_the_whole_network(variant):
    model, target = narrow(variant, 32, "float64"), tensor([3, 1])
    x = images(model, 2, "float64")

    def loss():
        manual_seed(0)  # the same dropout each time
        return model.loss(model(x), target)

    parameters = dict(model.named_parameters())
    report = gradcheck(loss, [], parameters=parameters, together=1, directions=0, coordinates=0, elements=0)
    assert [row.count for row in report.inputs if row.name == "together"] == [1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_state_travels(variant, tmp_path):
    first, second = narrow(variant).eval(), narrow(variant).eval()
    x = images(first, 1)
    minicnn.save(tmp_path / "w.safetensors", first.state_dict())
    with no_grad():
        assert (first(x).numpy() != second(x).numpy()).any()
        second.load_state_dict(minicnn.load(tmp_path / "w.safetensors"))
        np.testing.assert_array_equal(first(x).numpy(), second(x).numpy())


def test_sizes_of_images():
    def zeros(*size):
        return Tensor(np.zeros((1, 3, *size), dtype="float32"))

    for model in (narrow("torchvision").eval(), narrow("paper", aux_logits=False)):
        for size in ((65, 130), (224, 224)):
            assert model(zeros(*size)).shape == (1, 5)
    with pytest.raises(ValueError, match=r"images must be \(N, 3, 224, 224\), got \(1, 3, 256, 256\)"):
        narrow("paper")(zeros(256, 256))


@pytest.mark.parametrize(
    ("variant", "options", "message"),
    [
        (
            "papr",
            {},
            "googlenet: variant must be one of 'torchvision', 'paper', got 'papr'; did you mean 'paper'",
        ),
        ("paper", {"num_classes": 0}, "googlenet: num_classes must be at least 1, got 0"),
        ("paper", {"transform_input": True}, "googlenet: transform_input belongs to .* got variant='paper'"),
    ],
)
def test_bad_arguments(variant, options, message):
    with pytest.raises(ValueError, match=message):
        models.googlenet(variant, **options)
