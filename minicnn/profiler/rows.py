"""Records added up, a row for each layer or for each operation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .record import Record

__all__ = ["Row", "Spent", "added", "by_layer", "by_operation", "longest"]


class Spent(NamedTuple):
    """Time, FLOPs and bytes.

    Examples
    --------
    >>> spent = Spent(0.5, 10**9, 10**8)
    >>> spent.gflops, spent.gigabytes
    (2.0, 0.2)
    """

    seconds: float = 0.0
    flops: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, records: Iterable[Record]) -> Spent:
        """Add up what these records say."""
        return cls.sum(cls(record.seconds, record.flops, record.bytes) for record in records)

    @classmethod
    def sum(cls, parts: Iterable[Spent]) -> Spent:
        """Add up."""
        return cls(*map(sum, zip(cls(), *parts, strict=True)))

    @property
    def gflops(self) -> float:
        """10⁹ additions and multiplications a second; 0 if there was no time at all."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def gigabytes(self) -> float:
        """10⁹ bytes a second."""
        return self.bytes / self.seconds / 1e9 if self.seconds else 0.0


@dataclass(frozen=True)
class Row:
    """What all runs of one layer, or of one operation, took together.

    Attributes
    ----------
    name : str
        The layer's dotted name, or the operation's.
    operations : tuple of str
        What a layer ran, in the order of the first runs; empty in a row for one operation.
    calls : int
        Operations it ran forward.
    forward, backward : Spent
    """

    name: str
    operations: tuple[str, ...]
    calls: int
    forward: Spent
    backward: Spent

    @classmethod
    def of(cls, name: str, records: Sequence[Record], operations: tuple[str, ...] = ()) -> Row:
        """Add up what these records say."""
        forward, backward = (
            [record for record in records if record.phase == phase] for phase in ("forward", "backward")
        )
        return cls(name, operations, len(forward), Spent.of(forward), Spent.of(backward))

    @property
    def both(self) -> Spent:
        """Forward and backward."""
        return Spent.sum([self.forward, self.backward])


def by_layer(records: Iterable[Record]) -> tuple[Row, ...]:
    """Return a row for each module that called operations, and for each operation that no module called.

    They come in the order of their first record.  Names leave the outermost module out, unless there are several with
    parts.
    """
    groups: dict[tuple[tuple[str, ...], str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.path, "" if record.path else record.operation), []).append(record)
    several = len({path[0] for path, _ in groups if len(path) > 1}) > 1
    return tuple(
        Row.of(_name(path, several), group, _operations(group)) for (path, _), group in groups.items()
    )


def by_operation(records: Iterable[Record]) -> tuple[Row, ...]:
    """Return a row for each operation, the one that took longest first."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.operation, []).append(record)
    return longest(Row.of(operation, group) for operation, group in groups.items())


def longest(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows in order of their time, the longest first."""
    return tuple(sorted(rows, key=lambda row: row.both.seconds, reverse=True))


def added(name: str, rows: Sequence[Row]) -> Row:
    """Return the sum of these rows."""
    forward = Spent.sum(row.forward for row in rows)
    return Row(name, (), sum(row.calls for row in rows), forward, Spent.sum(row.backward for row in rows))


def _name(path: tuple[str, ...], several: bool) -> str:
    return ".".join(path if several else path[1:] or path)


def _operations(records: Iterable[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record.operation for record in records))
