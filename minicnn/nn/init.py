"""Where the weights start: each function fills a tensor's array in place and returns the tensor.

A layer of n inputs adds up n products, so its output has n·Var[w] times the variance of its input; deep
networks need that factor near 1, or their signals die out or explode.  The schemes differ in their aims:

    LeCun     Var[w] = 1 / fan_in                 keeps the signal's variance on the way forward
    Glorot    Var[w] = 2 / (fan_in + fan_out)     a compromise between forward and backward
    He        Var[w] = 2 / fan_in                 LeCun's, twice as large: a ReLU halves the signal

with fan_in the products that go into one output, and fan_out the outputs that one input goes into.  Numbers
are drawn in float64 and in logical row-major order, so a seed gives the same weights for every memory layout
and, up to rounding, for every dtype.

References
----------
Y. LeCun, L. Bottou, G. Orr, K.-R. Müller, "Efficient BackProp", 1998, section 4.6.
X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
K. He, X. Zhang, S. Ren, J. Sun, "Delving Deep into Rectifiers", ICCV 2015, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .. import backend, random
from ..tensor import Tensor
from .check import one_of

__all__ = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "krizhevsky2012_normal_",
    "lecun1998_uniform_",
    "lecun_normal_",
    "lecun_uniform_",
    "normal_",
    "ones_",
    "simonyan2014_normal_",
    "skip",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

Generator = Any

_BLOCK = 1 << 16  # numbers drawn at a time: a large weight needs no second array of its size
_GAINS = {
    "linear": 1.0,
    "conv2d": 1.0,
    "conv_transpose2d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2),
    "selu": 0.75,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights before this nonlinearity should be larger than before none.

    Parameters
    ----------
    nonlinearity : str
        ``"linear"``, ``"conv2d"``, ``"conv_transpose2d"``, ``"sigmoid"``, ``"tanh"``, ``"relu"``,
        ``"leaky_relu"`` or ``"selu"``.
    param : float, optional
        Of ``"leaky_relu"`` the slope a for negative inputs, 0.01 by default: the gain is √(2 / (1 + a²)).

    Raises
    ------
    ValueError
        If there is no such nonlinearity.

    Examples
    --------
    >>> calculate_gain("relu") == 2 ** 0.5
    True
    """
    gain = _GAINS[one_of(list(_GAINS), "calculate_gain", "nonlinearity", nonlinearity)]
    if nonlinearity == "leaky_relu":
        gain /= math.hypot(1, 0.01 if param is None else param)
    return gain


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator = None) -> Tensor:
    """Draw from the uniform distribution over [a, b).

    Parameters
    ----------
    tensor : Tensor, floating point
    a, b : float
    generator : numpy.random.Generator, optional
        Default: :func:`minicnn.random.default_generator`.

    Raises
    ------
    TypeError
        If `tensor` is no Tensor of a floating-point type.
    ValueError
        If b < a.

    Examples
    --------
    >>> from minicnn import manual_seed, tensor
    >>> _ = manual_seed(0)
    >>> uniform_(tensor([0.0, 0.0]), -1, 1)
    tensor([ 0.27392337, -0.46042657], dtype=float32)
    """
    if b < a:
        raise ValueError(f"uniform_: b must be at least a, got a={a}, b={b}")
    return _uniform("uniform_", tensor, a, b, generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator = None) -> Tensor:
    """Draw from the normal distribution N(mean, std²).

    Raises
    ------
    TypeError
        If `tensor` is no Tensor of a floating-point type.
    ValueError
        If `std` is negative.
    """
    return _normal("normal_", tensor, mean, std, generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator = None,
) -> Tensor:
    """Draw from the normal distribution N(mean, std²) cut off at a and b: what falls outside is drawn again.

    Parameters
    ----------
    tensor : Tensor, floating point
    mean, std : float
        Of the normal distribution before the cut.
    a, b : float
        The smallest and the largest value; values, as PyTorch has it, not multiples of `std`.  With the default
        ±2 and a `std` of 0.01 the cut is 200 deviations out, and cuts nothing.
    generator : numpy.random.Generator, optional

    Raises
    ------
    TypeError
        If `tensor` is no Tensor of a floating-point type.
    ValueError
        If `std` is negative, or fewer than 1 in 1000 draws would fall between `a` and `b`.

    Examples
    --------
    >>> from minicnn import manual_seed, tensor
    >>> _ = manual_seed(0)
    >>> w = trunc_normal_(tensor([0.0] * 1000), std=0.1, a=-0.2, b=0.2)
    >>> bool(abs(w.data).max() <= 0.2)
    True
    """
    op = "trunc_normal_"
    if std < 0:
        raise ValueError(f"{op}: std must be at least 0, got {std}")
    if _normal_mass(mean, std, a, b) < 1e-3:
        raise ValueError(
            f"{op}: at least 1 in 1000 draws must fall between a and b, got mean={mean}, std={std}, a={a}, b={b}"
        )
    generator = generator or random.default_generator()

    def values(shape: tuple[int, ...]) -> Any:
        drawn = mean + std * generator.standard_normal(shape)
        while (outside := (drawn < a) | (drawn > b)).any():
            drawn[outside] = mean + std * generator.standard_normal(int(outside.sum()))
        return drawn

    return _draw(op, tensor, values)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    return _fill("constant_", tensor, lambda shape: val)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return _fill("zeros_", tensor, lambda shape: 0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return _fill("ones_", tensor, lambda shape: 1)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
) -> Tensor:
    """He's initialisation from a uniform distribution: U(−√3 σ, √3 σ), σ as in :func:`kaiming_normal_`."""
    bound = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return _uniform("kaiming_uniform_", tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
) -> Tensor:
    """He's initialisation: N(0, σ²) with σ = gain / √fan, which for ReLU is √(2 / fan).

    Parameters
    ----------
    tensor : Tensor
        The weight, (out, in) or (K, C, R, S).
    a : float
        The slope of a leaky ReLU for negative inputs; 0 is ReLU.
    mode : {"fan_in", "fan_out"}
        Keep the variance of the signal going forward (He et al. 2015, eq. 10), or of the gradient going back
        (eq. 14).
    nonlinearity : str
        What follows the layer, see :func:`calculate_gain`.
    generator : numpy.random.Generator, optional

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> from minicnn import manual_seed, nn
    >>> _ = manual_seed(0)
    >>> w = kaiming_normal_(nn.Linear(200, 1000).weight, nonlinearity="relu")
    >>> abs(float(w.data.std()) / (2 / 200) ** 0.5 - 1) < 0.01
    True
    """
    std = _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity)
    return _normal("kaiming_normal_", tensor, 0.0, std, generator)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Glorot's initialisation: U(−b, b) with b = gain · √(6 / (fan_in + fan_out)); eq. 16 of the paper."""
    bound = math.sqrt(3) * _xavier_std("xavier_uniform_", tensor, gain)
    return _uniform("xavier_uniform_", tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Glorot's variance, normally distributed: N(0, gain² · 2 / (fan_in + fan_out))."""
    return _normal("xavier_normal_", tensor, 0.0, _xavier_std("xavier_normal_", tensor, gain), generator)


def lecun_normal_(tensor: Tensor, generator: Generator = None) -> Tensor:
    """LeCun's initialisation: N(0, 1 / fan_in) ("Efficient BackProp", section 4.6)."""
    fan_in, _ = _fans("lecun_normal_", tensor)
    return _normal("lecun_normal_", tensor, 0.0, math.sqrt(1 / fan_in), generator)


def lecun_uniform_(tensor: Tensor, generator: Generator = None) -> Tensor:
    """LeCun's variance, uniformly distributed: U(−b, b) with b = √(3 / fan_in)."""
    fan_in, _ = _fans("lecun_uniform_", tensor)
    bound = math.sqrt(3 / fan_in)
    return _uniform("lecun_uniform_", tensor, -bound, bound, generator)


def lecun1998_uniform_(tensor: Tensor, fan_in: int | None = None, generator: Generator = None) -> Tensor:
    """LeNet-5's initialisation: U(−2.4 / fan_in, 2.4 / fan_in).

    Parameters
    ----------
    tensor : Tensor
    fan_in : int, optional
        The inputs of one unit, where the tensor's shape does not tell: for a bias, say, or for a map that is
        connected to some of the maps below only.
    generator : numpy.random.Generator, optional

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition",
    1998, appendix A.
    """
    if fan_in is None:
        fan_in, _ = _fans("lecun1998_uniform_", tensor)
    if fan_in < 1:
        raise ValueError(f"lecun1998_uniform_: fan_in must be at least 1, got {fan_in}")
    return _uniform("lecun1998_uniform_", tensor, -2.4 / fan_in, 2.4 / fan_in, generator)


def krizhevsky2012_normal_(tensor: Tensor, generator: Generator = None) -> Tensor:
    """AlexNet's initialisation: N(0, 0.01²).

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
    2012, section 5.
    """
    return _normal("krizhevsky2012_normal_", tensor, 0.0, 0.01, generator)


def simonyan2014_normal_(tensor: Tensor, generator: Generator = None) -> Tensor:
    """VGG's initialisation of configuration A: N(0, 0.1²), the paper's variance of 10⁻².

    References
    ----------
    K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
    section 3.1.
    """
    return _normal("simonyan2014_normal_", tensor, 0.0, 0.1, generator)


def _fans(op: str, tensor: Tensor) -> tuple[int, int]:
    """Return fan_in and fan_out of a weight (out, in, …): in and out, times the samples of its kernel."""
    _check(op, tensor)
    if tensor.ndim < 2 or tensor.size == 0:
        raise ValueError(
            f"{op}: the tensor must be a weight, (out, in) or (K, C, R, S), with no axis of length 0; "
            f"got shape {tensor.shape}"
        )
    samples = math.prod(tensor.shape[2:])
    return tensor.shape[1] * samples, tensor.shape[0] * samples


def _kaiming_std(op: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan_in, fan_out = _fans(op, tensor)
    fan = {"fan_in": fan_in, "fan_out": fan_out}[one_of(["fan_in", "fan_out"], op, "mode", mode)]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def _xavier_std(op: str, tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2 / sum(_fans(op, tensor)))


def _normal_mass(mean: float, std: float, a: float, b: float) -> float:
    """Return the probability that a draw from N(mean, std²) falls between a and b."""
    if std == 0:
        return float(a <= mean <= b)
    scale = std * math.sqrt(2)
    return (math.erf((b - mean) / scale) - math.erf((a - mean) / scale)) / 2


_drawing: ContextVar[bool] = ContextVar("drawing", default=True)


@contextmanager
def skip() -> Iterator[None]:
    """Draw nothing inside the block: what would be random stays as it is, in a new layer undefined.

    For a network that gets its weights from a file at once; drawing those of VGG-16 takes seconds.  Constants are
    still set.

    Examples
    --------
    >>> from minicnn import nn
    >>> trained = nn.Linear(300, 200)
    >>> with skip():
    ...     layer = nn.Linear(300, 200)
    >>> layer.load_state_dict(trained.state_dict())
    IncompatibleKeys(missing_keys=[], unexpected_keys=[])
    """
    token = _drawing.set(False)
    try:
        yield
    finally:
        _drawing.reset(token)


def _uniform(op: str, tensor: Tensor, low: float, high: float, generator: Generator) -> Tensor:
    generator = generator or random.default_generator()
    return _draw(op, tensor, lambda shape: low + (high - low) * generator.random(shape))


def _normal(op: str, tensor: Tensor, mean: float, std: float, generator: Generator) -> Tensor:
    if std < 0:
        raise ValueError(f"{op}: std must be at least 0, got {std}")
    generator = generator or random.default_generator()
    return _draw(op, tensor, lambda shape: mean + std * generator.standard_normal(shape))


def _draw(op: str, tensor: Tensor, values: Callable[[tuple[int, ...]], Any]) -> Tensor:
    """Fill with random values, unless inside :func:`skip`."""
    _check(op, tensor)
    return _fill(op, tensor, values) if _drawing.get() else tensor


def _fill(op: str, tensor: Tensor, values: Callable[[tuple[int, ...]], Any]) -> Tensor:
    """Fill with the values of successive blocks of rows, each asked for by its shape."""
    _check(op, tensor)
    be = backend.of(tensor.data)
    if be is backend.meta:  # no values: drawing hundreds of millions would be for nothing
        return tensor
    array = tensor.data if tensor.ndim else tensor.data[None]
    rows = max(1, _BLOCK * len(array) // max(1, array.size))
    for start in range(0, len(array), rows):
        block = array[start : start + rows]
        with be.running(op, block):
            be.copyto(block, be.asarray(values(block.shape)))
    return tensor


def _check(op: str, tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{op}: expected a Tensor, got {type(tensor).__qualname__}")
    if not backend.of(tensor.data).is_float(tensor.dtype):
        raise TypeError(f"{op}: the tensor must be floating point, got {tensor.dtype}")
