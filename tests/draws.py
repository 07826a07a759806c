"""Strategies of Cases: for each operation all arguments it takes, the edges more often than by chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minicnn.testing import LAYOUTS, Case
from minicnn.testing.strategies import arrays as arrays_of
from minicnn.testing.strategies import broadcastable, shapes, windows

Draw = st.DrawFn
Cases = st.SearchStrategy[Case]


def arrays(shape: Any, values: Any = "distinct") -> st.SearchStrategy[np.ndarray]:
    """Draw arrays in any memory layout."""
    return arrays_of(shape, values=values, layout=LAYOUTS)


def calls(*inputs: st.SearchStrategy[np.ndarray], **options: st.SearchStrategy[Any]) -> Cases:
    return st.builds(Case, st.tuples(*inputs), st.fixed_dictionaries(options))


KINKS = ("distinct", "ties", "equal", "negative")
EVEN_EMPTY = shapes(min_dims=0, min_side=0)


def elementwise(*values: str, **options: st.SearchStrategy[Any]) -> Cases:
    """Draw one array of any shape, empty ones and 0-D ones too, and a value of each option."""
    return calls(arrays(EVEN_EMPTY, values), **options)


@st.composite
def binary(draw: Draw, *values: str, numbers: tuple[float, ...] = ()) -> Case:
    """Draw two arrays that broadcast together, or an array and a number."""
    if numbers and draw(st.booleans()):
        return Case((draw(arrays(EVEN_EMPTY, values)),), {"other": draw(st.sampled_from(numbers))})
    both = draw(broadcastable(min_side=0, max_dims=3))
    return Case(tuple(draw(arrays(shape, values)) for shape in both))


@st.composite
def clips(draw: Draw) -> Case:
    low, high = draw(st.sampled_from([(-1, 1), (0, None), (None, 0.5), (0.25, 0.25), (1, -1)]))
    return Case((draw(arrays(EVEN_EMPTY, ("distinct", "ties"))),), {"min": low, "max": high})


def axis(ndim: int) -> st.SearchStrategy[int]:
    """Draw an axis, counted from the front or from the back."""
    return st.integers(-ndim, ndim - 1)


def axes(ndim: int) -> st.SearchStrategy[Any]:
    several = st.lists(axis(ndim), unique_by=lambda dim: dim % ndim, max_size=ndim).map(tuple)
    return st.none() | (axis(ndim) | several if ndim else st.just(()))


@st.composite
def reductions(draw: Draw, *values: str, min_side: int = 1) -> Case:
    """Draw an array and which of its axes to reduce: one, several, none or all."""
    x = draw(arrays(shapes(min_dims=0, min_side=min_side), values))
    return Case((x,), {"dim": draw(axes(x.ndim)), "keepdim": draw(st.booleans())})


@st.composite
def maxima(draw: Draw, *values: str) -> Case:
    """Draw an array, and perhaps one axis."""
    x = draw(arrays(shapes(min_dims=0), values))
    if not x.ndim or draw(st.booleans()):
        return Case((x,))
    return Case((x,), {"dim": draw(axis(x.ndim)), "keepdim": draw(st.booleans())})


@st.composite
def along_axis(draw: Draw, *values: str) -> Case:
    x = draw(arrays(shapes(), values))
    return Case((x,), {"dim": draw(axis(x.ndim))})


# Shape


@st.composite
def reshapes(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=0))
    lengths = draw(st.permutations([*shape, 1]))
    joined = draw(st.integers(0, len(lengths) - 1))
    target = [math.prod(lengths[: joined + 1]), *lengths[joined + 1 :]]
    if draw(st.booleans()):
        target[draw(st.integers(0, len(target) - 1))] = -1
    return Case((draw(arrays(shape)),), {"shape": tuple(target)})


@st.composite
def flattenings(draw: Draw) -> Case:
    x = draw(arrays(EVEN_EMPTY))
    start, end = sorted(draw(st.tuples(*[st.integers(0, max(x.ndim - 1, 0))] * 2)))
    end -= draw(st.sampled_from([0, x.ndim]))
    return Case((x,), {"start_dim": start, "end_dim": end})


@st.composite
def permutations(draw: Draw) -> Case:
    x = draw(arrays(EVEN_EMPTY))
    order = draw(st.permutations(range(x.ndim)))
    return Case((x,), {"dims": tuple(dim - x.ndim if draw(st.booleans()) else dim for dim in order)})


@st.composite
def swaps(draw: Draw) -> Case:
    x = draw(arrays(shapes(min_side=0)))
    return Case((x,), {"dim0": draw(axis(x.ndim)), "dim1": draw(axis(x.ndim))})


@st.composite
def indexings(draw: Draw) -> Case:
    """Draw slices, numbers, new axes and ellipses; arrays of numbers, which may repeat; or a mask."""
    x = draw(arrays(shapes()))
    basic = hnp.basic_indices(x.shape, allow_newaxis=True)
    listed = hnp.integer_array_indices(x.shape, result_shape=shapes(max_dims=2))
    masks = hnp.arrays(bool, x.shape)
    rows = st.tuples(st.just(slice(None)), hnp.arrays(bool, x.shape[1:2])) if x.ndim > 1 else masks
    return Case((x,), {"index": draw(basic | listed | masks | rows)})


@st.composite
def concatenations(draw: Draw) -> Case:
    shape = draw(shapes(max_dims=3))
    dim = draw(axis(len(shape)))
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    at = dim % len(shape)
    parts = (draw(arrays((*shape[:at], n, *shape[at + 1 :]))) for n in lengths)
    return Case(tuple(parts), {"dim": dim})


@st.composite
def paddings(draw: Draw) -> Case:
    """Draw amounts that the mode can add or cut: reflected at most n − 1, wrapped at most what is left."""
    mode = draw(st.sampled_from(["constant", "reflect", "replicate", "circular"]))
    constant = mode == "constant"
    count = draw(st.integers(0 if constant else 1, 2))
    ndim = draw(st.integers(max(count, 1), 4) if constant else st.integers(count + 1, count + 2))
    shape = draw(shapes(ndim))
    pad: list[int] = []
    for n in shape[::-1][:count]:
        before = draw(st.integers(1 - n, 3))
        after = draw(st.integers(1 - n - min(before, 0), 3))
        left = n + min(before, 0) + min(after, 0)
        most = {"reflect": n - 1, "circular": left}.get(mode, 3)
        pad += [min(before, most), min(after, most)]
    options: dict[str, Any] = {"pad": tuple(pad), "mode": mode}
    if constant:
        options["value"] = draw(st.sampled_from([0, 1.5, -2, None]))
    return Case((draw(arrays(shape)),), options)


# Products and windows


@st.composite
def linears(draw: Draw) -> Case:
    shape = draw(shapes(min_side=0, max_dims=3))
    out = draw(st.sampled_from([(), (1,), (2,), (4,)]))
    inputs = [draw(arrays(shape)), draw(arrays((*out, shape[-1])))]
    if draw(st.booleans()):
        inputs.append(draw(arrays(out)))
    return Case(tuple(inputs))


def products() -> Cases:
    """Draw vectors, matrices, and batches of matrices that broadcast together."""
    fitting = hnp.mutually_broadcastable_shapes(
        signature="(m?,n),(n,p?)->(m?,p?)", max_dims=2, min_side=1, max_side=3
    )
    return fitting.flatmap(lambda found: calls(*map(arrays, found.input_shapes)))


def _symmetric(options: dict[str, Any]) -> bool:
    padding = options.get("padding", 0)
    return not isinstance(padding, str) and (isinstance(padding, int) or len(padding) == 2)


@st.composite
def unfoldings(draw: Draw) -> Case:
    height, width = (draw(st.integers(1, 6)) for _ in range(2))
    options = draw(windows(height, width).filter(_symmetric))
    leading = draw(shapes(min_dims=1, max_dims=2, max_side=3))
    return Case((draw(arrays((*leading, height, width))),), options)


@st.composite
def foldings(draw: Draw) -> Case:
    """Draw the columns that an unfolding would give."""
    case = draw(unfoldings())
    *leading, height, width = case.inputs[0].shape
    kernel, stride, dilation, padding = (
        np.broadcast_to(case.options.get(name, usual), 2)
        for name, usual in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0))
    )
    room = np.array([height, width]) + 2 * padding - dilation * (kernel - 1) - 1
    rows, columns = leading[-1] * int(np.prod(kernel)), int(np.prod(room // stride + 1))
    x = draw(arrays((*leading[:-1], rows, columns)))
    return Case((x,), {"output_size": (height, width), **case.options})


@st.composite
def adaptive_pools(draw: Draw, *values: str) -> Case:
    shape = draw(shapes(min_dims=3, max_dims=4, max_side=5))
    one = st.integers(1, 6)
    size = draw(one | st.none() | st.tuples(st.none() | one, st.none() | one))
    return Case((draw(arrays(shape, values)),), {"output_size": size})


# Normalisation


@st.composite
def channel_neighbourhoods(draw: Draw) -> Case:
    shape = draw(shapes(min_dims=3, max_dims=4, min_side=1, max_side=4))
    options = {
        "size": draw(st.integers(1, 6)),
        "alpha": draw(st.sampled_from([1.0, 0.25, 3.0])),
        "beta": draw(st.sampled_from([0.75, 0.5, 1.0, 2.0])),
        "k": draw(st.sampled_from([1.0, 0.5, 2.0])),
    }
    return Case((draw(arrays(shape, ("distinct", "ties", "equal"))),), options)


@st.composite
def batches(draw: Draw) -> Case:
    """Draw a batch to normalise, in training or by given statistics, and perhaps w, or w and b."""
    training = draw(st.booleans())
    shape = draw(shapes(min_dims=2, max_dims=4, max_side=3))
    if training and math.prod(shape) == shape[1]:
        shape = (2, *shape[1:])
    channels = shape[1:2]
    options: dict[str, Any] = {"eps": draw(st.sampled_from([0.1, 1.0, 1e-3, 1e-5]))}
    if not training:
        options |= {"mean": draw(arrays(channels)), "var": draw(arrays(channels, "positive"))}
    scaling = draw(st.integers(0, 2))
    x = draw(arrays(shape, ("distinct", "ties", "equal")))
    return Case((x, *(draw(arrays(channels)) for _ in range(scaling))), options)


def dropouts() -> Cases:
    return elementwise(
        "distinct",
        "ties",
        seed=st.integers(0, 99),
        p=st.sampled_from([0.5, 0.0, 0.25, 1.0]),
        training=st.sampled_from([True, False]),
        scale_at_test=st.booleans(),
    )


# Losses

REDUCTIONS = st.sampled_from(["mean", "sum", "none"])


@st.composite
def class_numbers(draw: Draw, smoothing: bool) -> Case:
    """Draw logits (C,), (N, C) or (N, C, …) and a class number for each sample, some of them ignored."""
    shape = draw(shapes(max_dims=4, max_side=3, min_side=1))
    classes = shape[0] if len(shape) == 1 else shape[1]
    ignored = draw(st.sampled_from([-100, *range(classes)]))
    labels = st.integers(0, classes - 1)
    samples = () if len(shape) == 1 else (shape[0], *shape[2:])
    target = draw(hnp.arrays(np.int64, samples, elements=labels | st.just(ignored)))
    options: dict[str, Any] = {"target": target, "ignore_index": ignored, "reduction": draw(REDUCTIONS)}
    if (target == ignored).all() and options["reduction"] == "mean":
        options["reduction"] = "sum"  # the mean of nothing is NaN
    options |= _weighting(draw, classes, smoothing)
    return Case((draw(arrays(shape, ("distinct", "ties", "equal"))),), options)


def _weighting(draw: Draw, classes: int, smoothing: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        options["weight"] = draw(arrays((classes,), "positive"))
    if smoothing:
        options["label_smoothing"] = draw(st.sampled_from([0.0, 0.25, 1.0]))
    return options


@st.composite
def class_probabilities(draw: Draw) -> Case:
    shape = draw(shapes(max_dims=4, max_side=3))
    classes = shape[0] if len(shape) == 1 else shape[1]
    inputs = draw(arrays(shape)), draw(arrays(shape, ("positive", "ties")))
    return Case(inputs, {"reduction": draw(REDUCTIONS), **_weighting(draw, classes, smoothing=True)})


@st.composite
def squared_differences(draw: Draw) -> Case:
    reduction = draw(REDUCTIONS)
    shape = draw(shapes(min_dims=0, min_side=1 if reduction == "mean" else 0))
    return Case((draw(arrays(shape)), draw(arrays(shape))), {"reduction": reduction})
