"""Layers, each with an input that fits it.

A layer's arguments depend on what it is given: channels, groups that divide them, a window that fits the image.  So
first a shape is drawn and then the arguments, by one function a layer; a new layer needs one more.  Layers are made
on the meta device, where that draws no random numbers, and then get values from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from ... import backend, nn
from ...geometry import Window2d
from ...tensor import Tensor
from ..layer_case import LayerCase, with_values
from .arrays import Names, arrays, chosen, of_arrays, seeds
from .convs import transposed_axis
from .shapes import Shape, shapes
from .windows import form, windows

__all__ = ["LAYERS", "layers"]

Arguments = dict[str, Any]


class _Kind(NamedTuple):
    """How to draw the arguments of a layer for an input of a given shape, and the shapes it takes."""

    arguments: Callable[[st.DrawFn, Shape, bool], Arguments]
    ndims: range = range(1, 5)
    many: bool = False  # more than one value a channel

    def takes(self, shape: Shape) -> bool:
        return len(shape) in self.ndims and not (self.many and shape[0] * shape[2] * shape[3] == 1)

    def shapes(self) -> st.SearchStrategy[Shape]:
        return shapes(min_dims=self.ndims[0], max_dims=self.ndims[-1], max_side=5).filter(self.takes)


def layers(
    *names: str, values: Names = "distinct", layout: Names = "c", dtype: Any = np.float64
) -> st.SearchStrategy[LayerCase]:
    """Draw a layer of :mod:`minicnn.nn`, in training or in evaluation, with an input that fits it.

    Only layers that are the same function at each call: dropout in training drops nothing or everything.

    Parameters
    ----------
    *names : str
        Which layers, of :data:`LAYERS`; default all.  A ``"Sequential"`` has up to 3 of the others.
    values, layout : str, or several
        Of the input: see :func:`arrays`.
    dtype : dtype
        Of the input and of all parameters, which :func:`minicnn.testing.with_values` drew.

    Returns
    -------
    strategy of LayerCase
        A named tuple (layer, x, source), that prints as Python which makes it again.

    Raises
    ------
    ValueError, TypeError
        If there is no layer of such a name, or :func:`arrays` would not take the rest.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(layers("ReLU"), lambda case: True).source
    'with_values(nn.ReLU(), 0)'
    >>> find(layers("Conv2d"), lambda case: case.layer.groups == 2).layer
    Conv2d(2, 2, kernel_size=(1, 1), stride=(1, 1), groups=2, bias=False)
    """
    which = chosen("layers", "names", names or LAYERS, LAYERS)
    return _layers(which, **of_arrays(values, layout, dtype))


@st.composite
def _layers(draw: st.DrawFn, names: tuple[str, ...], dtype: Any, **of_input: Any) -> LayerCase:
    name = draw(st.sampled_from(names))
    training = draw(st.sampled_from([True, False]))
    with backend.device("meta"):
        if name == "Sequential":
            layer, source, shape = _sequential(draw, training)
        else:
            shape = draw(_KINDS[name].shapes())
            layer, source = _layer(draw, name, shape, training)
    seed = draw(seeds())
    with_values(layer, seed, dtype).train(training)
    source = f"with_values({source}, {seed}{_dtype_argument(dtype)}){'' if training else '.eval()'}"
    return LayerCase(layer, draw(arrays(shape, dtype=dtype, **of_input)), source)


def _dtype_argument(dtype: Any) -> str:
    return "" if np.dtype(dtype) == np.float64 else f", {np.dtype(dtype).name!r}"


def _layer(draw: st.DrawFn, name: str, shape: Shape, training: bool) -> tuple[nn.Module, str]:
    arguments = _KINDS[name].arguments(draw, shape, training)
    source = ", ".join(f"{argument}={value!r}" for argument, value in arguments.items())
    return getattr(nn, name)(**arguments), f"nn.{name}({source})"


def _sequential(draw: st.DrawFn, training: bool) -> tuple[nn.Module, str, Shape]:
    first = shape = draw(shapes(4, max_side=5))
    sequence, sources = nn.Sequential(), []
    for _ in range(draw(st.integers(1, 3))):
        fitting = [name for name, kind in _KINDS.items() if kind.takes(shape)]
        layer, source = _layer(draw, draw(st.sampled_from(fitting)), shape, training)
        sequence.append(layer)
        sources.append(source)
        shape = with_values(layer).eval()(Tensor(np.zeros(shape))).shape
    return sequence, f"nn.Sequential({', '.join(sources)})", first


def _conv2d(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    options = draw(windows(*shape[-2:], max_kernel=3, max_padding=3))
    groups = draw(_divisors(shape[-3]))
    return {
        "in_channels": shape[-3],
        "out_channels": groups * draw(st.integers(1, 2)),
        **options,
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": draw(st.sampled_from(_padding_modes(shape, options))),
    }


def _padding_modes(shape: Shape, options: Arguments) -> list[str]:
    """Return the modes that have enough pixels for this padding."""
    top, bottom, left, right = Window2d.of("layers", **options).padding
    spare = min(shape[-2] - max(top, bottom), shape[-1] - max(left, right))
    needed = {"zeros": -np.inf, "replicate": -np.inf, "circular": 0, "reflect": 1}
    return [mode for mode, least in needed.items() if spare >= least]


def _conv_transpose2d(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    rows, columns = (transposed_axis(draw, size) for size in shape[-2:])
    groups = draw(_divisors(shape[-3]))
    return {
        "in_channels": shape[-3],
        "out_channels": groups * draw(st.integers(1, 2)),
        **{name: form(rows[name], columns[name]) for name in rows},
        "groups": groups,
        "bias": draw(st.booleans()),
    }


def _divisors(n: int) -> st.SearchStrategy[int]:
    return st.sampled_from([d for d in range(1, n + 1) if n % d == 0])


def _linear(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    out_features = draw(st.integers(1, 3))
    return {"in_features": shape[-1], "out_features": out_features, "bias": draw(st.booleans())}


def _max_pool2d(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    return draw(windows(*shape[-2:], pooling=True))


def _avg_pool2d(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    return {
        **draw(windows(*shape[-2:], pooling=True, max_dilation=1)),
        "count_include_pad": draw(st.sampled_from([True, False])),
        "divisor_override": draw(st.sampled_from([None, 3])),
    }


def _adaptive_pool2d(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    side = st.integers(1, 6)
    return {"output_size": draw(st.one_of(side, st.tuples(side, st.none() | side)))}


def _batch_norm2d(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    return {
        "num_features": shape[1],
        "eps": draw(st.sampled_from([0.1, 1e-5])),
        "momentum": draw(st.sampled_from([0.1, None])),
        "affine": draw(st.booleans()),
        "track_running_stats": draw(st.booleans()),
    }


def _local_response_norm(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    size = draw(st.integers(1, 6))
    return {"size": size, "alpha": 1.0, "beta": draw(st.sampled_from([0.75, 1.0])), "k": 2.0}


def _dropout(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    p = draw(st.sampled_from([0.0, 1.0] if training else [0.0, 0.25, 1.0]))
    return {"p": p, "scale_at_test": draw(st.booleans())}


def _softmax(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    return {"dim": draw(st.integers(-len(shape), len(shape) - 1))}


def _flatten(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    start = draw(st.integers(0, len(shape) - 1))
    return {"start_dim": start, "end_dim": draw(st.integers(start, len(shape) - 1))}


def _none(draw: st.DrawFn, shape: Shape, training: bool) -> Arguments:
    return {}


_IMAGES = range(3, 5)

_KINDS = {
    "Identity": _Kind(_none),
    "ReLU": _Kind(_none),
    "Sigmoid": _Kind(_none),
    "Tanh": _Kind(_none),
    "Softmax": _Kind(_softmax),
    "LogSoftmax": _Kind(_softmax),
    "Dropout": _Kind(_dropout),
    "Flatten": _Kind(_flatten),
    "Linear": _Kind(_linear),
    "Conv2d": _Kind(_conv2d, _IMAGES),
    "ConvTranspose2d": _Kind(_conv_transpose2d, _IMAGES),
    "MaxPool2d": _Kind(_max_pool2d, _IMAGES),
    "AvgPool2d": _Kind(_avg_pool2d, _IMAGES),
    "AdaptiveAvgPool2d": _Kind(_adaptive_pool2d, _IMAGES),
    "AdaptiveMaxPool2d": _Kind(_adaptive_pool2d, _IMAGES),
    "LocalResponseNorm": _Kind(_local_response_norm, _IMAGES),
    "BatchNorm2d": _Kind(_batch_norm2d, range(4, 5), many=True),
}

LAYERS = (*_KINDS, "Sequential")
"""The names that :func:`layers` knows: every layer of :mod:`minicnn.nn` that maps one tensor to one tensor."""
