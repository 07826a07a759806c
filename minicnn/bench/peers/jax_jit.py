"""JAX: the network as one function that is compiled before the first step, its images (N, H, W, C).

That order is what XLA computes convolutions in on a CPU; given (N, C, H, W) it took twice as long.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import numpy as np

from ...ops.adaptive_pool2d import cells
from ..network import IMAGE, Network, Operation, exact_padding
from ..task import AUXILIARY_WEIGHT, LEARNING_RATE, MOMENTUM, Task

__all__ = ["prepare", "versions"]

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_CHANNELS = 3


def versions() -> dict[str, str]:
    """Return what this peer consists of."""
    return {"jax": import_module("jax").__version__}


def prepare(task: Task) -> _Inference | _Training:
    """Compile the network.  XLA takes as many threads as there are CPUs to run on, and no other number."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task.threads])
    jnp = import_module("jax.numpy")
    arrays = {name: jnp.asarray(_turned(array)) for name, array in task.weights().items()}
    images = jnp.asarray(task.images().transpose(0, 2, 3, 1).copy())
    if not task.training:
        return _Inference(task.network(), arrays, images)
    return _Training(task, arrays, images)


def _turned(array: np.ndarray) -> np.ndarray:
    """Return kernels (K, C, R, S) as (R, S, C, K); other arrays as they are."""
    return array.transpose(2, 3, 1, 0).copy() if array.ndim == 4 else array


class _Inference:
    def __init__(self, network: Network, arrays: dict[str, Any], images: Any) -> None:
        jax = import_module("jax")

        def scores(arrays: Any, images: Any) -> Any:
            return _Run(network, arrays).outputs(images)[0]

        self.compiled = jax.jit(scores).lower(arrays, images).compile()
        self.arrays, self.images = arrays, images

    def step(self) -> None:
        self.compiled(self.arrays, self.images).block_until_ready()

    def answer(self) -> dict[str, np.ndarray]:
        return {"scores": np.asarray(self.compiled(self.arrays, self.images))}


class _Training:
    """One compiled function makes the step; what it is given of parameters and velocities, it may overwrite."""

    def __init__(self, task: Task, arrays: dict[str, Any], images: Any) -> None:
        jax, jnp = import_module("jax"), import_module("jax.numpy")
        self.jax, self.probes, self.images = jax, task.probes(), images
        self.labels = jnp.asarray(task.labels())
        self.statistics = {name: a for name, a in arrays.items() if ".running_" in name}
        self.parameters = {
            name: a for name, a in arrays.items() if name not in self.statistics and a.dtype == jnp.float32
        }
        self.velocities = {name: jnp.zeros_like(a) for name, a in self.parameters.items()}
        self.key = jax.random.key(0)
        network = task.network()

        def loss_of(parameters: Any, statistics: Any, images: Any, labels: Any, key: Any, drop: Any) -> Any:
            run = _Run(network, {**parameters, **statistics}, key, drop)
            scores, *heads = run.outputs(images)
            loss = _cross_entropy(scores, labels)
            for head in heads:
                loss = loss + AUXILIARY_WEIGHT * _cross_entropy(head, labels)
            return loss, {**statistics, **run.statistics}

        def step(parameters, velocities, statistics, images, labels, key, drop):
            gradient = jax.value_and_grad(loss_of, has_aux=True)
            (loss, statistics), grads = gradient(parameters, statistics, images, labels, key, drop)
            velocities = {name: MOMENTUM * v + grads[name] for name, v in velocities.items()}
            parameters = {name: p - LEARNING_RATE * velocities[name] for name, p in parameters.items()}
            return loss, parameters, velocities, statistics

        lowered = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*self._arguments(1.0))
        self.compiled = lowered.compile()

    def step(self) -> float:
        self.key, _ = self.jax.random.split(self.key)
        return float(self._step(drop=1.0))

    def answer(self) -> dict[str, np.ndarray]:
        loss = self._step(drop=0.0)
        grads = {name: np.asarray(self.velocities[name]) for name in self.probes}  # at first v = 0.9·0 + g
        turned = {name: g.transpose(3, 2, 0, 1) if g.ndim == 4 else g for name, g in grads.items()}
        return {"loss": np.asarray(loss)} | turned

    def _step(self, drop: float) -> Any:
        state = self.compiled(*self._arguments(drop))
        loss, self.parameters, self.velocities, self.statistics = self.jax.block_until_ready(state)
        return loss

    def _arguments(self, drop: float) -> tuple[Any, ...]:
        state = self.parameters, self.velocities, self.statistics
        return *state, self.images, self.labels, self.key, np.float32(drop)


def _cross_entropy(scores: Any, labels: Any) -> Any:
    jax, jnp = import_module("jax"), import_module("jax.numpy")
    log_p = jax.nn.log_softmax(scores)
    return -jnp.take_along_axis(log_p, labels[:, None], 1).mean()


class _Run:
    """One run over the operations while JAX traces it.

    Every dropout's probability is multiplied by `drop`, which is 0 where answers are compared: one compiled function
    does for both.
    """

    def __init__(self, network: Network, arrays: dict[str, Any], key: Any = None, drop: Any = 0.0) -> None:
        self.network, self.arrays, self.key, self.drop = network, arrays, key, drop
        self.shapes = network.shapes()
        self.statistics: dict[str, Any] = {}
        self.jax, self.jnp, self.lax = (import_module(name) for name in ("jax", "jax.numpy", "jax.lax"))

    def outputs(self, images: Any) -> list[Any]:
        values = {IMAGE: images}
        for op in self.network.operations:
            inputs = [values[name] if name in values else self.arrays[name] for name in op.inputs]
            values[op.output] = getattr(self, op.kind)(op, *inputs)
        return [values[name] for name in self.network.outputs]

    def conv2d(self, op: Operation, x: Any, w: Any, b: Any = None) -> Any:
        options = op.options
        top, bottom, left, right = options["padding"]
        y = self.lax.conv_general_dilated(
            x,
            w,
            options["stride"],
            ((top, bottom), (left, right)),
            rhs_dilation=options["dilation"],
            dimension_numbers=_LAYOUT,
            feature_group_count=options["groups"],
        )
        return y if b is None else y + b

    def linear(self, op: Operation, x: Any, w: Any, b: Any = None) -> Any:
        y = x @ w.T
        return y if b is None else y + b

    def relu(self, op: Operation, x: Any) -> Any:
        return self.jax.nn.relu(x)

    def sigmoid(self, op: Operation, x: Any) -> Any:
        return self.jax.nn.sigmoid(x)

    def tanh(self, op: Operation, x: Any) -> Any:
        return self.jnp.tanh(x)

    def add(self, op: Operation, a: Any, b: Any) -> Any:
        return a + b

    def cat(self, op: Operation, *inputs: Any) -> Any:
        return self.jnp.concatenate(inputs, _CHANNELS)

    def flatten(self, op: Operation, x: Any) -> Any:
        return (x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).reshape(len(x), -1)

    def max_pool2d(self, op: Operation, x: Any) -> Any:
        return self._windows(op, x, -np.inf, self.lax.max, op.options["dilation"])

    def avg_pool2d(self, op: Operation, x: Any) -> Any:
        total = self._windows(op, x, 0.0, self.lax.add, (1, 1))
        if op.options["count_include_pad"]:
            return total / np.prod(op.options["kernel_size"])
        return total / self._windows(op, self.jnp.ones_like(x), 0.0, self.lax.add, (1, 1))

    def _windows(self, op: Operation, x: Any, start: float, combine: Any, dilation: tuple[int, int]) -> Any:
        top, bottom, left, right = exact_padding(op, self.shapes[op.inputs[0]])
        window, stride = op.options["kernel_size"], op.options["stride"]
        padding = ((0, 0), (top, bottom), (left, right), (0, 0))
        return self.lax.reduce_window(
            x, start, combine, (1, *window, 1), (1, *stride, 1), padding, window_dilation=(1, *dilation, 1)
        )

    def adaptive_avg_pool2d(self, op: Operation, x: Any) -> Any:
        rows, columns = (
            np.stack([_cell(size, cell) for cell in cells(size, count)])
            for size, count in zip(x.shape[1:3], op.shape[1:], strict=True)
        )
        return self.jnp.einsum("nhwc,ph,qw->npqc", x, rows, columns)

    def local_response_norm(self, op: Operation, x: Any) -> Any:
        size, alpha, beta, k = (op.options[name] for name in ("size", "alpha", "beta", "k"))
        padding = ((0, 0),) * 3 + ((size // 2, size // 2),)
        near = self.lax.reduce_window(x * x, 0.0, self.lax.add, (1, 1, 1, size), (1,) * 4, padding)
        return x / (k + alpha / size * near) ** beta

    def batch_norm(self, op: Operation, x: Any, w: Any, b: Any, mean: Any, var: Any) -> Any:
        if op.options["training"]:
            mean, var = self._of_batch(op, x, mean, var)
        return (x - mean) * (w * self.lax.rsqrt(var + op.options["eps"])) + b

    def _of_batch(self, op: Operation, x: Any, running_mean: Any, running_var: Any) -> tuple[Any, Any]:
        """Return the batch's mean and variance, and move the running ones towards them."""
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        share, count = op.options["momentum"], x.size // x.shape[_CHANNELS]
        *_, mean_name, var_name = op.inputs
        self.statistics[mean_name] = (1 - share) * running_mean + share * mean
        self.statistics[var_name] = (1 - share) * running_var + share * var * (count / (count - 1))
        return mean, var

    def dropout(self, op: Operation, x: Any) -> Any:
        self.key, own = self.jax.random.split(self.key)
        p = op.options["p"] * self.drop
        return self.jnp.where(self.jax.random.uniform(own, x.shape) >= p, x / (1 - p), 0)


def _cell(size: int, cell: slice) -> np.ndarray:
    """Return a row that, multiplied by an axis, is the mean of a cell."""
    row = np.zeros(size, np.float32)
    row[cell] = 1 / (cell.stop - cell.start)
    return row
