"""Layers made part of others: the same output, or gradients, and only where it may be done."""

import copy

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, nn, no_grad
from minicnn import functional as F


def lived_in(model: nn.Module, rng: np.random.Generator) -> nn.Module:
    """Give every normalisation statistics and parameters as far from 0 and 1 as training ever takes them."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            n = module.num_features
            if module.running_mean is not None:
                module.running_mean.data[...] = rng.normal(size=n)
                module.running_var.data[...] = rng.uniform(0.01, 9, n)
            if module.weight is not None:
                module.weight.data[...] = rng.normal(size=n)
                module.bias.data[...] = rng.normal(size=n)
    return model


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


class Wired(nn.Module):
    """The normalisations that may not go: after a ReLU, of a sum, of an output used twice, called twice."""

    input_shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)  # used twice
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(4)  # folds
        self.conv3, self.bn3 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)  # the convolution runs twice
        self.bn4 = nn.BatchNorm2d(4)  # after a ReLU

    def forward(self, x):
        raw = self.conv1(x)
        x = F.relu(self.bn1(raw)) + raw
        x = self.bn2(self.conv2(x))
        x = self.bn3(self.conv3(x)) + self.conv3(x)
        return self.bn4(F.relu(x))


def test_only_what_may_be_folded_is():
    rng = np.random.default_rng(0)
    model = lived_in(Wired(), rng)
    fused = nn.fuse(model)
    assert isinstance(fused.bn2, nn.Identity)
    assert norms(fused) == 3
    x = Tensor(rng.normal(size=(2, 3, 8, 8)).astype(np.float32))
    with no_grad():
        np.testing.assert_allclose(fused(x).data, model.eval()(x).data, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_the_output_stays(bias, affine):
    rng = np.random.default_rng(1)
    layers = nn.Conv2d(3, 6, 3, stride=2, bias=bias), nn.BatchNorm2d(6, eps=0.5, affine=affine), nn.ReLU()
    model = lived_in(nn.Sequential(*layers), rng).to(np.float64)
    with no_grad():
        fused = nn.fuse(model, (3, 9, 9))
        x = Tensor(rng.normal(size=(2, 3, 9, 9)))
        assert norms(fused) == 0
        np.testing.assert_allclose(fused(x).data, model.eval()(x).data, rtol=1e-12, atol=1e-12)


def test_the_model_is_left_as_it_is():
    rng = np.random.default_rng(2)
    model = lived_in(Wired(), rng).train()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    nn.fuse(model)
    assert model.training
    assert norms(model) == 4
    after = model.state_dict()
    assert list(before) == list(after)
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])


def test_hooks_neither_run_nor_come_along():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
    means = []
    for layer in model:
        layer.register_forward_hook(lambda module, args, output: means.append(output.numpy().mean()))
        layer.register_forward_pre_hook(lambda module, args: means.append(args[0].numpy().mean()))
    x = Tensor(np.ones((1, 3, 9, 9), np.float32))
    nn.fuse(model, (3, 9, 9))(x)
    assert means == []
    model(x)
    assert len(means) == 6


def test_what_is_not_learned_stays_so():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6))
    model[0].weight.requires_grad = False
    fused = nn.fuse(model, (3, 9, 9))
    assert [p.requires_grad for p in fused.parameters()] == [False, False, True, True]


def test_statistics_of_the_batch_cannot_be_folded():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, track_running_stats=False))
    assert norms(nn.fuse(model, (3, 9, 9))) == 1


def test_kernels_stay_in_channels_last_memory():
    fused = nn.fuse(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)), (3, 9, 9))
    assert fused[0].weight.data.transpose(0, 2, 3, 1).flags.c_contiguous


def test_the_size_of_the_input_must_be_known():
    with pytest.raises(ValueError, match="states no input_shape"):
        nn.fuse(nn.Sequential(nn.Conv2d(3, 6, 3)))


# For training


class Branches(nn.Module):
    """Every ReLU layer that can be joined, and those that may not be: their input is used twice, or they are."""

    input_shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ReLU()
        self.bn3, self.relu3 = (
            nn.BatchNorm2d(4, momentum=None),
            nn.ReLU(),
        )  # of a sum, an average of all batches
        self.bn4, self.relu4 = nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()  # used twice
        self.bn5, self.relu5 = nn.BatchNorm2d(4, affine=False), nn.ReLU()  # the ReLU runs twice
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.bn6, self.relu6 = nn.BatchNorm2d(4), nn.ReLU()  # one value an image

    def forward(self, x):
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu3(self.bn3(x + self.relu2(self.conv2(x))))
        x = self.bn4(x)
        x = self.relu5(self.bn5(self.relu4(x) + x))
        return self.relu6(self.bn6(self.pool(self.relu5(x))))


def trained(model, steps=2):
    """Return outputs, gradients and buffers of a few steps, each made by its own gradients."""
    rng, found = np.random.default_rng(4), []
    for _ in range(steps):
        x = Tensor(rng.normal(size=(5, 3, 8, 8)), requires_grad=True)
        y = model(x)
        model.zero_grad()
        y.backward(rng.normal(size=y.shape))
        found += [y.data, x.grad, *(p.grad.copy() for p in model.parameters())]
        for parameter in model.parameters():
            parameter.data -= 0.1 * parameter.grad
    return found + [buffer.data.copy() for buffer in model.buffers()]


def test_training_gives_the_same_after_relus_have_been_joined():
    model = lived_in(Branches(), np.random.default_rng(3)).to(np.float64)
    fused = nn.fuse(copy.deepcopy(model), training=True)
    assert fused.training
    joined = {name for name, layer in fused.named_modules() if getattr(layer, "relu", False) is True}
    assert joined == {"conv2", "bn1", "bn3", "bn6"}
    gone = {name for name, layer in fused.named_modules() if isinstance(layer, nn.Identity)}
    assert gone == {"relu1", "relu2", "relu3", "relu6"}
    for together, apart in zip(trained(fused), trained(model.train()), strict=True):
        np.testing.assert_allclose(together, apart, rtol=1e-9, atol=1e-9)


def test_a_copy_for_training_shares_what_is_learned_and_counted():
    model = lived_in(Branches(), np.random.default_rng(5)).eval()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    fused = nn.fuse(model, training=True)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(before[name], array)
    assert [*map(id, model.parameters())] == [*map(id, fused.parameters())]
    assert [*map(id, model.buffers())] == [*map(id, fused.buffers())]
    assert list(model.state_dict()) == list(fused.state_dict())
    assert not model.training
    assert not any(getattr(layer, "relu", False) is True for layer in model.modules())
    fused(np.ones((2, 3, 8, 8), np.float32))
    assert int(model.bn1.num_batches_tracked) == 1


def test_what_is_joined_for_training_can_be_folded_for_inference():
    rng = np.random.default_rng(6)
    model = lived_in(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU()), rng)
    fused = nn.fuse(nn.fuse(model, (3, 9, 9), training=True), (3, 9, 9))
    x = Tensor(rng.normal(size=(2, 3, 9, 9)).astype(np.float32))
    assert norms(fused) == 0
    assert fused[0].relu
    with no_grad():
        np.testing.assert_allclose(fused(x).data, model.eval()(x).data, rtol=1e-4, atol=1e-4)


def test_a_relu_is_joined_to_a_normalisation_that_no_convolution_comes_before():
    fused = nn.fuse(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), (3, 4, 4))
    assert fused[0].relu
    assert repr(fused[0]).endswith("relu=True)")
    assert fused(-np.ones((1, 3, 4, 4), np.float32)).data.max() == 0


def test_a_normalisation_after_a_relu_is_not_folded():
    """One that is part of the convolution already."""
    model = nn.fuse(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.BatchNorm2d(6)), (3, 9, 9))
    assert norms(nn.fuse(model, (3, 9, 9))) == 1


def test_a_graph_is_recorded_inside_no_grad_on_demand():
    x = minicnn.tensor([1.0], requires_grad=True)
    with no_grad():
        with minicnn.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
