"""What a profile has found: its records, and the views of them."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import replace
from statistics import median as middle
from typing import Any, Literal

from .record import Record
from .rows import Row, Spent, added, by_layer, by_operation, longest

__all__ = ["Profile", "median"]

_MOST = 10  # rows of the short table
_WIDEST = 1000  # columns of text: more than any table takes


class Profile:
    """Where the time of a block went: what :func:`minicnn.profile` yields; printed, it is a short table.

    Parameters
    ----------
    records : list of Record
        Kept, not copied.
    seconds : float
        The time of the whole block.
    limit : float, optional
        GFLOP/s of this machine's matrix products.

    Attributes
    ----------
    seconds : float
        The time of the whole block; inside it, until the end of its last operation so far.
    limit : float or None
        What rates are compared with.
    """

    def __init__(self, records: list[Record], seconds: float = 0.0, limit: float | None = None) -> None:
        if limit is not None and not limit > 0:
            raise ValueError(f"profile: limit must be a number of GFLOP/s greater than 0, got {limit!r}")
        self._records, self.seconds, self.limit = records, seconds, limit

    @property
    def records(self) -> tuple[Record, ...]:
        """One :class:`Record` for each run of an operation, forward or backward, in the order in which they ended."""
        return tuple(self._records)

    @property
    def spent(self) -> Spent:
        """What all operations took together."""
        return Spent.of(self._records)

    @property
    def rest(self) -> float:
        """Seconds of the block outside operations: the optimizer's step, the data, the engine, the profiler itself."""
        return self.seconds - self.spent.seconds

    def by_layer(self) -> tuple[Row, ...]:
        """Return a row for each module that called operations, in the order of the calls.

        An operation that no module called has a row without a name.
        """
        return by_layer(self._records)

    def by_operation(self) -> tuple[Row, ...]:
        """Return a row for each operation, the one that took longest first."""
        return by_operation(self._records)

    def table(self, by: Literal["layer", "operation"] = "layer", most: int | None = None) -> Any:
        """Return a :class:`rich.table.Table`.

        Parameters
        ----------
        by : {'layer', 'operation'}
            What has a row: layers come in the order of their calls, operations in that of their time.
        most : int, optional
            Show no more rows than this, the longest first, and the sum of the others.

        Raises
        ------
        ValueError
            If `by` is neither.

        Notes
        -----
        The columns: milliseconds forward and backward; their share of the whole block; and of both together GFLOP/s,
        its percentage of the limit where there is one, megabytes (10⁶ bytes) and GB/s.
        """
        from .table import rich_table

        if by not in ("layer", "operation"):
            raise ValueError(f"table: by must be 'layer' or 'operation', got {by!r}")
        rows = self.by_layer() if by == "layer" else self.by_operation()
        if most is not None and len(rows) > most:
            rows = longest(rows)
            rows = (*rows[:most], added(f"{len(rows) - most} more", rows[most:]))
        return rich_table(self, by, rows)

    def text(self, by: Literal["layer", "operation"] = "layer", most: int | None = None) -> str:
        """Return the :meth:`table` as plain text, as wide as it needs to be."""
        from rich.console import Console

        file = io.StringIO()
        Console(file=file, width=_WIDEST, color_system=None, force_jupyter=False).print(self.table(by, most))
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    def __str__(self) -> str:
        return self.text(most=_MOST)

    def flame(self, path: str | os.PathLike[str]) -> None:
        """Draw the time as nested bars, modules within modules, and write the picture to an SVG file.

        A bar is as wide as the time inside it, and split into forward and backward.  Pointing at one shows its figures.

        Parameters
        ----------
        path : str or path
            Replaced if it exists.  Its folder must exist.
        """
        from ..atomic import replacing
        from .flame import svg

        with replacing(path) as temporary:
            temporary.write_text(svg(self), encoding="utf-8")


def median(profiles: Sequence[Profile]) -> Profile:
    """Return what is typical of several rounds of one and the same program: the median of each time.

    The whole is the sum of the medians, of each operation's time and of the rest.

    Raises
    ------
    ValueError
        If there are no profiles, or they did not run the same operations in the same order.

    Examples
    --------
    >>> import minicnn
    >>> rounds = []
    >>> for _ in range(3):
    ...     with minicnn.profile() as found:
    ...         _ = minicnn.tensor([1.0]) + 1
    ...     rounds.append(found)
    >>> [record.operation for record in median(rounds).records]
    ['Add']
    """
    if len({tuple((r.operation, r.phase, r.path, r.shapes) for r in p.records) for p in profiles}) != 1:
        raise ValueError(
            f"median: {len(profiles)} profiles must be of the same operations in the same order, and they are not"
            if profiles
            else "median: there must be at least one profile"
        )
    rounds = zip(*(profile.records for profile in profiles), strict=True)
    records = [replace(same[0], seconds=middle(record.seconds for record in same)) for same in rounds]
    rest = middle(profile.rest for profile in profiles)
    return Profile(records, Spent.of(records).seconds + rest, profiles[0].limit)
