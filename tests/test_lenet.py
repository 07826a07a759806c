"""LeNet-5: the paper's numbers, its layers against their definitions, its loss; every variant learns."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from minicnn import Tensor, manual_seed, models, nn, no_grad, optim, tensor
from minicnn import functional as F
from minicnn.models.lenet import TABLE_I, LeNet5Paper
from minicnn.models.lenet_layers import DIGITS, RBF, ScaledTanh, Subsampling, TableConv2d, rbf_loss
from minicnn.study import summary
from minicnn.testing import gradcheck

VARIANTS = ("modern", "paper", "d2l")


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(1998)


def images(model, n: int, dtype: str = "float32") -> Tensor:
    rng = np.random.default_rng(5)
    return Tensor(rng.normal(size=(n, *model.input_shape)).astype(dtype))


def digit_pictures(model) -> Tensor:
    """Return the ten bitmaps, twice as large, as images for this model."""
    height, width = model.input_shape[1:]
    pixels = np.zeros((10, 1, height, width))
    ink = np.array([[[dot == "#" for dot in row] for row in glyph] for glyph in DIGITS])
    pixels[:, 0, 2:26, 7:21] = ink.repeat(2, 1).repeat(2, 2)
    return Tensor(((pixels - model.mean[0]) / model.std[0]).astype("float32"))


# The counts of section II.B and of Figure 2


def test_the_papers_counts_layer_by_layer():
    rows = {row.name: row for row in summary(models.lenet5("paper")).rows}
    counts = {name: (row.parameters, row.connections) for name, row in rows.items() if name != "squash"}
    assert counts == {
        "c1": (156, 122_304),
        "s2": (12, 5_880),
        "c3": (1_516, 151_600),
        "s4": (32, 2_000),
        "c5": (48_120, 48_120),
        "f6": (10_164, 10_164),
        "output": (0, 840),
    }
    assert [rows[name].receptive_field for name in ("c1", "s2", "c3", "s4", "c5", "f6")] == [
        (5, 5), (6, 6), (14, 14), (16, 16), (32, 32), (32, 32),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variant", "parameters", "connections", "macs"),
    [
        ("paper", 60_000, 340_908, 117_600 + 150_000 + 48_000 + 10_080),
        ("modern", 61_706, None, 416_520),
        ("d2l", 61_706, None, 416_520),
    ],
)
def test_totals(variant, parameters, connections, macs):
    found = summary(models.lenet5(variant))
    assert (found.parameters, found.macs) == (parameters, macs)
    assert found.parameters == sum(row.parameters for row in found.rows)
    assert connections in (None, found.connections)


@pytest.mark.parametrize("variant", VARIANTS)
def test_maps_have_the_sizes_of_figure_2(variant):
    shapes = {row.name: row.output_shape for row in summary(models.lenet5(variant)).rows}
    assert shapes["c1"] == (6, 28, 28)
    assert shapes["s2"] == (6, 14, 14)
    assert shapes["c3"] == (16, 10, 10)
    assert shapes["s4"] == (16, 5, 5)
    assert [np.prod(shapes[name]) for name in ("c5", "f6", "output")] == [120, 84, 10]


@pytest.mark.parametrize(
    ("variant", "conv3", "pool", "squash", "flatten"),
    [
        ("modern", "Conv2d", "MaxPool2d", "ReLU", True),
        ("d2l", "Conv2d", "AvgPool2d", "Sigmoid", True),
        ("paper", "TableConv2d", "Subsampling", "ScaledTanh", False),
    ],
)
def test_layers_follow_in_order(variant, conv3, pool, squash, flatten):
    pooled = [pool, squash] if variant == "paper" else [pool]  # the paper squashes after subsampling, too
    dense = ["Flatten", "Linear"] if flatten else ["Conv2d"]
    output = "RBF" if variant == "paper" else "Linear"
    expected = ["Conv2d", squash, *pooled, conv3, squash, *pooled, *dense, squash, "Linear", squash, output]
    assert [row.kind for row in summary(models.lenet5(variant)).rows] == expected


# The paper's layers against their definitions


def test_table_1_is_the_papers():
    assert sum(map(len, TABLE_I)) == 60
    assert [sum(c in inputs for inputs in TABLE_I) for c in range(6)] == [10] * 6  # ten crosses in every row
    contiguous = [{(k + i) % 6 for i in range(n)} for n in (3, 4) for k in range(6)]
    assert [set(inputs) for inputs in TABLE_I[:12]] == contiguous
    assert set(TABLE_I[15]) == set(range(6))
    assert len({frozenset(inputs) for inputs in TABLE_I}) == 16


def test_c3_sums_the_convolutions_of_its_links():
    layer = TableConv2d(6, TABLE_I, 5).to("float64")
    x = np.random.default_rng(0).normal(size=(2, 6, 9, 8))
    y = layer(Tensor(x)).numpy()
    expected = np.zeros((2, 16, 5, 4))
    link = 0
    for k, inputs in enumerate(TABLE_I):
        expected[:, k] += layer.bias.data[k]
        for c in inputs:
            for p, q in product(range(5), range(4)):
                expected[:, k, p, q] += (x[:, c, p : p + 5, q : q + 5] * layer.weight.data[link]).sum((1, 2))
            link += 1
    np.testing.assert_allclose(y, expected, atol=1e-12)


def test_c3_has_no_weight_where_there_is_no_link():
    layer = TableConv2d(6, TABLE_I, 5)
    used = [[c in inputs for c in range(6)] for inputs in TABLE_I]
    np.testing.assert_array_equal((layer.kernels().numpy() != 0).all((2, 3)), used)
    assert "_places" not in layer.state_dict()


def test_a_table_must_name_maps_that_exist():
    with pytest.raises(ValueError, match="TableConv2d: map 1 looks at input map 3 of 3"):
        TableConv2d(3, [(0, 1), (2, 3)], 5)


def test_subsampling_adds_scales_and_shifts():
    layer = Subsampling(3)
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 4)).astype("float32")
    expected = np.empty((2, 3, 3, 2))
    for c, p, q in product(range(3), range(3), range(2)):
        block = x[:, c, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2]
        expected[:, c, p, q] = block.sum((1, 2)) * layer.coefficient.data[c] + layer.bias.data[c]
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_squashing_function_keeps_plus_and_minus_one():
    y = ScaledTanh()(tensor([-100.0, -1.0, 0.0, 1.0, 100.0])).numpy()
    np.testing.assert_allclose(y, [-1.7159, -1, 0, 1, 1.7159], atol=1e-4)


def test_rbf_units_are_squared_distances():
    layer = RBF(DIGITS)
    x = np.random.default_rng(0).normal(size=(3, 84)).astype("float32")
    expected = [[sum((x[n] - centre) ** 2) for centre in layer.centres.data] for n in range(3)]
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("bitmaps", [(), (("##", ".."), ("##",)), (("#x",),)])
def test_bitmaps_must_be_pictures_of_one_size(bitmaps):
    with pytest.raises(ValueError, match="RBF: bitmaps must be pictures of one size"):
        RBF(bitmaps)


def test_the_bitmaps():
    assert np.array([[list(row) for row in glyph] for glyph in DIGITS]).shape == (10, 12, 7)
    assert ["".join(glyph).count("#") for glyph in DIGITS] == [35, 27, 33, 32, 41, 35, 39, 25, 43, 39]
    assert [d for d in range(10) if DIGITS[d][:2] == (".#####.", ".......")] == [0, 2, 4, 5]
    codes = RBF(DIGITS).centres.numpy()
    dots = {(a, b): int((codes[a] != codes[b]).sum()) for a, b in combinations(range(10), 2)}
    closest = min(dots, key=dots.__getitem__)
    assert closest == (6, 8)
    assert dots[closest] == LeNet5Paper().j == 12  # as the docstring argues
    middle = tensor(codes[list(closest)].mean(0, keepdims=True))
    assert sorted(RBF(DIGITS)(middle).numpy()[0])[:2] == [12, 12]


def test_first_weights_are_uniform_in_24_over_the_fan_in():
    model = LeNet5Paper()
    drawn = [(p.data, 25) for p in model.c1.parameters()]
    drawn += [(p.data, 4) for layer in (model.s2, model.s4) for p in layer.parameters()]
    drawn += [(p.data, 400) for p in model.c5.parameters()] + [(p.data, 120) for p in model.f6.parameters()]
    start = 0
    for inputs in TABLE_I:
        drawn.append((model.c3.weight.data[start : start + len(inputs)], 25 * len(inputs)))
        start += len(inputs)
    for values, fan_in in drawn:
        assert abs(values).max() <= 2.4 / fan_in
        assert abs(values).max() > 0.6 * 2.4 / fan_in
        assert values.size < 50 or abs(values.std() * fan_in / 2.4 - 3**-0.5) < 0.15
    for k, inputs in enumerate(TABLE_I):
        assert abs(model.c3.bias.data[k]) <= 2.4 / (25 * len(inputs))


def test_first_weights_of_d2l_are_xavier_uniform():
    model = models.lenet5("d2l")
    for layer, fans in ((model.c1, 25 + 150), (model.c3, 150 + 400), (model.c5, 520), (model.f6, 204)):
        assert 0.9 < abs(layer.weight.data).max() / (6 / fans) ** 0.5 <= 1


# The paper's loss


def naive_loss(y, target, j):
    return np.mean([y[n, d] + np.log(np.exp(-j) + np.exp(-y[n]).sum()) for n, d in enumerate(target)])


def test_the_loss_is_eq_9():
    y, target = np.random.default_rng(0).uniform(0, 8, (5, 4)), np.array([0, 3, 1, 1, 2])
    for j in (0.1, 2.0, 50.0):
        loss = rbf_loss(Tensor(y), Tensor(target), j).item()
        assert loss == pytest.approx(naive_loss(y, target, j), rel=1e-12)
    assert rbf_loss(Tensor(y), Tensor(target), None).item() == pytest.approx(y[range(5), target].mean())
    endless = rbf_loss(Tensor(y), Tensor(target), float("inf")).item()
    assert endless == pytest.approx(F.cross_entropy(Tensor(-y), Tensor(target)).item())


@pytest.mark.parametrize("j", [12.0, 3.0, None])
def test_the_model_takes_its_own_j(j):
    model, y, target = models.lenet5("paper", j=j), Tensor(np.array([[1.0, 5.0]])), tensor([1])
    assert model.loss(y, target).item() == rbf_loss(y, target, j).item()


@pytest.mark.parametrize("j", [12.0, None])
def test_gradient_of_the_loss(j):
    y, target = np.random.default_rng(0).uniform(0, 20, (3, 4)), Tensor(np.array([0, 3, 1]))
    gradcheck(lambda y: rbf_loss(y, target, j), y)


def test_the_loss_survives_large_penalties():
    y = Tensor(np.array([[0.0, 3e4], [2e4, 1e4]], dtype="float32"), requires_grad=True)
    loss = rbf_loss(y, tensor([1, 0]), 12.0)
    loss.backward()
    assert loss.item() == pytest.approx((3e4 + 2e4 - 12) / 2, rel=1e-6)
    assert np.isfinite(y.grad).all()


def test_a_class_far_off_is_not_pushed_away_and_a_near_one_is():
    y = Tensor(np.array([[1.0, 5.0, 90.0]]), requires_grad=True)
    rbf_loss(y, tensor([0]), 12.0).backward()
    assert y.grad[0, 1] < -1e-2  # descent makes it larger
    assert abs(y.grad[0, 2]) < 1e-9


@pytest.mark.parametrize("label", [-1, 10])
def test_the_rubbish_class_is_no_label(label):
    model = models.lenet5("paper")
    with pytest.raises(ValueError, match=r"nll_loss: .*\[0, 9\]"):
        model.loss(model(images(model, 1)), tensor([label]))


# What every classifier offers


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_are_one_a_class(variant):
    model = models.lenet5(variant)
    scores = model.scores(model(images(model, 3)))
    assert scores.shape == (3, 10)
    np.testing.assert_allclose(F.softmax(scores, 1).numpy().sum(1), 1, rtol=1e-5)


def test_the_smallest_penalty_scores_highest():
    model = models.lenet5("paper")
    penalties = model.output(model.output.centres)
    np.testing.assert_array_equal(np.diag(penalties.numpy()), 0)
    np.testing.assert_array_equal(model.scores(penalties).numpy().argmax(1), range(10))


def test_input_levels():
    model = models.lenet5("paper")
    levels = (np.array([0.0, 1.0]) - model.mean[0]) / model.std[0]
    np.testing.assert_allclose(levels, [-0.1, 1.175])


def test_the_loss_is_cross_entropy_unless_a_model_says_otherwise():
    model, target = models.lenet5(), tensor([3, 1])
    output = model(images(model, 2))
    assert model.loss(output, target).item() == F.cross_entropy(output, target).item()


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_learns_ten_pictures(variant):
    model = models.lenet5(variant)
    x, target = digit_pictures(model), Tensor(np.arange(10))
    optimizer = optim.Adam(model.parameters(), lr=0.005)
    losses, right = [], 0
    while right < 10 and len(losses) < 200:
        optimizer.zero_grad()
        output = model(x)
        loss = model.loss(output, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        right = (model.scores(output).numpy().argmax(1) == np.arange(10)).sum()
    assert right == 10
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_the_whole_network(variant):
    model = models.lenet5(variant).to("float64")
    target = tensor([7, 2])
    gradcheck(
        lambda x: model.loss(model(x), target),
        images(model, 2, "float64").data,
        parameters=dict(model.named_parameters()),
        directions=1,
        coordinates=2,
        elements=2,
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_state_travels(variant):
    first, second = models.lenet5(variant), models.lenet5(variant)
    x = images(first, 2)
    with no_grad():
        assert not np.array_equal(first(x).numpy(), second(x).numpy())
        second.load_state_dict(first.state_dict())
        np.testing.assert_array_equal(first(x).numpy(), second(x).numpy())


def test_float64_all_through():
    for variant in VARIANTS:
        model = models.lenet5(variant).to("float64")
        assert model(images(model, 1, "float64")).dtype == "float64"


# Building one


def test_the_same_seed_draws_the_same_weights():
    for variant in VARIANTS:
        states = []
        for _ in range(2):
            manual_seed(7)
            states.append(models.lenet5(variant).state_dict())
        for name, array in states[0].items():
            np.testing.assert_array_equal(array, states[1][name])


def test_the_registry():
    assert "lenet5" in models.list_models()
    assert type(models.get_model("lenet5")) is type(models.lenet5("modern"))
    model = models.get_model("lenet5", variant="d2l", num_classes=3)
    assert model(images(model, 1)).shape == (1, 3)
    with pytest.raises(ValueError, match="get_model: there is no model 'lenet'; did you mean 'lenet5'"):
        models.get_model("lenet")
    with pytest.raises(ValueError, match=r"get_model: there is no model 'qqq'; there are .*lenet5"):
        models.get_model("qqq")


def test_an_unknown_variant_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"lenet5: variant must be .*, got 'modrn'; did you mean 'modern'"):
        models.lenet5("modrn")


def test_the_activation_can_be_chosen():
    model = models.lenet5(activation=nn.Tanh)
    assert [row.kind for row in summary(model).rows if row.name == "squash"] == ["Tanh"] * 4
    linear = models.lenet5(activation=nn.Identity)
    assert (linear(images(linear, 1)).numpy() != models.lenet5()(images(linear, 1)).numpy()).any()


def test_the_paper_needs_a_bitmap_a_class():
    with pytest.raises(ValueError, match=r"lenet5: .*one bitmap a class, got 10 bitmaps for num_classes=2"):
        models.lenet5("paper", num_classes=2)
    model = models.lenet5("paper", num_classes=2, bitmaps=[("#.#", ".#."), ("...", "###")])
    assert model(images(model, 3)).shape == (3, 2)
    assert model.f6.weight.shape == (6, 120)


@pytest.mark.parametrize("j", [0.0, -1.0, float("nan")])
def test_j_must_be_positive(j):
    with pytest.raises(ValueError, match="lenet5: j must be positive"):
        models.lenet5("paper", j=j)
