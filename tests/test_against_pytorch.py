"""Where PyTorch is installed: the same outputs and gradients as its functions of the same name, in float64.

Optional.  The suite proves each operation by definition and by differences without it; this proves the *contract*, that
arguments mean what PyTorch users expect.
"""

import itertools

import numpy as np
import pytest

import minicnn
from minicnn import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is a peer, not a requirement")
TF = torch.nn.functional


def grid(**options):
    keys = list(options)
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*options.values())]


def data(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def agree(ours, theirs, arrays, tolerance=1e-10):
    """Hold outputs and gradients, for a random cotangent, to PyTorch's."""
    mine = [minicnn.tensor(a, requires_grad=True) for a in arrays]
    torchs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*mine), theirs(*torchs)
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=tolerance, atol=tolerance)
    g = np.random.default_rng(1).normal(size=y.shape)
    y.backward(g)
    z.backward(torch.tensor(g))
    for a, b in zip(mine, torchs, strict=True):
        expected = np.zeros(a.shape) if b.grad is None else b.grad.numpy()
        found = np.zeros(a.shape) if a.grad is None else a.grad
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "o",
    grid(stride=[1, 2, (2, 3)], padding=[0, 1, (2, 0), "same", "valid"], dilation=[1, (1, 2)], groups=[1, 2]),
)
@pytest.mark.parametrize("batch", [(), (2,), (0,)])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_conv2d(o, batch):
    if o["padding"] == "same" and o["stride"] != 1:
        pytest.skip("PyTorch refuses it, and so do we")
    arrays = data((*batch, 4, 9, 8), (6, 4 // o["groups"], 3, 2), (6,))
    agree(lambda x, w, b: F.conv2d(x, w, b, **o), lambda x, w, b: TF.conv2d(x, w, b, **o), arrays)


@pytest.mark.parametrize(
    "o",
    grid(
        stride=[1, 2, (2, 3)],
        padding=[0, 1, (2, 0)],
        output_padding=[0, 1, (1, 0)],
        dilation=[1, 2],
        groups=[1, 2],
    ),
)
@pytest.mark.parametrize("batch", [(), (2,), (0,)])
def test_conv_transpose2d(o, batch):
    arrays = data((*batch, 4, 5, 4), (4, 6 // o["groups"], 3, 2), (6,))
    if o["output_padding"] != 0 and o["stride"] == 1 and o["dilation"] == 1:
        pytest.skip("PyTorch refuses it, and so do we")
    agree(
        lambda x, w, b: F.conv_transpose2d(x, w, b, **o),
        lambda x, w, b: TF.conv_transpose2d(x, w, b, **o),
        arrays,
    )


@pytest.mark.parametrize(
    "o",
    grid(
        kernel_size=[2, 3, (3, 2)],
        stride=[None, 1, 2, (3, 2)],
        padding=[0, 1, (1, 0)],
        dilation=[1, 2],
        ceil_mode=[False, True],
    ),
)
@pytest.mark.parametrize("shape", [(2, 3, 7, 8), (3, 9, 6)])
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool2d(o, shape, ties):
    (x,) = data(shape)
    x = np.round(x) if ties else x
    agree(lambda x: F.max_pool2d(x, **o), lambda x: TF.max_pool2d(x, **o), [x])
    ours = F.max_pool2d(x, **o, return_indices=True)[1]
    theirs = TF.max_pool2d(torch.tensor(x), **o, return_indices=True)[1]
    np.testing.assert_array_equal(ours.data, theirs.numpy())


@pytest.mark.parametrize(
    "o",
    grid(
        kernel_size=[2, 3, (3, 2)],
        stride=[None, 1, 2, (3, 2)],
        padding=[0, 1, (1, 0)],
        ceil_mode=[False, True],
        count_include_pad=[False, True],
        divisor_override=[None, 5],
    ),
)
@pytest.mark.parametrize("shape", [(2, 3, 7, 8), (3, 9, 6)])
def test_avg_pool2d(o, shape):
    agree(lambda x: F.avg_pool2d(x, **o), lambda x: TF.avg_pool2d(x, **o), data(shape))


@pytest.mark.parametrize("size", [1, 3, (2, 5), (None, 2), (9, 3), None])
@pytest.mark.parametrize("shape", [(2, 3, 7, 8), (3, 9, 6)])
@pytest.mark.parametrize("ties", [False, True])
def test_adaptive_pools(size, shape, ties):
    (x,) = data(shape)
    x = np.round(x) if ties else x
    theirs = (None, None) if size is None else size
    agree(lambda x: F.adaptive_avg_pool2d(x, size), lambda x: TF.adaptive_avg_pool2d(x, theirs), [x])
    agree(lambda x: F.adaptive_max_pool2d(x, size), lambda x: TF.adaptive_max_pool2d(x, theirs), [x])
    ours = F.adaptive_max_pool2d(x, size, return_indices=True)[1]
    expected = TF.adaptive_max_pool2d(torch.tensor(x), theirs, return_indices=True)[1]
    np.testing.assert_array_equal(ours.data, expected.numpy())


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 12])
@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 7, 3, 2)])
def test_local_response_norm(size, shape):
    o = {"size": size, "alpha": 1.0, "beta": 0.75, "k": 2.0}
    agree(lambda x: F.local_response_norm(x, **o), lambda x: TF.local_response_norm(x, **o), data(shape))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_batch_norm(training, affine, shape):
    x, w, b = data(shape, (3,), (3,))
    mean, var = np.ones(3), np.full(3, 2.0)
    ours = [mean.copy(), var.copy()]
    theirs = [torch.tensor(mean), torch.tensor(var)]
    arrays = [x, w, b] if affine else [x]
    agree(
        lambda x, *wb: F.batch_norm(x, *ours, *wb, training=training, eps=0.1),
        lambda x, *wb: TF.batch_norm(x, *theirs, *wb, training=training, eps=0.1),
        arrays,
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_activations(name):
    agree(getattr(F, name), getattr(TF, name), data((3, 4, 2)))


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (2, 3, 4, 2)])
def test_softmax(dim, shape):
    if not -len(shape) <= dim < len(shape):
        pytest.skip("no such axis")
    agree(lambda x: F.softmax(x, dim), lambda x: TF.softmax(x, dim), data(shape))
    agree(lambda x: F.log_softmax(x, dim), lambda x: TF.log_softmax(x, dim), data(shape))


@pytest.mark.parametrize("front", [(), (3,), (2, 3), (0,), (2, 1, 3)])
def test_linear(front):
    agree(F.linear, TF.linear, data((*front, 4), (5, 4), (5,)))
    agree(F.linear, TF.linear, data((*front, 4), (5, 4)))
    agree(F.linear, TF.linear, data((*front, 4), (4,)))


@pytest.mark.parametrize(
    "o",
    grid(
        weighted=[False, True],
        reduction=["mean", "sum", "none"],
        label_smoothing=[0.0, 0.1, 1.0],
        ignore=[-100, 1],
    ),
)
@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 4, 3), (2, 4, 3, 2)])
@pytest.mark.parametrize("kind", ["index", "probability"])
def test_cross_entropy(o, shape, kind):
    rng = np.random.default_rng(3)
    z, weight = rng.normal(size=shape), rng.random(4)
    rest = () if len(shape) == 1 else (shape[0], *shape[2:])
    options = {"reduction": o["reduction"], "label_smoothing": o["label_smoothing"]}
    if kind == "index":
        t = np.asarray(rng.integers(0, 4, rest))
        options["ignore_index"] = o["ignore"]
        arrays, ours, theirs = [z], [minicnn.tensor(t)], [torch.tensor(t)]
    else:
        arrays, ours, theirs = [z, rng.random(shape)], [], []
    w = weight if o["weighted"] else None
    tw = torch.tensor(weight) if o["weighted"] else None
    agree(
        lambda *a: F.cross_entropy(*a, *ours, weight=w, **options),
        lambda *a: TF.cross_entropy(*a, *theirs, weight=tw, **options),
        arrays,
    )
    if kind == "index" and o["label_smoothing"] == 0.0:
        del options["label_smoothing"]
        agree(
            lambda a: F.nll_loss(a, *ours, weight=w, **options),
            lambda a: TF.nll_loss(a, *theirs, weight=tw, **options),
            arrays,
        )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mse_loss(reduction):
    agree(
        lambda a, b: F.mse_loss(a, b, reduction),
        lambda a, b: TF.mse_loss(a, b, reduction=reduction),
        data((3, 4), (3, 4)),
    )


@pytest.mark.parametrize(
    ("shape", "amounts"),
    [
        ((5,), (1, 2)),
        ((4, 5), (1, 2)),
        ((2, 4, 5), (1, 2, 3, 0)),
        ((2, 3, 4, 5), (1, 2, 3, 0)),
        ((2, 3, 4, 5), (-1, 2, 1, -2)),
        ((2, 2, 3, 4, 5), (1, 1, 2, 0, 1, 2)),
        ((3, 3), (1, 0, 0, 2)),
    ],
)
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad(shape, amounts, mode):
    if mode != "constant" and len(shape) not in (len(amounts) // 2 + 1, len(amounts) // 2 + 2):
        pytest.skip("PyTorch refuses it, and so do we")
    value = {"value": 1.5} if mode == "constant" else {}
    agree(
        lambda x: F.pad(x, amounts, mode, **value), lambda x: TF.pad(x, amounts, mode, **value), data(shape)
    )


@pytest.mark.parametrize("o", grid(dilation=[1, 2], padding=[0, (1, 2)], stride=[1, (2, 1)]))
@pytest.mark.parametrize("batch", [(), (2,)])
def test_unfold_and_fold(o, batch):
    agree(lambda x: F.unfold(x, (3, 2), **o), lambda x: TF.unfold(x, (3, 2), **o), data((*batch, 3, 7, 6)))
    columns = TF.unfold(torch.zeros(*batch, 3, 7, 6), (3, 2), **o).shape
    agree(
        lambda x: F.fold(x, (7, 6), (3, 2), **o),
        lambda x: TF.fold(x, (7, 6), (3, 2), **o),
        data(tuple(columns)),
    )


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat(dim):
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    for i, shape in enumerate(shapes):
        shape[dim] = i + 1
    agree(lambda *a: F.cat(a, dim), lambda *a: torch.cat(a, dim), data(*map(tuple, shapes), (0,)))


@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: (a * a) ** b,
        lambda a, b: 2 - a + 3 * b / 2,
        lambda a, b: a @ b.transpose(0, 1),
        lambda a, b: a.sum(0) + b.mean(),
        lambda a, b: a.max() * b.max(1).values.sum(),
        lambda a, b: a.max(0, keepdim=True).values + b,
        lambda a, b: (a * a).sqrt() + b.exp() + (b * b).log(),
        lambda a, b: a.clip(-0.5, 0.5) * b.clip(max=0.1),
        lambda a, b: a.reshape(4, -1).permute(1, 0) * b,
        lambda a, b: a[1:, ::2] + b[[0, 0], 1:3],
        lambda a, b: a.flatten() - b.flatten(0, 1),
        lambda a, b: a[:, None, :] * b[0],
    ],
)
def test_tensor_methods(f):
    agree(f, f, data((3, 4), (3, 4)))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((4,), (4,)),
        ((4,), (4, 3)),
        ((2, 4), (4,)),
        ((5, 2, 4), (4, 3)),
        ((2, 4), (5, 4, 3)),
        ((5, 1, 2, 4), (6, 4, 3)),
        ((4,), (5, 4, 3)),
        ((5, 2, 4), (4,)),
    ],
)
def test_matmul(a, b):
    agree(lambda x, y: x @ y, lambda x, y: x @ y, data(a, b))
