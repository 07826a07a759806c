"""Convolution on plain arrays, NumPy's and CuPy's: no Tensor, no graph.

One algorithm a file, each with the three directions a convolutional layer needs; the functions here check the
arguments, choose the algorithm and return arrays.

>>> import numpy as np
>>> x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
>>> conv2d(x, w)
array([[[[4., 4.],
         [4., 4.]]]])
"""

from __future__ import annotations

from typing import Any

from .. import backend
from ..geometry import Pair, Window2d
from .algorithms import algorithms
from .check import check_groups, check_kernel, check_out, check_problem, check_shape
from .choice import choose, use
from .problem import Problem
from .rates import calibrate
from .tuned import autotune, choices, pin

__all__ = [
    "algorithms",
    "autotune",
    "calibrate",
    "choices",
    "conv2d",
    "conv2d_backward_data",
    "conv2d_backward_weight",
    "pin",
    "use",
]

Array = Any


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    algorithm: str = "auto",
    out: Array | None = None,
    relu: bool = False,
) -> Array:
    """Convolve a batch of images with a bank of kernels (cross-correlation, as everywhere in deep learning).

    Parameters
    ----------
    x : array (N, C, H, W), floating point
        In memory of any strides; channels-last memory needs no copy.
    w : array (K, C/groups, R, S), of x's dtype
    b : array (K,), optional
    stride, dilation : int or pair
    padding : int, pair, (top, bottom, left, right), 'same' or 'valid'
    groups : int
        Input and output channels are split into this many independent groups.
    algorithm : str
        One of :func:`algorithms` of the arrays' device, or ``"auto"``.
    out : array (N, K, P, Q), optional
        Where to write the result.
    relu : bool
        Take the result's positive part, in the same pass.

    Returns
    -------
    array (N, K, P, Q)
        In channels-last memory, unless `out` says otherwise.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.
    MemoryError
        On a GPU, with what was asked for and what there is.
    """
    name = "conv2d"
    arrays = [array for array in (x, w, b, out) if array is not None]
    with backend.running(name, *arrays):
        window = Window2d.of(name, check_kernel(name, w), stride, padding, dilation)
        shape = check_problem(name, window, x, w, b, groups)
        y: Array = backend.of(x).empty_images(*shape, x.dtype) if out is None else out
        check_out(name, y, shape, x, w, b)
        problem = Problem(tuple(x.shape), w.shape[0], window, groups, x.dtype)
        choose(algorithm, problem, "forward", x).forward(x, w, b, window, groups, y, relu)
    return y


def conv2d_backward_data(
    g: Array,
    w: Array,
    input_shape: tuple[int, ...],
    *,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """Return ∂L/∂x (N, C, H, W) of :func:`conv2d` from g = ∂L/∂y (N, K, P, Q).

    dx[n, c, h, w] = Σ g[n, k, p, q] · w[k, c, r, s] over all (k, p, q, r, s) whose window sees pixel (h, w): each g
    is spread with the kernel's weights over the pixels it came from.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_backward_data(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), (1, 1, 3, 3))
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    name = "conv2d_backward_data"
    with backend.running(name, g, w):
        window = Window2d.of(name, check_kernel(name, w), stride, padding, dilation)
        shape = check_problem(name, window, _Shape(input_shape, w.dtype), w, None, groups)
        check_shape(name, "g", g, shape, w.dtype)
        problem = Problem(tuple(input_shape), w.shape[0], window, groups, w.dtype)
        return choose(algorithm, problem, "backward_data", g).backward_data(
            g, w, tuple(input_shape), window, groups
        )


def conv2d_backward_weight(
    x: Array,
    g: Array,
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> Array:
    """Return ∂L/∂w (K, C/groups, R, S) of :func:`conv2d` from g = ∂L/∂y (N, K, P, Q).

    dw[k, c, r, s] = Σ g[n, k, p, q] · x[n, c, h, w] over all (n, p, q), with (h, w) the pixel that sample (r, s) of
    window (p, q) sees: the convolution of the input with the gradient.

    Raises
    ------
    TypeError, ValueError
        Naming the rule and the values.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_backward_weight(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), kernel_size=2)
    array([[[[4., 4.],
             [4., 4.]]]])
    """
    name = "conv2d_backward_weight"
    window = Window2d.of(name, kernel_size, stride, padding, dilation)
    with backend.running(name, x, g):
        check_groups(name, groups)
        k, c = (a.shape[1] if a.ndim == 4 else 0 for a in (g, x))
        w = _Shape((k, c // groups, *window.kernel), x.dtype)
        check_shape(name, "g", g, check_problem(name, window, x, w, None, groups), x.dtype)
        problem = Problem(tuple(x.shape), g.shape[1], window, groups, x.dtype)
        return choose(algorithm, problem, "backward_weight", x).backward_weight(x, g, window, groups)


class _Shape:
    """The shape and dtype of an array that is still to be computed, to check the arguments against."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype, self.ndim = tuple(shape), dtype, len(shape)
