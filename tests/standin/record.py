"""What was done on the stand-in's devices: every transfer and every launch, in order."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Launch", "Transfer", "launches", "transfers"]


class Transfer(NamedTuple):
    kind: str  # "to device", "to host" or "between devices"
    nbytes: int
    what: str


class Launch(NamedTuple):
    kind: str  # "kernel": one of minicnn's; "function": one of CuPy's own, which may be several there
    name: str
    device: int
    stream: int


transfers: list[Transfer] = []
launches: list[Launch] = []


def transferred(kind: str, nbytes: int, what: str) -> None:
    transfers.append(Transfer(kind, nbytes, what))


def forget() -> None:
    transfers.clear()
    launches.clear()
