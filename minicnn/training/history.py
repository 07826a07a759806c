"""What training reports: a record a batch, a record an epoch, and all epochs together."""

from __future__ import annotations

from dataclasses import dataclass, field

from .evaluate import Evaluation

__all__ = ["Batch", "Epoch", "History"]


@dataclass(frozen=True)
class Batch:
    """How far training is, and how it is doing, after one step.

    Attributes
    ----------
    epoch, epochs : int
        The running epoch, from 1, of how many.
    images, of : int
        Images seen in this epoch, of how many.
    loss, accuracy : float
        Means over those images, each judged before the step it took part in.
    """

    epoch: int
    epochs: int
    images: int
    of: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Epoch:
    """One line of ``metrics.jsonl``.

    Attributes
    ----------
    epoch : int
        From 1.
    lr : float
        The learning rate of its steps.
    train_loss, train_accuracy : float
        Means over the epoch, while the weights were still moving and with augmentation where there is any.
    test_loss, test_accuracy : float or None
        Measured after it; None without test data.
    seconds : float
        Duration of its training steps, testing not counted.
    images_per_second : float
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    seconds: float
    images_per_second: float


@dataclass
class History:
    """The epochs of a training run, and the evaluation after the last one.

    Attributes
    ----------
    epochs : list of Epoch
    evaluation : Evaluation or None
        None without test data.
    """

    epochs: list[Epoch] = field(default_factory=list)
    evaluation: Evaluation | None = None

    @property
    def seconds(self) -> float:
        """Duration of all training steps."""
        return sum(epoch.seconds for epoch in self.epochs)
