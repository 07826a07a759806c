"""Each operation by its definition, in plain loops over windows or samples: what the tests hold minicnn to.

Written from the definitions and apart from the package: none of its code is used here.  Arguments bear the
names that the operations give them, so that one case serves both.
"""

import functools
import itertools
import math

import numpy as np

# Arithmetic


def add(x, other):
    return x + other


def subtract(x, other):
    return x - other


def subtract_from(x, other):
    return other - x


def multiply(x, other):
    return x * other


def divide(x, other):
    return x / other


def divide_into(x, other):
    return other / x


def power(x, other):
    return x**other


def power_of(x, other):
    return other**x


def matmul(x, other):
    return np.matmul(x, other)


def matmul_of(x, other):
    return np.matmul(other, x)


# Elementary functions


def astype(x, target):
    return x.astype(target)


def clip(x, min=None, max=None):
    return np.clip(x, min, max)


def relu(x):
    return np.where(x > 0, x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dropout(x, seed, p=0.5, training=True, scale_at_test=False):
    if not training:
        return x * (1 - p) if scale_at_test else x
    # One draw for each channel of each pixel in turn: a digit to base 256, and all others where that is p's own.
    rng = np.random.default_rng(seed)
    last = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    digits = rng.integers(2**64, size=(x.size + 7) // 8, dtype=np.uint64).tobytes()[: x.size]
    drawn = [d / 256 + (rng.random() / 256 if d == p * 256 // 1 != p * 256 else 0) for d in digits]
    kept = np.reshape([u >= p for u in drawn], last.shape)
    scale = 1 if scale_at_test or p == 1 else 1 / (1 - p)
    return np.where(np.moveaxis(kept, -1, 1) if x.ndim > 2 else kept, x * scale, 0)


# Reductions


def total(x, dim=None, keepdim=False):
    return np.sum(x, None if dim == () else dim, keepdims=keepdim)


def average(x, dim=None, keepdim=False):
    summed = total(x, dim, keepdim)
    return summed * summed.size / x.size


def largest(x, dim=None, keepdim=False):
    return np.max(x, dim, keepdims=keepdim)


# Shape


def reshape(x, shape):
    return np.reshape(x, shape)


def flatten(x, start_dim=0, end_dim=-1):
    if not x.ndim:
        return x.reshape(1)
    first, last = start_dim % x.ndim, end_dim % x.ndim
    return np.reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


def permute(x, dims):
    return np.transpose(x, dims)


def transpose(x, dim0, dim1):
    return np.swapaxes(x, dim0, dim1)


def getitem(x, index):
    return x[index]


def cat(*arrays, dim=0):
    return np.concatenate([a for a in arrays if a.shape != (0,)] or arrays, dim)


def pad(x, pad, mode="constant", value=0.0):
    """Axis by axis from the last, row by row; what is cut is gone before the rest goes round in a circle."""
    for axis, before, after in zip(range(x.ndim - 1, -1, -1), pad[::2], pad[1::2], strict=False):
        rows = list(np.moveaxis(x, axis, 0))
        n, shape = len(rows), x.shape[:axis] + x.shape[axis + 1 :]
        left = rows[max(-before, 0) : n - max(-after, 0)]
        padded = []
        for i in range(-before, n + after):
            if mode == "circular":
                padded.append(left[(i + min(before, 0)) % len(left)])
            elif 0 <= i < n:
                padded.append(rows[i])
            elif mode == "constant":
                padded.append(np.full(shape, 0.0 if value is None else value))
            elif mode == "replicate":
                padded.append(rows[0 if i < 0 else -1])
            else:
                padded.append(rows[-i if i < 0 else 2 * (n - 1) - i])
        x = np.stack(padded, axis) if padded else np.zeros((*x.shape[:axis], 0, *x.shape[axis + 1 :]))
    return x


def linear(x, w, b=None):
    return x @ w.T + (0 if b is None else b)


# Windows


def pairs(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def out_size(size, kernel, stride, before, after, dilation, ceil=False):
    count = 0
    extent = dilation * (kernel - 1) + 1
    while True:
        start = count * stride
        if ceil and start >= size + before:  # it would see no pixel
            return count
        fits = start + extent <= size + before + after
        hangs_over = ceil and start < size + before + after - extent + stride
        if not fits and not hangs_over:
            return count
        count += 1


def windows(x, kernel, stride, padding, dilation, fill, ceil=False):
    """Yield (p, q, samples (N, C, R, S), is_pixel (R, S), is_padding (R, S)) window by window."""
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    top, bottom, left, right = padding
    height, width = x.shape[2:]
    for p in range(out_size(height, kh, sh, top, bottom, dh, ceil)):
        for q in range(out_size(width, kw, sw, left, right, dw, ceil)):
            samples = np.full((*x.shape[:2], kh, kw), fill, x.dtype)
            pixel, declared = np.zeros((kh, kw), bool), np.zeros((kh, kw), bool)
            for r, s in itertools.product(range(kh), range(kw)):
                h, w = p * sh + r * dh - top, q * sw + s * dw - left
                declared[r, s] = h < height + bottom and w < width + right
                if 0 <= h < height and 0 <= w < width:
                    pixel[r, s] = True
                    samples[:, :, r, s] = x[:, :, h, w]
            yield p, q, samples, pixel, declared


def grid_of(outputs):
    """Array (N, C, P, Q) from {(p, q): (N, C)}."""
    p, q = (max(axis) + 1 for axis in zip(*outputs, strict=True))
    return np.stack([np.stack([outputs[i, j] for j in range(q)], -1) for i in range(p)], -2)


def four(padding):
    if isinstance(padding, int):
        return (padding,) * 4
    return tuple(padding) if len(padding) == 4 else (padding[0], padding[0], padding[1], padding[1])


def on_batches(ndim):
    """Let a definition for batches, of `ndim` axes, take a single item too."""

    def of(definition):
        @functools.wraps(definition)
        def either(x, *args, **options):
            batch = definition(x if x.ndim == ndim else x[None], *args, **options)
            return batch if x.ndim == ndim else batch[0]

        return either

    return of


@on_batches(4)
def conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    if padding == "same":
        extents = [d * (k - 1) for d, k in zip(pairs(dilation), w.shape[2:], strict=True)]
        padding = [n for e in extents for n in (e // 2, e - e // 2)]
    padding = four(0 if padding == "valid" else padding)
    out = {}
    per_out, per_in = w.shape[0] // groups, x.shape[1] // groups
    for p, q, samples, _, _ in windows(x, w.shape[2:], pairs(stride), padding, pairs(dilation), 0.0):
        channels = []
        for k in range(w.shape[0]):
            group = k // per_out
            seen = samples[:, group * per_in : (group + 1) * per_in]
            channels.append((seen * w[k]).sum(axis=(1, 2, 3)) + (0 if b is None else b[k]))
        out[p, q] = np.stack(channels, -1)
    return grid_of(out)


@on_batches(4)
def conv_transpose2d(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    (sh, sw), (ph, pw), (oh, ow), (dh, dw) = map(pairs, (stride, padding, output_padding, dilation))
    n, c, height, width = x.shape
    per_out, (kh, kw) = w.shape[1], w.shape[2:]
    size = (height - 1) * sh + dh * (kh - 1) + 1 + oh, (width - 1) * sw + dw * (kw - 1) + 1 + ow
    full = np.zeros((n, per_out * groups, *size))
    for ci, h, v in itertools.product(range(c), range(height), range(width)):
        group = ci // (c // groups)
        for k, r, s in itertools.product(range(per_out), range(kh), range(kw)):
            full[:, group * per_out + k, h * sh + r * dh, v * sw + s * dw] += x[:, ci, h, v] * w[ci, k, r, s]
    cropped = full[:, :, ph : size[0] - ph, pw : size[1] - pw]
    return cropped if b is None else cropped + b[:, None, None]


@on_batches(4)
def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    kernel = pairs(kernel_size)
    step = kernel if stride is None else pairs(stride)
    return grid_of(
        {
            (p, q): samples.max(axis=(2, 3))
            for p, q, samples, _, _ in windows(
                x, kernel, step, four(padding), pairs(dilation), -np.inf, ceil_mode
            )
        }
    )


def places(x):
    """The number h·W + w of each pixel."""
    return np.broadcast_to(np.arange(x.shape[2] * x.shape[3], dtype=float).reshape(x.shape[2:]), x.shape)


def first_maximum(seen, at):
    """The least of the places `at` where what is seen (N, C, R, S) is largest."""
    return np.where(seen == seen.max(axis=(2, 3), keepdims=True), at, np.inf).min(axis=(2, 3))


@on_batches(4)
def max_pool2d_indices(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Where each maximum is, h·W + w: the first where several tie."""
    step = pairs(kernel_size if stride is None else stride)
    window = pairs(kernel_size), step, four(padding), pairs(dilation)
    both = zip(
        windows(x, *window, -np.inf, ceil_mode), windows(places(x), *window, np.inf, ceil_mode), strict=True
    )
    return grid_of({(p, q): first_maximum(seen, at) for (p, q, seen, _, _), (_, _, at, _, _) in both})


@on_batches(4)
def avg_pool2d(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    kernel = pairs(kernel_size)
    step = kernel if stride is None else pairs(stride)
    out = {}
    for p, q, samples, pixel, declared in windows(x, kernel, step, four(padding), (1, 1), 0.0, ceil_mode):
        divisor = divisor_override or (declared if count_include_pad else pixel).sum()
        out[p, q] = samples.sum(axis=(2, 3)) / divisor
    return grid_of(out)


def cells(x, output_size):
    """Yield (p, q, rows, columns) of the input for each output pixel."""
    wanted = (output_size,) * 2 if output_size is None else pairs(output_size)
    sizes = [n if m is None else m for m, n in zip(wanted, x.shape[2:], strict=True)]
    for at in itertools.product(*map(range, sizes)):
        rows, columns = (
            slice(math.floor(i * n / m), math.ceil((i + 1) * n / m))
            for i, m, n in zip(at, sizes, x.shape[2:], strict=True)
        )
        yield *at, rows, columns


@on_batches(4)
def adaptive_avg_pool2d(x, output_size):
    return grid_of({(p, q): x[:, :, h, w].mean(axis=(2, 3)) for p, q, h, w in cells(x, output_size)})


@on_batches(4)
def adaptive_max_pool2d(x, output_size):
    return grid_of({(p, q): x[:, :, h, w].max(axis=(2, 3)) for p, q, h, w in cells(x, output_size)})


@on_batches(4)
def adaptive_max_pool2d_indices(x, output_size):
    """Where each maximum is, h·W + w: the first where several tie."""
    at = places(x)
    return grid_of(
        {(p, q): first_maximum(x[:, :, h, w], at[:, :, h, w]) for p, q, h, w in cells(x, output_size)}
    )


@on_batches(4)
def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    kernel = pairs(kernel_size)
    columns = [
        samples.reshape(len(x), math.prod(samples.shape[1:]))
        for _, _, samples, _, _ in windows(x, kernel, pairs(stride), four(padding), pairs(dilation), 0.0)
    ]
    return np.stack(columns, -1)


@on_batches(3)
def fold(columns, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """⟨fold(columns), e⟩ = ⟨columns, unfold(e)⟩ for every unit image e."""
    size, kernel = pairs(output_size), pairs(kernel_size)
    channels = columns.shape[1] // (kernel[0] * kernel[1])
    y = np.zeros((len(columns), channels, *size))
    for at in np.ndindex(channels, *size):
        unit = np.zeros((1, channels, *size))
        unit[0, *at] = 1
        y[:, *at] = (columns * unfold(unit, kernel, dilation, padding, stride)).sum(axis=(1, 2))
    return y


# Normalisation


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        total = np.zeros_like(x[:, c])
        for j in range(c - size // 2, c - size // 2 + size):
            if 0 <= j < x.shape[1]:
                total += x[:, j] ** 2
        y[:, c] = x[:, c] / (k + alpha / size * total) ** beta
    return y


def batch_norm(x, w=None, b=None, eps=1e-5, mean=None, var=None):
    w = np.ones(x.shape[1]) if w is None else w
    b = np.zeros(x.shape[1]) if b is None else b
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        values = x[:, c].ravel()
        m = sum(values) / len(values) if mean is None else mean[c]
        v = sum((value - m) ** 2 for value in values) / len(values) if var is None else var[c]
        y[:, c] = (x[:, c] - m) / math.sqrt(v + eps) * w[c] + b[c]
    return y


# Softmax and losses


def softmax(x, dim):
    e = np.exp(x)
    return e / e.sum(axis=dim, keepdims=True)


def log_softmax(x, dim):
    return (
        x
        - x.max(axis=dim, keepdims=True)
        - np.log(np.exp(x - x.max(axis=dim, keepdims=True)).sum(axis=dim, keepdims=True))
    )


def cross_entropy(z, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Sample by sample, class by class; target is class numbers or probabilities."""
    if z.ndim == 1:
        losses = cross_entropy(z[None], target[None], weight, ignore_index, reduction, label_smoothing)
        return losses[0] if reduction == "none" else losses
    n_classes = z.shape[1]
    weight = np.ones(n_classes) if weight is None else weight
    columns = np.moveaxis(z, 1, -1).reshape(-1, n_classes)
    soft = target.shape == z.shape
    targets = np.moveaxis(target, 1, -1).reshape(-1, n_classes) if soft else target.reshape(-1)
    losses, counted = [], 0.0
    for row, t in zip(columns, targets, strict=True):
        log_p = row - max(row) - math.log(sum(math.exp(v - max(row)) for v in row))
        if not soft and t == ignore_index:
            losses.append(0.0)
            continue
        want = t if soft else np.eye(n_classes)[t]
        counted += 1.0 if soft else weight[t]
        loss = 0.0
        for c in range(n_classes):
            share = (1 - label_smoothing) * want[c] + label_smoothing / n_classes
            loss -= weight[c] * share * log_p[c]
        losses.append(loss)
    if reduction == "none":
        return np.array(losses).reshape(z.shape[:1] + z.shape[2:])
    return np.array(sum(losses) / (counted if reduction == "mean" else 1))


def nll_loss(z, target, weight=None, ignore_index=-100, reduction="mean"):
    if z.ndim == 1:
        losses = nll_loss(z[None], target[None], weight, ignore_index, reduction)
        return losses[0] if reduction == "none" else losses
    weight = np.ones(z.shape[1]) if weight is None else weight
    losses, counted = np.zeros(target.shape), 0.0
    for at in np.ndindex(target.shape):
        label = target[at]
        if label != ignore_index:
            losses[at] = -weight[label] * z[at[0], label, *at[1:]]
            counted += weight[label]
    if reduction == "none":
        return losses
    return losses.sum() / (counted if reduction == "mean" else 1)


def mse_loss(x, target, reduction="mean"):
    squares = (x - target) ** 2
    return squares if reduction == "none" else squares.sum() / (x.size if reduction == "mean" else 1)
