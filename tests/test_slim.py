"""Narrow networks: every width divided, the classes kept, the rest following, and refusals where that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from minicnn import Tensor, manual_seed, models, nn
from minicnn import functional as F
from minicnn.testing import slim


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(0)


class Branches(nn.Module):
    """A stem, two branches joined, a sum with a shortcut, groups, an auxiliary head: what networks are made of."""

    input_shape = (3, 8, 8)

    def __init__(self, left: int = 16, right: int = 48, groups: int = 2):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.left = nn.Conv2d(32, left, 1)
        self.right = nn.Conv2d(32, right, 3, padding=1, groups=groups)
        self.shortcut = nn.Conv2d(32, left + right, 1)
        self.aux = nn.Conv2d(left + right, 7, 8)
        self.dense = nn.Linear((left + right) * 16, 80)
        self.fc = nn.Linear(80, 7)

    def forward(self, x):
        x = nn.ReLU()(self.norm(self.stem(x)))
        x = F.cat([self.left(x), self.right(x)], 1) + self.shortcut(x)
        aux = self.aux(x).flatten(1)
        x = self.dense(nn.MaxPool2d(2)(x).flatten(1))
        return self.fc(nn.ReLU()(x)), aux


def widths(model):
    return {
        name: (m.in_channels, m.out_channels) if isinstance(m, nn.Conv2d) else (m.in_features, m.out_features)
        for name, m in model.named_children()
        if not isinstance(m, nn.BatchNorm2d)
    }


def run(model, n=2):
    x = np.random.default_rng(0).normal(size=(n, *model.input_shape)).astype(next(model.parameters()).dtype)
    return model(Tensor(x))


def test_widths_are_divided_and_inputs_follow():
    model = slim(Branches(), 8)
    assert widths(model) == {
        "stem": (3, 4),
        "left": (4, 2),
        "right": (4, 6),
        "shortcut": (4, 8),
        "aux": (8, 7),
        "dense": (8 * 16, 10),
        "fc": (10, 7),
    }
    assert model.norm.num_features == 4
    shapes = {name: array.shape for name, array in model.state_dict().items()}
    assert shapes["right.weight"] == (6, 2, 3, 3)
    assert shapes["right.bias"] == (6,)
    assert shapes["norm.running_var"] == shapes["norm.weight"] == (4,)
    assert shapes["norm.num_batches_tracked"] == ()
    assert "stem.bias" not in shapes
    assert [y.shape for y in run(model)] == [(2, 7), (2, 7)]


def test_a_divisor_of_one_keeps_every_shape():
    shapes = {name: array.shape for name, array in Branches().state_dict().items()}
    assert {name: array.shape for name, array in slim(Branches(), 1).state_dict().items()} == shapes


class Chain(nn.Sequential):
    input_shape = (4, 4, 4)


def test_every_layer_keeps_a_channel_and_its_groups():
    model = Chain(nn.Conv2d(4, 12, 1, groups=4), nn.Conv2d(12, 6, 1), nn.Conv2d(6, 5, 1))
    assert widths(slim(model, 8)) == {"0": (4, 4), "1": (4, 1), "2": (1, 5)}


def test_classes_may_be_asked_for_and_all_heads_get_them():
    model = slim(Branches(), 4, num_classes=3)
    assert [y.shape for y in run(model)] == [(2, 3), (2, 3)]


def test_the_head_is_what_comes_last_not_what_has_as_many_outputs_as_classes():
    model = Chain(
        nn.Conv2d(4, 12, 1), nn.ReLU(), nn.Conv2d(12, 12, 4), nn.BatchNorm2d(12), nn.ReLU(), nn.Flatten()
    )
    slim(model, 4)
    assert (model[0].out_channels, model[2].out_channels, model[3].num_features) == (3, 12, 12)


def test_parameters_are_drawn_anew_and_neither_0_nor_1():
    model = slim(Branches(), 2, dtype="float64")
    for name, parameter in model.named_parameters():
        assert parameter.dtype == np.float64, name
        assert parameter.requires_grad, name
        assert np.isfinite(parameter.data).all(), name
        assert len(np.unique(parameter.data)) == parameter.size, name
    assert 0.5 < model.norm.weight.data.mean() < 1.5
    np.testing.assert_array_equal(model.norm.running_mean.data, 0)
    np.testing.assert_array_equal(model.norm.running_var.data, 1)
    assert model.norm.num_batches_tracked.item() == 0
    assert model.dense.weight.data.std() == pytest.approx((2 / model.dense.in_features) ** 0.5, rel=0.1)


def test_a_generator_decides_the_weights():
    one, same, other = (
        slim(Branches(), 8, generator=np.random.default_rng(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert all((one[name] == same[name]).all() for name in one)
    assert (one["fc.weight"] != other["fc.weight"]).any()


def test_the_hooks_are_gone_and_the_mode_is_training():
    model = slim(Branches().eval(), 8)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert all(m.training for m in model.modules())
    run(model, n=3)
    assert model.norm.num_batches_tracked.item() == 1


def test_the_config_of_the_wide_network_is_dropped():
    assert slim(models.lenet5(), 2).config == {}
    assert models.lenet5().config["model"] == "lenet5"


def test_a_layer_called_twice_is_narrowed_once():
    class Twice(nn.Module):
        input_shape = (4, 3, 3)

        def __init__(self):
            super().__init__()
            self.same, self.fc = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(36, 2)

        def forward(self, x):
            return self.fc(self.same(self.same(x)).flatten(1))

    assert widths(slim(Twice(), 1)) == {"same": (4, 4), "fc": (36, 2)}
    with pytest.raises(ValueError, match="conv2d: input has 2 channels, weight expects 4"):
        slim(Twice(), 2)


@pytest.mark.parametrize(
    ("model", "divisor", "message"),
    [
        (models.lenet5("paper"), 2, r"slim: only Conv2d, Linear and BatchNorm2d .* a Subsampling \(s2\)"),
        (
            Branches(groups=16),
            4,
            "slim: what reaches right must be divisible by its groups=16, .* 8 channels",
        ),
        (Branches(left=20, right=44), 8, "add: .*"),  # 20/8 + 44/8 is 7, 64/8 is 8
        (models.lenet5(), 0, "slim: divisor must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_narrowed_is_refused(model, divisor, message):
    with pytest.raises(ValueError, match=message):
        slim(model, divisor)


def test_a_layer_that_is_never_called_is_refused():
    model = Branches()
    model.forgotten = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match="slim: Branches never calls forgotten"):
        slim(model, 2)
