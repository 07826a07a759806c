"""The parts of LeNet-5 that only the paper of 1998 has: its layers, its output code, its loss.

References
----------
Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 86(11), 1998, sections II.B and II.C, Table I, Figure 3 and Appendix A.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import backend, nn
from .. import functional as F
from ..nn.parameter import new_parameter
from ..tensor import Tensor, tensor

__all__ = ["DIGITS", "RBF", "ScaledTanh", "Subsampling", "TableConv2d", "rbf_loss"]

_FIGURE_3 = """
.#####. ...##.. .#####. ####### .#####. .#####. ..####. ####### .#####. .#####.
....... ..###.. ....... .....## ....... ....... .##.... .....## ##...## ##..###
..###.. .####.. .#####. ....##. ....... ####### ##..... .....## ##...## ##...##
.##.##. ...##.. ##...## ...##.. .##..## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. #....## ..####. .##..## ##..... ######. ...##.. .#####. ##..###
##...## ...##.. ....##. .....## ###..## .####.. ###..## ...##.. ##...## .######
##...## ...##.. ..###.. .....## ##...## ..####. ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ##...## .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ##..### ##...## ###..## ..##... ##...## ....##.
..###.. .###### ####### .#####. .###### .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
"""

DIGITS = tuple(zip(*map(str.split, _FIGURE_3.split("\n")[1:-1]), strict=True))
"""The digits 0 to 9 of the paper's ASCII set: 12 strings of 7 characters, ``#`` for +1, ``.`` for −1.

0, 2, 4 and 5 are the lower-case shapes of o, z, y and s under a bar, in keeping with section II.B: characters
that are easily confused get similar codes.  The dots come from a transcription of Figure 3 that
several public implementations share to the dot.  It has not been compared with the print, nor with a second
transcription: none that is independent of it is known.
"""


class ScaledTanh(nn.Module):
    """f(a) = 1.7159 tanh(2a/3), eq. 6: f(±1) = ±1, where the curve is also bent most (Appendix A)."""

    def forward(self, a: Tensor) -> Tensor:
        """Squash each element."""
        return F.tanh(a * (2 / 3)) * 1.7159


class Subsampling(nn.Module):
    """Each 2×2 block of a map added up, times the map's coefficient, plus its bias: an S layer without f.

    Parameters
    ----------
    channels : int
        Maps; each has two parameters.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = new_parameter((channels,))
        self.bias = new_parameter((channels,))
        for parameter in self.parameters():
            nn.init.lecun1998_uniform_(parameter, fan_in=4)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, C, H/2, W/2)."""
        total = F.avg_pool2d(x, 2, divisor_override=1)
        return total * self.coefficient.reshape(-1, 1, 1) + self.bias.reshape(-1, 1, 1)

    def layer_cost(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> tuple[int, int]:
        """Count connections: each unit to 4 inputs and a bias.  It is no convolution, so 0 multiply-adds."""
        c, p, q = output_shape
        return 5 * c * p * q, 0


class TableConv2d(nn.Module):
    """A convolution in which each output map looks at some of the input maps only.

    There are weights for these links and no others.  A call lays them out as the kernels of an ordinary
    convolution, with zeros where there is no link.

    Parameters
    ----------
    in_channels : int
    table : sequence of sequences of int
        The input maps of each output map.
    kernel_size : int

    Attributes
    ----------
    weight : Parameter (links, R, S)
        In the order of the table.
    bias : Parameter (maps,)

    Raises
    ------
    ValueError
        If the table names an input map that does not exist.

    Examples
    --------
    >>> layer = TableConv2d(3, [(0, 1), (2,)], kernel_size=5)
    >>> layer.weight.shape, layer.bias.shape, layer.kernels().shape
    ((3, 5, 5), (2,), (2, 3, 5, 5))
    """

    def __init__(self, in_channels: int, table: Sequence[Sequence[int]], kernel_size: int) -> None:
        super().__init__()
        links = [(k, c) for k, inputs in enumerate(table) for c in inputs]
        for k, c in links:
            if not 0 <= c < in_channels:
                raise ValueError(f"TableConv2d: map {k} looks at input map {c} of {in_channels}")
        self.table = table
        self.weight = new_parameter((len(links), kernel_size, kernel_size))
        self.bias = new_parameter((len(table),))
        self.reset_parameters()
        place = {link: i for i, link in enumerate(links)}
        places = [[place.get((k, c), len(links)) for c in range(in_channels)] for k in range(len(table))]
        self._places: Tensor  # (K, C): where in `weight` the kernel of map k for input c stands, or the end
        self.register_buffer("_places", tensor(places), persistent=False)

    def reset_parameters(self) -> None:
        """Draw first values by Appendix A: the more inputs a map has, the smaller they are."""
        start = 0
        for k, inputs in enumerate(self.table):
            weight = self.weight.data[start : start + len(inputs)]
            for values in (weight, self.bias.data[k : k + 1]):
                nn.init.lecun1998_uniform_(Tensor(values), fan_in=weight.size)
            start += len(inputs)

    def kernels(self) -> Tensor:
        """Return the weights as the kernels (K, C, R, S) of an ordinary convolution."""
        with backend.on(self.weight.device) as be:
            absent = Tensor(be.zeros((1, *self.weight.shape[1:]), self.weight.dtype))
        return F.cat([self.weight, absent])[self._places]

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, C, H, W) into (N, maps, P, Q)."""
        return F.conv2d(x, self.kernels(), self.bias)

    def layer_cost(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> tuple[int, int]:
        """Count connections and multiply-adds of the links; the zeros between them do not count."""
        _, p, q = output_shape
        return p * q * (self.weight.size + self.bias.size), p * q * self.weight.size


class RBF(nn.Module):
    """yᵢ = Σⱼ (xⱼ − wᵢⱼ)², eq. 7: how far x is from the bitmap of each class, a penalty.

    Parameters
    ----------
    bitmaps : sequence of K pictures
        Each a sequence of strings of ``#``, +1, and ``.``, −1; all of one size.  They stay as they are.

    Attributes
    ----------
    centres : Tensor (K, dots)
        The bitmaps, row after row.

    Raises
    ------
    ValueError
        If the pictures differ in size or have other characters.
    """

    def __init__(self, bitmaps: Sequence[Sequence[str]]) -> None:
        super().__init__()
        codes = ["".join(rows) for rows in bitmaps]
        if len({len(code) for code in codes}) != 1 or set("".join(codes)) - set("#."):
            raise ValueError("RBF: bitmaps must be pictures of one size, made of '#' and '.' only")
        self.centres: Tensor
        self.register_buffer("centres", tensor([[1.0 if c == "#" else -1.0 for c in code] for code in codes]))

    def forward(self, x: Tensor) -> Tensor:
        """Turn states (N, dots) into penalties (N, K)."""
        n, dots = x.shape
        return ((x.reshape(n, 1, dots) - self.centres) ** 2).sum(2)

    def layer_cost(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> tuple[int, int]:
        """Count connections: each class to each dot.  It is no dense layer, so 0 multiply-adds."""
        return self.centres.size, 0


def rbf_loss(penalties: Tensor, target: Tensor, j: float | None) -> Tensor:
    """Return the paper's loss, eq. 9, or where `j` is None the simpler eq. 8.

    With y the penalties of an image and D its class, averaged over the images,

        E = y_D + log(e^{−j} + Σᵢ e^{−yᵢ})        (9)        E = y_D        (8)

    Eq. 9 is the cross entropy of the scores −y and of one class more, "rubbish", with the constant score −j.
    The logarithm is the competing term: it pushes up the penalties of the other classes, except those far
    above j.

    Parameters
    ----------
    penalties : Tensor (N, K)
    target : Tensor (N,) of class numbers
    j : float or None

    Examples
    --------
    >>> rbf_loss(tensor([[1.0, 2.0]]), tensor([0]), j=None).item()
    1.0
    >>> round(rbf_loss(tensor([[1.0, 2.0]]), tensor([0]), j=3.0).item(), 4)  # 1 + log(e⁻³ + e⁻¹ + e⁻²)
    0.4076
    """
    if j is None:
        return F.nll_loss(-penalties, target)
    with backend.on(penalties.device) as be:
        rubbish = Tensor(be.full((len(penalties), 1), -float(j), penalties.dtype))
    log_posterior = F.log_softmax(F.cat([-penalties, rubbish], 1), 1)
    return F.nll_loss(log_posterior[:, :-1], target)  # no image is labelled rubbish
