"""Where PyTorch is installed: its names, its printed form, and its numbers in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn import nn, tensor

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is a peer, not a requirement")


def network(n: Any) -> Any:
    return n.Sequential(
        n.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        n.BatchNorm2d(8, momentum=None),
        n.ReLU(inplace=True),
        n.MaxPool2d(2, 2, ceil_mode=True),
        n.Sequential(
            n.Conv2d(8, 6, (3, 1), padding="same", groups=2, padding_mode="reflect"),
            n.BatchNorm2d(6),
            n.LocalResponseNorm(5, k=2.0),
            n.AvgPool2d(2, 1),
            n.Sigmoid(),
            n.ConvTranspose2d(6, 4, 3, 2, 1, 1, groups=2),
            n.Tanh(),
        ),
        n.AdaptiveAvgPool2d((3, 2)),
        n.Dropout(0),
        n.Flatten(),
        n.Linear(24, 5),
        n.LogSoftmax(dim=1),
    )


def test_names_and_printed_form():
    ours, theirs = network(nn), network(torch.nn)
    assert repr(ours) == repr(theirs).replace("affine=True, bias=True", "affine=True")  # new in PyTorch 2.13
    assert [(name, a.shape) for name, a in ours.state_dict().items()] == [
        (name, tuple(a.shape)) for name, a in theirs.state_dict().items()
    ]
    for walk in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [name for name, _ in getattr(ours, walk)()] == [name for name, _ in getattr(theirs, walk)()]


def test_three_batches_of_training_and_one_of_evaluation():
    ours, theirs = network(nn).to("float64"), network(torch.nn).double()
    ours.load_state_dict({name: a.numpy() for name, a in theirs.state_dict().items()})
    rng = np.random.default_rng(0)
    for _ in range(3):
        x, t = rng.normal(size=(4, 3, 16, 16)), rng.integers(0, 5, 4)
        ours.zero_grad()
        theirs.zero_grad()
        nn.NLLLoss()(ours(tensor(x)), tensor(t)).backward()
        torch.nn.NLLLoss()(theirs(torch.tensor(x)), torch.tensor(t)).backward()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-9, atol=1e-12)
    for name, a in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], a.numpy(), rtol=1e-12)
    y = theirs.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours.eval()(tensor(x)).data, y, rtol=1e-10)
