"""One row of the benchmark: start the peers, compare their answers, and let them take turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import numpy as np

from ..profiler.limit import GFLOP
from . import limit
from .peers import Peer
from .process import PeerError, Process, until_idle
from .task import Task

__all__ = ["LIMIT", "Measured", "Row", "Timing", "compare", "measure_row", "plan", "rounds"]

LIMIT = Peer("sgemm", limit.__name__)
"""The machine's limit, which takes turns like a peer."""

Answer = Mapping[str, np.ndarray]

_TOLERANCE = {"scores": 1e-3, "loss": 1e-3}
_TOLERANCE_OF_GRADIENTS = 0.1
"""How far right answers may lie apart, as a part of their norm.  Rounding moves some values across the kinks of ReLUs
and maxima, where gradients jump, and each batch normalisation on the way back makes more of it: in Inception v3, those
of the first layers are 3 % apart between any two frameworks, and as far from PyTorch's own in double precision."""

_SAMPLE = 0.05  # seconds: quicker steps are repeated to make up a sample of this length
_FEWEST, _FEWEST_SLOW, _MOST = 5, 3, 15


@dataclass(frozen=True)
class Timing:
    """How long to measure.

    Attributes
    ----------
    budget : float
        Seconds that the samples of a row should take together.
    rounds : int or None
        So many samples of each, however long they take; None: as many as the budget allows, from 5 to 15, though of
        the slowest 3 if need be.
    patience : float
        Seconds that a peer may take to get ready, and for any one thing.
    """

    budget: float = 30.0
    rounds: int | None = None
    patience: float = 240.0


@dataclass
class Measured:
    """What is known of one peer in one row.

    Attributes
    ----------
    peer : str
    versions : dict
    error : float
        How far its answer is from that of the peer most others agree with, as a part of the norm.
    samples : list of float
        Seconds of a step.
    bytes : int
        The most memory in a step beyond what there was when weights and images were loaded.
    void : str or None
        Why there are no samples.
    failed : bool
        Whether that is because something went wrong.
    """

    peer: str
    versions: dict[str, str] = field(default_factory=dict)
    error: float = 0.0
    samples: list[float] = field(default_factory=list)
    bytes: int = 0
    void: str | None = None
    failed: bool = False

    @property
    def median(self) -> float:
        """Of the samples, in seconds."""
        return median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The two numbers of seconds between which half of the samples lie."""
        low, _, high = (
            quantiles(self.samples, n=4, method="inclusive") if self.samples[1:] else self.samples * 3
        )
        return low, high


@dataclass
class Row:
    """One task, and what each peer made of it.

    Attributes
    ----------
    model, mode : str
    batch : int
    gflop : float
        Of a step: two for a multiply-add, and a training step counts as three forward passes.
    peers : list of Measured
    limit : Measured
        The matrix product that took turns with them.
    """

    model: str
    mode: str
    batch: int
    gflop: float
    peers: list[Measured]
    limit: Measured

    @property
    def title(self) -> str:
        """Model, mode and batch in words."""
        return f"{self.model}, {self.mode}, batch {self.batch}"

    @property
    def limit_gflops(self) -> float:
        """What the matrix product made in a second; NaN where it was not measured."""
        return GFLOP / self.limit.median if self.limit.samples else math.nan

    def median(self, *peers: str) -> float:
        """Return the median of the fastest of these peers, in seconds; NaN if none has samples."""
        found = [m.median for m in self.peers if m.peer in peers and m.samples]
        return min(found, default=math.nan)


def measure_row(
    model: str,
    task: Task,
    gflop: float,
    peers: Sequence[Peer],
    timing: Timing,
    tell: Callable[[str], None] = lambda doing: None,
) -> Row:
    """Measure one row.  Whoever fails is void, and the others go on.

    Parameters
    ----------
    model : str
        What to call the row's model.
    task : Task
    gflop : float
        Of a step.
    peers : sequence of Peer
    timing : Timing
    tell : callable
        Is told in a few words what is being done.
    """
    row = Row(
        model, task.mode, task.batch, gflop, [Measured(peer.name) for peer in peers], Measured(LIMIT.name)
    )
    with _Players(timing.patience) as players:
        tell("getting ready")
        for peer, measured in zip([*peers, LIMIT], [*row.peers, row.limit], strict=True):
            players.start(peer, task, measured)
        for player, reply in players.replies():
            player.measured.versions = reply["versions"]
        tell("comparing answers")
        _compare_answers(players, task)
        tell("warming up")
        _take_turns(players, _warmed_up(players), timing, tell)
    return row


@dataclass
class _Player:
    measured: Measured
    process: Process


class _Players:
    """Those still in the game, in the order in which they were given; at the end of the block all are ended."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.playing: list[_Player] = []

    def __enter__(self) -> _Players:
        return self

    def __exit__(self, *exception: object) -> None:
        for player in self.playing:
            player.process.end()

    def __iter__(self) -> Iterator[_Player]:
        return iter(list(self.playing))

    def start(self, peer: Peer, task: Task, measured: Measured) -> None:
        self.playing.append(_Player(measured, Process(peer, task)))

    def out(self, player: _Player, why: str, failed: bool = True) -> None:
        player.measured.void, player.measured.failed = why, failed
        player.measured.samples.clear()
        player.process.end()
        self.playing.remove(player)

    @contextmanager
    def or_out(self, player: _Player) -> Iterator[None]:
        """Let a player who fails inside the block be out."""
        try:
            yield
        except PeerError as error:
            self.out(player, str(error))

    def replies(self) -> Iterator[tuple[_Player, dict[str, Any]]]:
        """Wait for everyone's reply to what all have been told at once; yield those that come."""
        for player in self:
            with self.or_out(player):
                yield player, player.process.reply(self.patience)

    def turn(self, player: _Player, **order: Any) -> dict[str, Any]:
        """Tell one player something while the others rest."""
        player.process.tell(**order)
        reply = player.process.reply(self.patience)
        until_idle(player.process.process.pid)
        return reply


def _compare_answers(players: _Players, task: Task) -> None:
    files = {player.measured.peer: Path(task.folder, f"{player.measured.peer}.npz") for player in players}
    for player in players:
        player.process.tell(do="answer", to=str(files[player.measured.peer]))
    answers = {}
    for player, _ in players.replies():
        file = files[player.measured.peer]
        with np.load(file) as arrays:
            answers[player.measured.peer] = dict(arrays)
        file.unlink()
    answers = {peer: answer for peer, answer in answers.items() if answer}  # the limit has none
    errors, wrong = compare(answers)
    for player in players:
        player.measured.error = errors.get(player.measured.peer, 0.0)
        if player.measured.peer in wrong:
            players.out(player, wrong[player.measured.peer])


def compare(answers: Mapping[str, Answer]) -> tuple[dict[str, float], dict[str, str]]:
    """Find the answer that more than half of the peers agree with, and those who do not.

    Returns
    -------
    errors : dict of float
        How far each answer is from that one where it is furthest for what may be, as a part of the larger norm.
    wrong : dict of str
        Of those too far off, what is wrong; of all, if no answer has a majority.

    Examples
    --------
    >>> answers = {name: {"scores": np.array([1.0, x])} for name, x in (("a", 2), ("b", 2), ("c", 3))}
    >>> compare(answers)[1]
    {'c': "wrong: its scores differ from a's by 32 %"}
    """
    if not answers:
        return {}, {}
    apart = {a: {b: _distance(answers[a], answers[b]) for b in answers} for a in answers}
    agreeing = {a: sum(far.agrees for far in apart[a].values()) for a in answers}
    best = max(answers, key=agreeing.__getitem__)
    errors = {a: apart[a][best].error for a in answers}
    if 2 * agreeing[best] <= len(answers):
        return errors, dict.fromkeys(answers, "the answers differ, and none is that of the most")
    return errors, {
        a: f"wrong: its {apart[a][best].name} differ from {best}'s by {_percent(errors[a])}"
        for a in answers
        if not apart[a][best].agrees
    }


class _Distance(NamedTuple):
    """Where two answers differ most, measured by what they may, and how far."""

    excess: float
    error: float
    name: str

    @property
    def agrees(self) -> bool:
        return self.excess <= 1


def _distance(a: Answer, b: Answer) -> _Distance:
    if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        return _Distance(math.inf, math.inf, "shapes")
    errors = {name: _apart(a[name], b[name]) for name in a}
    return max(
        _Distance(e / _TOLERANCE.get(name, _TOLERANCE_OF_GRADIENTS), e, name) for name, e in errors.items()
    )


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    norm = max(np.linalg.norm(a), np.linalg.norm(b))
    return float(np.linalg.norm(a - b) / norm) if norm else 0.0


def _percent(part: float) -> str:
    return f"{100 * part:.2g} %" if math.isfinite(part) else "more than any number"


def _warmed_up(players: _Players) -> dict[str, float]:
    """Let each compute twice, and return the seconds that its second step takes."""
    seconds = {}
    for player in players:
        with players.or_out(player):
            reply = players.turn(player, do="measure")
            seconds[player.measured.peer], player.measured.bytes = reply["seconds"], reply["bytes"]
    return seconds


def _take_turns(
    players: _Players, seconds: Mapping[str, float], timing: Timing, tell: Callable[[str], None]
) -> None:
    steps = {peer: max(1, math.ceil(_SAMPLE / s)) for peer, s in seconds.items()}
    counts = plan({peer: s * steps[peer] for peer, s in seconds.items()}, timing)
    for player in players:
        if not counts[player.measured.peer]:
            takes = _FEWEST_SLOW * seconds[player.measured.peer]
            why = (
                f"too slow: {_FEWEST_SLOW} samples would take {takes:.0f} s of a row's {timing.budget:.0f} s"
            )
            players.out(player, why, failed=False)
    everyone = {player.measured.peer: player for player in players}
    turns = list(rounds({peer: counts[peer] for peer in everyone}))
    for number, peers in enumerate(turns, 1):
        tell(f"round {number} of {len(turns)}")
        for player in (everyone[peer] for peer in peers if everyone[peer] in players.playing):
            with players.or_out(player):
                reply = players.turn(player, do="sample", steps=steps[player.measured.peer])
                if not math.isfinite(reply["loss"] or 0.0):
                    raise PeerError(f"wrong: its loss became {reply['loss']}")
                player.measured.samples.append(reply["seconds"])


def plan(seconds: Mapping[str, float], timing: Timing) -> dict[str, int]:
    """Return how many samples to take of each peer, given what one takes.

    Examples
    --------
    >>> plan({"a": 0.1, "b": 0.2}, Timing(budget=3))
    {'a': 10, 'b': 10}
    >>> plan({"a": 0.1, "b": 0.8}, Timing(budget=3))
    {'a': 5, 'b': 3}
    >>> plan({"a": 0.1, "b": 1.1}, Timing(budget=3))
    {'a': 15, 'b': 0}
    """
    if timing.rounds is not None:
        return dict.fromkeys(seconds, timing.rounds)
    counts = {peer: _FEWEST if _FEWEST_SLOW * s <= timing.budget else 0 for peer, s in seconds.items()}

    def total() -> float:
        return sum(counts[peer] * s for peer, s in seconds.items())

    for peer in sorted(seconds, key=seconds.__getitem__, reverse=True):
        if total() > timing.budget:
            counts[peer] = min(counts[peer], _FEWEST_SLOW)
    most = _FEWEST * timing.budget / max(total(), 1e-9)
    if most > _FEWEST and _FEWEST_SLOW not in counts.values():
        return {peer: min(int(most), _MOST) if count else 0 for peer, count in counts.items()}
    return counts


def rounds(counts: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield for each round who has a turn, in what order: everyone is first once, and few turns lie far apart.

    Examples
    --------
    >>> list(rounds({"a": 4, "b": 2}))
    [['a'], ['b', 'a'], ['a'], ['b', 'a']]
    """
    peers, number = list(counts), max(counts.values(), default=0)
    for i in range(number):
        first = i % len(peers)
        order = peers[first:] + peers[:first]
        yield [peer for peer in order if (i + 1) * counts[peer] // number > i * counts[peer] // number]
