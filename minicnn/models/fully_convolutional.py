"""Dense evaluation: a network's dense layers turned into convolutions, so that it takes images of any size.

The first dense layer looks at a whole map, of R×R places.  It is a convolution with R×R kernels that fits there
once; those after it are 1×1 convolutions.  On a larger image the same kernels fit several times, and each place
yields the scores of one part of the image::

    image        map before the dense layers    class-score map    scores
    224×224      512@7×7                        1000@1×1           1000
    288×320      512@9×10                       1000@3×4           1000, the average of the 12 places

Nothing is computed twice, as it would be for 12 crops, and a crop's zero padding is replaced by the image around
it: the class-score map holds what the network's dense layers make of each R×R part of the map before.  Without
padding in the convolutions these are the scores of the crops themselves.

References
----------
K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
section 3.2.

P. Sermanet et al., "OverFeat: Integrated Recognition, Localization and Detection using Convolutional Networks",
ICLR 2014, section 3.5.
"""

from __future__ import annotations

import copy
from typing import Any

from .. import backend, nn
from ..nn.parameter import new_parameter
from ..tensor import Tensor
from .classifier import Classifier

__all__ = ["DenseHeadClassifier", "FullyConvolutional", "to_fully_convolutional"]


class DenseHeadClassifier(Classifier):
    """A network that ends in dense layers over a flattened map, as AlexNet and VGG do.

    Attributes
    ----------
    features : Sequential
        Turns images of ``input_shape`` into maps (N, C, map_size, map_size).
    map_size : int
    classifier : Sequential
        Turns flattened maps (N, C·map_size·map_size) into scores (N, K): dense layers, and others that work on
        each element.
    """

    features: nn.Sequential
    classifier: nn.Sequential
    map_size: int


class FullyConvolutional(Classifier):
    """What :func:`to_fully_convolutional` returns.

    Parameters
    ----------
    model : DenseHeadClassifier
        Its layers are copied; the names of the parameters stay, those of dense layers get another shape.

    Raises
    ------
    ValueError
        When called on images smaller than `model` is made for.
    """

    any_size = True

    def __init__(self, model: DenseHeadClassifier) -> None:
        super().__init__()
        self.input_shape, self.resize = model.input_shape, model.resize
        self.mean, self.std = model.mean, model.std
        self.features = copy.deepcopy(model.features)
        self.classifier = _without_dense_layers(model.classifier, model.map_size)
        self.train(model.training)

    def _check_images(self, shape: tuple[int, ...]) -> None:
        super()._check_images(shape)
        height, width = self.input_shape[1:]
        if shape[2] < height or shape[3] < width:
            raise ValueError(
                f"FullyConvolutional: images must be at least {height}×{width}, got {shape[2]}×{shape[3]}"
            )

    def score_map(self, x: Tensor) -> Tensor:
        """Return a score for each class and part of the images (N, K, P, Q)."""
        self._check_images(x.shape)
        return self.classifier(self.features(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K): the average over the class-score map."""
        return self.score_map(x).mean((2, 3))


def to_fully_convolutional(model: nn.Module) -> FullyConvolutional:
    """Return a network with the same weights whose dense layers are convolutions.

    It takes images of any size not below that of `model`, and returns the average of the class-score map, which
    its method ``score_map`` returns as it is.  On images of the size that `model` is made for, both return the same
    up to rounding.  (The paper also averages over an image and its mirror image.)

    Parameters
    ----------
    model : Module
        AlexNet or VGG, or a :class:`DenseHeadClassifier` of one's own.  It stays as it is, and shares nothing with
        the network returned.

    Raises
    ------
    TypeError
        If `model` has no dense layers over a flattened map.

    Examples
    --------
    >>> from minicnn import tensor
    >>> class Tiny(DenseHeadClassifier):
    ...     input_shape, map_size = (1, 4, 4), 2
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.features = nn.Sequential(nn.Conv2d(1, 3, 3))
    ...         self.classifier = nn.Sequential(nn.Linear(3 * 2 * 2, 5), nn.ReLU(), nn.Linear(5, 10))
    >>> dense = to_fully_convolutional(Tiny())
    >>> x = tensor([[[[0.0] * 7] * 6]])
    >>> dense.score_map(x).shape, dense(x).shape
    ((1, 10, 3, 4), (1, 10))
    """
    if not isinstance(model, DenseHeadClassifier):
        raise TypeError(
            "to_fully_convolutional: the network must end in dense layers over a flattened map, as AlexNet and VGG "
            f"do, got {type(model).__name__}"
        )
    return FullyConvolutional(model)


def _without_dense_layers(layers: nn.Sequential, size: int) -> nn.Sequential:
    """Return a copy of the layers, the first dense one now looking at size×size places, the others at one."""
    changed: dict[str, Any] = {}
    for name, layer in layers.named_children():
        if isinstance(layer, nn.Linear):
            changed[name], size = _as_convolution(layer, size), 1
        else:
            changed[name] = copy.deepcopy(layer)
    return nn.Sequential(changed)


def _as_convolution(dense: nn.Linear, size: int) -> nn.Conv2d:
    """Return the convolution that does at each place what the dense layer does once."""
    channels = dense.in_features // size**2
    with backend.device("meta"):  # no values are drawn: all are replaced
        layer = nn.Conv2d(channels, dense.out_features, size, bias=dense.bias is not None)
    layer.weight = _copied(dense.weight, layer.weight.shape)
    if dense.bias is not None:
        layer.bias = _copied(dense.bias, dense.bias.shape)
    return layer


def _copied(parameter: nn.Parameter, shape: tuple[int, ...]) -> nn.Parameter:
    new = new_parameter(shape, parameter.device, parameter.dtype)
    with backend.on(parameter.device) as be:
        be.copyto(new.data, parameter.data.reshape(shape))
    return new
