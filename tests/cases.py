"""The table of cases: every operation, in every mode it offers, with its definition beside it.

From this one table follow, in test_ops.py, equality with the definition, gradient checks, and that layout, dtype and
thread count do not matter.  A Function of minicnn.ops that no case calls fails the suite.

Hyper-parameters amplify on purpose: a test whose tolerance hides the term it tests is worthless.  So LRN has α = 1,
batch norm ε = 0.1 and few samples, label smoothing reaches 1, strides exceed kernels, ceil mode meets padding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import naive
import numpy as np

from minicnn import Tensor
from minicnn import functional as F


@dataclass(frozen=True)
class Case:
    name: str
    call: Callable[..., Tensor]  # tensors in, tensor out
    definition: Callable[..., np.ndarray]  # the same on float64 arrays
    inputs: Callable[[np.random.Generator], list[np.ndarray]]


CASES: list[Case] = []


def case(name: str, call: Any, definition: Any, *shapes: tuple[int, ...], draw: Any = None) -> None:
    """Add a case; inputs are normal draws of these shapes, or what `draw(rng)` gives."""
    CASES.append(
        Case(name, call, definition, draw or (lambda rng: [rng.normal(size=shape) for shape in shapes]))
    )


def positive(*shapes: tuple[int, ...]):
    return lambda rng: [rng.uniform(0.5, 2.0, shape) for shape in shapes]


def ties(*shapes: tuple[int, ...]):
    """Values from a few, so that maxima tie and zeros abound."""
    return lambda rng: [rng.integers(-1, 2, shape).astype(float) for shape in shapes]


# Arithmetic, with broadcasting both ways

for name, op in {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
}.items():
    for label, shapes in {
        "same": ((3, 4), (3, 4)),
        "row": ((3, 4), (4,)),
        "column": ((3, 1), (2, 3, 4)),
        "scalar": ((), (2, 3)),
    }.items():
        case(f"{name}-{label}", op, op, draw=positive(*shapes))
case("negative", lambda x: -x, lambda x: -x, (3, 4))
case("reversed", lambda x: 2 - 3 / x, lambda x: 2 - 3 / x, draw=positive((3, 4)))
case("square", lambda x: x**2, lambda x: x * x, (3, 4))
case("used twice", lambda x: x * x + x, lambda x: x * x + x, (3, 4))

# Elementary functions

case("exp", lambda x: x.exp(), np.exp, (3, 4))
case("log", lambda x: x.log(), np.log, draw=positive((3, 4)))
case("sqrt", lambda x: x.sqrt(), np.sqrt, draw=positive((3, 4)))
case("clip", lambda x: x.clip(-0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7), (5, 6))
case("clip-one side", lambda x: x.clip(max=0.1), lambda x: np.minimum(x, 0.1), (5, 6))
case("astype", lambda x: x.to("float64") * 2, lambda x: x * 2, (3,))
case("relu", F.relu, lambda x: np.where(x > 0, x, 0), (2, 3, 4, 5))
case("relu-zeros", F.relu, lambda x: np.where(x > 0, x, 0), draw=ties((4, 5)))
case("sigmoid", F.sigmoid, lambda x: 1 / (1 + np.exp(-x)), (3, 4))
case("tanh", F.tanh, np.tanh, (3, 4))

# Reductions

for dim in (None, 0, -1, (0, 2)):
    for keep in (False, True):
        tag = f"{dim}-{keep}"
        case(
            f"sum-{tag}",
            lambda x, d=dim, k=keep: x.sum(d, k),
            lambda x, d=dim, k=keep: np.sum(x, d, keepdims=k),
            (2, 3, 4),
        )
        case(
            f"mean-{tag}",
            lambda x, d=dim, k=keep: x.mean(d, k),
            lambda x, d=dim, k=keep: np.mean(x, d, keepdims=k),
            (2, 3, 4),
        )
case("max", lambda x: x.max(), np.max, (3, 4))
case("max-ties", lambda x: x.max(), np.max, draw=ties((3, 4)))
for keep in (False, True):
    case(
        f"max along-{keep}",
        lambda x, k=keep: x.max(1, k).values,
        lambda x, k=keep: x.max(1, keepdims=k),
        (3, 4, 2),
    )
case("max along-ties", lambda x: x.max(-1).values, lambda x: x.max(-1), draw=ties((4, 6)))

# Shape

case("reshape", lambda x: x.reshape(4, -1), lambda x: x.reshape(4, -1), (2, 3, 4))
case("flatten", lambda x: F.flatten(x, 1), lambda x: x.reshape(2, -1), (2, 3, 4))
case("permute", lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1), (2, 3, 4))
case("transpose", lambda x: x.transpose(0, 2), lambda x: x.swapaxes(0, 2), (2, 3, 4))
case("getitem-basic", lambda x: x[1:, None, ..., ::2], lambda x: x[1:, None, ..., ::2], (3, 2, 5))
case("getitem-twice", lambda x: x[[0, 2, 0]], lambda x: x[[0, 2, 0]], (3, 4))
case("getitem-mask", lambda x: x[:, np.array([True, False, True])], lambda x: x[:, [0, 2]], (2, 3))
case("cat", lambda *a: F.cat(a, 1), lambda *a: np.concatenate(a, 1), (2, 3, 2), (2, 1, 2), (2, 4, 2))
case("cat-same twice", lambda a: F.cat([a, a], -1), lambda a: np.concatenate([a, a], -1), (2, 3))
for mode in ("constant", "reflect", "replicate", "circular"):
    case(
        f"pad-{mode}",
        lambda x, m=mode: F.pad(x, (2, 1, 0, 3), m, 1.5 if m == "constant" else 0),
        lambda x, m=mode: naive.pad(x, [(0, 0), (0, 0), (0, 3), (2, 1)], m, 1.5),
        (2, 3, 4, 4),
    )
    case(
        f"pad-cut-{mode}",
        lambda x, m=mode: F.pad(x, (-1, 2), m),
        lambda x, m=mode: naive.pad(x, [(0, 0), (0, 0), (-1, 2)], m),
        (2, 3, 5),
    )

# Products

case("linear", F.linear, lambda x, w, b: x @ w.T + b, (2, 3, 4), (5, 4), (5,))
case("linear-no bias", F.linear, lambda x, w: x @ w.T, (3, 4), (5, 4))
case("linear-vector", F.linear, lambda x, w: x @ w, (3, 4), (4,))
for a, b in (
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 1, 3, 4), (6, 4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 5)),
):
    case(f"matmul-{a}-{b}", lambda x, y: x @ y, np.matmul, a, b)

# Convolution

for name, options in {
    "plain": {},
    "stride": {"stride": 2},
    "stride > kernel": {"stride": (4, 3)},
    "padding": {"padding": (1, 2)},
    "padding > kernel": {"padding": 4},
    "asymmetric": {"padding": (0, 2, 3, 1)},
    "same": {"padding": "same"},
    "same dilated": {"padding": "same", "dilation": (2, 3)},
    "dilation": {"dilation": (2, 1)},
    "all at once": {"stride": (2, 1), "padding": (2, 1), "dilation": (1, 2)},
}.items():
    case(
        f"conv2d-{name}",
        lambda x, w, b, o=options: F.conv2d(x, w, b, **o),
        lambda x, w, b, o=options: naive.conv2d(x, w, b, **o),
        (2, 3, 7, 6),
        (4, 3, 3, 2),
        (4,),
    )
for groups, weight in ((2, (6, 2, 3, 3)), (4, (4, 1, 3, 3)), (4, (8, 1, 2, 3))):
    options = {"groups": groups, "padding": 1, "stride": (1, 2)}
    case(
        f"conv2d-groups-{groups}-{weight[0]}",
        lambda x, w, o=options: F.conv2d(x, w, **o),
        lambda x, w, o=options: naive.conv2d(x, w, **o),
        (2, 4, 5, 6),
        weight,
    )
case("conv2d-1x1", F.conv2d, naive.conv2d, (2, 3, 4, 5), (4, 3, 1, 1), (4,))
case(
    "conv2d-unbatched",
    lambda x, w: F.conv2d(x, w, padding=1),
    lambda x, w: naive.conv2d(x[None], w, padding=1)[0],
    (3, 5, 4),
    (2, 3, 3, 3),
)
for name, options in {
    "plain": {},
    "stride": {"stride": (2, 3)},
    "cropped": {"stride": 2, "padding": (1, 2)},
    "output padding": {"stride": 3, "padding": 1, "output_padding": (2, 1)},
    "output padding > padding": {"stride": 3, "output_padding": (2, 1)},
    "dilation": {"dilation": (2, 1), "stride": 2, "output_padding": 1, "padding": 1},
    "groups": {"groups": 2, "stride": 2, "padding": 1},
}.items():
    case(
        f"conv_transpose2d-{name}",
        lambda x, w, b, o=options: F.conv_transpose2d(x, w, b, **o),
        lambda x, w, b, o=options: naive.conv_transpose2d(x, w, b, **o),
        (2, 4, 3, 4),
        (4, 6 // options.get("groups", 1), 3, 2),
        (6,),
    )
for name, options in {
    "plain": {},
    "all": {"stride": (1, 2), "padding": (1, 2), "dilation": (2, 1)},
}.items():
    case(
        f"unfold-{name}",
        lambda x, o=options: F.unfold(x, (2, 3), **o),
        lambda x, o=options: naive.unfold(x, (2, 3), **o),
        (2, 3, 5, 6),
    )


def fold_by_adjoint(columns, size, kernel, options):
    """⟨fold(columns), e⟩ = ⟨columns, unfold(e)⟩ for every unit image e."""
    n, channels = columns.shape[0], columns.shape[1] // (kernel[0] * kernel[1])
    y = np.zeros((n, channels, *size))
    for at in np.ndindex(channels, *size):
        unit = np.zeros((1, channels, *size))
        unit[0, *at] = 1
        y[:, *at] = (columns * naive.unfold(unit, kernel, **options)).sum(axis=(1, 2))
    return y


case(
    "fold",
    lambda x: F.fold(x, (5, 6), (2, 3), stride=(1, 2), padding=1),
    lambda x: fold_by_adjoint(x, (5, 6), (2, 3), {"stride": (1, 2), "padding": 1}),
    (2, 12, 18),
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
for name, options in {**POOLS, "dilation": {"dilation": (2, 1), "stride": 1, "padding": 1}}.items():
    for kind, draw in {
        "": lambda rng: [rng.normal(size=(2, 3, 8, 7))],
        "-ties": ties((2, 2, 8, 7)),
        "-all equal": lambda rng: [np.full((1, 2, 8, 7), 0.5)],
        "-negative": lambda rng: [-rng.uniform(1, 2, (2, 2, 8, 7))],
    }.items():
        case(
            f"max_pool2d-{name}{kind}",
            lambda x, o=options: F.max_pool2d(x, (3, 2), **o),
            lambda x, o=options: naive.max_pool2d(x, (3, 2), **o),
            draw=draw,
        )
for name, options in POOLS.items():
    for extra in ({}, {"count_include_pad": False}, {"divisor_override": 3}):
        both = {**options, **extra}
        case(
            f"avg_pool2d-{name}-{'-'.join(extra)}",
            lambda x, o=both: F.avg_pool2d(x, (3, 2), **o),
            lambda x, o=both: naive.avg_pool2d(x, (3, 2), **o),
            (2, 3, 8, 7),
        )
for size in (1, 3, (2, 5), (None, 2), (9, 8)):
    case(
        f"adaptive_avg_pool2d-{size}",
        lambda x, s=size: F.adaptive_avg_pool2d(x, s),
        lambda x, s=size: naive.adaptive_pool2d(x, s, np.mean),
        (2, 3, 5, 7),
    )
    for kind, draw in {"": None, "-ties": ties((2, 3, 5, 7))}.items():
        case(
            f"adaptive_max_pool2d-{size}{kind}",
            lambda x, s=size: F.adaptive_max_pool2d(x, s),
            lambda x, s=size: naive.adaptive_pool2d(x, s, np.max),
            (2, 3, 5, 7),
            draw=draw,
        )

# Normalisation

for size in (1, 2, 3, 4, 5, 12):
    options = {"size": size, "alpha": 1.0, "beta": 0.75, "k": 2.0}
    case(
        f"local_response_norm-{size}",
        lambda x, o=options: F.local_response_norm(x, **o),
        lambda x, o=options: naive.local_response_norm(x, **o),
        (2, 7, 2, 3),
    )
for shape in ((4, 3), (2, 3, 1, 1), (2, 3, 2, 4), (3, 2, 5)):
    channels = (shape[1],)
    case(
        f"batch_norm-training-{shape}",
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=0.1),
        lambda x, w, b: naive.batch_norm(x, w, b, eps=0.1),
        shape,
        channels,
        channels,
    )
    mean, var = np.linspace(-1, 1, shape[1]), np.linspace(0.5, 2, shape[1])
    case(
        f"batch_norm-evaluation-{shape}",
        lambda x, w, b, m=mean, v=var: F.batch_norm(x, m.astype(x.dtype), v.astype(x.dtype), w, b, eps=0.1),
        lambda x, w, b, m=mean, v=var: naive.batch_norm(x, w, b, 0.1, m, v),
        shape,
        channels,
        channels,
    )


def dropped(p, scale):
    """Dropout with a generator that starts anew at each call, and what it must give."""

    def call(x):
        return F.dropout(x, p, generator=np.random.default_rng(7), scale_at_test=scale == 1)

    def definition(x):
        return x * (np.random.default_rng(7).random(x.shape, dtype=np.float32) >= p) * scale

    return call, definition


for p, scale in ((0.0, 1.0), (0.3, 1 / 0.7), (0.3, 1.0), (1.0, 0.0)):
    case(f"dropout-{p}-{scale:.2f}", *dropped(p, scale), (4, 5))
case(
    "dropout-at test",
    lambda x: F.dropout(x, 0.3, training=False, scale_at_test=True),
    lambda x: x * 0.7,
    (4, 5),
)

# Softmax and losses

for dim in (0, 1, -1):
    case(f"softmax-{dim}", lambda x, d=dim: F.softmax(x, d), lambda x, d=dim: naive.softmax(x, d), (3, 4, 2))
    case(
        f"log_softmax-{dim}",
        lambda x, d=dim: F.log_softmax(x, d),
        lambda x, d=dim: np.log(naive.softmax(x, d)),
        (3, 4, 2),
    )
LABELS = {(4, 3): np.array([0, 2, 1, 1]), (2, 3, 2, 2): np.array([[[0, 2], [1, 1]], [[2, 2], [0, 1]]])}
for shape, labels in LABELS.items():
    for reduction in ("mean", "sum", "none"):
        for label_smoothing in (0.0, 0.1, 1.0):
            for weight in (None, np.array([0.5, 2.0, 1.0])):
                for ignore_index in (-100, 1):
                    options = {
                        "weight": weight,
                        "reduction": reduction,
                        "label_smoothing": label_smoothing,
                        "ignore_index": ignore_index,
                    }
                    weighting = "" if weight is None else "-weighted"
                    case(
                        f"cross_entropy-{len(shape)}D-{reduction}-{label_smoothing}-{ignore_index}{weighting}",
                        lambda z, t=labels, o=options: F.cross_entropy(z, t, **o),
                        lambda z, t=labels, o=options: naive.cross_entropy(z, t, **o),
                        shape,
                    )
    for weight in (None, np.array([0.5, 2.0, 1.0])):
        options = {"weight": weight, "ignore_index": 2}
        case(
            f"nll_loss-{len(shape)}D{'' if weight is None else '-weighted'}",
            lambda z, t=labels, o=options: F.nll_loss(F.log_softmax(z, 1), t, **o),
            lambda z, t=labels, o=options: naive.cross_entropy(z, t, **o),
            shape,
        )
for label_smoothing in (0.0, 0.3):
    options = {"label_smoothing": label_smoothing, "weight": np.array([0.5, 2.0, 1.0])}
    case(
        f"cross_entropy-probabilities-{label_smoothing}",
        lambda z, t, o=options: F.cross_entropy(z, t, **o),
        lambda z, t, o=options: naive.cross_entropy(z, t, **o),
        draw=lambda rng: [rng.normal(size=(4, 3)), rng.uniform(0.1, 1, (4, 3))],
    )
for reduction, reduce in {"mean": np.mean, "sum": np.sum, "none": np.asarray}.items():
    case(
        f"mse_loss-{reduction}",
        lambda a, b, r=reduction: F.mse_loss(a, b, r),
        lambda a, b, r=reduce: r((a - b) ** 2),
        (3, 4),
        (3, 4),
    )
