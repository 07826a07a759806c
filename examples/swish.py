"""A layer of one's own: Swish with a learned β, its backward written by hand, checked, and put into LeNet-5.

    y = x · σ(βx),   σ(z) = 1 / (1 + e⁻ᶻ)

β = 0 makes it x/2, and the larger β, the closer it comes to ReLU.  The network learns where in between it wants to be.
docs/your_own_layer.md goes through it step by step.

P. Ramachandran, B. Zoph and Q. V. Le, "Searching for Activation Functions", 2017, https://arxiv.org/abs/1710.05941.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import minicnn
from minicnn import Tensor, data, models, nn, training
from minicnn.testing import check_network, check_properties


class SwishFunction(minicnn.Function):
    """y = x·s with s = σ(βx).   dx = g (s + βx s(1 − s)),   dβ = Σ g x² s(1 − s).

    σ′ = σ(1 − σ).  So by the product and chain rules ∂y/∂x = s + x·β s(1 − s) and ∂y/∂β = x·x s(1 − s); β is one number
    in every element, so its gradient is the sum over all of them.
    """

    def forward(self, x: Any, beta: Any) -> Any:
        """Return x·σ(βx); e⁻ᶻ may overflow to ∞, and 1 / (1 + ∞) = 0 is right."""
        self.x, self.beta = x, beta
        self.s = 1 / (1 + self.be.exp(-beta * x))
        return x * self.s

    def backward(self, g: Any) -> tuple[Any, Any]:
        """Return dx and dβ."""
        slope = self.s * (1 - self.s)
        dx = g * (self.s + self.beta * self.x * slope)
        dbeta = (g * self.x * self.x * slope).sum()
        return dx, dbeta


def swish(x: Tensor, beta: Tensor) -> Tensor:
    """Apply the function; an instance of it stands for one call."""
    return SwishFunction()(x, beta)


class Swish(nn.Module):
    """x · σ(βx), with β a parameter that starts at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(minicnn.tensor(1.0))

    def forward(self, input: Tensor) -> Tensor:
        """Return an output of the input's shape."""
        return swish(input, self.beta)


def check() -> None:
    """Hold the function, and then the gradient of a whole network with it, to differences."""
    minicnn.manual_seed(0)
    x = np.linspace(-4, 4, 24).reshape(2, 3, 2, 2)
    check_properties(swish, (x, np.array(0.7)))
    print(check_network(models.lenet5(activation=Swish).to("float64"), directions=1, groups=3))


def train(activation: type[nn.Module], epochs: int) -> models.Classifier:
    """Train LeNet-5 with an activation on 4,000 digits, and say how well it reads 1,000 others."""
    minicnn.manual_seed(0)
    train_set, test_set = data.load("mnist5k")
    model = models.lenet5(activation=activation)
    training.fit(model, train_set, epochs=epochs, batch_size=50)
    reached = training.evaluate(model, test_set)
    print(f"{activation.__name__:5}  test loss {reached.loss:.4f}   test accuracy {reached.accuracy:.1%}")
    return model


def main() -> None:
    """Check the layer, then train with it and with ReLU."""
    parser = argparse.ArgumentParser(description="LeNet-5 with an activation of one's own.")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--smoke", action="store_true", help="run as the tests do, and check the result")
    arguments = parser.parse_args()

    check()
    epochs = 1 if arguments.smoke else arguments.epochs
    train(nn.ReLU, epochs)
    model = train(Swish, epochs)
    beta = dict(model.named_parameters())["squash.beta"].item()
    print(f"β went from 1 to {beta:.3f}")
    if arguments.smoke:
        assert beta != 1
        assert training.evaluate(model, data.load("mnist5k")[1]).accuracy > 0.75


if __name__ == "__main__":
    main()
