"""Every operation of the ladders on a layer: its arrays, its versions, what is right, and PyTorch's way to it.

One function an operation draws the arrays and returns the :class:`~rows.Case`.  Its FLOPs are those that the
kernel's header counts, its bytes the least: each input read and each output written once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minicnn.geometry import Window2d

from . import oracles
from .bench import OPERATIONS, Bench, host, operation
from .layers import Layer
from .peers import UNITS, Calls, Peers
from .rows import Case

__all__ = ["OPERATIONS"]

Array = Any

BOTH = ("float32", "bfloat16")
RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4
SEED, OFFSET = 1, 2


def exact(*arrays: Array) -> Any:
    """In float64, for the oracles."""
    doubled = tuple(array.astype("float64") for array in arrays)
    return doubled if len(doubled) > 1 else doubled[0]


# Convolution


def _is_needed(layer: Layer) -> bool:
    """Nobody wants the gradient of the images themselves."""
    return layer.shape[-1] != 3


def _is_winograds(layer: Layer) -> bool:
    window = layer.window
    return window is not None and (window.kernel, window.stride) == ((3, 3), (1, 1))


def _is_unfolded(layer: Layer) -> bool:
    """Of others the columns are the pixels as they are."""
    window = layer.window
    return window is not None and (window.kernel, window.stride) != ((1, 1), (1, 1))


def _units(bench: Bench) -> dict[str, str]:
    """What the last two versions of each convolution multiply by."""
    return {"v7": "tf32", "v8": UNITS[bench.dtype]}


@operation("conv2d", dtypes=BOTH)
def conv2d_forward(bench: Bench) -> Case:
    run, classic = bench.function(), bench.classic("im2col_conv2d")
    x, w, window = bench.normal(*bench.input_shape), bench.normal(*bench.weight_shape), bench.window
    return bench.case(
        lambda version: run(x, w, window=window, version=version),
        oracles.conv2d(bench.xp, *exact(x, w), window),
        (x, w),
        bench.flops,
        lambda peers: peers.conv2d(x, w, window),
        classic=lambda: classic(x, w, *_geometry(window)[1:]),
        units=_units(bench),
    )


@operation("conv2d", dtypes=BOTH, fits=_is_needed)
def conv2d_backward_data(bench: Bench) -> Case:
    run, classic = bench.function(), bench.classic("im2col_conv2d_backward_data")
    g, w, window = bench.normal(*bench.output_shape), bench.normal(*bench.weight_shape), bench.window
    shape = bench.input_shape
    return bench.case(
        lambda version: run(g, w, shape, window=window, version=version),
        oracles.conv2d_backward_data(bench.xp, *exact(g, w), shape, window),
        (g, w),
        bench.flops,
        lambda peers: peers.conv2d_backward_data(g, w, bench.normal(*shape), window),
        classic=lambda: classic(g, w, shape, *_geometry(window)[1:]),
        units=_units(bench),
    )


@operation("conv2d", dtypes=BOTH)
def conv2d_backward_weight(bench: Bench) -> Case:
    run, classic = bench.function(), bench.classic("im2col_conv2d_backward_weight")
    x, g, window = bench.normal(*bench.input_shape), bench.normal(*bench.output_shape), bench.window
    return bench.case(
        lambda version: run(x, g, window=window, version=version),
        oracles.conv2d_backward_weight(bench.xp, *exact(x, g), window),
        (x, g),
        bench.flops,
        lambda peers: peers.conv2d_backward_weight(x, g, bench.normal(*bench.weight_shape), window),
        classic=lambda: classic(x, g, *_geometry(window)),
        units=_units(bench),
    )


@operation("conv2d", "conv2d_backward_weight", fits=lambda layer: layer.shape[-1] == layer.kernels)
def conv2d_backward_bias(bench: Bench) -> Case:
    """The window does not matter, so of the many layers some are enough."""
    g, run = bench.normal(*bench.output_shape), bench.function()
    return bench.case(
        lambda version: run(g, version=version),
        exact(g).sum((0, 1, 2)),
        (g,),
        g.size,
        lambda peers: peers.forward(lambda g: g.sum((0, 2, 3)), peers.images(g)),
    )


@operation("conv2d", "winograd", "winograd2", fits=_is_winograds)
def winograd2_forward(bench: Bench) -> Case:
    """The operations counted are those of the definition: what is saved shows as more than the peak."""
    run, ladder = bench.function("winograd_forward"), bench.operation.ladder
    x, w, window = bench.normal(*bench.input_shape), bench.normal(*bench.weight_shape), bench.window
    return bench.case(
        lambda version: run(x, w, window=window, version=f"{ladder}_{version}"),
        oracles.conv2d(bench.xp, *exact(x, w), window),
        (x, w),
        bench.flops,
        lambda peers: peers.in_fp32(peers.conv2d(x, w, window)),
    )


@operation("conv2d", "winograd", "winograd4", fits=_is_winograds)
def winograd4_forward(bench: Bench) -> Case:
    return winograd2_forward(bench)


@operation("conv2d", "winograd", "winograd2", fits=lambda layer: _is_winograds(layer) and _is_needed(layer))
def winograd2_backward_data(bench: Bench) -> Case:
    run, ladder = bench.function("winograd_backward_data"), bench.operation.ladder
    g, w, window = bench.normal(*bench.output_shape), bench.normal(*bench.weight_shape), bench.window
    shape = bench.input_shape
    return bench.case(
        lambda version: run(g, w, shape, window=window, version=f"{ladder}_{version}"),
        oracles.conv2d_backward_data(bench.xp, *exact(g, w), shape, window),
        (g, w),
        bench.flops,
        lambda peers: peers.in_fp32(peers.conv2d_backward_data(g, w, bench.normal(*shape), window)),
    )


@operation("conv2d", "winograd", "winograd4", fits=lambda layer: _is_winograds(layer) and _is_needed(layer))
def winograd4_backward_data(bench: Bench) -> Case:
    return winograd2_backward_data(bench)


@operation("conv2d", fits=_is_unfolded)
def im2col(bench: Bench) -> Case:
    x, window, run = bench.normal(*bench.input_shape), bench.window, bench.function()
    return bench.case(
        lambda version: run(x, *_geometry(window), version=version),
        oracles.im2col(bench.xp, x, window),  # nothing is computed
        (x,),
        flops=0,
    )


@operation("conv2d", fits=lambda layer: _is_unfolded(layer) and _is_needed(layer))
def col2im(bench: Bench) -> Case:
    window, shape, run = bench.window, bench.input_shape, bench.function()
    columns = bench.normal(1, math.prod(bench.output_shape[:-1]), window.samples * shape[-1])
    return bench.case(
        lambda version: run(columns, shape, *_geometry(window), version=version),
        oracles.col2im(bench.xp, exact(columns), shape, window),
        (columns,),
        flops=columns.size,
    )


def _geometry(window: Window2d) -> tuple[Any, ...]:
    return window.kernel, window.stride, window.padding, window.dilation


# Pooling


@operation("max_pool2d", "pool")
def max_pool_forward(bench: Bench) -> Case:
    x, window, run = bench.normal(*bench.input_shape), bench.window, bench.function()
    how = (*_geometry(window), window.ceil_mode)
    return bench.case(
        lambda version: run(x, *how, version=version),
        oracles.max_pool2d(bench.xp, exact(x), window),
        (x,),
        math.prod(bench.output_shape) * window.samples,
        lambda peers: peers.forward(peers.max_pool2d(window), peers.images(x)),
    )


@operation("max_pool2d", "pool")
def max_pool_backward(bench: Bench) -> Case:
    x, g, window = bench.normal(*bench.input_shape), bench.normal(*bench.output_shape), bench.window
    shape, run, how = bench.input_shape, bench.function(), (*_geometry(window), window.ceil_mode)
    _, places = oracles.max_pool2d(bench.xp, exact(x), window)
    return bench.case(
        lambda version: run(g, places, shape, *how, version=version),
        oracles.max_pool2d_backward(bench.xp, exact(g), places, shape, window),
        (g, places),
        g.size,
        lambda peers: peers.backward(peers.max_pool2d(window), peers.images(g), peers.images(x)),
    )


@operation("avg_pool2d", "pool")
def avg_pool_forward(bench: Bench) -> Case:
    x, window, run = bench.normal(*bench.input_shape), bench.window, bench.function()
    return bench.case(
        lambda version: run(x, *_geometry(window)[:3], version=version),
        oracles.avg_pool2d(bench.xp, exact(x), window),
        (x,),
        math.prod(bench.output_shape) * window.samples,
        lambda peers: peers.forward(peers.avg_pool2d(window), peers.images(x)),
    )


@operation("avg_pool2d", "pool")
def avg_pool_backward(bench: Bench) -> Case:
    g, window, shape = bench.normal(*bench.output_shape), bench.window, bench.input_shape
    run = bench.function()
    return bench.case(
        lambda version: run(g, shape, *_geometry(window)[:3], version=version),
        oracles.avg_pool2d_backward(bench.xp, exact(g), shape, window),
        (g,),
        g.size * window.samples,
        lambda peers: peers.backward(
            peers.avg_pool2d(window), peers.images(g), peers.images(bench.normal(*shape))
        ),
    )


# Normalisation


@operation("local_response_norm", "lrn")
def lrn_forward(bench: Bench) -> Case:
    x, how, run = bench.normal(*bench.input_shape), bench.options, bench.function()
    return bench.case(
        lambda version: run(x, **how, version=version),
        oracles.local_response_norm(bench.xp, exact(x), **how),
        (x,),
        2 * how["size"] * x.size,
        lambda peers: peers.forward(peers.local_response_norm(**how), peers.images(x)),
    )


@operation("local_response_norm", "lrn")
def lrn_backward(bench: Bench) -> Case:
    x, g, how, run = *(bench.normal(*bench.input_shape) for _ in range(2)), bench.options, bench.function()
    return bench.case(
        lambda version: run(x, g, **how, version=version),
        oracles.local_response_norm_backward(bench.xp, *exact(g, x), **how),
        (x, g),
        2 * how["size"] * x.size,
        lambda peers: peers.backward(peers.local_response_norm(**how), peers.images(g), peers.images(x)),
    )


@operation("batch_norm", "batch_norm")
def batch_norm_inference(bench: Bench) -> Case:
    (x, w, b, mean), run = _normalised(bench), bench.function()
    var, eps = bench.xp.square(w) + 1, bench.options["eps"]
    return bench.case(
        lambda version: run(x, mean, var, w, b, eps=eps, version=version),
        oracles.batch_norm_inference(bench.xp, *exact(x, w, b, mean, var), eps),
        (x, w, b, mean, var),
        3 * x.size,
        lambda peers: peers.forward(
            peers.batch_norm(eps, peers.tensor(mean), peers.tensor(var)),
            *(peers.images(x), peers.tensor(w), peers.tensor(b)),
        ),
    )


@operation("batch_norm", "batch_norm")
def batch_norm_forward(bench: Bench) -> Case:
    (x, w, b, _), run, eps = _normalised(bench), bench.function(), bench.options["eps"]
    return bench.case(
        lambda version: run(x, w, b, eps=eps, version=version),
        oracles.batch_norm(bench.xp, *exact(x, w, b), eps),
        (x, w, b),
        10 * x.size,
        lambda peers: peers.forward(peers.batch_norm(eps), peers.images(x), peers.tensor(w), peers.tensor(b)),
    )


@operation("batch_norm", "batch_norm")
def batch_norm_backward(bench: Bench) -> Case:
    (x, w, b, _), run, eps = _normalised(bench), bench.function(), bench.options["eps"]
    g = bench.normal(*bench.input_shape)
    axes = tuple(range(x.ndim - 1))
    mean, var = (found.astype(x.dtype) for found in (exact(x).mean(axes), exact(x).var(axes)))
    return bench.case(
        lambda version: run(g, x, mean, var, w, b, eps=eps, version=version),
        oracles.batch_norm_backward(bench.xp, *exact(g, x, w), eps),
        (g, x, mean, var, w),
        11 * x.size,
        lambda peers: peers.backward(
            peers.batch_norm(eps), peers.images(g), peers.images(x), peers.tensor(w), peers.tensor(b)
        ),
    )


def _normalised(bench: Bench) -> tuple[Array, ...]:
    """Images of mean 1, and for each channel a weight, a bias and a mean."""
    return bench.normal(*bench.input_shape) + 1, *(bench.normal(bench.layer.shape[-1]) for _ in range(3))


# Loss, update, dropout


@operation("cross_entropy")
def softmax_cross_entropy(bench: Bench) -> Case:
    """Each image's loss, and the gradient of the logits."""
    z, run = bench.normal(*bench.input_shape), bench.function()
    target = bench.device.random.integers(0, z.shape[1], len(z))
    g = bench.xp.ones(len(z))
    return bench.case(
        lambda version: run(z, target, reduction="none", version=version),
        (
            oracles.cross_entropy(bench.xp, exact(z), target),
            oracles.cross_entropy_backward(bench.xp, exact(z), target, g),
        ),
        (z, target),
        8 * z.size,
        lambda peers: peers.both(peers.cross_entropy(peers.tensor(target)), peers.tensor(z)),
    )


@operation("sgd")
def sgd(bench: Bench) -> Case:
    p, g, v = (bench.normal(*bench.layer.shape) for _ in range(3))
    run = bench.function()

    def step(version: str) -> tuple[Array, Array]:
        run(p, g, v, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, version=version)
        return p, v

    return _updated(bench, step, p, g, v, lambda peers: peers.sgd(p, g, v, RATE, MOMENTUM, DECAY))


@operation("sgd", "sgd")
def sgd_chunks(bench: Bench) -> Case:
    ladder = host("sgd")
    chunks = -(-bench.layer.shape[0] // ladder.CHUNK)
    p, g, v = (bench.normal(chunks, ladder.CHUNK) for _ in range(3))
    group = bench.xp.zeros(chunks, "int32")
    options = bench.xp.asarray([ladder.chunk_options(RATE, MOMENTUM, weight_decay=DECAY)], "float32")
    run = bench.function()

    def step(version: str) -> tuple[Array, Array]:
        run(p, g, v, group, options)
        return p, v

    return _updated(bench, step, p, g, v, lambda peers: peers.sgd(p, g, v, RATE, MOMENTUM, DECAY))


def _updated(
    bench: Bench,
    step: Callable[[str], tuple[Array, Array]],
    p: Array,
    g: Array,
    v: Array,
    peers: Callable[[Peers], Calls],
) -> Case:
    """A case of what changes p and v in place."""
    before = p.copy(), v.copy()

    def reset() -> None:
        p[...], v[...] = before

    expected = oracles.sgd(*exact(p, g, v), RATE, MOMENTUM, DECAY)
    return bench.case(step, expected, (p, g, v), 6 * p.size, peers, reset=reset)


@operation("dropout")
def dropout(bench: Bench) -> Case:
    x, p, run = bench.normal(*bench.input_shape), bench.options["p"], bench.function()
    expected = oracles.dropout(bench.xp, exact(x), p, SEED, OFFSET)

    def as_expected(result: Any) -> Array:
        """PyTorch draws other numbers: what it drops and keeps must be the one and the other, in their proportion."""
        y = bench.device.peers.arrays(result)
        right = abs(y - bench.xp.where(y == 0, 0, exact(x) / (1 - p))) <= 1e-6 * abs(y)
        share = abs(float((y == 0).mean()) - p) <= 5 * math.sqrt(p * (1 - p) / y.size)
        return expected if share and bool(right.all()) else y

    return bench.case(
        lambda version: run(x, p, seed=SEED, offset=OFFSET, version=version),
        expected,
        (x,),
        x.size,
        lambda peers: peers.forward(peers.dropout(p), peers.tensor(x)),
        arrays=as_expected,
    )


@operation("dropout", "dropout")
def philox(bench: Bench) -> Case:
    """The words of as many numbers as the layer has, from a counter for each four."""
    quads = bench.xp.arange(-(-math.prod(bench.input_shape) // 4), dtype="uint64")
    counters = bench.xp.zeros((quads.size, 4), "uint32")
    counters[:, 0], counters[:, 2] = quads, OFFSET
    keys = bench.xp.zeros((quads.size, 2), "uint32")
    keys[:, 0], run = SEED, bench.function()
    expected = bench.xp.stack(oracles.philox(bench.xp, quads, OFFSET, SEED), axis=1).astype("uint32")
    return bench.case(lambda version: run(counters, keys), expected, (counters, keys), 0)
