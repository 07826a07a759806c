"""Look inside LeNet-5: what every layer makes of one picture of a digit.

Trains a LeNet-5 for a few epochs (or takes a checkpoint of `minicnn train lenet5`), shows it one digit, and draws the
feature maps of every layer, from the input's pixels to the ten probabilities.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn import Tensor, data, models, nn, optim, training
from minicnn import functional as F


def trained(epochs: int) -> models.Classifier:
    """Train a LeNet-5 on 4,000 digits."""
    minicnn.manual_seed(0)
    train, _ = data.load("mnist5k")
    model = models.lenet5()
    optimizer = optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    training.fit(model, train, epochs=epochs, batch_size=50, optimizer=optimizer, on_epoch=print_epoch)
    return model.eval()


def print_epoch(epoch: training.Epoch) -> None:
    """Say how far training is."""
    print(f"epoch {epoch.epoch}   loss {epoch.train_loss:.3f}   accuracy {epoch.train_accuracy:.1%}")


def feature_maps(model: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    """Return what each layer gives for one image (1, C, H, W), the squashed value where a layer is squashed."""
    maps: dict[str, np.ndarray] = {"input": x.numpy()[0]}
    last = "input"

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            nonlocal last
            last = last if name == "squash" else name
            maps[last] = output.numpy()[0]

        return hook

    handles = [child.register_forward_hook(watch(name)) for name, child in model.named_children()]
    with minicnn.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    maps.pop("flatten", None)
    return maps


def drawing(maps: dict[str, np.ndarray], probabilities: np.ndarray, label: int) -> Figure:
    """Draw one row of pictures a layer, and the probabilities as bars."""
    figure = Figure(figsize=(12, 8.4), layout="constrained")
    figure.suptitle(
        f"A {label}, layer by layer: LeNet-5 says {probabilities.argmax()} at {probabilities.max():.1%}"
    )
    rows = [name for name in maps if name != "output"]
    grid = figure.add_gridspec(len(rows) + 1, 1, height_ratios=[1.6, *[1] * (len(rows) - 1), 1.4])
    for i, name in enumerate(rows):
        planes = as_planes(maps[name])
        cells = grid[i].subgridspec(1, max(len(planes), 8), wspace=0.06)
        for j, plane in enumerate(planes):
            axes = figure.add_subplot(cells[j])
            reach = np.abs(plane).max() or 1
            axes.imshow(plane, cmap="gray" if name == "input" else "RdBu_r", vmin=-reach, vmax=reach)
            axes.set(xticks=[], yticks=[])
            if j == 0:
                shape = "×".join(map(str, maps[name].shape))
                axes.set_title(f"{name.upper()}  {shape}", loc="left", fontsize=9)
    axes = figure.add_subplot(grid[-1])
    axes.bar(
        range(10), 100 * probabilities, color=["#D55E00" if k == label else "#0072B2" for k in range(10)]
    )
    axes.set(xticks=range(10), ylim=(0, 100), ylabel="probability (%)", xlabel="digit")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def as_planes(values: np.ndarray) -> np.ndarray:
    """Return maps (C, H, W) as they are, and a vector as one picture: 84 units are 7×12, as on the paper's figure."""
    if values.ndim == 3:
        return values
    height = next(h for h in range(int(np.sqrt(len(values))), 0, -1) if len(values) % h == 0)
    return values.reshape(1, height, -1)


def main() -> None:
    """Train or load, look, and write the picture."""
    parser = argparse.ArgumentParser(description="Draw what every layer of a LeNet-5 makes of a digit.")
    parser.add_argument(
        "--digit", type=int, default=0, help="which of the 1,000 test digits (default %(default)s)"
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="a checkpoint of `minicnn train lenet5`; default: train now"
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("look_inside.png"))
    parser.add_argument("--smoke", action="store_true", help="run as the tests do, and check the result")
    arguments = parser.parse_args()

    if arguments.checkpoint:
        model = models.lenet5()
        model.load_state_dict(minicnn.load(arguments.checkpoint))
        model.eval()
    else:
        model = trained(1 if arguments.smoke else arguments.epochs)
    _, test = data.load("mnist5k")
    image, label = test.images[arguments.digit : arguments.digit + 1], int(test.labels[arguments.digit])
    x = Tensor(training.prepare(model, test)(image))
    maps = feature_maps(model, x)
    with minicnn.no_grad():
        probabilities = F.softmax(model.scores(model(x)), 1).numpy()[0]
    drawing(maps, probabilities, label).savefig(arguments.out, dpi=110)
    print(f"{', '.join(maps)}: written to {arguments.out}")
    if arguments.smoke:
        assert list(maps) == ["input", "c1", "s2", "c3", "s4", "c5", "f6", "output"], list(maps)
        assert arguments.out.stat().st_size > 10_000


if __name__ == "__main__":
    main()
