"""Clipping, weight-decay groups and batch-norm momentum over a whole network."""

import numpy as np
import pytest

from minicnn import Tensor, nn
from minicnn.nn.utils import clip_grad_norm_, set_batch_norm_momentum, weight_decay_groups
from minicnn.optim import SGD


def with_grads(*grads):
    tensors = [Tensor(np.zeros_like(g), requires_grad=True) for g in grads]
    for tensor, grad in zip(tensors, grads, strict=True):
        tensor.grad = grad.copy()
    return tensors


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_gradients_are_clipped_by_their_common_norm(max_norm):
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    tensors = [*with_grads(*grads), Tensor(np.zeros(2), requires_grad=True)]
    assert clip_grad_norm_(iter(tensors), max_norm) == pytest.approx(norm)
    for tensor, grad in zip(tensors, grads, strict=False):
        np.testing.assert_allclose(tensor.grad, grad * min(1, max_norm / norm))
    assert tensors[2].grad is None


def test_one_tensor_is_clipped_as_a_list_of_one_is():
    (w,) = with_grads(np.array([[3.0, 4.0]]))
    assert clip_grad_norm_(w, 1.0) == 5.0
    np.testing.assert_allclose(w.grad, [[0.6, 0.8]])


def test_large_gradients_do_not_overflow():
    (w,) = with_grads(np.full(4, 1e30, np.float32))
    assert clip_grad_norm_([w], 1.0) == pytest.approx(2e30)
    np.testing.assert_allclose(w.grad, 0.5, rtol=1e-6)


def test_an_infinite_gradient_is_left_to_be_seen():
    (w,) = with_grads(np.array([1.0, np.inf]))
    assert clip_grad_norm_([w], 1.0) == np.inf
    np.testing.assert_array_equal(w.grad, [1.0, np.inf])


@pytest.mark.parametrize("max_norm", [0.0, -1.0, np.nan])
def test_the_norm_must_be_above_0(max_norm):
    with pytest.raises(ValueError, match="max_norm must be above 0"):
        clip_grad_norm_([], max_norm)


def test_only_weights_decay():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    for parameter in net.parameters():
        parameter.data[...] = 1
        parameter.grad = np.zeros_like(parameter.data)
    SGD(weight_decay_groups(net, 0.5), lr=1.0).step()
    for name, parameter in net.named_parameters():
        assert np.all(parameter.data == (0.5 if name in ("0.weight", "3.weight") else 1.0)), name


def test_every_normalisation_gets_the_momentum():
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))
    set_batch_norm_momentum(net, None)
    assert [m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)] == [None, None]
    with pytest.raises(ValueError, match="momentum"):
        set_batch_norm_momentum(net, 2.0)
