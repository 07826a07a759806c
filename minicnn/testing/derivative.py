"""Derivatives by differences, with an error for each: what the analytic derivative is held to.

Along a direction, fn's outputs are functions yᵢ(t) of one variable, the objective is h(t) = Σ vᵢ·yᵢ(t), and
the slopes of each output to either side,

    Fᵢ⁺(t) = (yᵢ(t) − yᵢ(0)) / t,        Fᵢ⁻(t) = (yᵢ(0) − yᵢ(−t)) / t,

tell everything:

    central(t) = Σ vᵢ·(Fᵢ⁺ + Fᵢ⁻)/2      the derivative, up to t²·h‴/6 where h is smooth
    corner(t)  = Σ |vᵢ|·|Fᵢ⁺ − Fᵢ⁻|      how much the outputs bend: about t·Σ|vᵢ·yᵢ″|, which vanishes with t

One small step nearly always confirms a right derivative.  Where it does not, three things can be behind it:

- *a wrong derivative*: the differences converge to another value;
- *a bad step*: they converge to this one, but at other steps.  Over a long step the outputs curve, or it
  reaches across a corner nearby; a short one drowns in rounding, an error of u·⟨|v|, |y|⟩/t at the least;
- *a kink at 0*: corner(t) does not vanish with t.  Each output may then have any derivative between its
  one-sided ones, and h any from central − corner/2 to central + corner/2.  (The corner is summed output by
  output: two kinks of opposite sign cancel in h, and still leave a choice in each.)

So a sweep takes differences at steps t₀ > t₀/4 > t₀/16 > … from long to short and looks for their limits.  A
Richardson step cancels the leading error t^p, p = 2 for the smooth central difference and 1 otherwise::

    R(t) = (4^p·F(t/4) − F(t)) / (4^p − 1)

Curving spoils the long steps, rounding the short ones, and in between R stands still.  The limit is taken
where three neighbours, which span a factor of 64 in t, differ least; what they differ by, plus the rounding
that the shortest of their steps cannot avoid, bounds its error.  **The analytic derivative has no part in
this choice**, so a wrong one cannot pick the step that flatters it.

References
----------
C. J. F. Ridders, "Accurate computation of F′(x) and F′(x)F″(x)", Advances in Engineering Software 4, 1982:
the extrapolation, and its differences as the measure of its error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["Finding", "Limit", "Line", "Slopes", "Tolerance", "Verdict", "glance", "judge", "limit"]

_RATIO = 4.0
_STEPS = _RATIO ** -np.arange(1, 17)
"""The sweep's steps, from 0.25 to 2.3e-10, relative to what moves."""

_BENT = 1e-3
"""A corner above this part of the slopes, at the first step, may be a kink."""

_KNOWN = 1e-4
"""A limit is known when its error is at most this part of the slopes …"""

_NOTHING = 1e-5
"""… plus this part of ⟨|v|, |y|⟩, a change that the outputs hardly show;"""

_ROUGHLY = 100.0
"""and so many times that will do to be sure that there is no kink."""

_FAINT = 1e-2
"""A derivative is faint when its error is above this part of it."""

_ROUNDING = 2.0**-52


class Verdict(Enum):
    """What came of comparing an analytic derivative with differences."""

    AGREES = "agrees"
    ARTEFACT = "artefact"
    """Right, as the sweep shows; the first step was a bad one."""
    FAINT = "faint"
    """Agrees within an error as large as itself: rounding hides whether it is quite right, or 0."""
    KINK = "kink"
    """The one-sided derivatives differ, and the analytic one lies between them: a legitimate subgradient."""
    MISMATCH = "mismatch"
    UNRESOLVED = "unresolved"
    """The differences converge to nothing: a jump, or noise.  Counts as a failure."""

    @property
    def ok(self) -> bool:
        """Whether the analytic derivative is accepted."""
        return self not in (Verdict.MISMATCH, Verdict.UNRESOLVED)


class Slopes(NamedTuple):
    """What differences over a distance t to either side say of h."""

    central: float
    gross: float
    """Σ |vᵢ|·(|Fᵢ⁺| + |Fᵢ⁻|)/2: the central difference if nothing cancelled in its sum."""
    corner: float


class Line(Protocol):
    """A function h of one variable near 0, and what backward claims to be its derivative there."""

    @property
    def analytic(self) -> float:
        """The derivative at 0 according to backward."""
        ...

    def slopes(self, t: float) -> Slopes:
        """Return the slopes over the distance t."""
        ...

    def magnitude(self) -> float:
        """Return ⟨|v|, |y|⟩ over the outputs that have moved so far: what rounding is relative to."""
        ...


@dataclass(frozen=True)
class Tolerance:
    """How far the analytic derivative may be from the numeric one: atol + rtol · the larger of the two."""

    atol: float
    rtol: float

    def at(self, *values: float) -> float:
        """Return the tolerance for values of this size."""
        return self.atol + self.rtol * max(map(abs, values))

    def covers(self, analytic: float, numeric: float, error: float = 0.0) -> bool:
        """Whether they agree, when `numeric` is known up to `error`; NaN and infinity agree with nothing."""
        return math.isfinite(analytic) and abs(analytic - numeric) <= self.at(analytic, numeric) + error


@dataclass(frozen=True)
class Finding:
    """One derivative compared: an element's, or one along a random direction.

    Attributes
    ----------
    at : tuple of int or str
        The element's index, or the direction's name.
    analytic : float
        What backward says.
    low, high : float
        The derivative by differences; at a kink, the bounds of what it may be.
    verdict : Verdict
    """

    at: tuple[int, ...] | str
    analytic: float
    low: float
    high: float
    verdict: Verdict

    @property
    def numeric(self) -> float:
        """The derivative by differences; at a kink, the one nearest to the analytic value."""
        if not math.isfinite(self.analytic):
            return (self.low + self.high) / 2
        return min(max(self.analytic, self.low), self.high)

    @property
    def error(self) -> float:
        """|analytic − numeric|."""
        return abs(self.analytic - self.numeric)


def glance(at: Any, line: Line, eps: float, tolerance: Tolerance) -> Finding:
    """Compare at the first step alone: agreement, or a mismatch that :func:`judge` may overrule."""
    central, gross, corner = line.slopes(eps)
    agrees = corner <= _BENT * gross and tolerance.covers(line.analytic, central)
    return Finding(at, line.analytic, central, central, Verdict.AGREES if agrees else Verdict.MISMATCH)


def judge(suspect: Finding, line: Line, tolerance: Tolerance) -> Finding:
    """Sweep the step, and compare with the limits found."""
    central, gross, corner = np.array([line.slopes(t) for t in _STEPS]).T
    magnitude = line.magnitude()
    noise = _ROUNDING * magnitude
    bend = limit(_STEPS, corner, noise, order=1)
    smooth = limit(_STEPS, central, noise, order=2)
    broken = limit(_STEPS, central, noise, order=1)
    one_sided = broken.error + bend.error

    if bend.value > tolerance.at(gross[bend.at]) + 4 * bend.error:
        value, spread, error = broken.value, bend.value / 2, one_sided
        resolved = error <= _KNOWN * gross[bend.at] + _NOTHING * magnitude
        verdict = Verdict.KINK
    else:
        value, spread, error = smooth.value, 0.0, smooth.error
        enough = _KNOWN * gross[smooth.at] + _NOTHING * magnitude
        resolved = error <= enough and one_sided <= _ROUGHLY * enough
        verdict = _how_it_agrees(suspect, value, error, tolerance)
    finding = replace(suspect, low=value - spread, high=value + spread, verdict=verdict)
    if not resolved:
        return replace(finding, verdict=Verdict.UNRESOLVED)
    if not tolerance.covers(finding.analytic, finding.numeric, error):
        return replace(finding, verdict=Verdict.MISMATCH)
    return finding


def _how_it_agrees(suspect: Finding, numeric: float, error: float, tolerance: Tolerance) -> Verdict:
    if tolerance.covers(suspect.analytic, suspect.numeric):
        return Verdict.AGREES
    return Verdict.FAINT if error > _FAINT * max(abs(suspect.analytic), abs(numeric)) else Verdict.ARTEFACT


class Limit(NamedTuple):
    """The limit of slopes, a bound for its error, and where in the sweep it was found."""

    value: float
    error: float
    at: int


def limit(steps: np.ndarray, slopes: np.ndarray, noise: float, order: int) -> Limit:
    """Return the limit of slopes for t → 0.

    Parameters
    ----------
    steps : array
        Each a quarter of the one before.
    slopes : array
        F(t) at these steps; NaN where the function has no value.
    noise : float
        The least rounding error of the function.
    order : int
        The power p of t with which F approaches its limit.

    Examples
    --------
    >>> steps = 4.0 ** -np.arange(12)
    >>> found = limit(steps, (np.exp(steps) - 1) / steps, noise=2.0**-52, order=1)
    >>> abs(found.value - 1) < found.error < 1e-9
    True
    """
    gain = _RATIO**order
    refined = (gain * slopes[1:] - slopes[:-1]) / (gain - 1)
    trios = sliding_window_view(refined, 3)
    errors = trios.max(axis=1) - trios.min(axis=1) + noise / steps[3:]
    errors = np.where(np.isfinite(errors), errors, np.inf)
    best = int(errors.argmin())
    return Limit(float(trios[best, 1]), float(errors[best]), best)
