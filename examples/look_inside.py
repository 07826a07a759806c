"""Look inside LeNet-5: what every layer makes of one picture of a digit.

Trains a LeNet-5 for a few epochs (or takes a checkpoint of `minicnn train lenet5`), shows it one digit, and draws the
feature maps of every layer, from the input's pixels to the ten probabilities.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
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
    """Draw one panel a layer, in the order of computation, and the probabilities as bars."""
    figure = Figure(figsize=(11.5, 6), layout="constrained")
    panels = iter(figure.subplots(2, 4).flat)
    for name, values in maps.items():
        axes = next(panels)
        if name == "output":
            draw_bars(axes, probabilities, label)
            continue
        picture = mosaic(values)
        reach = np.nanmax(np.abs(picture)) or 1
        axes.imshow(picture, cmap="gray" if name == "input" else "PuOr", vmin=-reach, vmax=reach)
        axes.set_title(f"{name.upper()}   {'×'.join(map(str, values.shape))}", fontsize=10)
        axes.axis("off")
    return figure


def draw_bars(axes: Axes, probabilities: np.ndarray, label: int) -> None:
    """Draw the probability of each digit, the right one in orange."""
    digits = np.arange(len(probabilities))
    axes.barh(digits, 100 * probabilities, color=np.where(digits == label, "#D55E00", "#0072B2"))
    axes.set(yticks=digits, ylim=(9.6, -0.6), xlim=(0, 100), xlabel="probability (%)")
    axes.set_title(f"output: a {probabilities.argmax()}, at {probabilities.max():.1%}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def mosaic(values: np.ndarray) -> np.ndarray:
    """Lay the maps (C, H, W) out as tiles with gaps between; a vector becomes one tile, 84 units one of 12×7."""
    if values.ndim == 1:
        width = widest_divisor(len(values))
        return values.reshape(-1, width)
    count, height, width = values.shape
    rows = widest_divisor(count)
    tiles = np.full((rows, count // rows, height + 1, width + 1), np.nan)
    tiles[:, :, :-1, :-1] = values.reshape(rows, count // rows, height, width)
    return tiles.transpose(0, 2, 1, 3).reshape(rows * (height + 1), -1)[:-1, :-1]


def widest_divisor(n: int) -> int:
    """Return the largest divisor of n that is at most √n."""
    return next(d for d in range(int(n**0.5), 0, -1) if n % d == 0)


def main() -> None:
    """Train or load, look, and write the picture."""
    parser = argparse.ArgumentParser(description="Draw what every layer of a LeNet-5 makes of a digit.")
    parser.add_argument(
        "--digit", type=int, default=0, help="which of the 1,000 test digits (default %(default)s)"
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="a checkpoint of `minicnn train lenet5`; default: train now"
    )
    parser.add_argument("--epochs", type=int, default=8)
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
