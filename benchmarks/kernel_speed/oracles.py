"""What the kernels must compute, by definition and in float64: short, whole-array formulas for NumPy and CuPy alike.

Arrays are as the kernels see them: images [N, H, W, C], weights [K, R, S, C], one group.  A sliding window is a sum
over its R·S samples; what sample (r, s) of every window sees is one strided view of the padded images.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minicnn.geometry import Window2d

Array = Any


def conv2d(xp: Any, x: Array, w: Array, window: Window2d) -> Array:
    padded, views = _seen(xp, x, window)
    rows = sum(_rows(padded[view]) @ w[:, r, s].T for (r, s), view in views)
    return rows.reshape(len(x), *window.output_size(*x.shape[1:3]), len(w))


def conv2d_backward_data(xp: Any, g: Array, w: Array, shape: tuple[int, ...], window: Window2d) -> Array:
    padded, views = _seen(xp, xp.zeros(shape, g.dtype), window)
    for (r, s), view in views:
        padded[view] += (_rows(g) @ w[:, r, s]).reshape(*g.shape[:3], shape[3])
    return _inside(padded, shape, window)


def conv2d_backward_weight(xp: Any, x: Array, g: Array, window: Window2d) -> Array:
    padded, views = _seen(xp, x, window)
    dw = xp.empty((g.shape[-1], *window.kernel, x.shape[-1]), g.dtype)
    for (r, s), view in views:
        dw[:, r, s] = _rows(g).T @ _rows(padded[view])
    return dw


def im2col(xp: Any, x: Array, window: Window2d) -> Array:
    """[1, N·P·Q, R·S·C]."""
    padded, views = _seen(xp, x, window)
    columns = xp.stack([padded[view] for _, view in views], axis=3)
    return columns.reshape(1, -1, window.samples * x.shape[-1])


def col2im(xp: Any, columns: Array, shape: tuple[int, ...], window: Window2d) -> Array:
    padded, views = _seen(xp, xp.zeros(shape, columns.dtype), window)
    p, q = window.output_size(*shape[1:3])
    columns = columns.reshape(shape[0], p, q, window.samples, shape[3])
    for i, (_, view) in enumerate(views):
        padded[view] += columns[:, :, :, i]
    return _inside(padded, shape, window)


def max_pool2d(xp: Any, x: Array, window: Window2d) -> tuple[Array, Array]:
    """The maxima, and the place h·W + w of the first pixel that has each."""
    padded, views = _seen(xp, x, window, fill=-xp.inf)
    seen = xp.stack([padded[view] for _, view in views])
    winner = seen.argmax(axis=0)
    places = xp.zeros_like(winner)
    for i, at in enumerate(window.offsets()):
        places = xp.where(winner == i, _places(xp, x.shape, window, at)[:, :, None], places)
    return seen.max(axis=0), places


def max_pool2d_backward(xp: Any, g: Array, places: Array, shape: tuple[int, ...], window: Window2d) -> Array:
    padded, views = _seen(xp, xp.zeros(shape, g.dtype), window)
    for at, view in views:
        padded[view] += g * (places == _places(xp, shape, window, at)[:, :, None])
    return _inside(padded, shape, window)


def _places(xp: Any, shape: tuple[int, ...], window: Window2d, at: tuple[int, int]) -> Array:
    """The place h·W + w that a sample has in each window, [P, Q]; of one in the padding any, for there nobody looks."""
    sizes, starts = window.output_size(*shape[1:3]), window.padding[::2]
    rows, columns = (
        xp.arange(sizes[axis]) * window.stride[axis] + at[axis] * window.dilation[axis] - starts[axis]
        for axis in range(2)
    )
    return rows[:, None] * shape[2] + columns


def avg_pool2d(xp: Any, x: Array, window: Window2d) -> Array:
    """For windows that do not reach over the padding, which then counts."""
    padded, views = _seen(xp, x, window)
    return sum(padded[view] for _, view in views) / window.samples


def avg_pool2d_backward(xp: Any, g: Array, shape: tuple[int, ...], window: Window2d) -> Array:
    padded, views = _seen(xp, xp.zeros(shape, g.dtype), window)
    for _, view in views:
        padded[view] += g / window.samples
    return _inside(padded, shape, window)


def local_response_norm(xp: Any, x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    return x * _lrn_scale(xp, x, size, alpha, k) ** -beta


def local_response_norm_backward(
    xp: Any, g: Array, x: Array, size: int, alpha: float, beta: float, k: float
) -> Array:
    scale = _lrn_scale(xp, x, size, alpha, k)
    owed = _over_neighbours(xp, g * x * scale ** (-beta - 1), size)  # a symmetric window is its own adjoint
    return g * scale**-beta - 2 * alpha * beta / size * x * owed


def batch_norm(xp: Any, x: Array, w: Array, b: Array, eps: float) -> tuple[Array, Array, Array]:
    """y, and the batch's mean and biased variance of each channel."""
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return batch_norm_inference(xp, x, w, b, mean, var, eps), mean, var


def batch_norm_inference(xp: Any, x: Array, w: Array, b: Array, mean: Array, var: Array, eps: float) -> Array:
    return (x - mean) / xp.sqrt(var + eps) * w + b


def batch_norm_backward(xp: Any, g: Array, x: Array, w: Array, eps: float) -> tuple[Array, Array, Array]:
    """dx, dw and db."""
    axes = tuple(range(x.ndim - 1))
    scale = 1 / xp.sqrt(x.var(axes) + eps)
    normal = (x - x.mean(axes)) * scale
    db, dw, count = g.sum(axes), (g * normal).sum(axes), x.size // x.shape[-1]
    return w * scale * (g - db / count - normal * dw / count), dw, db


def cross_entropy(xp: Any, z: Array, target: Array) -> Array:
    """Of each row."""
    rows = xp.arange(len(z))
    top = z.max(axis=1)
    return top + xp.log(xp.exp(z - top[:, None]).sum(axis=1)) - z[rows, target]


def cross_entropy_backward(xp: Any, z: Array, target: Array, g: Array) -> Array:
    """dz, for the gradient g of each row's loss."""
    shares = xp.exp(z - z.max(axis=1, keepdims=True))
    dz = shares / shares.sum(axis=1, keepdims=True)
    dz[xp.arange(len(z)), target] -= 1
    return dz * g[:, None]


def sgd(p: Array, g: Array, v: Array, rate: float, momentum: float, decay: float) -> tuple[Array, Array]:
    """The parameters and the velocities after a step that is not the first."""
    v = momentum * v + g + decay * p
    return p - rate * v, v


def dropout(xp: Any, x: Array, p: float, seed: int, offset: int) -> Array:
    """Element i is kept if word i % 4 of Philox's counter (i / 4, offset) is at least p·2³²."""
    quads = xp.arange(-(-x.size // 4), dtype=xp.uint64)
    words = xp.stack(philox(xp, quads, offset, seed), axis=1).reshape(-1)[: x.size].reshape(x.shape)
    return xp.where(words >= round(p * 2**32), x / (1 - p), 0)


def philox(xp: Any, low: Array, high: int, key: int) -> list[Array]:
    """Philox4x32-10 of the counters (low, high), each of 64 bits: four words of 32 bits (see kernels/dropout.cu)."""
    bits = xp.uint64(32)
    word = xp.uint64(2**32 - 1)
    c = [low & word, low >> bits, *(xp.full_like(low, half) for half in (high % 2**32, high >> 32))]
    k = [key % 2**32, key >> 32]
    for _ in range(10):
        first, second = xp.uint64(0xD2511F53) * c[0], xp.uint64(0xCD9E8D57) * c[2]
        c = [
            (second >> bits) ^ c[1] ^ xp.uint64(k[0]),
            second & word,
            (first >> bits) ^ c[3] ^ xp.uint64(k[1]),
            first & word,
        ]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def _seen(
    xp: Any, x: Array, window: Window2d, fill: float = 0.0
) -> tuple[Array, Iterator[tuple[tuple[int, int], tuple[Any, ...]]]]:
    """Images padded so that the windows just fit, and what each sample of all windows sees of them."""
    n, height, width, channels = x.shape
    p, q = window.output_size(height, width)
    top, bottom, left, right = (max(0, edge) for edge in window.reach(height, width))
    padded = xp.full((n, height + top + bottom, width + left + right, channels), fill, x.dtype)
    padded[:, top : top + height, left : left + width] = x
    views = ((at, (slice(None), *window.at(*at, p, q)[1:])) for at in window.offsets())
    return padded, views


def _rows(images: Array) -> Array:
    """[N·H·W, C]."""
    return images.reshape(-1, images.shape[-1])


def _inside(padded: Array, shape: tuple[int, ...], window: Window2d) -> Array:
    top, _, left, _ = window.padding
    return padded[:, top : top + shape[1], left : left + shape[2]]


def _lrn_scale(xp: Any, x: Array, size: int, alpha: float, k: float) -> Array:
    return k + alpha / size * _over_neighbours(xp, x * x, size)


def _over_neighbours(xp: Any, values: Array, size: int) -> Array:
    """The sum over `size` neighbouring channels, an odd number, around each."""
    reach = size // 2
    padded = xp.pad(values, [(0, 0)] * (values.ndim - 1) + [(reach, reach)])
    return sum(padded[..., i : i + values.shape[-1]] for i in range(size))
