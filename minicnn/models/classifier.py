"""What a program that trains, tests or asks a network must know about it, whatever the network."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import functional as F
from ..nn import Module
from ..tensor import Tensor

__all__ = ["Classifier"]


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
    mean, std : tuples of float, one for each channel or one for all
        What to subtract from the pixels, which are 0 where there is background and 1 where there is ink, or
        full light, and what to divide by then.

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

    input_shape: ClassVar[tuple[int, int, int]]
    mean: ClassVar[tuple[float, ...]] = (0.0,)
    std: ClassVar[tuple[float, ...]] = (1.0,)

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
