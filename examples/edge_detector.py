"""Learn an edge detector: the smallest convolutional network there is, one kernel of 1×2.

The picture is 6×8 and white but for four dark columns.  The kernel (1, −1) gives 1 where white turns to dark, −1 where
dark turns to white and 0 elsewhere.  Shown only the picture and that answer, gradient descent finds the kernel again.

After "Dive into Deep Learning", section "Convolutions for images" (https://d2l.ai).
"""

from __future__ import annotations

import argparse

import numpy as np

import minicnn
from minicnn import functional as F


def main() -> None:
    """Learn the kernel and print it as it changes."""
    parser = argparse.ArgumentParser(description="Learn a 1×2 edge detector by gradient descent.")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--lr", type=float, default=0.03)
    parser.add_argument("--smoke", action="store_true", help="run as the tests do, and check the result")
    arguments = parser.parse_args()

    picture = np.ones((1, 1, 6, 8), np.float32)
    picture[..., 2:6] = 0
    edges = F.conv2d(picture, [[[[1.0, -1.0]]]])
    print("picture (one row):", picture[0, 0, 0].astype(int))
    print("edges   (one row):", edges.data[0, 0, 0].astype(int))

    minicnn.manual_seed(0)
    start = minicnn.random.default_generator().normal(size=(1, 1, 1, 2)).astype(np.float32)
    kernel = minicnn.tensor(start, requires_grad=True)
    for step in range(1, arguments.steps + 1):
        loss = ((F.conv2d(picture, kernel) - edges) ** 2).sum()
        kernel.grad = None
        loss.backward()
        kernel.data -= arguments.lr * kernel.grad
        if step % 5 == 0:
            left, right = kernel.data.ravel()
            print(f"step {step:3}   loss {loss.item():9.6f}   kernel ({left:+.4f}, {right:+.4f})")

    if arguments.smoke:
        np.testing.assert_allclose(kernel.data.ravel(), [1, -1], atol=0.02)


if __name__ == "__main__":
    main()
