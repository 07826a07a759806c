"""Where the time goes: each operation's, forward and backward, laid to the layers of a network.

>>> from minicnn import nn, tensor
>>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
>>> with profile() as p:
...     net(tensor([[[1.0, 2.0], [3.0, 4.0]]])).sum().backward()
>>> [(row.name, row.operations, row.forward.flops, row.backward.flops) for row in p.by_layer()]
[('0', ('Flatten',), 0, 0), ('1', ('Linear',), 24, 24), ('', ('Sum',), 3, 0)]
"""

from __future__ import annotations

from .counts import product_flops
from .limit import sgemm_limit
from .profile import Profile, median
from .record import Record
from .recording import profile
from .rows import Row, Spent

__all__ = ["Profile", "Record", "Row", "Spent", "median", "product_flops", "profile", "sgemm_limit"]
