"""How each network is trained unless one says otherwise: the table, and what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..data import Dataset
from ..data.mnist import DIGITS
from ..data.transforms import RandomAffine, Transform
from ..nn import Module
from ..optim import SGD, Adam, Optimizer
from ..optim.lr_scheduler import CosineAnnealingLR, LRScheduler

__all__ = ["RECIPES", "Recipe", "augmentation", "recipe_for"]

_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"SGD": SGD, "Adam": Adam}


@dataclass(frozen=True)
class Recipe:
    """The choices of a training run.  The learning rate falls along half a cosine, to 0 after the last epoch.

    Attributes
    ----------
    epochs : int
        For a few thousand images.
    optimizer : {'SGD', 'Adam'}
        SGD with momentum 0.9.
    lr : float
        The learning rate of the first epoch.
    batch_size : int
    """

    epochs: int
    optimizer: str
    lr: float
    batch_size: int

    def new_optimizer(self, model: Module) -> tuple[Optimizer, LRScheduler]:
        """Return the optimiser over a model's parameters, and the schedule of its learning rate."""
        options = {"momentum": 0.9} if self.optimizer == "SGD" else {}
        optimizer = _OPTIMIZERS[self.optimizer](model.parameters(), lr=self.lr, **options)
        return optimizer, CosineAnnealingLR(optimizer, self.epochs)


RECIPES = {  # (model, variant)
    ("lenet5", "modern"): Recipe(epochs=25, optimizer="Adam", lr=0.005, batch_size=50),
    ("lenet5", "paper"): Recipe(epochs=25, optimizer="Adam", lr=0.005, batch_size=50),
    # Sigmoids start flat and need a small rate: at 0.006 one seed in six stayed at 10 %.
    ("lenet5", "d2l"): Recipe(epochs=40, optimizer="Adam", lr=0.003, batch_size=50),
}
_ELSE = Recipe(epochs=20, optimizer="Adam", lr=0.001, batch_size=50)

_MANY = 20_000  # images: from here on one epoch has as many steps as several on a few thousand
_EPOCHS_ON_MANY = 8


def recipe_for(model: str, variant: str | None, train: Dataset) -> Recipe:
    """Return the recipe of a network for a training set; on a large one it has 8 epochs.

    Examples
    --------
    >>> from minicnn import data
    >>> recipe_for("lenet5", "modern", data.load("mnist5k")[0]).epochs
    25
    """
    recipe = RECIPES.get((model, variant or ""), _ELSE)
    return replace(recipe, epochs=_EPOCHS_ON_MANY) if len(train) >= _MANY else recipe


def augmentation(dataset: Dataset) -> Transform | None:
    """Return the distortion that training images of this data set gain by: one for handwriting, else None.

    A digit stays the same digit when it is turned, stretched, slanted and shifted a little; so 4,000 of them stand for
    many more.
    """
    if dataset.classes != DIGITS:
        return None
    return RandomAffine(degrees=15, translate=(0.1, 0.1), scale=(0.85, 1.15), shear=15)
