"""Looking at networks: what their layers cost and see."""

from __future__ import annotations

from .cost import Cost, cost
from .summary import Row, Summary, summary

__all__ = ["Cost", "Row", "Summary", "cost", "summary"]
