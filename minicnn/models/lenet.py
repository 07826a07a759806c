"""LeNet-5, three times: as the paper has it, as it is taught, and as it is written today.

Each is the network of the paper's Figure 2; they differ in what its boxes do::

    layer             paper (1998)                d2l                      modern
    input  1@32×32    from −0.1 to 1.175          28×28, padded by C1      MNIST's mean 0, deviation 1
    C1     6@28×28    5×5                         5×5                      5×5
    S2     6@14×14    sum · coefficient + bias    average                  maximum
    C3    16@10×10    5×5, Table I's 60 links     5×5                      5×5
    S4    16@5×5      as S2                       as S2                    as S2
    C5   120          5×5                         dense                    dense
    F6    84          dense                       dense                    dense
    output 10         distance to a bitmap        dense                    dense
    squash            1.7159 tanh(2a/3)           sigmoid                  ReLU, or any other
    loss              eq. 9                       cross entropy            cross entropy
    parameters        60,000                      61,706                   61,706

References
----------
Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 86(11), 1998, pages 2278 to 2324: section II.B (the network), section II.C (the loss),
Table I, Figures 2 and 3, Appendix A (squashing function and first weights).

A. Zhang, Z. C. Lipton, M. Li and A. J. Smola, "Dive into Deep Learning", section "Convolutional Neural
Networks (LeNet)".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import nn
from ..nn.check import one_of
from ..tensor import Tensor
from .classifier import Classifier
from .lenet_layers import DIGITS, RBF, ScaledTanh, Subsampling, TableConv2d, rbf_loss
from .registry import register

__all__ = ["TABLE_I", "LeNet5D2L", "LeNet5Modern", "LeNet5Paper", "lenet5"]

TABLE_I = (  # the maps of S2 that each of the 16 maps of C3 looks at
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class LeNet5Paper(Classifier):
    """LeNet-5 of 1998: Table I, trainable subsampling, bitmaps to come close to, a loss with a rubbish class.

    Follows section II.B layer by layer, with the parameters and connections stated there; eq. 9 of section
    II.C; Appendix A: all weights uniform in ±2.4/fan-in, 4 for a coefficient of S; the input levels of
    section II.B, −0.1 for the background and 1.175 for the ink.

    Deviates, or chooses where the paper is silent:

    - biases are drawn as weights are; the paper does not mention them apart;
    - j of eq. 9, there only "positive", is 12: the closest bitmaps, 6 and 8, differ in 12 dots, so the point
      half way between them has the penalty 12 from both, and a class further off need not be pushed away;
    - the bitmaps are a transcription of Figure 3 (see :data:`~minicnn.models.lenet_layers.DIGITS`);
    - the paper trains by stochastic diagonal Levenberg-Marquardt (Appendix C), an image at a time.

    Parameters
    ----------
    num_classes : int
        The number of bitmaps.
    bitmaps : sequence of pictures
        The classes' codes, as :class:`~minicnn.models.lenet_layers.RBF` takes them; F6 gets a unit for each
        dot.
    j : float or None
        The constant of eq. 9; None trains by eq. 8.

    Raises
    ------
    ValueError
        If there are not `num_classes` bitmaps, or `j` is not positive.
    """

    input_shape = (1, 32, 32)
    mean, std = (0.1 / 1.275,), (1 / 1.275,)  # 0 becomes −0.1, 1 becomes 1.175

    def __init__(
        self, num_classes: int = 10, bitmaps: Sequence[Sequence[str]] = DIGITS, j: float | None = 12.0
    ) -> None:
        super().__init__()
        if len(bitmaps) != num_classes:
            raise ValueError(
                f"lenet5: the paper's output layer needs one bitmap a class, got {len(bitmaps)} bitmaps for "
                f"num_classes={num_classes}; pass bitmaps="
            )
        if j is not None and not j > 0:
            raise ValueError(f"lenet5: j must be positive, or None for the loss without it, got {j}")
        self.j = j
        self.c1 = nn.Conv2d(1, 6, 5)  # 6@28×28
        self.s2 = Subsampling(6)  # 6@14×14
        self.c3 = TableConv2d(6, TABLE_I, 5)  # 16@10×10
        self.s4 = Subsampling(16)  # 16@5×5
        self.c5 = nn.Conv2d(16, 120, 5)  # 120@1×1
        self.output = RBF(bitmaps)
        self.f6 = nn.Linear(120, self.output.centres.shape[1])  # 84 = 7·12
        self.squash = ScaledTanh()
        for layer in (self.c1, self.c5, self.f6):
            for parameter in layer.parameters():
                nn.init.lecun1998_uniform_(parameter, fan_in=layer.weight[0].size)

    def forward(self, x: Tensor) -> Tensor:
        """Return a penalty for each class (N, K); the smallest wins."""
        f = self.squash
        x = f(self.s2(f(self.c1(x))))
        x = f(self.s4(f(self.c3(x))))
        x = f(self.c5(x)).flatten(1)
        return self.output(f(self.f6(x)))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return eq. 9, or eq. 8 where j is None."""
        return rbf_loss(output, target, self.j)

    def scores(self, output: Tensor) -> Tensor:
        """Return the penalties with the sign turned; their softmax is eq. 9's posterior, rubbish excluded."""
        return -output


class LeNet5D2L(Classifier):
    """LeNet-5 as "Dive into Deep Learning" teaches it: sigmoid, average pooling, a dense output, 28×28 input.

    Follows that book: C1 pads by 2, weights are Xavier-uniform, biases as layers draw them, cross entropy.

    Deviates from the paper in all of that, and in that every map of C3 looks at every map of S2.

    Parameters
    ----------
    num_classes : int
    """

    input_shape = (1, 28, 28)

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5, padding=2)  # 6@28×28
        self.s2 = nn.AvgPool2d(2)  # 6@14×14
        self.c3 = nn.Conv2d(6, 16, 5)  # 16@10×10
        self.s4 = nn.AvgPool2d(2)  # 16@5×5
        self.flatten = nn.Flatten()
        self.c5 = nn.Linear(16 * 5 * 5, 120)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        self.squash = nn.Sigmoid()
        for layer in (self.c1, self.c3, self.c5, self.f6, self.output):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        f = self.squash
        x = self.s2(f(self.c1(x)))
        x = self.s4(f(self.c3(x)))
        x = f(self.c5(self.flatten(x)))
        return self.output(f(self.f6(x)))


class LeNet5Modern(Classifier):
    """LeNet-5 as it is written today: ReLU, max pooling, a dense output, cross entropy.

    Follows the sizes of the paper's Figure 2.

    Deviates from the paper in the layers just named, in that every map of C3 looks at every map of S2, in the
    first weights, which are those all layers draw, and in the input, which gets MNIST's mean 0 and deviation
    1.

    Parameters
    ----------
    num_classes : int
    activation : callable
        Makes the squashing module: a class such as ``nn.ReLU`` or ``nn.Tanh``, or ``nn.Identity`` for none.
    """

    input_shape = (1, 32, 32)
    mean, std = (0.1307,), (0.3081,)

    def __init__(self, num_classes: int = 10, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)  # 6@28×28
        self.s2 = nn.MaxPool2d(2)  # 6@14×14
        self.c3 = nn.Conv2d(6, 16, 5)  # 16@10×10
        self.s4 = nn.MaxPool2d(2)  # 16@5×5
        self.flatten = nn.Flatten()
        self.c5 = nn.Linear(16 * 5 * 5, 120)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        self.squash = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Return a score for each class (N, K)."""
        f = self.squash
        x = self.s2(f(self.c1(x)))
        x = self.s4(f(self.c3(x)))
        x = f(self.c5(self.flatten(x)))
        return self.output(f(self.f6(x)))


_VARIANTS: dict[str, Callable[..., Classifier]] = {
    "modern": LeNet5Modern,
    "paper": LeNet5Paper,
    "d2l": LeNet5D2L,
}


@register
def lenet5(variant: str = "modern", *, num_classes: int = 10, **options: Any) -> Classifier:
    """Build LeNet-5 in one of its variants.

    Parameters
    ----------
    variant : {'modern', 'paper', 'd2l'}
        :class:`LeNet5Modern`, :class:`LeNet5Paper` or :class:`LeNet5D2L`.
    num_classes : int
    **options
        What else that class takes: `activation` the modern one, `bitmaps` and `j` the paper's.

    Raises
    ------
    ValueError
        If there is no such variant, or the paper's has no bitmap for each class.

    Examples
    --------
    >>> model = lenet5("paper")
    >>> sum(p.size for p in model.parameters())
    60000
    """
    network = _VARIANTS[one_of(list(_VARIANTS), "lenet5", "variant", variant)]
    return network(num_classes=num_classes, **options)
