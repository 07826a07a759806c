"""Each operation by its definition, in plain loops over windows or samples: what the tests hold minicnn to.

Written from the definitions and apart from the package: none of its code is used here.
"""

import itertools
import math

import numpy as np


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


def adaptive_pool2d(x, output_size, reduce):
    sizes = [n if m is None else m for m, n in zip(pairs(output_size), x.shape[2:], strict=True)]
    out = {}
    for p, q in itertools.product(*map(range, sizes)):
        (h0, h1), (w0, w1) = (
            (math.floor(i * n / m), math.ceil((i + 1) * n / m))
            for i, m, n in zip((p, q), sizes, x.shape[2:], strict=True)
        )
        out[p, q] = reduce(x[:, :, h0:h1, w0:w1], axis=(2, 3))
    return grid_of(out)


def local_response_norm(x, size, alpha, beta, k):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        total = np.zeros_like(x[:, c])
        for j in range(c - size // 2, c - size // 2 + size):
            if 0 <= j < x.shape[1]:
                total += x[:, j] ** 2
        y[:, c] = x[:, c] / (k + alpha / size * total) ** beta
    return y


def batch_norm(x, w, b, eps, mean=None, var=None):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        values = x[:, c].ravel()
        m = sum(values) / len(values) if mean is None else mean[c]
        v = sum((value - m) ** 2 for value in values) / len(values) if var is None else var[c]
        y[:, c] = (x[:, c] - m) / math.sqrt(v + eps) * w[c] + b[c]
    return y


def softmax(x, dim):
    e = np.exp(x)
    return e / e.sum(axis=dim, keepdims=True)


def cross_entropy(z, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Sample by sample, class by class; target is class numbers or probabilities."""
    n_classes = z.shape[1]
    weight = np.ones(n_classes) if weight is None else weight
    columns = np.moveaxis(z, 1, -1).reshape(-1, n_classes)
    soft = target.shape == z.shape
    targets = np.moveaxis(target, 1, -1).reshape(-1, n_classes) if soft else target.reshape(-1)
    losses, counted = [], 0.0
    for row, t in zip(columns, targets, strict=True):
        log_p = row - math.log(sum(math.exp(v) for v in row))
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


def pad(x, amounts, mode, value=0.0):
    """`amounts` as (before, after) for every axis, first axis first; cutting comes before the rest."""
    kept = x[tuple(slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(x.shape, amounts, strict=True))]
    add = [(max(b, 0), max(a, 0)) for b, a in amounts]
    if mode == "constant":
        return np.pad(kept, add, constant_values=value)
    return np.pad(kept, add, mode={"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode])


def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    kernel = pairs(kernel_size)
    columns = [
        samples.reshape(len(x), -1)
        for _, _, samples, _, _ in windows(x, kernel, pairs(stride), four(padding), pairs(dilation), 0.0)
    ]
    return np.stack(columns, -1)
