"""Inception v2: Figure 5 row by row, the published network's layers, its poolings; it learns."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, manual_seed, models, nn, no_grad, optim, tensor
from minicnn.backend import meta
from minicnn.models.conv_bn import ConvBN
from minicnn.models.inception_v2 import FIGURE_5, InceptionV2Module, Row, StridedInceptionV2Module
from minicnn.study import summary
from minicnn.testing import gradcheck, slim

PUBLISHED = """
conv1         3  64 7 2
conv2        64  64 1 1
conv3        64 192 3 1
inception3a 192  64 1 1  192  64 1 1   64  64 3 1  192  64 1 1   64  96 3 1   96  96 3 1  192  32 1 1
inception3b 256  64 1 1  256  64 1 1   64  96 3 1  256  64 1 1   64  96 3 1   96  96 3 1  256  64 1 1
inception3c              320 128 1 1  128 160 3 2  320  64 1 1   64  96 3 1   96  96 3 2
inception4a 576 224 1 1  576  64 1 1   64  96 3 1  576  96 1 1   96 128 3 1  128 128 3 1  576 128 1 1
inception4b 576 192 1 1  576  96 1 1   96 128 3 1  576  96 1 1   96 128 3 1  128 128 3 1  576 128 1 1
inception4c 576 160 1 1  576 128 1 1  128 160 3 1  576 128 1 1  128 160 3 1  160 160 3 1  576 128 1 1
inception4d 608  96 1 1  608 128 1 1  128 192 3 1  608 160 1 1  160 192 3 1  192 192 3 1  608 128 1 1
inception4e              608 128 1 1  128 192 3 2  608 192 1 1  192 256 3 1  256 256 3 2
inception5a 1056 352 1 1 1056 192 1 1 192 320 3 1 1056 160 1 1  160 224 3 1  224 224 3 1 1056 128 1 1
inception5b 1024 352 1 1 1024 192 1 1 192 320 3 1 1024 192 1 1  192 224 3 1  224 224 3 1 1024 128 1 1
"""
"""The convolutions of Cadene's bninception in their order: channels in and out, kernel, stride."""

OUTPUTS = {  # Figure 5's, but 4c, 4d and 4e: those are what its columns add up to; 3c and 4e after their stride
    "conv1": (64, 112, 112), "maxpool1": (64, 56, 56), "conv3": (192, 56, 56), "maxpool2": (192, 28, 28),
    "inception3a": (256, 28, 28), "inception3b": (320, 28, 28), "inception3c": (576, 14, 14),
    "inception4a": (576, 14, 14), "inception4b": (576, 14, 14), "inception4c": (608, 14, 14),
    "inception4d": (608, 14, 14), "inception4e": (1056, 7, 7), "inception5a": (1024, 7, 7),
    "inception5b": (1024, 7, 7), "avgpool": (1024, 1, 1), "fc": (1000,),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(2015)


def shape_of(**options):
    """Return the network without memory for its weights."""
    with minicnn.device("meta"):
        return models.inception_v2(**options)


def narrow(divisor: int = 16, dtype: str | None = None):
    return slim(shape_of(), divisor, num_classes=5, dtype=dtype)


def images(model, n: int, dtype: str = "float32") -> Tensor:
    """Return noise, each image on a colour of its own."""
    rng = np.random.default_rng(5)
    noise, colours = rng.normal(size=(n, *model.input_shape)), rng.normal(size=(n, 3, 1, 1))
    return Tensor((noise + 2 * colours).astype(dtype))


# The numbers


def test_totals():
    found = summary(shape_of())
    assert (found.parameters, found.macs) == (11_295_240, 2_032_600_064)


def test_the_convolutions_are_the_published_ones():
    published = {}
    for line in PUBLISHED.split("\n")[1:-1]:
        name, *numbers = line.split()
        published[name] = [tuple(map(int, numbers[i : i + 4])) for i in range(0, len(numbers), 4)]
    found: dict[str, list[tuple[int, ...]]] = {}
    for name, layer in shape_of().named_modules():
        if isinstance(layer, nn.Conv2d):
            sizes = (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0])
            found.setdefault(name.split(".")[0], []).append(sizes)
            assert layer.bias is not None
    assert found == published


def test_outputs_of_figure_5():
    shapes = {}
    model = shape_of()
    for name in OUTPUTS:
        getattr(model, name).register_forward_hook(
            lambda m, a, y, name=name: shapes.update({name: y.shape[1:]})
        )
    model(Tensor(meta.empty((2, 3, 224, 224), np.float32)))
    assert shapes == OUTPUTS


def test_the_papers_contradiction():
    """TensorFlow's 96 for two projections gives the outputs that the paper prints for 4c, 4d and 4e."""
    for row, printed in (("4c", 576), ("4d", 576)):
        r = FIGURE_5[row]
        assert r.ch1x1 + r.ch3x3 + r.double3x3 + r.proj == printed + 32
        assert r.proj - 32 == 96
    e = FIGURE_5["4e"]
    assert e.ch3x3 + e.double3x3 + e.in_channels - 32 == 1024


def test_every_convolution_is_normalised_and_no_dense_layer_is_hidden():
    kinds = [row.kind for row in summary(shape_of()).rows]
    assert kinds.count("Conv2d") == kinds.count("BatchNorm2d") == 69
    assert all(after == "BatchNorm2d" for kind, after in pairwise(kinds) if kind == "Conv2d")
    assert kinds.count("Linear") == 1
    assert "Dropout" not in kinds
    assert {(m.eps, m.momentum) for m in shape_of().modules() if isinstance(m, nn.BatchNorm2d)} == {
        (1e-5, 0.1)
    }


def test_poolings_of_figure_5():
    pools = {
        name.split(".")[0]: (type(m).__name__, m.kernel_size, m.stride)
        for name, m in shape_of().named_modules()
        if isinstance(m, nn.MaxPool2d | nn.AvgPool2d)
    }
    average, largest, halving = (("AvgPool2d", 3, 1), ("MaxPool2d", 3, 1), ("MaxPool2d", 3, 2))
    expected = {f"inception{row}": average for row in ("3a", "3b", "4a", "4b", "4c", "4d", "5a")}
    expected |= dict.fromkeys(("maxpool1", "maxpool2", "inception3c", "inception4e"), halving)
    assert pools == expected | {"inception5b": largest}


# The modules


ROWS = {
    "average": (InceptionV2Module, Row(6, 2, 3, 4, 1, 2, "avg", 3), 1),
    "maximum": (InceptionV2Module, Row(6, 2, 3, 4, 1, 2, "max", 3), 1),
    "strided": (StridedInceptionV2Module, Row(6, 0, 3, 4, 1, 2, "max", 0), 2),
}


def test_what_the_modules_put_side_by_side():
    """The branches in the order of the columns; the average counts the padding, the halving one has none."""
    x = Tensor(np.random.default_rng(0).normal(size=(1, 6, 6, 6)).astype("float32"))
    average, strided = (ROWS[name][0](ROWS[name][1]).eval() for name in ("average", "strided"))
    for module, names in (
        (average, "branch1x1 branch3x3 branch3x3dbl branch_pool"),
        (strided, "branch3x3 branch3x3dbl"),
    ):
        start, y = 0, module(x).numpy()
        for name in names.split():
            part = getattr(module, name)(x).numpy()
            np.testing.assert_array_equal(y[:, start : start + part.shape[1]], part)
            start += part.shape[1]
    ones = Tensor(np.ones((1, 1, 3, 3), dtype="float32"))
    np.testing.assert_allclose(
        average.branch_pool[0](ones).numpy()[0, 0, 0], [4 / 9, 6 / 9, 4 / 9], rtol=1e-6
    )
    np.testing.assert_array_equal(strided(x).numpy()[:, 6:, 0, 2], x.numpy()[:, :, :3, 4:].max((2, 3)))


def test_a_strided_module_takes_odd_sides_and_pools_their_last_pixels_alone():
    x = np.random.default_rng(0).uniform(size=(2, 320, 5, 6)).astype("float32")
    y = StridedInceptionV2Module(FIGURE_5["3c"])(Tensor(x)).numpy()
    assert y.shape == (2, 576, 3, 3)
    below = [[x[:, :, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3].max((2, 3)) for q in range(3)] for p in range(3)]
    np.testing.assert_array_equal(y[:, 256:], np.transpose(below, (2, 3, 0, 1)))


def test_relu_comes_last():
    """So nothing is negative, and the normalised values, of mean β = 0, are cut in two."""
    y = ConvBN(3, 4, 3)(Tensor(np.random.default_rng(0).normal(size=(2, 3, 9, 9)).astype("float32"))).numpy()
    assert y.min() == 0
    assert 0.3 < (y > 0).mean() < 0.7


def with_other_norms(module):
    """Draw β and γ off 0 and 1, where a wrong gradient may look right."""
    for name, p in module.named_parameters():
        if ".bn." in name:
            nn.init.uniform_(p, 0.5, 1.5)
    return module


@pytest.mark.parametrize("name", ROWS)
def test_gradients_of_the_modules(name):
    kind, row, _ = ROWS[name]
    module = with_other_norms(kind(row)).to("float64")
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 6))
    weights = {
        name: p for name, p in module.named_parameters() if not name.endswith("conv.bias")
    }  # 0: normalised
    gradcheck(module, x, parameters=weights)


@pytest.mark.parametrize("name", ROWS)
def test_the_modules_against_pytorch(name):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    kind, row, stride = ROWS[name]
    module = with_other_norms(kind(row))
    x = np.random.default_rng(0).normal(size=(2, 6, 8, 10)).astype("float32")
    p = {key: torch.tensor(array) for key, array in module.state_dict().items()}

    def conv(key, y, stride=1):
        weight = p[f"{key}.conv.weight"]
        y = f.conv2d(y, weight, p[f"{key}.conv.bias"], stride, weight.shape[-1] // 2)
        return torch.relu(
            f.batch_norm(y, None, None, p[f"{key}.bn.weight"], p[f"{key}.bn.bias"], True, eps=1e-5)
        )

    t = torch.tensor(x)
    expected = [conv("branch3x3.1", conv("branch3x3.0", t), stride)]
    double = conv("branch3x3dbl.1", conv("branch3x3dbl.0", t))
    expected.append(conv("branch3x3dbl.2", double, stride))
    if stride == 2:
        expected.append(f.max_pool2d(t, 3, 2, ceil_mode=True))
    else:
        pooled = f.avg_pool2d(t, 3, 1, 1) if row.pool == "avg" else f.max_pool2d(t, 3, 1, 1)
        expected = [conv("branch1x1", t), *expected, conv("branch_pool.1", pooled)]
    np.testing.assert_allclose(
        module(Tensor(x)).detach().numpy(), torch.cat(expected, 1), rtol=1e-3, atol=1e-4
    )


# The network


def test_it_learns():
    model = narrow()
    x, target = images(model, 4), tensor([0, 1, 2, 3])
    optimizer = optim.Adam(model.parameters(), lr=0.003)
    before = model.loss(model(x), target).item()
    for _ in range(5):
        optimizer.zero_grad()
        model.loss(model(x), target).backward()
        optimizer.step()
    assert model.loss(model(x), target).item() < 0.8 * before


def test_gradients_of_the_whole_network():
    model, target = narrow(32, "float64"), tensor([3, 1])
    x = images(model, 2, "float64")
    parameters = dict(model.named_parameters())
    report = gradcheck(
        lambda: model.loss(model(x), target), [], parameters=parameters, together=1, directions=0, coordinates=0,
        elements=0,
    )  # fmt: skip
    assert [row.count for row in report.inputs if row.name == "together"] == [1]


def test_state_travels(tmp_path):
    first, second = narrow().eval(), narrow().eval()
    x = images(first, 1)
    minicnn.save(tmp_path / "w.safetensors", first.state_dict())
    with no_grad():
        assert (first(x).numpy() != second(x).numpy()).any()
        second.load_state_dict(minicnn.load(tmp_path / "w.safetensors"))
        np.testing.assert_array_equal(first(x).numpy(), second(x).numpy())


def test_images_of_any_size_and_the_config():
    model = narrow().eval()
    for size in ((65, 130), (7, 75), (224, 224)):
        assert model(Tensor(np.zeros((1, 3, *size), dtype="float32"))).shape == (1, 5)
    with pytest.raises(ValueError, match=r"images must be \(N, 3, H, W\), got \(1, 1, 224, 224\)"):
        model(Tensor(np.zeros((1, 1, 224, 224), dtype="float32")))
    assert shape_of(num_classes=7).config == {"model": "inception_v2", "num_classes": 7}
    with pytest.raises(ValueError, match="inception_v2: num_classes must be at least 1, got 0"):
        models.inception_v2(num_classes=0)
