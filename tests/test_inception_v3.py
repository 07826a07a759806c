"""Inception v3: Table 1, torchvision's names and arithmetic, the auxiliary classifier, smoothed labels; it learns."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, manual_seed, models, nn, no_grad, optim, tensor
from minicnn.backend import meta
from minicnn.models.classifier import IMAGENET_MEAN, IMAGENET_STD
from minicnn.models.inception_v3 import InceptionV3Output
from minicnn.study import summary
from minicnn.testing import gradcheck, slim

OUTPUTS = {  # Table 1, where it agrees with the weights, and what these have in between
    "Conv2d_1a_3x3": (32, 149, 149),
    "Conv2d_2a_3x3": (32, 147, 147),
    "Conv2d_2b_3x3": (64, 147, 147),
    "maxpool1": (64, 73, 73),
    "Conv2d_3b_1x1": (80, 73, 73),
    "Conv2d_4a_3x3": (192, 71, 71),
    "maxpool2": (192, 35, 35),
    "Mixed_5b": (256, 35, 35),
    "Mixed_5c": (288, 35, 35),
    "Mixed_5d": (288, 35, 35),
    "Mixed_6a": (768, 17, 17),
    "Mixed_6b": (768, 17, 17),
    "Mixed_6c": (768, 17, 17),
    "Mixed_6d": (768, 17, 17),
    "Mixed_6e": (768, 17, 17),
    "AuxLogits.pool": (768, 5, 5),
    "AuxLogits.conv0": (128, 5, 5),
    "AuxLogits.conv1": (768, 1, 1),
    "AuxLogits": (1000,),
    "Mixed_7a": (1280, 8, 8),
    "Mixed_7b": (2048, 8, 8),
    "Mixed_7c": (2048, 8, 8),
    "avgpool": (2048, 1, 1),
    "fc": (1000,),
}


def module_a(pool):
    return f"1x1:64:1x1 5x5_1:48:1x1 5x5_2:64:5x5 3x3dbl_1:64:1x1 3x3dbl_2:96:3x3 3x3dbl_3:96:3x3 _pool:{pool}:1x1"


def module_c(c):
    return (
        f"1x1:192:1x1 7x7_1:{c}:1x1 7x7_2:{c}:1x7 7x7_3:192:7x1 7x7dbl_1:{c}:1x1 7x7dbl_2:{c}:7x1 "
        f"7x7dbl_3:{c}:1x7 7x7dbl_4:{c}:7x1 7x7dbl_5:192:1x7 _pool:192:1x1"
    )


MODULE_E = (
    "1x1:320:1x1 3x3_1:384:1x1 3x3_2a:384:1x3 3x3_2b:384:3x1 3x3dbl_1:448:1x1 3x3dbl_2:384:3x3 "
    "3x3dbl_3a:384:1x3 3x3dbl_3b:384:3x1 _pool:192:1x1"
)
BRANCHES = {  # torchvision's names after "branch", with output channels and kernels
    "Mixed_5b": module_a(32),
    "Mixed_5c": module_a(64),
    "Mixed_5d": module_a(64),
    "Mixed_6a": "3x3:384:3x3 3x3dbl_1:64:1x1 3x3dbl_2:96:3x3 3x3dbl_3:96:3x3",
    "Mixed_6b": module_c(128),
    "Mixed_6c": module_c(160),
    "Mixed_6d": module_c(160),
    "Mixed_6e": module_c(192),
    "Mixed_7a": "3x3_1:192:1x1 3x3_2:320:3x3 7x7x3_1:192:1x1 7x7x3_2:192:1x7 7x7x3_3:192:7x1 7x7x3_4:192:3x3",
    "Mixed_7b": MODULE_E,
    "Mixed_7c": MODULE_E,
}
STEM = "1a_3x3:32:3x3 2a_3x3:32:3x3 2b_3x3:64:3x3 3b_1x1:80:1x1 4a_3x3:192:3x3"


@pytest.fixture(autouse=True)
def _seeded():
    manual_seed(2015)


def shape_of(**options):
    """Return the network without memory for its weights."""
    with minicnn.device("meta"):
        return models.inception_v3(**options)


def narrow(divisor: int = 32, dtype: str | None = None, **options):
    return slim(shape_of(**options), divisor, num_classes=5, dtype=dtype)


def images(n: int, size: int = 299, dtype: str = "float32") -> Tensor:
    """Return noise, each image on a colour of its own."""
    rng = np.random.default_rng(5)
    return Tensor((rng.normal(size=(n, 3, size, size)) + 2 * rng.normal(size=(n, 3, 1, 1))).astype(dtype))


def convolutions() -> dict[str, tuple[int, int, int]]:
    """Return the output channels and the kernel of every convolution, in torchvision's order."""
    blocks = {"Conv2d_": STEM, **{f"{name}.branch": branches for name, branches in BRANCHES.items()}}
    order = ["Conv2d_", *(f"{name}.branch" for name in BRANCHES)]
    found = {}
    for prefix in order:
        if prefix == "Mixed_7a.branch":
            found |= {"AuxLogits.conv0": (128, 1, 1), "AuxLogits.conv1": (768, 5, 5)}
        for entry in blocks[prefix].split():
            name, channels, kernel = entry.split(":")
            found[prefix + name] = (int(channels), *map(int, kernel.split("x")))
    return found


# The numbers


@pytest.mark.parametrize(("aux_logits", "parameters"), [(True, 27_161_264), (False, 23_834_568)])
def test_totals(aux_logits, parameters):
    """In evaluation the auxiliary classifier costs nothing."""
    found = summary(shape_of(aux_logits=aux_logits))
    assert (found.parameters, found.macs) == (parameters, 5_713_216_096)


def test_outputs_of_table_1():
    found = {}

    def note(name):
        return lambda module, args, output: found.update({name: output.shape[1:]})

    model = shape_of()
    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(note(name))
    model(Tensor(meta.empty((2, 3, 299, 299), np.float32)))
    assert {name: found[name] for name in OUTPUTS} == OUTPUTS


def test_the_names_are_torchvisions():
    state = {name: array.shape for name, array in shape_of().state_dict().items()}
    expected = []
    for name, (channels, rows, columns) in convolutions().items():
        assert state[f"{name}.conv.weight"][0] == channels
        assert state[f"{name}.conv.weight"][2:] == (rows, columns)
        norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        expected += [f"{name}.conv.weight", *(f"{name}.bn.{key}" for key in norm)]
        assert [state[f"{name}.bn.{key}"] for key in norm] == [(channels,)] * 4 + [()]
        if name == "AuxLogits.conv1":
            expected += ["AuxLogits.fc.weight", "AuxLogits.fc.bias"]
    assert list(state) == [*expected, "fc.weight", "fc.bias"]
    assert len(state) == 580
    assert state["AuxLogits.fc.weight"] == (1000, 768)
    without = shape_of(aux_logits=False).state_dict()
    assert list(without) == [name for name in state if not name.startswith("AuxLogits")]


def test_branches_are_stacked_in_torchvisions_order():
    """In any other order the weights would load as well, and be wrong."""
    a, c = (
        "branch1x1 branch5x5_2 branch3x3dbl_3 branch_pool",
        "branch1x1 branch7x7_3 branch7x7dbl_5 branch_pool",
    )
    e = "branch1x1 branch3x3_2a branch3x3_2b branch3x3dbl_3a branch3x3dbl_3b branch_pool"
    orders = dict(zip(BRANCHES, [a, a, a, "branch3x3 branch3x3dbl_3 pool", c, c, c, c], strict=False))
    orders |= {"Mixed_7a": "branch3x3_2 branch7x7x3_4 pool", "Mixed_7b": e, "Mixed_7c": e}
    model, found = narrow().eval(), {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda _, args, output, name=name: found.update({name: output.numpy()}))
    with no_grad():
        model(images(1, 139))
    for name, order in orders.items():
        branches = [found[f"{name}.{branch}"] for branch in order.split()]
        np.testing.assert_array_equal(found[name], np.concatenate(branches, 1))


def test_normalisation_adds_a_thousandth():
    norms = [module for module in shape_of().modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.1)}


def test_average_pooling_counts_the_padding():
    pools = [m for m in shape_of().modules() if isinstance(m, nn.AvgPool2d) and m.kernel_size == 3]
    assert len(pools) == 3 + 4 + 2
    for pool in pools:
        averages = pool(Tensor(np.ones((1, 1, 4, 4)))).numpy()[0, 0]
        np.testing.assert_allclose(averages[0] * 9, [4, 6, 6, 4])
        np.testing.assert_allclose(averages[1] * 9, [6, 9, 9, 6])


def test_first_weights():
    model = narrow(8)
    model.reset_parameters()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            std = {"AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}.get(name, 0.1)
            assert abs(layer.weight.numpy().std() / std - 1) < 5 / layer.weight.size**0.5, name
    drawn = np.concatenate([p.numpy().ravel() for name, p in model.named_parameters() if "7c.branch" in name])
    drawn = drawn[np.abs(drawn) < 0.45]  # without batch norm's
    assert abs((drawn**4).mean() / 0.1**4 - 3) < 0.1  # normal, not uniform


# The two classifiers


def test_modes():
    model, x = narrow(), images(2)
    output = model(x)
    assert isinstance(output, InceptionV3Output)
    assert (output._fields, output.logits.shape) == (("logits", "aux_logits"), (2, 5))
    assert output.aux_logits.shape == (2, 5)
    assert model.scores(output) is output.logits
    with no_grad():
        assert (model(x).logits.numpy() != model(x).logits.numpy()).any()  # dropout
        model.eval()
        np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())
    scores = model.scores(model(x))
    assert isinstance(scores, Tensor)
    assert scores.shape == (2, 5)
    assert isinstance(narrow(aux_logits=False)(x), Tensor)


def test_half_of_the_features_are_dropped():
    model = shape_of()
    dropped = model.dropout(Tensor(np.ones(10_000)))
    assert abs((dropped.numpy() == 0).mean() - 0.5) < 0.03


def test_the_auxiliary_classifier_is_on_the_last_17x17():
    """What is below it gets a gradient from it; what is above gets none."""
    model = narrow()
    model(images(2)).aux_logits.sum().backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {name.split(".")[0] for name in convolutions() if not name.startswith("Mixed_7")}


def test_loss_of_section_7():
    rng = np.random.default_rng(3)
    logits, aux_logits, labels = rng.normal(size=(4, 7)), rng.normal(size=(4, 7)), [0, 6, 2, 2]

    def cross_entropy(z):
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        q = np.full((4, 7), 0.1 / 7)
        q[range(4), labels] += 0.9
        return -(q * log_p).sum(1).mean()

    model, target = shape_of(), tensor(labels)
    both = model.loss(InceptionV3Output(Tensor(logits), Tensor(aux_logits)), target).item()
    assert both == pytest.approx(cross_entropy(logits) + 0.4 * cross_entropy(aux_logits), rel=1e-12)
    assert model.loss(Tensor(logits), target).item() == pytest.approx(cross_entropy(logits), rel=1e-12)


# What it is fed with


def test_transform_input():
    """Pictures, normalised as either form wants them, become the same: pixels from −1 to 1."""
    plain, transforming = narrow().eval(), narrow(transform_input=True).eval()
    transforming.load_state_dict(plain.state_dict())
    assert (transforming.mean, transforming.std) == (IMAGENET_MEAN, IMAGENET_STD)
    pixels = np.random.default_rng(0).uniform(size=(1, 3, 107, 107))

    def normalised(model):
        mean, std = (np.reshape(v, (3, 1, 1)) for v in (model.mean, model.std))
        return Tensor(((pixels - mean) / std).astype("float32"))

    np.testing.assert_allclose(normalised(plain).numpy(), 2 * pixels - 1, atol=1e-6)
    with no_grad():
        expected = plain(normalised(plain)).numpy()
        np.testing.assert_allclose(
            transforming(normalised(transforming)).numpy(), expected, rtol=1e-4, atol=1e-5
        )
        assert np.abs(plain(normalised(transforming)).numpy() - expected).max() > 0.01


def test_sizes_of_images():
    model = narrow().eval()
    with no_grad():
        for size in ((75, 75), (80, 130)):
            assert model(Tensor(np.zeros((1, 3, *size), dtype="float32"))).shape == (1, 5)
    with pytest.raises(
        ValueError, match=r"InceptionV3: images must be \(N, 3, H, W\), got \(1, 1, 299, 299\)"
    ):
        model(Tensor(np.zeros((1, 1, 299, 299), dtype="float32")))
    with pytest.raises(
        ValueError, match=r"InceptionAux: .* needs a grid of at least 17×17, .*, got 16×17; aux_logits"
    ):
        narrow()(Tensor(np.zeros((2, 3, 298, 299), dtype="float32")))


def test_pictures_are_cut_as_the_weights_expect():
    model = shape_of()
    assert (model.input_shape, model.resize) == ((3, 299, 299), 342)


# What every network does


def test_it_learns():
    model = narrow()
    x, target = images(4), tensor([0, 1, 2, 3])
    optimizer = optim.Adam(model.parameters(), lr=0.003)
    losses = []
    for _ in range(8):
        manual_seed(0)  # the same dropout each time
        optimizer.zero_grad()
        loss = model.loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_gradients_of_the_whole_network():
    model, x, target = narrow(dtype="float64"), images(2, dtype="float64"), tensor([3, 1])

    def loss():
        manual_seed(0)  # the same dropout each time
        return model.loss(model(x), target)

    parameters = dict(model.named_parameters())
    report = gradcheck(loss, [], parameters=parameters, together=1, directions=0, coordinates=0, elements=0)
    assert any(row.count for row in report.inputs)


def test_state_travels(tmp_path):
    first, second = narrow().eval(), narrow().eval()
    x = images(1, 107)
    minicnn.save(tmp_path / "w.safetensors", first.state_dict())
    with no_grad():
        assert (first(x).numpy() != second(x).numpy()).any()
        second.load_state_dict(minicnn.load(tmp_path / "w.safetensors"))
        np.testing.assert_array_equal(first(x).numpy(), second(x).numpy())


def test_the_config_builds_it_again():
    options = {"num_classes": 2, "aux_logits": False, "transform_input": True}
    model = shape_of(**options)
    assert model.config == {"model": "inception_v3", **options}
    with minicnn.device("meta"):
        again = models.get_model(**model.config)
    assert (again.fc.out_features, again.AuxLogits, again.transform_input) == (2, None, True)


def test_bad_arguments():
    with pytest.raises(ValueError, match="inception_v3: num_classes must be at least 1, got 0"):
        models.inception_v3(num_classes=0)


def test_against_pytorch():
    """The whole network, both classifiers, written again with PyTorch's functions."""
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    model, x = narrow(16), images(2)
    with no_grad():
        model(x)  # moves the running statistics
    model.eval()
    state = {name: torch.tensor(array) for name, array in model.state_dict().items()}

    def conv(name, x, stride=1):
        w = state[f"{name}.conv.weight"]
        same = stride == 1 and name.startswith(("Mixed", "Conv2d_2b"))
        x = f.conv2d(x, w, None, stride, [size // 2 if same else 0 for size in w.shape[2:]])
        mean, var, g, b = (
            state[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return f.relu(f.batch_norm(x, mean, var, g, b, False, 0.1, 1e-3))

    def chain(x, prefix, *names, stride=1):
        for name in names[:-1]:
            x = conv(prefix + name, x)
        return conv(prefix + names[-1], x, stride)

    def averaged(x):
        return f.avg_pool2d(x, 3, 1, 1)

    def a(x, p):
        return [
            chain(x, p, "1x1"),
            chain(x, p, "5x5_1", "5x5_2"),
            chain(x, p, "3x3dbl_1", "3x3dbl_2", "3x3dbl_3"),
            chain(averaged(x), p, "_pool"),
        ]

    def b(x, p):
        dbl = chain(x, p, "3x3dbl_1", "3x3dbl_2", "3x3dbl_3", stride=2)
        return [chain(x, p, "3x3", stride=2), dbl, f.max_pool2d(x, 3, 2)]

    def c(x, p):
        dbl = [f"7x7dbl_{i}" for i in range(1, 6)]
        once = chain(x, p, "7x7_1", "7x7_2", "7x7_3")
        return [chain(x, p, "1x1"), once, chain(x, p, *dbl), chain(averaged(x), p, "_pool")]

    def d(x, p):
        sevens = [f"7x7x3_{i}" for i in range(1, 5)]
        threes = chain(x, p, "3x3_1", "3x3_2", stride=2)
        return [threes, chain(x, p, *sevens, stride=2), f.max_pool2d(x, 3, 2)]

    def e(x, p):
        once, twice = chain(x, p, "3x3_1"), chain(x, p, "3x3dbl_1", "3x3dbl_2")
        forks = [chain(once, p, "3x3_2a"), chain(once, p, "3x3_2b")]
        forks += [chain(twice, p, "3x3dbl_3a"), chain(twice, p, "3x3dbl_3b")]
        return [chain(x, p, "1x1"), *forks, chain(averaged(x), p, "_pool")]

    y = conv("Conv2d_1a_3x3", torch.tensor(x.numpy()), 2)
    y = f.max_pool2d(chain(y, "Conv2d_", "2a_3x3", "2b_3x3"), 3, 2)
    y = f.max_pool2d(chain(y, "Conv2d_", "3b_1x1", "4a_3x3"), 3, 2)
    for name, module in zip(BRANCHES, [a, a, a, b, c, c, c, c, d, e, e], strict=True):
        if name == "Mixed_7a":
            aux = chain(f.avg_pool2d(y, 5, 3), "AuxLogits.", "conv0", "conv1").flatten(1)
            aux = f.linear(aux, state["AuxLogits.fc.weight"], state["AuxLogits.fc.bias"])
        y = torch.cat(module(y, f"{name}.branch"), 1)
    logits = f.linear(y.mean((2, 3)), state["fc.weight"], state["fc.bias"])

    captured = []
    model.Mixed_6e.register_forward_hook(
        lambda module, args, output: captured.append(model.AuxLogits(output))
    )
    with no_grad():
        np.testing.assert_allclose(model(x).numpy(), logits.numpy(), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(captured[0].numpy(), aux.numpy(), rtol=1e-3, atol=1e-4)
