"""What a program that trains, tests or asks a network must know about it, whatever the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import functional as F
from ..nn import Module
from ..tensor import Tensor

__all__ = ["CIFAR10_MEAN", "CIFAR10_STD", "IMAGENET_MEAN", "IMAGENET_STD", "Classifier"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the red, green and blue of ImageNet's pixels, from 0 to 1; the figures everyone uses since Torch7's ResNets."""

CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
"""Of the 50,000 images that CIFAR-10 is trained with."""


class Classifier(Module):
    """A network that sorts images into classes: the base of every model here.

    A training program needs to know no more of it than this::

        normalise = transforms.Normalize(model.mean, model.std)
        output = model(tensor(normalise(pixels)))    # images of model.input_shape, pixels from 0 to 1
        model.loss(output, labels).backward()
        probabilities = F.softmax(model.scores(output), 1)

    A network that takes the pixels as they are, returns one number a class, the larger the likelier, and is
    trained by cross entropy has to state its `input_shape` only.

    Attributes
    ----------
    input_shape : tuple of (C, H, W)
        The images it is made for.
    any_size : bool
        Whether images of other sizes do as well.
    smallest : int
        The shorter side, in pixels, of the smallest of them.
    mean, std : tuples of float, one for each channel or one for all
        What to subtract from the pixels, which are 0 where there is background and 1 where there is ink, or
        full light, and what to divide by then.
    resize : int or None
        The shorter side, in pixels, a photograph is resized to before the centre of `input_shape` is cut out;
        None takes the whole picture.
    config : mapping
        What :func:`~minicnn.models.get_model` needs to build it again; empty for a class of one's own.

    Raises
    ------
    ValueError
        When called on images it is not made for.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> class Perceptron(Classifier):
    ...     input_shape = (1, 2, 2)
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    ...     def forward(self, x):
    ...         return self.layers(x)
    >>> model = Perceptron()
    >>> output = model(tensor([[[[0.0, 1.0], [1.0, 0.0]]]]))
    >>> model.loss(output, tensor([2])).shape, model.scores(output).shape
    ((), (1, 3))
    """

    input_shape: tuple[int, int, int]
    any_size: bool = False
    smallest: int = 1
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resize: int | None = None
    config: Mapping[str, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Check the images, then run the network and its hooks."""
        images: Any = args[0] if args else next(iter(kwargs.values()), None)
        if hasattr(images, "shape"):
            self._check_images(images.shape)
        return super().__call__(*args, **kwargs)

    def _check_images(self, shape: tuple[int, ...]) -> None:
        channels, *size = self.input_shape
        if len(shape) != 4 or shape[1] != channels or not (self.any_size or list(shape[2:]) == size):
            wanted = ["N", channels, *(["H", "W"] if self.any_size else size)]
            raise ValueError(f"{self._name}: images must be ({', '.join(map(str, wanted))}), got {shape}")
        if min(shape[2:]) < self.smallest:
            raise ValueError(
                f"{self._name}: images must be at least {self.smallest}×{self.smallest}, got {shape[2]}×{shape[3]}"
            )

    def loss(self, output: Any, target: Tensor) -> Tensor:
        """Return what training makes small, averaged over the images: here the cross entropy.

        Parameters
        ----------
        output
            What the network returned, in training mode or not.
        target : Tensor (N,) of class numbers
        """
        return F.cross_entropy(output, target)

    def scores(self, output: Any) -> Tensor:
        """Return a score for each image and class (N, K): the largest wins, a softmax makes probabilities."""
        return output
