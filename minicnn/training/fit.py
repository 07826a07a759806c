"""The training loop: epochs of steps, each a forward pass, a backward pass and a move of the weights.

It needs no terminal and writes no files.  Who wants progress, metrics or checkpoints hands in callbacks, as
``minicnn train`` does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..data import DataLoader, Dataset
from ..data.transforms import Compose, Transform
from ..nn import Module
from ..nn.utils import clip_grad_norm_
from ..optim import Adam, Optimizer
from ..optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from ..tensor import Tensor
from .beside import beside
from .evaluate import evaluate, loss_of, scores_of
from .history import Batch, Epoch, History
from .prepare import prepare

__all__ = ["fit"]


def fit(
    model: Module,
    train: Dataset,
    test: Dataset | None = None,
    *,
    epochs: int,
    batch_size: int = 64,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | ReduceLROnPlateau | None = None,
    max_norm: float | None = None,
    augment: Transform | None = None,
    transform: Transform | None = None,
    generator: np.random.Generator | None = None,
    on_batch: Callable[[Batch], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Train a classifier.

    With :func:`minicnn.manual_seed` before the model is built, every run ends with the same bits, whatever the number
    of threads.

    Parameters
    ----------
    model : Module
        A :class:`~minicnn.models.Classifier`, or any module that returns a score for each class (N, K).
    train : Dataset
    test : Dataset, optional
        Evaluated after each epoch.
    epochs : int, at least 1
    batch_size : int, at least 1
    optimizer : Optimizer, optional
        Over the model's parameters.  Default: ``Adam`` with its default rate of 0.001.
    scheduler : optional
        Takes a step after each epoch; ``ReduceLROnPlateau`` is told the test loss, or without `test` the training
        loss.
    max_norm : float, optional
        What the gradients are clipped to, see :func:`~minicnn.nn.utils.clip_grad_norm_`.
    augment : callable, optional
        Distorts training images; comes before `transform`.
    transform : callable, optional
        Makes of a data set's images those the model takes, training and test alike.  Default: what the model asks
        for, see :func:`~minicnn.training.prepare`.
    generator : numpy.random.Generator, optional
        Where the order of the images is drawn from.  Default: minicnn's.
    on_batch, on_epoch : callable, optional
        Called after each step, and after each epoch and its evaluation.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If there are no images, they do not fit the model, or a number is out of range.
    FloatingPointError
        If the loss is no longer finite: training has diverged.

    Examples
    --------
    >>> import minicnn
    >>> from minicnn import data, models
    >>> _ = minicnn.manual_seed(0)
    >>> train, test = data.load("mnist5k")
    >>> history = fit(models.lenet5(), train.subset(slice(200)), test, epochs=2, batch_size=20)
    >>> [epoch.epoch for epoch in history.epochs], history.evaluation.images
    ([1, 2], 1000)
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"fit: epochs must be an int of at least 1, got {epochs!r}")
    if not len(train):
        raise ValueError(f"fit: the training data must have images, {train!r} has none")
    optimizer = optimizer or Adam(model.parameters())
    transform = transform or prepare(model, train)
    seen = Compose([augment, transform]) if augment else transform
    loader = DataLoader(train, batch_size, shuffle=True, transform=seen, generator=generator)
    history = History()
    for number in range(1, epochs + 1):
        lr = optimizer.param_groups[0]["lr"]
        begin = time.perf_counter()
        record = Batch(number, epochs, 0, len(train), 0.0, 0.0)
        last = _pass(model, loader, optimizer, max_norm, record, on_batch)
        seconds = time.perf_counter() - begin
        history.evaluation = evaluate(model, test, transform=transform) if test is not None else None
        found = history.evaluation
        epoch = Epoch(
            epoch=number,
            lr=lr,
            train_loss=last.loss,
            train_accuracy=last.accuracy,
            test_loss=found and found.loss,
            test_accuracy=found and found.accuracy,
            seconds=seconds,
            images_per_second=len(train) / seconds,
        )
        history.epochs.append(epoch)
        _next_rate(scheduler, epoch)
        if on_epoch:
            on_epoch(epoch)
    return history


def _pass(
    model: Module,
    loader: DataLoader,
    optimizer: Optimizer,
    max_norm: float | None,
    record: Batch,
    on_batch: Callable[[Batch], None] | None,
) -> Batch:
    """Go through the data once; return the record of the last step."""
    model.train()
    loss_sum, right, images = 0.0, 0, 0
    for x, labels in loader:
        x, labels = beside(model, x), beside(model, labels)
        loss, scores = _step(model, x, labels, optimizer, max_norm)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"fit: the loss must stay finite, it is {loss} in epoch {record.epoch} after {images} images; "
                "a smaller learning rate may help"
            )
        images += len(labels)
        loss_sum += loss * len(labels)
        right += int((scores.argmax(1) == labels).numpy().sum())
        record = replace(record, images=images, loss=loss_sum / images, accuracy=right / images)
        if on_batch:
            on_batch(record)
    return record


def _step(
    model: Module, x: Tensor, labels: Tensor, optimizer: Optimizer, max_norm: float | None
) -> tuple[float, Tensor]:
    """Move the weights against the gradient of one batch; return the loss and the scores before that."""
    output = model(x)
    loss = loss_of(model)(output, labels)
    optimizer.zero_grad()
    loss.backward()
    if max_norm is not None:
        clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return loss.item(), scores_of(model)(output)


def _next_rate(scheduler: LRScheduler | ReduceLROnPlateau | None, epoch: Epoch) -> None:
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(epoch.train_loss if epoch.test_loss is None else epoch.test_loss)
    elif scheduler is not None:
        scheduler.step()
