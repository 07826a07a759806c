"""How a training run is shown: a bar in a terminal, a line an epoch elsewhere, or nothing.

Each of these is a context manager with the two callbacks that :func:`~minicnn.training.fit` takes.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self

from .history import Batch, Epoch

__all__ = ["Bar", "Lines", "Progress", "Silence", "progress"]


class Progress(Protocol):
    """Shows a training run while it is entered."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def on_batch(self, batch: Batch) -> None:
        """Show one more step."""

    def on_epoch(self, epoch: Epoch) -> None:
        """Show one more epoch."""


def progress(epochs: int, quiet: bool = False) -> Progress:
    """Return what suits the place: the bar if standard output is a terminal."""
    if quiet:
        return Silence()
    return Bar(epochs) if sys.stdout.isatty() else Lines(epochs)


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def on_batch(self, batch: Batch) -> None:
        """Do nothing."""

    def on_epoch(self, epoch: Epoch) -> None:
        """Do nothing."""


class Lines(Silence):
    """Prints a line an epoch.

    Parameters
    ----------
    epochs : int
        How many there will be.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch(self, epoch: Epoch) -> None:
        """Print the epoch's line."""
        print(_line(epoch, self.epochs), flush=True)


class Bar:
    """Draws a bar over the whole run, with the running epoch's figures; finished epochs leave a line above it.

    Parameters
    ----------
    epochs : int
        How many there will be.
    """

    def __init__(self, epochs: int) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.epochs = epochs
        self.bar = RichProgress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.1%}"),
            TextColumn("{task.fields[speed]:,.0f} images/s"),
            TimeRemainingColumn(),
            TextColumn("left"),
            transient=True,  # the epochs' lines say all of it
            refresh_per_second=5,  # drawing takes time from the training threads
        )
        self.task = self.bar.add_task(
            "", total=None, epoch=1, epochs=epochs, loss=0.0, accuracy=0.0, speed=0.0
        )

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def on_batch(self, batch: Batch) -> None:
        """Move the bar on."""
        self.bar.update(
            self.task,
            total=batch.epochs * batch.of,
            completed=(batch.epoch - 1) * batch.of + batch.images,
            epoch=batch.epoch,
            loss=batch.loss,
            accuracy=batch.accuracy,
            speed=self.bar.tasks[0].speed or 0.0,
        )

    def on_epoch(self, epoch: Epoch) -> None:
        """Print the epoch's line above the bar."""
        self.bar.console.print(_line(epoch, self.epochs), highlight=False)


def _line(epoch: Epoch, epochs: int) -> str:
    width = len(str(epochs))
    text = (
        f"epoch {epoch.epoch:>{width}}/{epochs}   "
        f"train: loss {epoch.train_loss:.4f}, accuracy {epoch.train_accuracy:6.2%}   "
    )
    if epoch.test_loss is not None and epoch.test_accuracy is not None:
        text += f"test: loss {epoch.test_loss:.4f}, accuracy {epoch.test_accuracy:6.2%}   "
    return text + f"{epoch.images_per_second:,.0f} images/s"
