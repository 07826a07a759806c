"""The pictures of a run: learning curve, first-layer filters, confusion matrix.

Each function returns a matplotlib figure; :func:`write_pictures` puts all three into a folder.  matplotlib is an extra
(``pip install "minicnn[plot]"``) and is imported here only when a picture is drawn, through its object-oriented
interface, which needs no display and leaves nothing global behind.  The colours stay apart for colour-blind eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import replacing
from .evaluate import Evaluation
from .history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion_matrix", "filters", "learning_curve", "write_pictures"]

_BLUE, _ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito's


def write_pictures(folder: Path, history: History, model: Any, classes: Sequence[str]) -> list[Path]:
    """Draw a finished run's pictures into `folder` and return their paths.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    figures = {"learning-curve.png": learning_curve(history)}
    weight = first_kernels(model)
    if weight is not None:
        figures["filters.png"] = filters(weight)
    if history.evaluation is not None:
        figures["confusion-matrix.png"] = confusion_matrix(history.evaluation, classes)
    for name, figure in figures.items():
        with replacing(folder / name) as temporary:
            figure.savefig(temporary, dpi=150)
    return [folder / name for name in figures]


def learning_curve(history: History) -> Figure:
    """Draw loss and accuracy over the epochs, for training and test data."""
    figure = _figure(9, 3.8)
    loss, accuracy = figure.subplots(1, 2)
    _curves(loss, history, "loss", scale=1)
    _curves(accuracy, history, "accuracy", scale=100)
    loss.set_ylabel("loss (mean over images)")
    loss.set_ylim(0, 1.05 * loss.get_ylim()[1])
    accuracy.set_ylabel("accuracy (%)")
    last = history.epochs[-1]
    if last.test_accuracy is not None:
        figure.suptitle(f"{last.test_accuracy:.2%} of the test images right after epoch {last.epoch}")
    return figure


def _curves(axes: Axes, history: History, quantity: str, scale: float) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers = [epoch.epoch for epoch in history.epochs]
    for data, colour, style in (("train", _ORANGE, "s--"), ("test", _BLUE, "o-")):
        values = [getattr(epoch, f"{data}_{quantity}") for epoch in history.epochs]
        if None not in values:
            label = "training (mean over the epoch)" if data == "train" else "test (after the epoch)"
            axes.plot(numbers, [v * scale for v in values], style, color=colour, markersize=4, label=label)
    axes.set_xlabel("epoch")
    axes.set_xlim(0.5, len(numbers) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def first_kernels(model: Any) -> np.ndarray | None:
    """Return the weight (K, C, R, S) of a model's first convolution; None if it has none."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            return parameter.numpy()
    return None


def filters(weight: np.ndarray) -> Figure:
    """Draw the kernels of a first layer (K, C, R, S): in colour for C = 3, else their mean over C.

    Unless in colour, positive weights are violet and negative ones brown; white is 0.
    """
    count, channels = weight.shape[:2]
    columns = min(count, 8)
    rows = -(-count // columns)
    figure = _figure(1.1 * columns + 1.2, 1.25 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    largest = float(np.abs(weight).max()) or 1.0
    image = None
    for number, axes in enumerate(grid):
        axes.set_axis_off()
        if number < count:
            axes.set_title(str(number), fontsize=9)
            kernel = weight[number]
            shown = kernel.transpose(1, 2, 0) / (2 * largest) + 0.5 if channels == 3 else kernel.mean(0)
            image = axes.imshow(shown, cmap="PuOr", vmin=-largest, vmax=largest)
    figure.suptitle(f"the {count} kernels of the first layer, {weight.shape[2]}×{weight.shape[3]}")
    if channels != 3 and image is not None:
        figure.colorbar(image, ax=list(grid), label="weight", shrink=0.9)
    return figure


def confusion_matrix(evaluation: Evaluation, classes: Sequence[str]) -> Figure:
    """Draw how many images of each class were taken for each class; the numbers are counts.

    With more than 30 classes there is no room for numbers, and the colours must do.
    """
    confusion = evaluation.confusion
    count = len(confusion)
    side = min(0.5 * count, 15)
    figure = _figure(side + 2, side + 1.6)
    axes = figure.subplots()
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    # The square root lets one mistake in a hundred be seen.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    slanted = max(map(len, classes)) > 3
    axes.set_xticks(range(count), classes, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticks(range(count), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{evaluation.accuracy:.2%} of {evaluation.images:,} test images right")
    for (row, column), number in np.ndenumerate(confusion):
        if number and count <= 30:
            colour = "white" if share[row, column] > 0.4 else "black"
            axes.text(column, row, str(number), ha="center", va="center", color=colour, fontsize=9)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
