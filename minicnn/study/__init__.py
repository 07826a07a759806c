"""Looking at networks: what their layers cost and see, and what is printed of them (:mod:`minicnn.study.ledger`)."""

from __future__ import annotations

from .cost import Cost, cost
from .summary import Row, Summary, summary

__all__ = ["Cost", "Row", "Summary", "cost", "summary"]
