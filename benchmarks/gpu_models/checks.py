"""Every operation on the GPU, forward and backward, beside the same on the CPU in float64.

What the tests hold in much more detail, for a machine that has no pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from kernel_speed.rows import TOLERANCE, compared

from minicnn import Tensor
from minicnn import functional as F

from .own import arithmetic
from .trials import UNITS, Trials

Shape = tuple[int, ...]
TARGETS = np.array([3, 0, 6, 6, 1])
IMAGES = (2, 8, 9, 11)

CHECKS: dict[str, tuple[Callable[..., Tensor], tuple[Shape, ...]]] = {
    "conv2d 3×3": (partial(F.conv2d, padding=1), (IMAGES, (12, 8, 3, 3), (12,))),
    "conv2d 3×3, many channels": (partial(F.conv2d, padding=1), ((3, 64, 14, 14), (72, 64, 3, 3), (72,))),
    "conv2d 7×7, stride 2": (partial(F.conv2d, stride=2, padding=3), ((2, 3, 17, 15), (8, 3, 7, 7), (8,))),
    "conv2d 1×1": (F.conv2d, (IMAGES, (16, 8, 1, 1))),
    "conv2d, groups": (partial(F.conv2d, groups=2, padding=(1, 0)), (IMAGES, (6, 4, 3, 2))),
    "conv2d, dilation": (partial(F.conv2d, dilation=2), (IMAGES, (5, 8, 3, 3))),
    "max_pool2d": (partial(F.max_pool2d, kernel_size=3, stride=2, padding=1, ceil_mode=True), (IMAGES,)),
    "avg_pool2d": (partial(F.avg_pool2d, kernel_size=3, stride=2, padding=1), (IMAGES,)),
    "adaptive_avg_pool2d": (partial(F.adaptive_avg_pool2d, output_size=(2, 3)), (IMAGES,)),
    "local_response_norm": (partial(F.local_response_norm, size=5, alpha=1.0), (IMAGES,)),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=0.1),
        (IMAGES, (8,), (8,)),
    ),
    "linear": (F.linear, ((5, 30), (7, 30), (7,))),
    "cross_entropy": (lambda x: F.cross_entropy(x, Tensor(TARGETS).to(x.device)), ((5, 7),)),
    "relu": (F.relu, (IMAGES,)),
    "sigmoid": (F.sigmoid, (IMAGES,)),
    "tanh": (F.tanh, (IMAGES,)),
    "cat": (lambda a, b: F.cat((a, b), 1), (IMAGES, (2, 3, 9, 11))),
    "pad": (partial(F.pad, pad=(1, 2, 0, 1)), (IMAGES,)),
    "flatten": (partial(F.flatten, start_dim=1), (IMAGES,)),
    "add": (lambda a, b: a + b, (IMAGES, (8, 1, 1))),
    "mul": (lambda a, b: a * b, (IMAGES, (8, 1, 1))),
    "matmul": (lambda a, b: a @ b, ((3, 4, 5), (5, 6))),
    "mean": (lambda x: x.mean((2, 3)), (IMAGES,)),
}
"""By what to call it: the operation, and the shapes of its arguments."""
PRODUCTS = ("conv2d", "linear", "matmul")


def row(
    task: Any, device: Any, threads: int, trying: Callable[[str], None], given_up: Mapping[str, str]
) -> dict[str, Any]:
    """Return the error of an operation with each arithmetic that it knows."""
    function, shapes = CHECKS[task.subject]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    expected = computed(function, arrays, "cpu")
    trials = Trials(device, trying, given_up)
    units = UNITS if task.subject.startswith(PRODUCTS) else UNITS[:1]
    for unit in trials.wanted(*units):
        with trials.trial(unit) as result:
            found = computed(function, [array.astype(np.float32) for array in arrays], "cuda", unit)
            result["error"] = compared(np, found, expected, TOLERANCE[unit])
    return {"results": trials.results}


def computed(
    function: Callable[..., Tensor], arrays: list[np.ndarray], device: str, unit: str = "fp32"
) -> tuple[np.ndarray, ...]:
    """Return the result and the gradients of all arguments, for one cotangent."""
    inputs = [Tensor(array).to(device) for array in arrays]
    for x in inputs:
        x.requires_grad = True
    with arithmetic(unit):
        y = function(*inputs)
    g = Tensor(np.random.default_rng(1).standard_normal(y.shape)).to(device).to(y.dtype)
    y.backward(g)
    return tuple(x.astype(np.float64) for x in (y.numpy(), *(Tensor(x.grad).numpy() for x in inputs)))
