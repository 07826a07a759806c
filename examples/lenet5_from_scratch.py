"""LeNet-5 from nothing but tensors and functions: no modules, no optimiser, no training loop of the library.

Everything a framework does for one is spelled out here in a page: the weights are a dictionary of tensors, the network
is a function of them, and a step of gradient descent with momentum is two lines.
"""

from __future__ import annotations

import argparse

import numpy as np

import minicnn
from minicnn import Tensor, data
from minicnn import functional as F

SHAPES = {  # one row a layer: the weight's shape; each also has a bias
    "C1": (6, 1, 5, 5),
    "C3": (16, 6, 5, 5),
    "C5": (120, 16 * 5 * 5),
    "F6": (84, 120),
    "output": (10, 84),
}


def initial_weights(generator: np.random.Generator) -> dict[str, Tensor]:
    """Draw He's normal weights: variance 2 / fan-in keeps the scale of activations behind ReLUs."""
    weights = {}
    for name, shape in SHAPES.items():
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        weights[name] = minicnn.tensor(
            generator.normal(0, deviation, shape).astype("float32"), requires_grad=True
        )
        weights[name + " bias"] = minicnn.tensor(np.zeros(shape[0], "float32"), requires_grad=True)
    return weights


def lenet5(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Return ten scores for each image (N, 1, 28, 28)."""
    x = F.max_pool2d(F.relu(F.conv2d(x, w["C1"], w["C1 bias"], padding=2)), 2)  # 6@14×14
    x = F.max_pool2d(F.relu(F.conv2d(x, w["C3"], w["C3 bias"])), 2)  # 16@5×5
    x = F.relu(F.linear(x.flatten(1), w["C5"], w["C5 bias"]))  # 120
    x = F.relu(F.linear(x, w["F6"], w["F6 bias"]))  # 84
    return F.linear(x, w["output"], w["output bias"])


def accuracy(dataset: data.Dataset, w: dict[str, Tensor]) -> float:
    """Return the share of images whose largest score is the right one's."""
    with minicnn.no_grad():
        right = sum(
            int((lenet5(images, w).argmax(1) == labels).data.sum())
            for images, labels in data.DataLoader(dataset, 500)
        )
    return right / len(dataset)


def main() -> None:
    """Train and print the test accuracy after each epoch."""
    parser = argparse.ArgumentParser(description="Train LeNet-5 with the engine alone.")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--smoke", action="store_true", help="run as the tests do, and check the result")
    arguments = parser.parse_args()

    generator = minicnn.manual_seed(0)
    train, test = data.load("mnist5k")
    w = initial_weights(generator)
    velocity = {name: np.zeros_like(t.data) for name, t in w.items()}
    reached = 0.0
    for epoch in range(1, (2 if arguments.smoke else arguments.epochs) + 1):
        losses = []
        for images, labels in data.DataLoader(train, 50, shuffle=True):
            loss = F.cross_entropy(lenet5(images, w), labels)
            loss.backward()
            for name, t in w.items():
                velocity[name] = 0.9 * velocity[name] + t.grad
                t.data -= arguments.lr * velocity[name]
                t.grad = None
            losses.append(loss.item())
        reached = accuracy(test, w)
        print(f"epoch {epoch}   training loss {np.mean(losses):.4f}   test accuracy {reached:.1%}")
    if arguments.smoke and reached < 0.9:
        raise SystemExit(f"expected 90 % or more after two epochs, got {reached:.1%}")


if __name__ == "__main__":
    main()
