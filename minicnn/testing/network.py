"""A whole network's gradient against finite differences: its own loss, at its own size, all parameters.

Two kinds of directions are tried, and in each the analytic derivative must be the limit of differences:

- *together*: every element of every parameter moves at random, each tensor in proportion to its size;
- *tensor by tensor*: some elements of a tensor move, drawn at random, or, in a network of more tensors than
  one wants to pay for, some elements of several.

With several tensors in a direction, those with large derivatives would hide the others, and what one adds
another might take away.  So each tensor's move gets a length and a sign with which it contributes as much as
the others do.  (By the gradient that backward gives: the only use made of it.  A tensor whose gradient is too
small moves further than it should, one whose gradient is too large less, and the difference, which knows
nothing of all that, shows either.)  In a direction with the derivative D, to which tensor T contributes c, an
error of the part ρ of T's derivative moves D by ρ·c.  It stays below a tolerance r if ρ < r·|D|/|c|: this is
the least error *seen*, and reported.  Where m tensors contribute alike it is m·r.

Kinks are held (:mod:`~minicnn.testing.kinks`), for otherwise no step is short enough.  The first direction is
tried once more with kinks as they are: how far that difference is off, and how many of them the step has
crossed, shows what holding them is good for.

Two evaluations a direction; those that do not confirm the derivative are swept as by
:func:`~minicnn.testing.gradcheck`.  A wrong direction is halved until one tensor is left.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .. import backend, nn
from ..random import default_generator
from ..tensor import Tensor, is_grad_enabled
from .derivative import Finding, Slopes, Tolerance, Verdict, glance, judge
from .directions import random_directions
from .kinks import Kinks
from .network_report import DirectionReport, NetworkReport
from .objective import Direction, DirectionLine, Misconduct, Move, Objective
from .report import GradcheckError

if TYPE_CHECKING:
    from ..models import Classifier

__all__ = ["check_network", "enough_images"]

_EPS_TOGETHER = 3e-8
_EPS_SAMPLED = 1e-6
"""The first steps, relative to the tensors' norms.

Measured at ResNet-152: over the first, curving and rounding both cost about 10⁻⁷ of the derivative.  Some elements
of a few tensors bend it less, and change it less.
"""

_CURVED = 1e-7
"""Where the first one costs more than this, as it does at 1001 layers, it is shortened."""

_CLOSER = 1 / 32
"""Where a difference is not swept, a step so much shorter keeps what curves from passing for an error."""

_FURTHER = 100.0
"""A tensor moves at most so many times further than usual, to contribute as much as others."""

_ROUNDING = 8 * 2.0**-52
"""What the loss may be off by, relative to itself: a derivative that adds less over a step is as good as 0."""

_LEAST_VALUES = 4

_STREAM = 60221  # any number: what is drawn here must not come back where the caller draws with the same seed


def check_network(
    model: Classifier,
    *,
    images: int = 2,
    directions: int = 4,
    groups: int = 12,
    coordinates: int = 16,
    rtol: float = 1e-6,
    seed: int = 0,
) -> NetworkReport:
    """Hold a network's gradient to finite differences of its own loss, in the mode it is in.

    Parameters
    ----------
    model : Classifier
        Its parameters float64.  They hold the same values afterwards; running statistics move on.
    images : int
        How many the loss is averaged over.  They are drawn, as are the labels.
    directions : int
        Random directions in which all parameters move together.
    groups : int
        Directions that the tensors are dealt out to, one each where there are no more than that.
    coordinates : int
        Elements of each tensor that move there.
    rtol : float
        An analytic derivative a and a numeric one n agree if |a − n| ≤ rtol·max(|a|, |n|).
    seed : int
        Of images, labels, directions and samples.

    Returns
    -------
    NetworkReport

    Raises
    ------
    GradcheckError
        If a gradient is wrong, or the loss is not finite or not deterministic.  Its message is the report.
        (Dropout is: the default generator starts at the same state each time.)
    ValueError
        If a parameter is not float64.

    Examples
    --------
    >>> from minicnn import manual_seed, models
    >>> _ = manual_seed(0)
    >>> report = check_network(models.lenet5("d2l").to("float64"), directions=1)
    >>> report.worst < 1e-6, report.seen < 1e-5
    (True, True)
    """
    start = time.perf_counter()
    for name, tensor in model.named_parameters():
        if tensor.dtype != np.float64:
            raise ValueError(
                f"check_network: {type(model).__name__} must be float64, as .to('float64') makes it; {name} is "
                f"{tensor.dtype}"
            )
    rng = np.random.default_rng([_STREAM, seed])
    tensors = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    report = NetworkReport(
        type(model).__name__,
        images,
        len(tensors),
        parameters=sum(tensor.size for tensor in tensors.values()),
        settings=f"seed {seed}, rtol {rtol:g}",
    )
    loss = _Loss(model, images, rng)
    try:
        objective = Objective(loss, tensors, rng, "check_network")
    except Misconduct as problem:
        held = " (in the second pass, the kinks were held)"
        raise GradcheckError(replace(report, problem=f"{problem}{held}")) from None
    finally:
        model.zero_grad()
    check = _Check(objective, loss, Tolerance(0.0, rtol))
    for i in range(directions):
        check.together(f"together {i + 1}", rng)
    check.tensor_by_tensor(min(groups, len(tensors)), coordinates, rng)
    report = replace(
        report,
        loss=float(objective.outputs[0]),
        rows=tuple(check.rows),
        kinks=len(loss.kinks),
        crossed=check.crossed,
        plain_error=check.plain_error,
        wrong=tuple(dict.fromkeys(check.wrong)),
        seconds=time.perf_counter() - start,
    )
    if not report.ok:
        raise GradcheckError(report)
    return report


def enough_images(model: Classifier) -> int:
    """Return how many images give every batch norm at least four values a channel, but at least two.

    Of two values a batch norm makes 1 and −1, whatever they were, and every gradient through it is 0.

    Parameters
    ----------
    model : Classifier
        Run once in training mode: on the meta device, for nothing.
    """
    least = [_LEAST_VALUES]

    def look(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        least.append(args[0].shape[2] * args[0].shape[3])

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                hooks.enter_context(module.register_forward_pre_hook(look))
        first = next(model.parameters()).data
        model.train()(Tensor(backend.of(first).zeros((2, *model.input_shape), first.dtype)))
    return max(2, -(-_LEAST_VALUES // min(least)))


class _Loss:
    """The loss as a function of nothing but the parameters: same images, same labels, same dropout.

    Where a gradient is recorded, the network runs as it is and its kinks are noted; where none is, they are
    held.
    """

    def __init__(self, model: Classifier, images: int, rng: np.random.Generator) -> None:
        self.model = model
        self.images = Tensor(rng.standard_normal((images, *model.input_shape)))
        self.labels: Tensor | None = None
        self.rng = rng
        self.generator = default_generator()
        self.state = self.generator.bit_generator.state
        self.kinks = Kinks()
        self.crossed: Kinks | None = None  # notes kinks that are not held

    def __call__(self) -> Tensor:
        self.generator.bit_generator.state = self.state
        if is_grad_enabled():
            with self.kinks.noted():
                return self._loss()
        if self.crossed is not None:
            with self.crossed.noted():
                return self._loss()
        with self.kinks.held():
            return self._loss()

    def _loss(self) -> Tensor:
        output = self.model(self.images)
        if self.labels is None:
            images, classes = self.model.scores(output).shape
            self.labels = Tensor(self.rng.integers(classes, size=images))
        return self.model.loss(output, self.labels)


class _SmoothLine(DirectionLine):
    """The loss along a direction, its kinks held: a difference to one side that the other has not is curvature."""

    def slopes(self, t: float) -> Slopes:
        return super().slopes(t)._replace(corner=0.0)


class _Check:
    """The directions tried so far, and what came of them."""

    def __init__(self, objective: Objective, loss: _Loss, tolerance: Tolerance) -> None:
        self.objective, self.loss, self.tolerance = objective, loss, tolerance
        self.rows: list[DirectionReport] = []
        self.wrong: list[str] = []
        self.eps, self.crossed, self.plain_error = _EPS_TOGETHER, 0, 0.0

    def together(self, name: str, rng: np.random.Generator) -> None:
        """Compare along a direction in which everything moves."""
        (direction,) = random_directions(self.objective.point, self.objective.leaves, 1, rng).values()
        if not self.rows:
            self.eps = self._short_enough(direction)
        finding = self._compare(name, direction, self.eps, self.tolerance)
        elements = sum(move.values.size for move in direction)
        self.rows.append(DirectionReport(name, len(direction), elements, finding))
        if len(self.rows) == 1:
            self._let_go(direction)

    def _short_enough(self, direction: Direction) -> float:
        """Return a first step over which this network's difference curves little, going by differences alone."""
        line = DirectionLine(self.objective, direction)
        long, short = line.slopes(_EPS_TOGETHER).central, line.slopes(_EPS_TOGETHER / 4).central
        curved = abs(long - short) / (max(abs(long), abs(short)) or 1.0)  # in proportion to the step's square
        return _EPS_TOGETHER * min(1.0, (_CURVED / curved) ** 0.5) if curved else _EPS_TOGETHER

    def _let_go(self, direction: Direction) -> None:
        """Take the difference that the network has if its kinks are not held."""
        line, self.loss.crossed = DirectionLine(self.objective, direction), Kinks()
        plain, analytic = line.slopes(self.eps).central, line.analytic
        self.crossed, self.loss.crossed = self.loss.kinks.crossed(self.loss.crossed), None
        self.plain_error = abs(plain - analytic) / (max(abs(plain), abs(analytic)) or 1.0)

    def tensor_by_tensor(self, groups: int, coordinates: int, rng: np.random.Generator) -> None:
        """Compare along some elements of each tensor, the tensors dealt out to so many directions."""
        names = list(self.objective.leaves)
        if groups < len(names):
            rng.shuffle(names)
        moves = {name: _sampled(self.objective.point, name, coordinates, rng) for name in names}
        parts = {name: self._analytic((move,)) for name, move in moves.items()}
        typical = float(np.median(np.abs(list(parts.values()))))
        for i in range(groups):
            self._group([_scaled(moves[name], parts[name], typical) for name in names[i::groups]])

    def _group(self, moves: Sequence[Move]) -> None:
        """Compare along a direction made of these tensors' moves."""
        first, others = moves[0].name, len(moves) - 1
        name = f"{first} and {others} more" if others else first
        rounding = (
            _ROUNDING * abs(float(self.objective.outputs[0] * self.objective.cotangent[0])) / _EPS_SAMPLED
        )
        line = DirectionLine(self.objective, tuple(moves))
        tolerance = replace(self.tolerance, atol=rounding / line.length)
        finding = self._compare(name, tuple(moves), _EPS_SAMPLED, tolerance)
        tolerated = rounding + tolerance.rtol * abs(self._analytic(moves))
        parts = {move.name: abs(self._analytic((move,))) for move in moves}
        seen = max((tolerated / part for part in parts.values() if part > tolerated), default=0.0)
        faint = tuple(name for name, part in parts.items() if part <= tolerated)
        if len(faint) == len(moves) and finding.verdict.ok:
            finding = replace(finding, verdict=Verdict.FAINT)
        elements = sum(move.values.size for move in moves)
        self.rows.append(DirectionReport(name, len(moves), elements, finding, seen, faint))

    def _analytic(self, moves: Sequence[Move]) -> float:
        """Return ⟨∂L/∂x, move⟩, not divided by the move's length."""
        line = DirectionLine(self.objective, tuple(moves))
        return line.analytic * line.length

    def _compare(self, name: str, direction: Direction, eps: float, tolerance: Tolerance) -> Finding:
        finding = self._finding(name, direction, eps, tolerance)
        if not finding.verdict.ok:
            self.wrong.append(self._culprit(direction, eps, tolerance) or name)
        return finding

    def _finding(self, name: str, direction: Direction, eps: float, tolerance: Tolerance) -> Finding:
        line = _SmoothLine(self.objective, direction)
        finding = glance(name, line, eps, tolerance)
        return finding if finding.verdict.ok else judge(finding, line, tolerance)

    def _culprit(self, direction: Direction, eps: float, tolerance: Tolerance) -> str | None:
        """Halve a wrong direction, keep the half that disagrees more, and name the tensor that is left."""

        def disagreement(part: Direction) -> float:
            line = _SmoothLine(self.objective, part)
            error = glance("part", line, _CLOSER * eps, tolerance).error * line.length
            return error if np.isfinite(error) else np.inf

        while len(direction) > 1:
            middle = len(direction) // 2
            direction = max(direction[:middle], direction[middle:], key=disagreement)
        name = next(iter(direction)).name
        return None if self._finding(name, direction, eps, tolerance).verdict.ok else name


def _sampled(point: dict[str, np.ndarray], name: str, count: int, rng: np.random.Generator) -> Move:
    """Return a move of some elements, as long as the tensor: it changes the output like one of them all."""
    x = point[name]
    size = float(np.linalg.norm(x)) or 1.0
    if not x.ndim:  # no indices, and there is but one element
        return Move(name, ..., np.asarray(size * rng.standard_normal()))
    flat = rng.choice(x.size, min(count, x.size), replace=False)
    return Move(name, np.unravel_index(flat, x.shape), size / flat.size**0.5 * rng.standard_normal(flat.size))


def _scaled(move: Move, part: float, typical: float) -> Move:
    """Return the move with the length and sign that make it contribute what is typical, if it can."""
    scale = min(_FURTHER, typical / abs(part)) * np.sign(part) if part else _FURTHER
    return Move(move.name, move.index, scale * move.values)
