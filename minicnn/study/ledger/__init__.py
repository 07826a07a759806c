"""The ledger: every published figure of these networks, recomputed from the networks as built.

Each paper has a file here, with its figures in tables to be held beside the print.  They are measured on the
meta device (:mod:`~minicnn.study.ledger.measure`) and judged by one rule (:mod:`~minicnn.study.ledger.verdict`).  What
papers print of errors takes training to recompute and is not here.
"""

from __future__ import annotations

from .claim import Because, Claim
from .verdict import Entry, entries, judge, totals

__all__ = ["Because", "Claim", "Entry", "entries", "judge", "totals"]
