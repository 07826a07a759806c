"""The networks against torchvision's, where it is installed: names, logits, auxiliary heads, gradients.

The weights go from one to the other with no renaming, so every key, its shape, its dtype and its place in the order
must be the same.
"""

import numpy as np
import pytest

import minicnn
from minicnn import models, no_grad

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

FAMILY = {"googlenet", "inception_v3"}  # with auxiliary heads, and pictures from -1 to 1
NAMES = [
    "alexnet",
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *sorted(FAMILY),
]


def theirs(name):
    """Return torchvision's network with weights, and statistics, that make a difference."""
    options = {"init_weights": False, "transform_input": True, "aux_logits": True} if name in FAMILY else {}
    net = getattr(torchvision.models, name)(weights=None, **options)
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, generator=generator)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return net


def pair(name):
    net = theirs(name)
    ours = models.get_model(name, **({"transform_input": True} if name in FAMILY else {}))
    for module in ours.modules():
        if isinstance(module, minicnn.nn.Dropout):
            module.p = 0.0
    ours.load_state_dict({key: value.numpy() for key, value in net.state_dict().items()})
    return ours, net


def close(found, expected, rtol):
    """Demand agreement relative to the largest; a bias before a normalisation has rounding for a gradient."""
    expected = expected.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * np.abs(expected).max() + 1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_names_shapes_dtypes_and_their_order(name):
    with minicnn.device("meta"):
        ours = models.get_model(name).state_dict()
    with torch.device("meta"):
        options = {"init_weights": False} if name in FAMILY else {}
        state = getattr(torchvision.models, name)(weights=None, **options).state_dict()
    described = [(key, tuple(t.shape), str(t.dtype).removeprefix("torch.")) for key, t in state.items()]
    assert [(key, a.shape, str(a.dtype)) for key, a in ours.items()] == described


@pytest.mark.parametrize("name", NAMES)
def test_logits(name):
    ours, net = pair(name)
    x = np.random.default_rng(0).normal(size=(2, *ours.input_shape)).astype(np.float32)
    with no_grad(), torch.no_grad():
        close(ours.eval()(minicnn.tensor(x)).data, net.eval()(torch.from_numpy(x)), rtol=1e-5)


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "resnet18", "resnet50", "googlenet", "inception_v3"])
def test_a_training_step(name):
    ours, net = pair(name)
    ours.to(np.float64).train()
    net.double().train()
    x = np.random.default_rng(0).normal(size=(2, *ours.input_shape))
    labels = np.array([3, 700])
    output, expected = ours(minicnn.tensor(x)), net(torch.from_numpy(x))
    if name in FAMILY:
        order = (0, 2, 1) if name == "googlenet" else (0, 1)  # torchvision names the second head first
        for i, j in enumerate(order):
            close(output[i].data, expected[j], rtol=1e-8)
        output, expected = output[0], expected[0]
    minicnn.functional.cross_entropy(output, minicnn.tensor(labels)).backward()
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels)).backward()
    grads = {key: parameter.grad for key, parameter in ours.named_parameters()}
    for key, parameter in net.named_parameters():
        if parameter.grad is None:  # the heads took no part
            assert grads[key] is None
        else:
            close(grads[key], parameter.grad, rtol=1e-6)
    for key, buffer in net.named_buffers():  # the running statistics have moved alike
        close(dict(ours.named_buffers())[key].data, buffer, rtol=1e-8)
