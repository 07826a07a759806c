"""The observer that takes the time of operations, and the block in which it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .. import backend
from ..debug.origin import modules_inside, path_to
from ..nn.module import Module
from ..observer import Observer, current, observing
from ..tensor import Function
from .counts import flops
from .profile import Profile
from .record import Phase, Record

__all__ = ["profile"]

Array = Any
Clock = Callable[[], float]


@contextmanager
def profile(*, limit: float | None = None, clock: Clock = time.perf_counter) -> Iterator[Profile]:
    """Take the time of each operation, forward and backward, as a ``with`` block.

    Parameters
    ----------
    limit : float, optional
        GFLOP/s that rates are compared with; :func:`minicnn.profiler.sgemm_limit` measures what this machine can do.
    clock : callable, optional
        Returns seconds.

    Returns
    -------
    context manager of Profile
        It can be asked inside the block, after it, and after an exception that ended it.

    Raises
    ------
    ValueError
        If `limit` is not greater than 0.

    Notes
    -----
    An operation's time is its ``forward`` or ``backward``, without the operations that these call, and without what the
    engine does around them.  One that raises has no record.  Backward is laid to the module that called the operation
    forward, in this profile or an earlier one.

    The block holds for the current thread, as ``no_grad`` does.  Blocks nest, and each sees all that runs inside it.
    What other observers do, such as :func:`~minicnn.detect_anomaly`, counts as the rest, if they came first.

    Where there is no such block nothing is done at all.  Inside, an operation takes 10 to 30 µs more each way, which no
    figure leaves out: nearly all of it is in the rest.

    Examples
    --------
    >>> import minicnn
    >>> from minicnn import nn, tensor
    >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> with minicnn.profile() as p:
    ...     net(tensor([[1.0, 2.0, 3.0]])).sum().backward()
    >>> for record in p.records:
    ...     print(record.operation, record.phase, ".".join(record.path), record.flops, record.bytes)
    Linear forward Sequential.0 12 52
    ReLU forward Sequential.1 2 16
    Sum forward  2 12
    Sum backward  0 0
    ReLU backward Sequential.1 2 24
    Linear backward Sequential.0 12 52
    >>> p.spent.seconds <= p.seconds
    True
    """
    records: list[Record] = []
    found = Profile(records, limit=limit)
    recorder = _Recorder(found, records, clock)
    try:
        with observing(*current.observers, recorder):  # innermost: what others do is not the operation's
            yield found
    finally:
        recorder.stop()


class _Place(NamedTuple):
    """Which module called an operation."""

    path: tuple[str, ...] = ()
    kind: str = ""


# Of all threads and blocks, for forward and backward may be in two.
_places: WeakKeyDictionary[Function, _Place] = WeakKeyDictionary()


class _Recorder(Observer):
    def __init__(self, found: Profile, records: list[Record], clock: Clock) -> None:
        self._found, self._records, self._clock = found, records, clock
        self._known: dict[tuple[Module, ...], _Place] = {}  # by the modules being called
        self._roots: dict[Module, str] = {}
        self._called = 0.0  # seconds of the operations that the one running now has called
        self._began = clock()

    def stop(self) -> None:
        """Note that the block ends."""
        self._found.seconds = self._clock() - self._began

    def forward(self, function: Function, run: Callable[..., Array], *arrays: Array) -> Array:
        """Run it and note what it took."""
        place = _places[function] = self._place()
        y, seconds = self._timed(run, *arrays)
        be = function.be
        output = be.asarray(y)
        is_view = any(_share(be, output, array) for array in arrays)
        moved = 0 if is_view else _bytes(be, [*arrays, output])
        self._note(function, "forward", place, seconds, output.shape, moved)
        return y

    def backward(
        self, function: Function, run: Callable[[Array], list[Array | None]], g: Array
    ) -> list[Array | None]:
        """Run it and note what it took."""
        place, be = _places.get(function, _Place()), function.be
        read = _bytes(be, [g, *vars(function).values()])  # what it has kept, and may drop while it runs
        results, seconds = self._timed(run, g)
        written = _bytes(be, [dx for dx in results if dx is not None and not _share(be, dx, g)])
        self._note(function, "backward", place, seconds, g.shape, read + written if written else 0)
        return results

    def _timed(self, run: Callable[..., Any], *arrays: Array) -> tuple[Any, float]:
        """Return what the run returns, and how long it took itself."""
        outer, self._called = self._called, 0.0
        began = self._clock()
        try:
            result = run(*arrays)
        finally:
            ended = self._clock()
            own = ended - began - self._called
            self._called = outer + (ended - began)
            self._found.seconds = ended - self._began
        return result, own

    def _note(
        self, function: Function, phase: Phase, place: _Place, seconds: float, output_shape: Any, moved: int
    ) -> None:
        count = flops(function, phase, output_shape) if moved else 0
        self._records.append(
            Record(function.name, phase, *place, function.shapes, seconds, flops=count, bytes=moved)
        )

    def _place(self) -> _Place:
        modules = tuple(modules_inside())
        if modules and modules not in self._known:
            root, names = path_to(list(modules))
            path = (self._label(root), *(part for name in names for part in name.split(".")))
            self._known[modules] = _Place(path, type(modules[-1]).__name__)
        return self._known.get(modules, _Place())

    def _label(self, root: Module) -> str:
        """Return a module's class, with a number where it is not the first outermost one of this class."""
        if root not in self._roots:
            name = type(root).__name__
            number = 1 + sum(type(other).__name__ == name for other in self._roots)
            self._roots[root] = name if number == 1 else f"{name} {number}"
        return self._roots[root]


def _share(be: Any, a: Array, b: Array) -> bool:
    """Whether two arrays are of the same memory; those without values have none."""
    return be is not backend.meta and be.may_share_memory(a, b)


def _bytes(be: Any, values: Iterable[Any]) -> int:
    """Return the bytes of the arrays among these values, each counted once."""
    return sum({id(value): value.nbytes for value in values if be.is_array(value)}.values())
