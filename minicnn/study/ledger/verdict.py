"""Set printed figures beside ours: one rule says what becomes of each.

equal                         ours is what is printed
rounds                        rounded to the printed digits it is, or cut off there, where the claim says so
the paper contradicts itself  it is not, and the claim has the arithmetic
deviates                      it is not, and the claim has the reason
unexplained                   none of these; or the reason given is for another figure, or there is no need of one
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ... import models
from . import alexnet, googlenet, inception, lenet, nin, preact_resnet, resnet, vgg
from .claim import UNVERIFIED, Claim, Verdict
from .measure import QUANTITIES, measure
from .printed import Printed, parse

__all__ = ["PAPERS", "Entry", "entries", "judge", "totals"]

PAPERS = (lenet, alexnet, nin, vgg, googlenet, inception, resnet, preact_resnet)

_COUNTED_AS: dict[Verdict, str] = {
    "equal": "equal",
    "rounds": "round",
    "the paper contradicts itself": "contradicted by the paper itself",
    "deviates": "deviate",
    "unexplained": "unexplained",
}


@dataclass(frozen=True)
class Entry:
    """A row of the ledger.

    Attributes
    ----------
    claim : Claim
    ours : str
        The same figure, from the network as built.
    verdict : str
        One of the five above.
    note : str
        The reason, where there is one to give.
    """

    claim: Claim
    ours: str
    verdict: Verdict
    note: str

    @property
    def settled(self) -> bool:
        """Whether it is explained, or only remembered so that nothing depends on it."""
        return self.verdict != "unexplained" or self.claim.source == UNVERIFIED

    def as_dict(self) -> dict[str, Any]:
        """Return everything in a form that ``json.dumps`` takes."""
        claim = asdict(self.claim)
        del claim["because"]
        return {**claim, "ours": self.ours, "verdict": self.verdict, "note": self.note}


def entries(model: str | None = None) -> tuple[Entry, ...]:
    """Return the rows of the ledger.

    Parameters
    ----------
    model : str, optional
        Only those of this model, if any.

    Raises
    ------
    ValueError
        If there is no such model; the nearest one is suggested.

    Examples
    --------
    >>> sorted({entry.verdict for entry in entries("lenet5")})
    ['equal', 'rounds']
    """
    known = models.list_models()
    if model is not None and model not in known:
        near = difflib.get_close_matches(model, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"ledger: there is no model {model!r}; {hint}")
    claims = (claim for paper in PAPERS for claim in paper.CLAIMS)
    return tuple(judge(claim) for claim in claims if model in (None, claim.network.split()[0]))


def judge(claim: Claim) -> Entry:
    """Measure what a claim is about, and judge it.

    Raises
    ------
    ValueError
        If there is no such quantity, or the network has no such layer.

    Examples
    --------
    >>> judge(Claim("lenet5 variant=paper", "section II.B", "connections", "340,908")).verdict
    'equal'
    """
    if claim.quantity not in QUANTITIES:
        raise ValueError(f"ledger: a quantity is one of {', '.join(QUANTITIES)}, got {claim.quantity!r}")
    parts, names = measure(claim.network), claim.layers.split(" + ")
    if missing := set(names) - set(parts):
        raise ValueError(f"ledger: {claim.network} has no layer {min(missing)!r}")
    ours = QUANTITIES[claim.quantity]([parts[name] for name in names])
    printed = parse(claim.printed, claim.kilo)
    return Entry(claim, printed.show(ours), *_verdict(claim, printed, ours))


def _verdict(claim: Claim, printed: Printed, ours: Any) -> tuple[Verdict, str]:
    """Return the verdict and the note."""
    because, agrees = claim.because, printed.equals(ours) or printed.rounds(ours)
    if because is None:
        return ("equal" if printed.equals(ours) else "rounds" if agrees else "unexplained"), ""
    if agrees:
        return "unexplained", "a reason is given for a difference that is not there"
    if because.ours:
        holds, case = printed.show(ours) == because.ours, because.ours
    else:
        holds, case = printed.cuts(ours), "digits that are cut off"
    return (because.verdict, because.reason) if holds else ("unexplained", f"the reason given is for {case}")


def totals(rows: Iterable[Entry]) -> str:
    """Count the verdicts; what is only remembered counts apart.

    Examples
    --------
    >>> totals(entries("nin"))
    '1 equal, 1 round, 0 contradicted by the paper itself, 0 deviate, 0 unexplained; 2 not verified'
    """
    rows = list(rows)
    counts = Counter(row.verdict for row in rows if row.claim.source != UNVERIFIED)
    words = ", ".join(f"{counts[verdict]} {word}" for verdict, word in _COUNTED_AS.items())
    unverified = sum(row.claim.source == UNVERIFIED for row in rows)
    return f"{words}; {unverified} not verified" if unverified else words
