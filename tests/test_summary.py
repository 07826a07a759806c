"""The summary: receptive fields against where gradients reach, connections against the Jacobian, manners."""

from __future__ import annotations

import gc
import io
import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.console import Console

from minicnn import Function, Tensor, manual_seed, models, nn, no_grad, random
from minicnn import functional as F
from minicnn.models.lenet_layers import DIGITS, RBF, Subsampling, TableConv2d
from minicnn.study import Cost, cost, summary
from minicnn.study.receptive_field import receptive_fields

# Receptive fields.  The oracle: with positive weights and no squashing, an output pixel's gradient is above 0
# where the pixel depends on the image, and 0 elsewhere.


def reach(network, image: Tensor, p: int, q: int) -> list[tuple[int, int]]:
    """Return first and last row, first and last column of the image that output pixel (p, q) depends on."""
    image.grad = None
    network(image)[0, 0, p, q].backward()
    touched = image.grad[0].any(0)
    return [(int(lines.min()), int(lines.max())) for lines in np.nonzero(touched)] if touched.any() else []


def rectangle(network, image: Tensor, p: int, q: int) -> list[tuple[int, int]]:
    """Return the same from the spans of output pixel (0, 0); it may lie outside the image."""
    (field,) = receptive_fields(image, [network(image)])
    assert field is not None
    return [(s.first + at * s.jump, s.last + at * s.jump) for s, at in zip(field, (p, q), strict=True)]


def check_reach(network, height: int, width: int, padded: bool) -> None:
    image = Tensor(np.ones((1, 1, height, width)), requires_grad=True)
    rows, columns = network(image).shape[2:]
    for p, q in {(0, 0), (rows // 2, columns // 2), (rows - 1, columns - 1)}:
        found, expected = reach(network, image, p, q), rectangle(network, image, p, q)
        sides = zip(expected, (height, width), strict=True)
        inside = [first >= 0 and last < size for (first, last), size in sides]
        assert padded or all(inside)
        if all(inside):
            assert found == expected
        for (first, last), (least, most) in zip(found, expected, strict=False):
            assert least <= first <= last <= most


@st.composite
def steps(draw, padded: bool):
    """Draw an operation on one-channel images by which an output pixel depends on all its window sees."""
    kind = draw(st.sampled_from(["conv", "pool", "slice", "elementwise", *["pad"] * padded]))
    kernel, stride, dilation = (draw(st.tuples(*[st.integers(1, most)] * 2)) for most in (4, 3, 2))
    amounts = draw(st.lists(st.integers(0, 2 * padded), min_size=4, max_size=4))
    if kind == "conv":
        return lambda x: F.conv2d(x, np.ones((1, 1, *kernel)), None, stride, amounts, dilation)
    if kind == "pool":
        return lambda x: F.avg_pool2d(x, kernel, stride, [n // 2 * padded for n in kernel])
    if kind == "pad":
        return lambda x: F.pad(x, amounts)
    if kind == "slice":  # what was cut off may not come back as padding
        start = 0 if padded else draw(st.integers(0, 2))
        index = slice(start, None, stride[0]), slice(None, None, stride[1])
        every = slice(None)
        ways = (..., *index), (every, every, *index), (every, every, index[0]), (every, ..., index[1])
        at = draw(st.sampled_from(ways))
        return lambda x: x[at]
    return lambda x: x * 2.0


@pytest.mark.parametrize("padded", [False, True])
@given(data=st.data(), height=st.integers(5, 25), width=st.integers(5, 25))
@settings(max_examples=100, deadline=None)
def test_receptive_fields_of_chains_are_where_gradients_reach(padded, data, height, width):
    chain = data.draw(st.lists(steps(padded), min_size=1, max_size=4))

    def network(x):
        for step in chain:
            x = step(x)
        return x

    try:
        empty = network(Tensor(np.ones((1, 1, height, width)))).size == 0
    except ValueError:  # a kernel larger than what is left
        empty = True
    assume(not empty)
    check_reach(network, height, width, padded)


def test_branches_are_united():
    def wide_and_tall(x):  # an Inception cell
        wide = F.conv2d(x, np.ones((1, 1, 1, 7)), padding=(0, 3))
        tall = F.conv2d(x, np.ones((1, 1, 5, 1)), padding=(2, 0))
        return F.cat([wide, tall, F.avg_pool2d(x, 3, 1, 1)], 1).sum(1, keepdim=True)

    image = Tensor(np.ones((1, 1, 16, 16)), requires_grad=True)
    assert rectangle(wide_and_tall, image, 8, 8) == [(6, 10), (5, 11)]

    def residual(x):  # a ResNet block whose shortcut drops every other pixel
        y = F.conv2d(x, np.ones((1, 1, 3, 3)), stride=2, padding=1)
        return F.conv2d(y, np.ones((1, 1, 3, 3)), padding=1) + x[:, :, ::2, ::2]

    check_reach(residual, 16, 12, padded=True)
    check_reach(lambda x: residual(residual(x)), 40, 40, padded=True)


def sequence(*plan: tuple[str, int, int, int]) -> nn.Sequential:
    layers = {
        "conv": lambda k, s, p: nn.Conv2d(1, 1, k, s, p),
        "pool": lambda k, s, p: nn.MaxPool2d(k, s, p),
    }
    return nn.Sequential(*(layers[kind](k, s, p) for kind, k, s, p in plan))


def test_published_receptive_fields():
    """AlexNet's and VGG-16's last pooling, as Araujo et al. 2019 give them."""
    conv3, pool2, pool3 = ("conv", 3, 1, 1), ("pool", 2, 2, 0), ("pool", 3, 2, 0)
    alexnet = sequence(("conv", 11, 4, 2), pool3, ("conv", 5, 1, 2), pool3, conv3, conv3, conv3, pool3)
    vgg16 = sequence(*[conv3] * 2, pool2, *[conv3] * 2, pool2, *([*[conv3] * 3, pool2] * 3))
    for network, size in ((alexnet, 195), (vgg16, 212)):
        last = summary(network, (1, 224, 224)).rows[-1]
        assert (last.receptive_field, last.jump) == ((size, size), (32, 32))


@pytest.mark.parametrize(
    "end", [nn.Flatten(), nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Flatten(), nn.Linear(49, 2))], ids=repr
)
def test_what_takes_all_in_sees_the_whole_image(end):
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), end)
    last = summary(network, (1, 7, 7)).rows[-1]
    assert (last.receptive_field, last.jump) == ((7, 7), (0, 0))


def test_what_does_not_come_from_the_image_sees_nothing():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.value = nn.Parameter(np.ones((1, 1, 4, 4)))

        def forward(self, x):
            return self.value * 2.0

    rows = summary(nn.Sequential(nn.ConvTranspose2d(1, 1, 2, 2), nn.ReLU(), Constant()), (1, 4, 4)).rows
    assert [row.receptive_field for row in rows] == [None, None, None]
    with no_grad():
        assert summary(nn.Conv2d(1, 1, 3), (1, 4, 4)).rows[0].receptive_field == (3, 3)


# Connections.  The oracle: as many as the Jacobian has entries that are not 0, and one a unit for its bias.


def jacobian_entries(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    for parameter in layer.parameters():
        parameter.data = np.ones_like(parameter.data, dtype="float64")
    x = Tensor(np.random.default_rng(0).normal(size=(1, *shape)), requires_grad=True)
    entries, units = 0, layer(x).size
    for unit in range(units):
        x.grad = None
        layer(x).reshape(units)[unit].backward()
        entries += int(np.count_nonzero(x.grad))
    return entries, layer(x).shape[1:]


@pytest.mark.parametrize(
    ("layer", "shape", "biased"),
    [
        (nn.Conv2d(2, 4, 3), (2, 6, 5), True),
        (nn.Conv2d(4, 6, (3, 2), stride=2, dilation=2, groups=2, bias=False), (4, 9, 8), False),
        (nn.ConvTranspose2d(2, 3, 2, stride=2), (2, 3, 4), True),
        (nn.ConvTranspose2d(2, 4, 3, stride=3, groups=2, bias=False), (2, 3, 2), False),
        (nn.Linear(6, 4), (6,), True),
        (nn.Linear(6, 4, bias=False), (3, 6), False),
        (nn.AvgPool2d((2, 3), stride=1), (2, 5, 6), False),
        (nn.AdaptiveAvgPool2d((2, 3)), (2, 5, 7), False),
        (TableConv2d(3, [(0, 1), (2,), (0, 1, 2)], 3), (3, 5, 6), True),
        (Subsampling(2), (2, 4, 6), True),
        (RBF(DIGITS[:3]), (84,), False),
        (nn.ReLU(), (3, 2, 2), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_connections_are_the_jacobians_entries(layer, shape, biased):
    entries, output_shape = jacobian_entries(layer, shape)
    connections, macs = cost(layer, shape, output_shape)
    if biased is None:  # squashing belongs to the layer before
        assert (connections, macs) == (0, 0)
        return
    assert connections == entries + biased * math.prod(output_shape)
    multiplies = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | TableConv2d)
    assert macs == (entries if multiplies else 0)


def test_pooling_counts_its_window():
    assert cost(nn.MaxPool2d(3, 2), (2, 7, 7), (2, 3, 3)) == Cost(2 * 9 * 9, 0)
    assert cost(nn.AdaptiveMaxPool2d(1), (2, 7, 5), (2, 1, 1)) == Cost(2 * 35, 0)


# Rows and totals


class Shared(nn.Module):
    """One layer called twice, one with children and a parameter of its own, one that returns a tuple."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(2, 2, 3, padding=1)
        self.scaled = Scaled()
        self.pool = nn.MaxPool2d(2, return_indices=True)

    def forward(self, x):
        x = self.twice(self.twice(x))
        return self.pool(self.scaled(x))[0]


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(np.ones((2, 1, 1), "float32"))
        self.inner = nn.Sequential(nn.ReLU())

    def forward(self, x):
        return self.inner(x) * self.scale


def test_every_call_is_a_row_and_every_parameter_counts_once():
    found = summary(Shared(), (2, 6, 6))
    assert [(row.name, row.parameters) for row in found.rows] == [
        ("twice", 38),
        ("twice", 0),
        ("scaled.inner.0", 0),
        ("scaled", 2),
        ("pool", 0),
    ]
    assert found.parameters == 40
    assert found.rows[0].connections == found.rows[1].connections == 36 * 38
    assert found.rows[-1].output_shape == (2, 3, 3)
    assert found.rows[-1].receptive_field == (6, 6)


def test_a_layer_of_ones_own_is_counted_by_its_method():
    class Costly(nn.ReLU):
        def layer_cost(self, input_shape, output_shape):
            return sum(input_shape), sum(output_shape)

    row = summary(nn.Sequential(Costly()), (2, 3, 4)).rows[0]
    assert (row.connections, row.macs) == (9, 9)


def test_json_text_and_table_tell_the_same():
    found = summary(models.lenet5("paper"))
    read = json.loads(json.dumps(found.as_dict()))
    assert (read["model"], read["input_shape"]) == ("LeNet5Paper", [1, 32, 32])
    assert (read["parameters"], read["connections"]) == (60_000, 340_908)
    assert read["rows"][4] == {
        "name": "c3",
        "kind": "TableConv2d",
        "output_shape": [16, 10, 10],
        "parameters": 1_516,
        "connections": 151_600,
        "macs": 150_000,
        "receptive_field": [14, 14],
        "jump": [2, 2],
    }
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(found.table())
    shown = console.export_text()
    for text in (str(found), shown):
        for part in ("LeNet5Paper", "16×10×10", "151,600", "14×14", "340,908", "total"):
            assert part in text
    assert found.table().row_count == len(found.rows) == len(str(found).splitlines()) - 3


def test_vectors_have_no_receptive_field():
    row = summary(nn.Linear(5, 2), (5,)).rows[0]
    assert (row.output_shape, row.macs, row.receptive_field) == ((2,), 10, None)


# Manners


def battery() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())


def test_the_model_is_left_as_it_was():
    manual_seed(3)
    model = battery()
    model[1].eval()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    generator = repr(random.default_generator().bit_generator.state)
    summary(model, (1, 6, 6))
    assert [m.training for m in model.modules()] == modes == [True, True, False, True, True, True]
    assert repr(random.default_generator().bit_generator.state) == generator
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_failed_run_leaves_the_model_as_it_was():
    model = battery()
    with pytest.raises(ValueError, match="conv2d: input has 3 channels"):
        summary(model, (3, 6, 6))
    assert all(m.training and not m._forward_hooks for m in model.modules())


def test_nothing_of_the_graph_is_kept():
    def functions() -> int:
        return sum(isinstance(o, Function) for o in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before, found = functions(), summary(models.lenet5("paper"))
        assert functions() == before
        assert found.rows
    finally:
        gc.enable()


def test_the_models_dtype_is_used():
    assert summary(battery().to("float64"), (1, 6, 6)).parameters == 20 + 4


def test_the_input_shape_must_be_known_and_sensible():
    with pytest.raises(ValueError, match="summary: Sequential states no input_shape; pass one as"):
        summary(battery())
    for shape in ((1, 0, 6), (1, -6, 6), (), (1, 2.5, 6), ("a",)):
        with pytest.raises(ValueError, match="summary: input_shape must be positive ints"):
            summary(battery(), shape)
    assert summary(models.lenet5(), (1, 32, 32)) == summary(models.lenet5())
