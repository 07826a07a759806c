"""AlexNet, three times: as the paper has it, in one column, and as torchvision has it.

Five convolutions and three dense layers, a ReLU after each but the last::

    layer     torchvision (2014)        paper (2012)                     single
    input       3@224×224                 3@227×227                        3@227×227
    conv1      64@55×55   11×11/4, pad 2  96@55×55   11×11/4              96@55×55   11×11/4
    norm1                                 over 5 maps
    pool1      64@27×27   3×3/2           96@27×27   3×3/2                96@27×27   3×3/2
    conv2     192@27×27   5×5            256@27×27   5×5, 2 groups       256@27×27   5×5
    norm2                                 over 5 maps
    pool2     192@13×13   3×3/2          256@13×13   3×3/2               256@13×13   3×3/2
    conv3     384@13×13   3×3            384@13×13   3×3                 384@13×13   3×3
    conv4     256@13×13   3×3            384@13×13   3×3, 2 groups       384@13×13   3×3
    conv5     256@13×13   3×3            256@13×13   3×3, 2 groups       256@13×13   3×3
    pool5     256@6×6     3×3/2          256@6×6     3×3/2               256@6×6     3×3/2
    fc6       4096                       4096                            4096
    fc7       4096                       4096                            4096
    fc8       1000                       1000                            1000
    parameters    61,100,840                 60,965,224                      62,378,344
    multiply-adds 714 M                      724 M                           1,135 M

The paper prints an input of 224×224.  Windows of 11×11, 4 apart, fit into it 54 times a side, not the paper's 55:
that takes 227, or padding by 2 as torchvision does.

References
----------
A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
NIPS 2012: sections 3.1 to 3.5 and Figure 2 (the network), 4.2 (dropout), 5 (first weights).

A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014 (the one of torchvision).
"""

from __future__ import annotations

from collections.abc import Callable

from .. import nn
from ..nn.check import one_of
from ..tensor import Tensor
from .classifier import IMAGENET_MEAN, IMAGENET_STD
from .fully_convolutional import DenseHeadClassifier
from .registry import register

__all__ = ["AlexNetPaper", "AlexNetSingle", "AlexNetTorchvision", "alexnet", "response_norm"]

_STARTING_AT_ONE = ("conv2", "conv4", "conv5", "fc6", "fc7")


def response_norm() -> nn.LocalResponseNorm:
    """Return the paper's response normalisation: k = 2, n = 5, α = 10⁻⁴, β = 0.75 (section 3.3).

    The layer, as PyTorch's, divides its alpha by n, the paper does not; so it gets 5 · 10⁻⁴.

    Examples
    --------
    >>> response_norm()
    LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)
    """
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


class AlexNetPaper(DenseHeadClassifier):
    """AlexNet of 2012: split over two GPUs, response normalisation, overlapping pooling, dropout.

    Follows Figure 2; section 3.1, ReLU after every layer; 3.2, conv2, conv4 and conv5 see only those maps that
    were on the same GPU, which are groups; 3.3, normalisation after the ReLU of conv1 and conv2; 3.4, pooling 3×3,
    2 apart, after both normalisations and after conv5; 4.2, dropout of half of fc6 and fc7, their outputs halved
    at test time; section 5, weights from N(0, 0.01²), biases 1 in conv2, conv4, conv5 and the hidden dense layers,
    0 in the others.

    Deviates, or chooses where the paper is silent:

    - the input is 227×227, see above;
    - from the pixels, on the paper's scale of 0 to 255, ImageNet's mean colour is subtracted instead of the mean
      image (section 2);
    - a normalisation looks at neighbours in the whole row of maps, across the seam between the two GPUs too.

    Parameters
    ----------
    num_classes : int
    """

    input_shape = (3, 227, 227)
    mean, std = IMAGENET_MEAN, (1 / 255,)  # pixels from 0 to 255, less the mean
    resize = 256
    map_size = 6

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            {
                "conv1": nn.Conv2d(3, 96, 11, stride=4),  # 96@55×55
                "relu1": nn.ReLU(),
                "norm1": response_norm(),
                "pool1": nn.MaxPool2d(3, 2),  # 96@27×27
                "conv2": nn.Conv2d(96, 256, 5, padding=2, groups=2),  # 256@27×27
                "relu2": nn.ReLU(),
                "norm2": response_norm(),
                "pool2": nn.MaxPool2d(3, 2),  # 256@13×13
                "conv3": nn.Conv2d(256, 384, 3, padding=1),  # 384@13×13
                "relu3": nn.ReLU(),
                "conv4": nn.Conv2d(384, 384, 3, padding=1, groups=2),  # 384@13×13
                "relu4": nn.ReLU(),
                "conv5": nn.Conv2d(384, 256, 3, padding=1, groups=2),  # 256@13×13
                "relu5": nn.ReLU(),
                "pool5": nn.MaxPool2d(3, 2),  # 256@6×6
            }
        )
        self.classifier = nn.Sequential(
            {
                "fc6": nn.Linear(256 * 6 * 6, 4096),
                "relu6": nn.ReLU(),
                "drop6": nn.Dropout(0.5, scale_at_test=True),
                "fc7": nn.Linear(4096, 4096),
                "relu7": nn.ReLU(),
                "drop7": nn.Dropout(0.5, scale_at_test=True),
                "fc8": nn.Linear(4096, num_classes),
            }
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw first weights by section 5."""
        layers = dict(self.features.named_children()) | dict(self.classifier.named_children())
        for name, layer in layers.items():
            for part, parameter in layer.named_parameters():
                if part == "weight":
                    nn.init.krizhevsky2012_normal_(parameter)
                else:
                    nn.init.constant_(parameter, 1.0 if name in _STARTING_AT_ONE else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.features(x)  # (N, 256, 6, 6)
        return self.classifier(x.flatten(1))


class AlexNetSingle(DenseHeadClassifier):
    """AlexNet in one column: every map sees all maps before it, as on a GPU that has room for it.

    Follows the sizes of the paper's Figure 2, its ReLUs, its overlapping pooling and its dropout.

    Deviates from the paper in that there are no groups and no response normalisation, in the first weights, which
    are those all layers draw, and in the input, whose colours get ImageNet's mean 0 and deviation 1.

    Parameters
    ----------
    num_classes : int
        2 for cats and dogs.
    """

    input_shape = (3, 227, 227)
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    resize = 256
    map_size = 6

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            {
                "conv1": nn.Conv2d(3, 96, 11, stride=4),  # 96@55×55
                "relu1": nn.ReLU(),
                "pool1": nn.MaxPool2d(3, 2),  # 96@27×27
                "conv2": nn.Conv2d(96, 256, 5, padding=2),  # 256@27×27
                "relu2": nn.ReLU(),
                "pool2": nn.MaxPool2d(3, 2),  # 256@13×13
                "conv3": nn.Conv2d(256, 384, 3, padding=1),  # 384@13×13
                "relu3": nn.ReLU(),
                "conv4": nn.Conv2d(384, 384, 3, padding=1),  # 384@13×13
                "relu4": nn.ReLU(),
                "conv5": nn.Conv2d(384, 256, 3, padding=1),  # 256@13×13
                "relu5": nn.ReLU(),
                "pool5": nn.MaxPool2d(3, 2),  # 256@6×6
            }
        )
        self.classifier = nn.Sequential(
            {
                "fc6": nn.Linear(256 * 6 * 6, 4096),
                "relu6": nn.ReLU(),
                "drop6": nn.Dropout(0.5),
                "fc7": nn.Linear(4096, 4096),
                "relu7": nn.ReLU(),
                "drop7": nn.Dropout(0.5),
                "fc8": nn.Linear(4096, num_classes),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.features(x)  # (N, 256, 6, 6)
        return self.classifier(x.flatten(1))


class AlexNetTorchvision(DenseHeadClassifier):
    """AlexNet as torchvision has it, whose weights load unchanged: 64-192-384-256-256 maps, any size of image.

    Follows "One weird trick", the network on one GPU; torchvision in all else: the names, dropout before the dense
    layers, a 6×6 average of whatever map there is, the first weights, which are those all layers draw, the input
    with mean 0 and deviation 1 over ImageNet.

    Deviates from the paper of 2012 in the numbers of maps, in that there are no groups and no response
    normalisation, and in the order of dropout and dense layers.

    Parameters
    ----------
    num_classes : int
    """

    input_shape = (3, 224, 224)
    any_size, smallest = True, 63
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    resize = 256
    map_size = 6

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),  # 0: 64@55×55
            nn.ReLU(),
            nn.MaxPool2d(3, 2),  # 64@27×27
            nn.Conv2d(64, 192, 5, padding=2),  # 3: 192@27×27
            nn.ReLU(),
            nn.MaxPool2d(3, 2),  # 192@13×13
            nn.Conv2d(192, 384, 3, padding=1),  # 6: 384@13×13
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),  # 8: 256@13×13
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),  # 10: 256@13×13
            nn.ReLU(),
            nn.MaxPool2d(3, 2),  # 256@6×6
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(256 * 6 * 6, 4096),  # 1
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),  # 4
            nn.ReLU(),
            nn.Linear(4096, num_classes),  # 6
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        x = self.avgpool(self.features(x))  # (N, 256, 6, 6)
        return self.classifier(x.flatten(1))


_VARIANTS: dict[str, Callable[[int], DenseHeadClassifier]] = {
    "torchvision": AlexNetTorchvision,
    "paper": AlexNetPaper,
    "single": AlexNetSingle,
}


@register
def alexnet(variant: str = "torchvision", *, num_classes: int = 1000) -> DenseHeadClassifier:
    """Build AlexNet in one of its variants.

    Parameters
    ----------
    variant : {'torchvision', 'paper', 'single'}
        :class:`AlexNetTorchvision`, :class:`AlexNetPaper` or :class:`AlexNetSingle`.
    num_classes : int

    Raises
    ------
    ValueError
        If there is no such variant.

    Examples
    --------
    >>> import minicnn
    >>> with minicnn.device("meta"):
    ...     model = alexnet("paper")
    >>> sum(p.size for p in model.parameters())
    60965224
    """
    return _VARIANTS[one_of(list(_VARIANTS), "alexnet", "variant", variant)](num_classes)
