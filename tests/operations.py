"""The table of operations: to each its definition, what is known of it, examples, a strategy that draws more.

From this one table follow, in test_ops.py, all that any operation must have (minicnn.testing.PROPERTIES), for
each example and for as many drawn cases as the Hypothesis profile says.  A Function of minicnn.ops that no
example reaches fails the suite, and so does a public function without an entry.

Hyper-parameters amplify on purpose: a test whose tolerance hides the term it tests is worthless.  So LRN has
α = 1 and windows wider than the channels, batch norm ε = 0.1 and few samples, label smoothing reaches 1,
strides exceed kernels, ceil mode meets padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import draws
import naive
import numpy as np
from entry import (
    Entry,
    items_of_differences,
    items_of_elements,
    items_of_images,
    items_of_probabilities,
    items_of_product,
    items_unless,
    of,
    small_deviations,
)
from hypothesis import strategies as st

from minicnn import Tensor
from minicnn import functional as F
from minicnn.testing import LAYOUTS, Case, strategies
from minicnn.testing.values import fill

OPERATIONS: dict[str, Entry] = {}
"""The operations by name: that of the public function, or of the Tensor's method or operator."""


# Where an operation takes its arguments in another way than a case gives them


def cat(*tensors: Tensor, dim: int = 0) -> Tensor:
    return F.cat(tensors, dim)


def reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x.reshape(shape)


def permute(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x.permute(dims)


def label(*parts: Any) -> str:
    """Return an example's name, of what is there to say about it."""
    return ", ".join(str(part) for part in parts if part) or "plain"


def max_values(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    return x.max() if dim is None else x.max(dim, keepdim).values


def dropout(x: Tensor, seed: int, **options: Any) -> Tensor:
    """With a generator that starts anew at each call."""
    return F.dropout(x, generator=np.random.default_rng(seed), **options)


def batch_norm(
    x: Tensor, w: Any = None, b: Any = None, *, eps: float, mean: Any = None, var: Any = None
) -> Tensor:
    """In training, unless the statistics are given."""
    statistics = [None if a is None else Tensor(a.astype(x.dtype)).to(x.device) for a in (mean, var)]
    return F.batch_norm(x, *statistics, w, b, training=mean is None, eps=eps)


# Arithmetic, with broadcasting both ways

BROADCASTS = {
    "same": ((3, 4), (3, 4)),
    "row": ((3, 4), (4,)),
    "column": ((3, 1), (2, 3, 4)),
    "images": ((2, 3, 2, 2), (2, 3, 2, 2)),
    "images and channels": ((2, 3, 2), (1, 3, 1)),
    "scalar": ((), (2, 3)),
    "one element": ((1, 1), (1,)),
    "0-D": ((), ()),
    "empty": ((0, 3), (1, 3)),
}


def pairs(values: str = "distinct", *, numbers: Sequence[float] = ()) -> dict[str, Case]:
    """Return two arrays of each pair of shapes, and an array with each number."""
    found = {name: of(*shapes, values=values) for name, shapes in BROADCASTS.items()}
    return found | {f"with {number}": of((2, 3), values=values, other=number) for number in numbers}


for name, definition, linear in (
    ("add", naive.add, (0, 1)),
    ("radd", naive.add, (0, 1)),
    ("sub", naive.subtract, (0, 1)),
    ("rsub", naive.subtract_from, (0, 1)),
    ("mul", naive.multiply, (0, 1)),
    ("rmul", naive.multiply, (0, 1)),
):
    OPERATIONS[name] = Entry(
        getattr(Tensor, f"__{name}__"),
        definition,
        examples=pairs(numbers=(2, -0.5)) | {"zeros": of((4, 3), (4, 1), values="ties")},
        cases=draws.binary("distinct", "ties", numbers=(2, -0.5, 0)),
        linear=linear,
        itemwise=items_of_elements,
    )
for name, definition, linear in (("truediv", naive.divide, (0,)), ("rtruediv", naive.divide_into, (1,))):
    OPERATIONS[name] = Entry(
        getattr(Tensor, f"__{name}__"),
        definition,
        examples=pairs("positive", numbers=(3, -0.5)) | {"below 0": of((2, 3), (3,), values="negative")},
        cases=draws.binary("positive", "negative", numbers=(3, -0.5)),
        linear=linear,
        itemwise=items_of_elements,
    )
OPERATIONS["pow"] = Entry(
    Tensor.__pow__,
    naive.power,
    examples={
        **pairs("positive", numbers=(3, 0.5, -2)),
        "square": of((3, 4), other=2),
        "square at 0": of((3, 4), values="ties", other=2),
        "itself": of((2, 3), values="ties", other=1),
        "nothing": of((2, 3), values="ties", other=0),
        "cube below 0": of((2, 3), values="negative", other=3),
    },
    cases=draws.binary("positive", numbers=(2, 3, 1, 0, 0.5, -1, -2)),
    itemwise=items_of_elements,
)
OPERATIONS["rpow"] = Entry(
    Tensor.__rpow__,
    naive.power_of,
    examples=pairs("positive", numbers=(2, 0.5)) | {"below 0": of((2, 3), values="negative", other=2)},
    cases=draws.binary("positive", numbers=(2, 3, 0.5, 1)),
    itemwise=items_of_elements,
)
SHAPES = {"plain": (3, 4), "0-D": (), "one element": (1, 1), "empty": (2, 0)}


def one(values: str = "distinct", **options: Any) -> dict[str, Case]:
    """Return an array of each shape."""
    return {name: of(shape, values=values, **options) for name, shape in SHAPES.items()}


OPERATIONS["neg"] = Entry(
    Tensor.__neg__,
    np.negative,
    examples=one(),
    cases=draws.elementwise("distinct", "ill-scaled"),
    linear=(0,),
    itemwise=items_of_elements,
)

# Elementary functions

for name, method, definition, kinds in (
    ("exp", Tensor.exp, np.exp, ("distinct", "ties")),
    ("log", Tensor.log, np.log, ("positive",)),
    ("sqrt", Tensor.sqrt, np.sqrt, ("positive",)),
    ("sigmoid", F.sigmoid, naive.sigmoid, ("distinct", "ties")),
    ("tanh", F.tanh, np.tanh, ("distinct", "ties")),
    ("relu", F.relu, naive.relu, ("distinct", "ties", "equal", "negative")),
):
    OPERATIONS[name] = Entry(
        method,
        definition,
        examples=one(kinds[0])
        | {kind: of((4, 5), values=kind) for kind in kinds[1:]}
        | {"images": of((2, 3, 4, 2), values=kinds[0])},
        cases=draws.elementwise(*kinds),
        itemwise=items_of_elements,
    )
OPERATIONS["clip"] = Entry(
    Tensor.clip,
    naive.clip,
    examples={
        **one(min=-0.5, max=0.75),
        "at the bounds": of((4, 5), values="ties", min=-1, max=1),
        "from above": of((5, 6), max=0.125),
        "from below": of((5, 6), min=0.125),
        "to one value": of((3, 3), values="ties", min=0, max=0),
        "to the upper bound": of((3, 3), min=1, max=-1),
    },
    cases=draws.clips(),
    itemwise=items_of_elements,
)
OPERATIONS["to"] = Entry(
    Tensor.to,
    naive.astype,
    examples=one(target="float64"),
    cases=draws.elementwise("distinct", target=st.just("float64")),
    linear=(0,),
    itemwise=items_of_elements,
    keeps_dtype=False,
)
OPERATIONS["dropout"] = Entry(
    dropout,
    naive.dropout,
    examples={
        label(f"p {p}", scaled and "scaled at test", not training and "at test"): of(
            (4, 5), p=p, scale_at_test=scaled, training=training, seed=7
        )
        for p in (0.0, 0.25, 1.0)
        for scaled in (False, True)
        for training in (False, True)
    }
    | {"0-D": of((), p=0.5, seed=1), "empty": of((0, 2), p=0.5, seed=1)},
    cases=draws.dropouts(),
    linear=(0,),
)

# Reductions

DIMS = {"all": None, "first": 0, "last": -1, "two": (0, 2), "none of them": ()}
reductions = {
    label(name, keepdim and "kept"): of((2, 3, 4), dim=dim, keepdim=keepdim)
    for name, dim in DIMS.items()
    for keepdim in (False, True)
} | {"0-D": of(()), "one element": of((1, 1), dim=1), "all equal": of((2, 3), values="equal", dim=0)}
OPERATIONS["sum"] = Entry(
    Tensor.sum,
    naive.total,
    examples=reductions | {"empty": of((0, 3)), "along an empty axis": of((2, 0), dim=1)},
    cases=draws.reductions("distinct", "ties", min_side=0),
    linear=(0,),
    itemwise=items_unless("dim"),
)
OPERATIONS["mean"] = Entry(
    Tensor.mean,
    naive.average,
    examples=reductions,
    cases=draws.reductions("distinct", "ties"),
    linear=(0,),
    itemwise=items_unless("dim"),
)
OPERATIONS["max"] = Entry(
    max_values,
    naive.largest,
    examples={
        "all": of((3, 4)),
        "all with ties": of((3, 4), values="ties"),
        "all equal": of((2, 3), values="equal"),
        "0-D": of(()),
        "one element": of((1, 1), dim=0),
        "along": of((3, 4, 2), dim=1),
        "along, kept": of((3, 4, 2), dim=1, keepdim=True),
        "along, ties": of((4, 6), values="ties", dim=-1),
        "along, all equal": of((2, 3, 2), values="equal", dim=1),
        "along, negative": of((2, 3), values="negative", dim=0),
        "empty": of((0, 3), dim=1),
    },
    cases=draws.maxima(*draws.KINKS),
    itemwise=items_unless("dim"),
)

# Shape

OPERATIONS["reshape"] = Entry(
    reshape,
    naive.reshape,
    examples={
        "plain": of((2, 3, 4), shape=(4, -1)),
        "to 0-D": of((1, 1), shape=()),
        "from 0-D": of((), shape=(1, -1)),
        "empty": of((2, 0, 3), shape=(3, 0)),
    },
    cases=draws.reshapes(),
    linear=(0,),
)
OPERATIONS["flatten"] = Entry(
    F.flatten,
    naive.flatten,
    examples={
        "plain": of((2, 3, 4), start_dim=1),
        "all": of((2, 3, 4)),
        "middle": of((2, 3, 2, 2), start_dim=1, end_dim=-2),
        "0-D": of(()),
        "empty": of((0, 3, 2), start_dim=1),
    },
    cases=draws.flattenings(),
    linear=(0,),
    itemwise=items_unless("start_dim"),
)
OPERATIONS["permute"] = Entry(
    permute,
    naive.permute,
    examples={
        "plain": of((2, 3, 4), dims=(2, 0, 1)),
        "0-D": of((), dims=()),
        "images": of((2, 3, 2, 4), dims=(0, -2, -1, 1)),
    },
    cases=draws.permutations(),
    linear=(0,),
    itemwise=lambda case: (0,) if case.options["dims"][:1] == (0,) else (),
)
OPERATIONS["transpose"] = Entry(
    Tensor.transpose,
    naive.transpose,
    examples={
        "plain": of((2, 3, 4), dim0=0, dim1=2),
        "itself": of((2, 3), dim0=1, dim1=-1),
        "inner": of((2, 3, 4), dim0=-1, dim1=1),
    },
    cases=draws.swaps(),
    linear=(0,),
    itemwise=items_unless("dim0", "dim1"),
)
OPERATIONS["getitem"] = Entry(
    Tensor.__getitem__,
    naive.getitem,
    examples={
        "basic": of((3, 2, 5), index=(slice(1, None), None, ..., slice(None, None, 2))),
        "backwards": of((4, 3), index=(slice(None), slice(None, None, -1))),
        "a number": of((3, 2), index=-1),
        "one element": of((3, 2), index=(2, 0)),
        "nothing": of((3, 2), index=slice(3, None)),
        "twice": of((3, 4), index=[0, 2, 0]),
        "pairs": of((3, 4), index=(np.array([0, 2, 0]), np.array([1, 1, 1]))),
        "mask": of((2, 3), index=(slice(None), np.array([True, False, True]))),
        "0-D": of((), index=(None, ...)),
    },
    cases=draws.indexings(),
    linear=(0,),
)
OPERATIONS["cat"] = Entry(
    cat,
    naive.cat,
    examples={
        "plain": of((2, 3, 2), (2, 1, 2), (2, 4, 2), dim=1),
        "first axis": of((1, 2), (2, 2), dim=0),
        "alone": of((2, 3), dim=-1),
        "with nothing": of((2, 3), (2, 0), dim=1),
        "with an empty vector": of((2, 3), (0,), dim=1),
    },
    cases=draws.concatenations(),
    linear=(0, 1, 2),
    itemwise=items_unless("dim"),
)
MODES = ("constant", "reflect", "replicate", "circular")
OPERATIONS["pad"] = Entry(
    F.pad,
    naive.pad,
    examples={
        **{mode: of((2, 3, 4, 4), pad=(2, 1, 0, 3), mode=mode) for mode in MODES},
        **{f"{mode}, cut": of((2, 3, 5), pad=(-1, 2), mode=mode) for mode in MODES},
        **{f"{mode}, the most": of((1, 2, 3), pad=(2, 2), mode=mode) for mode in MODES},
        "reflect, cut opposite": of((1, 2, 1), pad=(0, 0, -1, 1), mode="reflect"),
        "with a value": of((2, 3), pad=(1, 0, 2, 1), value=1.5),
        "cut on both sides": of((4, 5), pad=(-1, -2, -1, 0)),
        "nothing left": of((2, 3), pad=(-1, -2)),
        "no axis": of((2, 3), pad=()),
        "0-D": of((), pad=()),
    },
    cases=draws.paddings(),
    linear=(0,),
    itemwise=lambda case: (0,) if 0 < len(case.options["pad"]) // 2 < case.inputs[0].ndim else (),
)

# Products

OPERATIONS["linear"] = Entry(
    F.linear,
    naive.linear,
    examples={
        "plain": of((2, 3, 4), (5, 4), (5,)),
        "no bias": of((3, 4), (5, 4)),
        "one vector": of((4,), (3, 4), (3,)),
        "without an axis": of((3, 4), (4,), ()),
        "one element": of((1, 1), (1, 1), (1,)),
        "empty batch": of((0, 4), (2, 4), (2,)),
    },
    cases=draws.linears(),
    linear=(0, 1, 2),
    itemwise=lambda case: (0,) if case.inputs[0].ndim > 1 else (),
)
PRODUCTS = (
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 1, 3, 4), (6, 4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (2, 4, 2)),
    ((1, 1), (1, 1)),
    ((0, 3), (3, 2)),
)
OPERATIONS["matmul"] = Entry(
    Tensor.__matmul__,
    naive.matmul,
    examples={f"{a} @ {b}": of(a, b) for a, b in PRODUCTS},
    cases=draws.products(),
    linear=(0, 1),
    itemwise=items_of_product,
)
OPERATIONS["rmatmul"] = Entry(
    Tensor.__rmatmul__,
    naive.matmul_of,
    examples={"plain": of((4, 2), (3, 4)), "vectors": of((3,), (3,))},
    cases=draws.products().map(lambda case: Case(case.inputs[::-1])),
    linear=(0, 1),
)

# Convolution

OPERATIONS["conv2d"] = Entry(
    F.conv2d,
    naive.conv2d,
    examples={
        **{
            name: of((2, 3, 7, 6), (4, 3, 3, 2), (4,), **options)
            for name, options in {
                "plain": {},
                "stride": {"stride": 2},
                "stride > kernel": {"stride": (4, 3)},
                "padding": {"padding": (1, 2)},
                "padding > kernel": {"padding": 4},
                "asymmetric": {"padding": (0, 2, 3, 1)},
                "same": {"padding": "same"},
                "same, dilated": {"padding": "same", "dilation": (2, 3)},
                "dilation": {"dilation": (2, 1)},
                "all at once": {"stride": (2, 1), "padding": (2, 1), "dilation": (1, 2)},
            }.items()
        },
        **{
            f"{groups} groups, {w[0]} kernels": of((2, 4, 5, 6), w, groups=groups, padding=1, stride=(1, 2))
            for groups, w in ((2, (6, 2, 3, 3)), (4, (4, 1, 3, 3)), (4, (8, 1, 2, 3)))
        },
        "groups with all": of(
            (2, 4, 6, 5), (6, 2, 2, 3), (6,), groups=2, stride=(2, 1), padding=(1, 0, 2, 1), dilation=(2, 1)
        ),
        "1x1": of((2, 3, 4, 5), (4, 3, 1, 1), (4,)),
        "1x1, stride": of((2, 3, 4, 5), (4, 3, 1, 1), stride=2),
        "as large as the image": of((2, 2, 3, 4), (3, 2, 3, 4), (3,)),
        "one image": of((3, 5, 4), (2, 3, 3, 3), padding=1),
        "one element": of((1, 1, 1, 1), (1, 1, 1, 1), (1,)),
        "empty batch": of((0, 2, 3, 3), (2, 2, 2, 2), (2,)),
    },
    cases=strategies.conv_cases(values=("distinct", "ties"), layout=LAYOUTS, unbatched=True),
    linear=(0, 1, 2),
    itemwise=items_of_images,
)
OPERATIONS["conv_transpose2d"] = Entry(
    F.conv_transpose2d,
    naive.conv_transpose2d,
    examples={
        **{
            name: of((2, 4, 3, 4), (4, 6 // options.get("groups", 1), 3, 2), (6,), **options)
            for name, options in {
                "plain": {},
                "stride": {"stride": (2, 3)},
                "stride > kernel": {"stride": (4, 3)},
                "cropped": {"stride": 2, "padding": (1, 2)},
                "output padding": {"stride": 3, "padding": 1, "output_padding": (2, 1)},
                "output padding > padding": {"stride": 3, "output_padding": (2, 1)},
                "dilation": {"dilation": (2, 1), "stride": 2, "output_padding": 1, "padding": 1},
                "groups": {"groups": 2, "stride": 2, "padding": 1},
            }.items()
        },
        "no bias": of((2, 3, 2, 2), (3, 2, 2, 3), stride=2),
        "one image": of((3, 2, 3), (3, 2, 2, 2), (2,)),
        "one element": of((1, 1, 1, 1), (1, 1, 1, 1), (1,)),
        "empty batch": of((0, 2, 3, 3), (2, 2, 2, 2), (2,)),
    },
    cases=strategies.conv_transpose_cases(values=("distinct", "ties"), layout=LAYOUTS, unbatched=True),
    linear=(0, 1, 2),
    itemwise=items_of_images,
)
OPERATIONS["unfold"] = Entry(
    F.unfold,
    naive.unfold,
    examples={
        "plain": of((2, 3, 5, 6), kernel_size=(2, 3)),
        "all at once": of((2, 3, 5, 6), kernel_size=(2, 3), stride=(1, 2), padding=(1, 2), dilation=(2, 1)),
        "stride > kernel": of((1, 2, 5, 6), kernel_size=2, stride=3),
        "one image": of((2, 3, 4), kernel_size=2),
        "empty batch": of((0, 2, 3, 4), kernel_size=2),
    },
    cases=draws.unfoldings(),
    linear=(0,),
    itemwise=items_of_images,
)
OPERATIONS["fold"] = Entry(
    F.fold,
    naive.fold,
    examples={
        "plain": of((2, 12, 18), output_size=(5, 6), kernel_size=(2, 3), stride=(1, 2), padding=1),
        "dilation": of(
            (2, 8, 8), output_size=(4, 5), kernel_size=2, dilation=(2, 3), stride=1, padding=(0, 1)
        ),
        "stride > kernel": of((1, 8, 4), output_size=(5, 6), kernel_size=2, stride=3),
        "one image": of((4, 6), output_size=(3, 4), kernel_size=2),
        "empty batch": of((0, 4, 6), output_size=(3, 4), kernel_size=2),
    },
    cases=draws.foldings(),
    linear=(0,),
    itemwise=lambda case: (0,) if case.inputs[0].ndim == 3 else (),
)

# Pooling

POOLS = {
    "plain": {},
    "overlapping": {"stride": 2},
    "stride > kernel": {"stride": (4, 5)},
    "padding": {"stride": 2, "padding": 1},
    "ceil": {"stride": 2, "ceil_mode": True},
    "ceil with padding": {"stride": (2, 3), "padding": 1, "ceil_mode": True},
}
ALONE = {
    "one image": of((2, 5, 4), kernel_size=2),
    "one element": of((1, 1, 1, 1), kernel_size=1),
    "empty batch": of((0, 2, 4, 4), kernel_size=2),
}
OPERATIONS["max_pool2d"] = Entry(
    F.max_pool2d,
    naive.max_pool2d,
    examples={
        label(name, values): of((2, 2, 8, 7), values=values, kernel_size=(3, 2), **options)
        for name, options in {**POOLS, "dilation": {"dilation": (2, 1), "stride": 1, "padding": 1}}.items()
        for values in draws.KINKS
    }
    | ALONE,
    cases=strategies.pool_cases("max", layout=LAYOUTS, unbatched=True),
    itemwise=items_of_images,
)
OPERATIONS["avg_pool2d"] = Entry(
    F.avg_pool2d,
    naive.avg_pool2d,
    examples={
        label(name, *extra): of((2, 3, 8, 7), kernel_size=(3, 2), **options, **extra)
        for name, options in POOLS.items()
        for extra in ({}, {"count_include_pad": False}, {"divisor_override": 3})
    }
    | ALONE,
    cases=strategies.pool_cases("average", layout=LAYOUTS, unbatched=True),
    linear=(0,),
    itemwise=items_of_images,
)
ADAPTIVE = {str(size): size for size in (1, 3, (2, 5), (None, 2), (9, 8), None)}
OPERATIONS["adaptive_avg_pool2d"] = Entry(
    F.adaptive_avg_pool2d,
    naive.adaptive_avg_pool2d,
    examples={
        **{name: of((2, 3, 5, 7), output_size=size) for name, size in ADAPTIVE.items()},
        "one image": of((2, 5, 4), output_size=3),
        "empty batch": of((0, 2, 4, 4), output_size=3),
    },
    cases=draws.adaptive_pools("distinct"),
    linear=(0,),
    itemwise=items_of_images,
)
OPERATIONS["adaptive_max_pool2d"] = Entry(
    F.adaptive_max_pool2d,
    naive.adaptive_max_pool2d,
    examples={
        **{
            f"{name}, {values}": of((2, 3, 5, 7), values=values, output_size=size)
            for name, size in ADAPTIVE.items()
            for values in ("distinct", "ties")
        },
        "all equal": of((1, 2, 5, 7), values="equal", output_size=3),
        "one image": of((2, 5, 4), output_size=3),
        "empty batch": of((0, 2, 4, 4), output_size=3),
    },
    cases=draws.adaptive_pools(*draws.KINKS),
    itemwise=items_of_images,
)

# Normalisation

OPERATIONS["local_response_norm"] = Entry(
    F.local_response_norm,
    naive.local_response_norm,
    examples={
        **{f"{n} of 7 channels": of((2, 7, 2, 3), size=n, alpha=1.0, k=2.0) for n in (1, 2, 3, 4, 5, 7, 12)},
        "beta 2": of((2, 4, 3), size=3, alpha=1.0, beta=2.0, k=0.5),
        "with ties": of((2, 4, 3), values="ties", size=4, alpha=3.0),
        "one channel": of((2, 1, 3), size=4, alpha=1.0),
        "empty batch": of((0, 3, 2), size=2, alpha=1.0),
    },
    cases=draws.channel_neighbourhoods(),
    itemwise=(0,),
)
BATCHES = ((4, 3), (2, 3, 1, 1), (2, 3, 2, 4), (3, 2, 5))
OPERATIONS["batch_norm"] = Entry(
    batch_norm,
    naive.batch_norm,
    examples={
        **{f"training {shape}": of(shape, shape[1:2], shape[1:2], eps=0.1) for shape in BATCHES},
        **{
            f"evaluation {shape}": of(
                shape,
                shape[1:2],
                shape[1:2],
                eps=0.1,
                mean=np.linspace(-1, 1, shape[1]),
                var=np.linspace(0.5, 2, shape[1]),
            )
            for shape in BATCHES
        },
        "all equal": of((3, 2, 2), (2,), (2,), values="equal", eps=0.1),
        "unscaled": of((4, 3), eps=0.1),
        "scaled, not shifted": of((4, 3), (3,), eps=0.1),
        "eps 1": of((2, 2, 2, 2), (2,), (2,), eps=1.0),
        "empty batch in evaluation": of((0, 2), eps=0.1, mean=np.zeros(2), var=np.ones(2)),
    },
    cases=draws.batches(),
    linear=lambda case: (1, 2) if "mean" not in case.options else (0, 1, 2),
    itemwise=lambda case: (0,) if "mean" in case.options else (),
    condition=small_deviations,
)

# Softmax and losses

for name, function, definition in (
    ("softmax", F.softmax, naive.softmax),
    ("log_softmax", F.log_softmax, naive.log_softmax),
):
    OPERATIONS[name] = Entry(
        function,
        definition,
        examples={
            **{f"along {dim}": of((3, 4, 2), dim=dim) for dim in (0, 1, -1)},
            "all equal": of((2, 3), values="equal", dim=1),
            "ties": of((2, 3), values="ties", dim=1),
            "one class": of((3, 1), dim=1),
            "empty": of((0, 3), dim=1),
        },
        cases=draws.along_axis("distinct", "ties", "equal"),
        itemwise=items_unless("dim"),
    )
LABELS = {(4, 3): np.array([0, 2, 1, 1]), (2, 3, 2, 2): np.array([[[0, 2], [1, 1]], [[2, 2], [0, 1]]])}
WEIGHT = np.array([0.5, 2.0, 1.0])
REDUCTIONS = ("mean", "sum", "none")
OPERATIONS["cross_entropy"] = Entry(
    F.cross_entropy,
    naive.cross_entropy,
    examples={
        **{
            label(f"{target.ndim + 1}-D", reduction, f"smoothing {smoothing}", *weighting, *ignoring): of(
                shape,
                target=target,
                reduction=reduction,
                label_smoothing=smoothing,
                **weighting,
                **ignoring,
            )
            for shape, target in LABELS.items()
            for reduction in REDUCTIONS
            for smoothing in (0.0, 0.1, 1.0)
            for weighting in ({}, {"weight": WEIGHT})
            for ignoring in ({}, {"ignore_index": 1})
        },
        **{
            f"probabilities, {reduction}, smoothing {smoothing}": Case(
                (fill((4, 3)), fill((4, 3), "positive")),
                {"weight": WEIGHT, "reduction": reduction, "label_smoothing": smoothing},
            )
            for reduction in REDUCTIONS
            for smoothing in (0.0, 0.3, 1.0)
        },
        "all ignored": of((2, 3), target=np.array([1, 1]), ignore_index=1, reduction="sum"),
        "a class of weight 0": of((4, 3), target=LABELS[4, 3], weight=np.array([0.0, 2.0, 1.0])),
        "all ignored, none": of((2, 3), target=np.array([-100, -100]), reduction="none"),
        "one sample": of((3,), target=np.array(2), label_smoothing=0.1),
        "one class": of((2, 1), target=np.array([0, 0])),
        "all equal": of((2, 3), values="equal", target=np.array([0, 2]), label_smoothing=1.0),
        "empty batch": of((0, 3), target=np.zeros(0, int), reduction="none"),
    },
    cases=draws.class_numbers(smoothing=True) | draws.class_probabilities(),
    linear=(1,),
    itemwise=items_of_probabilities,
)
OPERATIONS["nll_loss"] = Entry(
    F.nll_loss,
    naive.nll_loss,
    examples={
        **{
            label(f"{target.ndim + 1}-D", reduction, *weighting, *ignoring): of(
                shape, target=target, reduction=reduction, **weighting, **ignoring
            )
            for shape, target in LABELS.items()
            for reduction in REDUCTIONS
            for weighting in ({}, {"weight": WEIGHT})
            for ignoring in ({}, {"ignore_index": 2})
        },
        "all ignored": of((2, 3), target=np.array([1, 1]), ignore_index=1, reduction="sum"),
        "one sample": of((3,), target=np.array(2)),
        "empty batch": of((0, 3), target=np.zeros(0, int), reduction="none"),
    },
    cases=draws.class_numbers(smoothing=False),
    linear=(0,),
)
OPERATIONS["mse_loss"] = Entry(
    F.mse_loss,
    naive.mse_loss,
    examples={
        **{reduction: of((3, 4), (3, 4), reduction=reduction) for reduction in REDUCTIONS},
        "0-D": of((), ()),
        "ties": of((2, 2), (2, 2), values="ties", reduction="none"),
        "nothing lost": Case((fill((2, 3, 3, 4), seed=14549),) * 2, {"reduction": "mean"}),
        "empty": of((0, 2), (0, 2), reduction="none"),
    },
    cases=draws.squared_differences(),
    itemwise=items_of_differences,
)
