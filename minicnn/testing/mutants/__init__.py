"""Are the tests any good?  Mistakes made on purpose, one at a time, to see whether a check fails.

Every function of the targets is changed in all the ways of :mod:`~minicnn.testing.mutants.operators`: a sign flipped, a
term dropped, an axis swapped, a window off by one.  Each such *mutant* runs, in a process of its own, against the
checks that execute the function, until one fails: the mutant is killed.  A mutant that survives is a mistake nobody
would have noticed; or it is equivalent, its results those of the original, and a list says why.

``python -m minicnn.testing.mutants --help`` is how to use it, on minicnn or on a package of your own.
"""

from __future__ import annotations

from .campaign import campaign
from .generate import mutants_of
from .mutant import Mutant
from .operators import OPERATORS
from .report import Report
from .runner import Outcome
from .settings import Settings
from .suite import Check

__all__ = ["OPERATORS", "Check", "Mutant", "Outcome", "Report", "Settings", "campaign", "mutants_of"]
