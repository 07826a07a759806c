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
that the shortest of their steps cannot avoid, bounds its error.

There are two readings of a sweep: h is smooth, and the limit of its corner, which should be 0, is one more
error; or h has a kink, and any derivative within half the limit of the corner will do.  The reading with the
smaller error is taken.  **The analytic derivative has no part in this**, so a wrong one cannot choose the step
or the reading that flatters it.  Where neither has a limit that is good enough, as at a jump, nothing is
accepted.

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

__all__ = ["Finding", "Limits", "Line", "Slopes", "Tolerance", "Verdict", "glance", "judge", "limits"]

_RATIO = 4.0
_STEPS = _RATIO ** -np.arange(1, 17)
"""The sweep's steps, from 0.25 to 2.3e-10, relative to what moves."""

_BENT = 1e-3
"""A corner above this part of the slopes, at the first step, may be a kink."""

_SILENT = 1e-9
"""Where no output moves over a step below this, rounding may have swallowed it: that proves nothing."""

_KNOWN = 1e-3
"""A limit is known when its error is at most this part of the slopes …"""

_NOTHING = 1e-5
"""… plus this part of ⟨|v|, |y|⟩, a change that the outputs hardly show;"""

_ROUGHLY = 10.0
"""and so many times that, if it is known to be a kink's.  (A corner near 0 looks like one from afar.)"""

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

    def covers(self, analytic: float, numeric: float, error: float = 0.0) -> bool:
        """Whether they agree, when `numeric` is known up to `error`; NaN and infinity agree with nothing."""
        tolerance = self.atol + self.rtol * max(abs(analytic), abs(numeric))
        return math.isfinite(analytic) and abs(analytic - numeric) <= tolerance + error


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


@np.errstate(invalid="ignore")  # where a step left fn's domain: NaN, which is no limit
def judge(suspect: Finding, line: Line, tolerance: Tolerance) -> Finding:
    """Sweep the step, and compare with the limit found for a smooth function, or for one with a kink."""
    slopes = np.array([line.slopes(t) for t in _STEPS])
    slopes[(slopes[:, 1] == 0) & (_STEPS < _SILENT)] = math.nan
    central, gross, corner = slopes.T
    magnitude = line.magnitude()
    # Of the outputs; of the steps, for x + t is rounded as well; and of the slopes.
    rounding = _ROUNDING * (magnitude / _STEPS + gross / _STEPS + 16 * gross)[3:]

    enough = (_KNOWN * gross + _NOTHING * magnitude)[:-3]
    smooth, bend, broken = limits(central, order=2), limits(corner, order=1), limits(central, order=1)
    i, smooth_error = _best(smooth.spread + np.abs(bend.value) + rounding, enough)
    j, kink_error = _best(broken.spread + bend.spread + rounding, _ROUGHLY * enough)

    if not min(smooth_error, kink_error) < math.inf:
        return replace(suspect, verdict=Verdict.UNRESOLVED)
    if smooth_error <= 4 * kink_error:
        numeric, room, error = smooth.value[i], 0.0, smooth_error
        verdict = _how_it_agrees(suspect, numeric, error, tolerance)
    else:
        numeric, room, error = broken.value[j], bend.value[j] / 2, kink_error
        verdict = Verdict.KINK
    finding = replace(suspect, low=float(numeric - room), high=float(numeric + room), verdict=verdict)
    if not tolerance.covers(finding.analytic, finding.numeric, error):
        return replace(finding, verdict=Verdict.MISMATCH)
    return finding


def _best(errors: np.ndarray, enough: np.ndarray) -> tuple[int, float]:
    """Return where the error is least, among those that are small enough to rely on; else infinity."""
    errors = np.where(errors <= enough, errors, np.inf)
    best = int(errors.argmin())
    return best, float(errors[best])


def _how_it_agrees(suspect: Finding, numeric: float, error: float, tolerance: Tolerance) -> Verdict:
    if tolerance.covers(suspect.analytic, suspect.numeric):
        return Verdict.AGREES
    return Verdict.FAINT if error > _FAINT * max(abs(suspect.analytic), abs(numeric)) else Verdict.ARTEFACT


class Limits(NamedTuple):
    """What slopes seem to converge to, judged by each four neighbouring steps."""

    value: np.ndarray
    spread: np.ndarray


def limits(slopes: np.ndarray, order: int) -> Limits:
    """Extrapolate slopes to t → 0 from each four steps in a row.

    Parameters
    ----------
    slopes : array
        F(t) at steps of which each is a quarter of the one before.
    order : int
        The power p of t with which F approaches its limit.

    Examples
    --------
    >>> steps = 4.0 ** -np.arange(12)
    >>> value, spread = limits((np.exp(steps) - 1) / steps, order=1)
    >>> round(float(value[spread.argmin()]), 9)
    1.0
    """
    gain = _RATIO**order
    refined = (gain * slopes[1:] - slopes[:-1]) / (gain - 1)
    trios = sliding_window_view(refined, 3)
    return Limits(trios[:, 1], trios.max(axis=1) - trios.min(axis=1))
