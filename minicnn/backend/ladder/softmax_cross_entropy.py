"""Cross entropy of logits and class numbers on a device: the ladder of ``kernels/softmax_cross_entropy.cu``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import ceil_div, chosen, result, sums_dtype, vector

__all__ = ["LADDER", "softmax_cross_entropy"]

Array = Any

_FIRST, _LAST = "softmax_cross_entropy_v1_totals", "softmax_cross_entropy_v1_reduce"

LADDER: dict[str, dict[str, tuple[str, ...]]] = {
    "softmax_cross_entropy": {
        version: (_FIRST, f"softmax_cross_entropy_{version}", _LAST) for version in ("v1", "v2", "v3")
    }
}

THREADS = 256  # of a block
WARP = 32
MANY = 512  # classes from which a row is worth a block


def softmax_cross_entropy(
    on: Any,
    z: Array,
    target: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    g: Array | None = None,
    gradient: bool = True,
    version: str | None = None,
    out: Array | None = None,
) -> tuple[Array, Array | None]:
    """Negative log-likelihood of class numbers under softmax(z), and its gradient.

    Parameters
    ----------
    on : Launcher
    z : (N, C), of float32, float64, float16 or bfloat16
        Logits.
    target : (N,), of int64, or int32 beside float32
        Class numbers.  The kernels do not stop at one outside [0, C): loss and gradient of its row are NaN, and the
        mean with them.
    weight : (C,), of float32; float64 if z is; optional
        A factor for each class.
    ignore_index : int
        Samples with this class number count for nothing.
    label_smoothing : float in [0, 1]
        How much of each target distribution is replaced by the uniform one.
    reduction : {'mean', 'sum', 'none'}
        The mean is weighted: Σ loss / Σ weight[target].
    g : (N,), of the dtype of weight; optional
        With 'none', the gradient of each loss; default 1.
    gradient : bool
        Whether dz is wanted.
    version : str, optional
        Of ``LADDER``; by default the fastest for the case.
    out : array of the shape and dtype of z, optional
        For dz.

    Returns
    -------
    loss : (), or (N,) with 'none'; of the dtype of weight
    dz : array of the shape and dtype of z, or None

    Raises
    ------
    TypeError, ValueError
        For arrays that do not fit, or a version that cannot do the case.
    """
    op = "softmax_cross_entropy"
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{op}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{op}: label_smoothing must be in [0, 1], got {label_smoothing}")
    if z.ndim != 2 or z.shape[1] < 1:
        raise ValueError(f"{op}: z must be (N, C) with at least one class, got {z.shape}")
    if g is not None and reduction != "none":
        raise ValueError(f"{op}: g is for reduction='none', got reduction={reduction!r}")
    version = chosen(op, version, LADDER[op], _unfit(z, version))
    first, middle, last = LADDER[op][version]
    (rows, classes), dtype, mean = z.shape, sums_dtype(z.dtype), reduction == "mean"
    totals, losses = on.empty((2,), dtype), on.empty((rows,), dtype)
    dz = result(on, op, z.shape, z.dtype, out) if gradient else None
    on.launch(first, (1,), (THREADS,), target, weight, totals, rows, classes, ignore_index)
    given, last_given = (z, target, weight, totals, g, losses, dz), (ignore_index, label_smoothing, mean)
    grid, template = _grid(z, version)
    on.launch(middle, grid, (THREADS,), *given, rows, classes, *last_given, **template)
    if reduction == "none":
        return losses, dz
    loss = on.empty((1,), dtype)
    on.launch(last, (1,), (THREADS,), losses, totals, loss, rows, mean)
    return loss.reshape(()), dz


def _unfit(z: Array, asked: str | None) -> dict[str, str]:
    """Say which versions cannot do a case and why; for one that is not asked for, slow is enough of a reason."""
    classes, dtype = z.shape[1], z.dtype
    if dtype == np.float64:
        return {"v3": "takes float32, float16 and bfloat16, got float64"}
    if dtype != np.float32 and classes % vector(dtype):
        return {"v3": f"takes {dtype} with a multiple of {vector(dtype)} classes only, got {classes}"}
    return {} if asked or classes >= MANY else {"v3": f"is for many classes, got {classes}"}


def _grid(z: Array, version: str) -> tuple[tuple[int], dict[str, int]]:
    """Return the blocks of a version, and its template's rest."""
    rows, classes = z.shape
    if version == "v1":
        return (ceil_div(rows, THREADS),), {}
    if version == "v2":
        return (ceil_div(rows * WARP, THREADS),), {}
    return (rows,), {"kVector": vector(z.dtype) if classes % vector(z.dtype) == 0 else 1}
