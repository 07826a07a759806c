"""The benchmark: minicnn against other frameworks, each in a process of its own, the processes taking turns.

Shared machines drift, so a time by itself says little.  Here all peers are alive at once; in each round every one
of them computes once while the others sleep, and what counts is the ratio of medians.  The same network, the same
weights, the same images, the same number of threads; and before any time is taken the answers are compared: a peer
that computes something else has no time.

    :mod:`~minicnn.bench.network`   a network as a list of operations that every framework has
    :mod:`~minicnn.bench.peers`     one file a framework: that list as its users would write it
    :mod:`~minicnn.bench.child`     the process a peer lives in
    :mod:`~minicnn.bench.turns`     the parent: starts the processes, compares answers, gives turns
    :mod:`~minicnn.bench.benchmark` all rows
    :mod:`~minicnn.bench.report`    a row as a table
    :mod:`~minicnn.bench.recording` all rows as a record
"""

from __future__ import annotations

from .benchmark import MODELS, Settings, run
from .network import Network, Operation, describe
from .peers import PEERS, Peer
from .recording import record
from .report import table
from .turns import Measured, Row, Timing

__all__ = [
    "MODELS",
    "PEERS",
    "Measured",
    "Network",
    "Operation",
    "Peer",
    "Row",
    "Settings",
    "Timing",
    "describe",
    "record",
    "run",
    "table",
]
