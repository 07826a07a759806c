"""How each network is trained unless one says otherwise: the papers' recipes, as a table, and what it means.

References
----------
Krizhevsky 2012: "ImageNet Classification with Deep Convolutional Neural Networks", section 5.
Simonyan 2014: "Very Deep Convolutional Networks for Large-Scale Image Recognition", section 3.1.
Lin 2013: "Network in Network", section 4.1.
Szegedy 2014: "Going Deeper with Convolutions", section 6.
Ioffe 2015: "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift", sections
4.2.1 and 4.2.2.
Szegedy 2015: "Rethinking the Inception Architecture for Computer Vision", section 8.
Szegedy 2016: "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", section 4.
He 2015: "Deep Residual Learning for Image Recognition", sections 3.4 and 4.2.
He 2016: "Identity Mappings in Deep Residual Networks", section 5 ("the same hyper-parameters" as He 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch

from ..data import Dataset
from ..data.mnist import DIGITS
from ..data.transforms import Compose, RandomAffine, RandomCrop, RandomHorizontalFlip, Transform
from ..models import Classifier
from ..nn import Module
from ..optim import SGD, Adam, Optimizer, RMSprop
from ..optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, ReduceLROnPlateau, StepLR

__all__ = ["RECIPES", "Recipe", "augmentation", "recipe_for"]

_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"SGD": SGD, "Adam": Adam, "RMSprop": RMSprop}

Schedule = tuple[str | float, ...]

COSINE: Schedule = ("cosine",)
"""The rate falls along half a cosine, to 0 after the last epoch."""


def plateau(factor: float) -> Schedule:
    """Return a schedule: the rate is multiplied by `factor` when the test loss stops falling."""
    return "plateau", factor


def every(epochs: int, factor: float) -> Schedule:
    """Return a schedule: the rate is multiplied by `factor` after each so many epochs."""
    return "every", epochs, factor


def at(factor: float, *parts: float) -> Schedule:
    """Return a schedule: the rate is multiplied by `factor` after each of these parts of the training."""
    return "at", factor, *parts


@dataclass(frozen=True)
class Recipe:
    """The choices of a training run.

    Attributes
    ----------
    epochs : int
    optimizer : {'SGD', 'Adam', 'RMSprop'}
    lr : float
        The learning rate of the first epoch.
    batch_size : int
    options : mapping
        What else the optimiser takes.
    schedule : tuple
        :data:`COSINE`, or what :func:`plateau`, :func:`every` or :func:`at` returns.
    max_norm : float, optional
        What the gradients' common norm is clipped to.
    epochs_on_many : int, optional
        Epochs for 20,000 images or more: one on so many has as many steps as several on a few thousand.
    """

    epochs: int
    optimizer: str
    lr: float
    batch_size: int
    options: Mapping[str, float] = field(default_factory=dict)
    schedule: Schedule = COSINE
    max_norm: float | None = None
    epochs_on_many: int | None = None

    def new_optimizer(self, model: Module) -> tuple[Optimizer, LRScheduler | ReduceLROnPlateau]:
        """Return the optimiser over a model's parameters, and the schedule of its learning rate."""
        optimizer = _OPTIMIZERS[self.optimizer](model.parameters(), lr=self.lr, **self.options)
        return optimizer, self._new_schedule(optimizer)

    def _new_schedule(self, optimizer: Optimizer) -> LRScheduler | ReduceLROnPlateau:
        kind, *numbers = self.schedule
        if kind == "plateau":
            return ReduceLROnPlateau(optimizer, factor=float(numbers[0]))
        if kind == "every":
            return StepLR(optimizer, int(numbers[0]), float(numbers[1]))
        if kind == "at":
            factor, *parts = map(float, numbers)
            return MultiStepLR(optimizer, [round(part * self.epochs) for part in parts], factor)
        return CosineAnnealingLR(optimizer, self.epochs)

    def __str__(self) -> str:
        given = "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in self.options.items())
        rate = {
            "cosine": "falling to 0",
            "plateau": "times {} on each plateau",
            "every": "times {1} after each {0} epochs",
            "at": "times {} after {} of the training",
        }[str(self.schedule[0])]
        first, *rest = (f"{number:g}" for number in self.schedule[1:]) if self.schedule[1:] else ("",)
        shown = rate.format(first, " and ".join(rest))
        return (
            f"epochs {self.epochs}, batch size {self.batch_size}, {self.optimizer}{given}, "
            f"learning rate {self.lr:g} {shown}"
        )


_LENET = Recipe(epochs=25, optimizer="Adam", lr=0.005, batch_size=50, epochs_on_many=8)
_KRIZHEVSKY = Recipe(
    epochs=90, optimizer="SGD", lr=0.01, batch_size=128, options={"momentum": 0.9, "weight_decay": 5e-4},
    schedule=plateau(0.1),
)  # fmt: skip
_SIMONYAN = replace(_KRIZHEVSKY, epochs=74, batch_size=256)
_SZEGEDY_2014 = Recipe(
    epochs=250, optimizer="SGD", lr=0.01, batch_size=32, options={"momentum": 0.9}, schedule=every(8, 0.96)
)
# BN-x5, whose rate falls "6 times faster" than GoogLeNet's.
_IOFFE_2015 = replace(_SZEGEDY_2014, lr=0.0075, schedule=every(8, 0.96**6))
_SZEGEDY_2015 = Recipe(
    epochs=100, optimizer="RMSprop", lr=0.045, batch_size=32, options={"alpha": 0.9, "eps": 1.0},
    schedule=every(2, 0.94),
)  # fmt: skip
_HE = Recipe(
    epochs=120, optimizer="SGD", lr=0.1, batch_size=256, options={"momentum": 0.9, "weight_decay": 1e-4},
    schedule=plateau(0.1),
)  # fmt: skip
# The paper warms networks of 110 layers and more up, at a rate of 0.01 for some 400 steps; this does not.
_HE_CIFAR = replace(_HE, epochs=164, batch_size=128, schedule=at(0.1, 1 / 2, 3 / 4))  # 32k, 48k, 64k steps

RECIPES = {  # by model:variant, the first that fits
    # Sigmoids start flat and need a small rate: at 0.006 one seed in six stayed at 10 %.
    "lenet5:d2l": replace(_LENET, epochs=40, lr=0.003),
    "lenet5:*": _LENET,
    "alexnet:*": _KRIZHEVSKY,
    "nin:*": _KRIZHEVSKY,  # Lin 2013: "the training procedure used by Krizhevsky et al."
    "vgg*": _SIMONYAN,
    "googlenet:*": _SZEGEDY_2014,  # the paper gives momentum and schedule; rate and batch are Caffe's
    "inception_v2:*": _IOFFE_2015,
    "inception_v3:*": replace(_SZEGEDY_2015, max_norm=2.0),
    "inception_*": _SZEGEDY_2015,
    "resnet_cifar:*": _HE_CIFAR,
    "preact_resnet_cifar:*": _HE_CIFAR,
    "*resnet*": _HE,
    "plain*": _HE,
    "*": Recipe(epochs=20, optimizer="Adam", lr=0.001, batch_size=50, epochs_on_many=8),
}
"""TensorFlow's RMSprop, which Inception was trained with, adds its ε under the root; ours, as PyTorch's, beside it."""

_MANY = 20_000


def recipe_for(model: Module, train: Dataset) -> Recipe:
    """Return the recipe of a network for a training set.

    Examples
    --------
    >>> from minicnn import data, models
    >>> recipe_for(models.lenet5(), data.load("mnist5k")[0]).epochs
    25
    """
    config = model.config if isinstance(model, Classifier) else {}
    name = f"{config.get('model', '')}:{config.get('variant', '')}"
    recipe = next(recipe for pattern, recipe in RECIPES.items() if fnmatch(name, pattern))
    many = len(train) >= _MANY and recipe.epochs_on_many
    return replace(recipe, epochs=many) if many else recipe


def augmentation(dataset: Dataset) -> Transform | None:
    """Return the distortion that training images of this data set gain by, or None.

    A digit stays the same digit when it is turned, stretched, slanted and shifted a little; so 4,000 of them stand for
    many more.  Photographs of CIFAR's size are mirrored, padded by 4 pixels and cut anew (He 2015, section 4.2).
    """
    if dataset.classes == DIGITS:
        return RandomAffine(degrees=15, translate=(0.1, 0.1), scale=(0.85, 1.15), shear=15)
    if dataset.images.shape[1:] == (3, 32, 32):
        return Compose([RandomCrop(32, padding=4), RandomHorizontalFlip()])
    return None
