"""The scalar that gradcheck differentiates: φ(x) = Σ ⟨v, fn(x)⟩, with a random v.

v is the *cotangent* handed to backward, so that ∂φ/∂x is exactly what backward returns.  It is drawn from a
normal distribution: with v = 1 whole terms of a gradient vanish (the outputs of batch norm sum to a
constant, and a backward that returned zeros would pass).

The objective owns the point x: float64 arrays that it moves along directions and puts back.  Differences
are taken output by output and only then summed, so an output that a step leaves alone adds no rounding
error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tensor import Function, Tensor, no_grad
from .derivative import Slopes

__all__ = ["Direction", "DirectionLine", "Misconduct", "Move", "Objective"]


class Misconduct(Exception):
    """fn does what no differentiable function may: it is random, not finite, or changes its inputs."""


@dataclass(frozen=True)
class Move:
    """The elements `index` of the tensor `name` move by t·values."""

    name: str
    index: Any
    values: Any


Direction = tuple[Move, ...]


class Objective:
    """φ and its gradient at a point that can be moved.

    Parameters
    ----------
    forward : callable
        Computes the outputs from the leaves, whose arrays change under it.
    leaves : mapping of str to Tensor
        The tensors to differentiate by, float64; their arrays are the objective's to change.
    rng : numpy.random.Generator
        Draws v.
    caller : str
        The check's name in messages.

    Attributes
    ----------
    point : dict of str to array
        The values of the leaves.
    cotangent : array
        v, for the outputs in one row.
    gradients : dict of str to array or None
        ∂φ/∂leaf as backward gives it.
    """

    def __init__(
        self,
        forward: Callable[[], Any],
        leaves: Mapping[str, Tensor],
        rng: np.random.Generator,
        caller: str = "gradcheck",
    ) -> None:
        self._forward = forward
        self._rng = rng
        self._caller = caller
        self.leaves = leaves
        self.differentiate()

    def differentiate(self) -> None:
        """Run forward and backward at the point where the leaves are, with a new v.

        Raises
        ------
        Misconduct
            If the outputs are not float64, not finite or differ in a second run, or if forward or backward
            changes an array that it is given.
        """
        self.point = {name: leaf.data.copy() for name, leaf in self.leaves.items()}
        for leaf in self.leaves.values():
            leaf.grad = None
        tensors = self._results()
        self.outputs = _flat(tensors)
        self._check_forward(tensors)
        self.cotangent = self._rng.standard_normal(self.outputs.size)
        self._backward(tensors)
        self.gradients = {name: leaf.grad for name, leaf in self.leaves.items()}

    def _results(self) -> list[Tensor]:
        """Run forward, and return the floating-point tensors among its results; others have no derivative."""
        result = self._forward()
        results = result if isinstance(result, tuple | list) else [result]
        tensors = [r for r in results if isinstance(r, Tensor) and r.dtype.kind == "f"]
        if not tensors:
            kind = f"a Tensor of {result.dtype}" if isinstance(result, Tensor) else type(result).__name__
            raise TypeError(
                f"{self._caller}: fn must return a floating-point Tensor, or a tuple with one, got {kind}"
            )
        return tensors

    def _check_forward(self, tensors: list[Tensor]) -> None:
        self._check_unchanged("forward")
        for tensor in tensors:
            if tensor.dtype != np.float64:
                raise Misconduct(f"fn must keep its inputs' dtype, float64, its output is {tensor.dtype}")
        if not np.isfinite(self.outputs).all():
            raise Misconduct("fn's output must be finite, it has NaN or infinite elements")
        with no_grad():
            again = _flat(self._results())
        if not _same_bits(self.outputs, again):
            raise Misconduct(
                "fn must be deterministic, two forward passes on the same input differ; give dropout and the "
                "like a generator that fn makes anew from a fixed seed"
            )

    def _backward(self, tensors: list[Tensor]) -> None:
        cotangent = self.cotangent.copy()
        _propagate(tensors, cotangent)
        self._check_unchanged("backward")
        if not _same_bits(cotangent, self.cotangent):
            raise Misconduct("backward must not change the upstream gradient it is given")

    def _check_unchanged(self, culprit: str) -> None:
        for name, leaf in self.leaves.items():
            if not _same_bits(leaf.data, self.point[name]):
                raise Misconduct(f"{culprit} must not change its inputs, it changed {name}")

    def shift(self, displacements: Mapping[str, np.ndarray]) -> None:
        """Move the point for good."""
        for name, displacement in displacements.items():
            self.leaves[name].data[...] += displacement
        self.differentiate()

    def outputs_at(self, direction: Direction, t: float) -> np.ndarray:
        """Return fn's outputs, flattened and joined, t along the direction."""
        with self._displaced(direction, t), no_grad():
            return _flat(self._results())

    def gradients_at(self, direction: Direction, t: float) -> dict[str, np.ndarray]:
        """Return ∂φ/∂leaf, with the same v, t along the direction; zeros where backward leaves None."""
        with self._displaced(direction, t):
            for leaf in self.leaves.values():
                leaf.grad = None
            _propagate(self._results(), self.cotangent.copy())
            return {
                name: np.zeros(leaf.shape) if leaf.grad is None else leaf.grad
                for name, leaf in self.leaves.items()
            }

    @contextmanager
    def _displaced(self, direction: Direction, t: float) -> Iterator[None]:
        """Move the leaves along a direction inside the block, and put them back after it."""
        try:
            for move in direction:
                self.leaves[move.name].data[move.index] += t * move.values
            with np.errstate(all="ignore"):  # a long step may leave fn's domain: NaN says enough
                yield
        finally:
            for move in direction:
                self.leaves[move.name].data[move.index] = self.point[move.name][move.index]


class DirectionLine:
    """φ at x + t·d along a direction d, as a function of t; slopes are per unit of length ‖d‖.

    So t is relative to the size of the elements that move, and the slope along one element is its derivative.
    """

    def __init__(self, objective: Objective, direction: Direction) -> None:
        self._objective = objective
        self._direction = direction
        self.length = float(np.sqrt(sum(np.vdot(m.values, m.values) for m in direction))) or 1.0
        self._moved = np.zeros(objective.outputs.size, bool)

    @property
    def analytic(self) -> float:
        """⟨∂φ/∂x, d⟩ / ‖d‖; a gradient of None counts as 0."""
        total = 0.0
        for move in self._direction:
            gradient = self._objective.gradients[move.name]
            if gradient is not None:
                with np.errstate(all="ignore"):  # ∞ − ∞: NaN is the right answer
                    total += float(np.sum(gradient[move.index] * move.values))
        return total / self.length

    def slopes(self, t: float) -> Slopes:
        """Return the slopes of φ over the distance t."""
        here, v, run = self._objective.outputs, self._objective.cotangent, t * self.length
        behind, ahead = (self._objective.outputs_at(self._direction, s) for s in (-t, t))
        self._moved |= (behind != here) | (ahead != here)
        with np.errstate(all="ignore"):
            left, right = v * (here - behind), v * (ahead - here)
            central = (left + right).sum() / 2
            gross = (np.abs(left) + np.abs(right)).sum() / 2
            corner = np.abs(right - left).sum()
        return Slopes(*(float(rise) / run for rise in (central, gross, corner)))

    def magnitude(self) -> float:
        """Return ⟨|v|, |y|⟩ per unit of length, over the outputs that have moved, but at least its largest term.

        (Backward may have rounded a term of an output that stays where it is, such as a softmax's 1.)
        """
        terms = np.abs(self._objective.cotangent * self._objective.outputs)
        return float(max(terms[self._moved].sum(), terms.max(initial=0.0))) / self.length


class _WeightedSum(Function):
    """φ = Σᵢ ⟨vᵢ, yᵢ⟩.   ∂φ/∂yᵢ = vᵢ."""

    def __init__(self, cotangents: list[np.ndarray]) -> None:
        self.cotangents = cotangents

    def forward(self, *outputs: np.ndarray) -> np.ndarray:
        return np.asarray(sum(np.vdot(v, y) for v, y in zip(self.cotangents, outputs, strict=True)))

    def backward(self, g: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(g * v for v in self.cotangents)


def _propagate(tensors: list[Tensor], cotangent: np.ndarray) -> None:
    """Run backward from the outputs with this v."""
    pieces = _split(cotangent, tensors)
    if len(tensors) == 1:  # directly, so that a backward which writes into its g is seen
        root, gradient = tensors[0], pieces[0]
    else:
        root, gradient = _WeightedSum(pieces)(*tensors), None
    if root.requires_grad:
        root.backward(gradient)


def _flat(tensors: list[Tensor]) -> np.ndarray:
    """Return a copy of all values in one row."""
    return np.concatenate([t.data.ravel() for t in tensors])


def _split(row: np.ndarray, tensors: list[Tensor]) -> list[np.ndarray]:
    ends = np.cumsum([t.size for t in tensors])
    return [piece.reshape(t.shape) for piece, t in zip(np.split(row, ends[:-1]), tensors, strict=True)]


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    bits = f"u{a.itemsize}"
    return a.dtype == b.dtype and np.array_equal(a.view(bits), b.view(bits))
