"""A run of the benchmark: the rows of each model, one after the other."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import backend, models
from ..backend.parallel import get_num_threads
from .network import Network
from .peers import PEERS, Peer
from .task import MODES, Task, write_files
from .turns import Row, Timing, measure_row

__all__ = ["MODELS", "Settings", "choose", "installed", "run", "tasks"]

MODELS: dict[str, Mapping[str, Any]] = {
    "lenet5": {},
    "alexnet": {},
    "vgg16": {},
    "nin": {"variant": "imagenet"},
    "googlenet": {},
    "inception_v3": {},
    "resnet18": {},
    "resnet50": {},
}
"""Those measured unless others are named, and how they are built."""

_BATCHES = {"inference": (1, 8), "training": (8,)}
_SMALL = {"lenet5": {"inference": (1, 8), "training": (64,)}}


@dataclass(frozen=True)
class Settings:
    """What to measure, and how.

    Attributes
    ----------
    models : sequence of str
    modes : sequence of {'inference', 'training'}
    batches : sequence of int
        Default: 1 and 8 for inference, 8 for training (LeNet 64).
    peers : sequence of str
        Names of :data:`~minicnn.bench.peers.PEERS`.  Default: the usual ones.
    device : str
        Where minicnn computes.
    threads : int
        Of every peer; default: as many as minicnn takes.
    timing : Timing
    """

    models: Sequence[str] = tuple(MODELS)
    modes: Sequence[str] = MODES
    batches: Sequence[int] = ()
    peers: Sequence[str] = tuple(name for name, peer in PEERS.items() if peer.usual)
    device: str = "cpu"
    threads: int = field(default_factory=get_num_threads)
    timing: Timing = field(default_factory=Timing)


def choose(kind: str, names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the names, each once.

    Raises
    ------
    ValueError
        If one is not known; the nearest one is suggested.

    Examples
    --------
    >>> choose("peer", ["pytorhc"], list(PEERS))
    Traceback (most recent call last):
    ValueError: bench: there is no peer 'pytorhc'; did you mean 'pytorch'?
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"bench: there is no {kind} {name!r}; {hint}")
    return list(dict.fromkeys(names))


def installed(settings: Settings) -> tuple[list[Peer], list[str]]:
    """Return the peers that can take part, and the names of packages that others would need.

    Raises
    ------
    ValueError
        If there is no such peer, or no such device.
    """
    backend.get(settings.device)
    if settings.device == "meta":
        raise ValueError("bench: on the device 'meta' nothing is computed, so there is nothing to measure")
    peers, missing = [], []
    for name in choose("peer", settings.peers, list(PEERS)):
        peer = PEERS[name]
        missing += peer.missing()
        if not peer.missing():
            own = not peer.needs and settings.device != "cpu"
            device = {"device": settings.device} if own else {}
            peers.append(replace(peer, options={**peer.options, **device}))
    return peers, list(dict.fromkeys(missing))


def tasks(settings: Settings, model: str) -> list[tuple[str, int]]:
    """Return the mode and batch of each of a model's rows.

    Examples
    --------
    >>> tasks(Settings(), "lenet5")
    [('inference', 1), ('inference', 8), ('training', 64)]
    """
    usual = _SMALL.get(model, _BATCHES)
    return [(mode, batch) for mode in settings.modes for batch in (settings.batches or usual[mode])]


def run(
    settings: Settings, peers: Sequence[Peer], tell: Callable[[str], None] = lambda doing: None
) -> Iterator[Row]:
    """Measure and yield row after row.

    Parameters
    ----------
    settings : Settings
    peers : sequence of Peer
        Those that take part; others than :func:`installed` gives may.
    tell : callable
        Is told in a few words what is being done.

    Raises
    ------
    ValueError
        If there is no such model, or it has operations that not all frameworks have.
    """
    for model in choose("model", settings.models, models.list_models()):
        config = {"model": model, **MODELS.get(model, {})}
        wanted = tasks(settings, model)
        with tempfile.TemporaryDirectory(prefix="minicnn-bench-") as folder:
            tell(f"{model}: drawing weights")
            networks = write_files(folder, config, max(batch for _, batch in wanted))
            for mode, batch in wanted:
                task = Task(config, mode, batch, settings.threads, folder)
                taking_part = [peer for peer in peers if mode in peer.modes]
                yield measure_row(
                    model,
                    task,
                    _gflop(networks[mode], mode, batch),
                    taking_part,
                    settings.timing,
                    lambda doing, title=f"{model}, {mode}, batch {batch}": tell(f"{title}: {doing}"),
                )


def _gflop(network: Network, mode: str, batch: int) -> float:
    passes = 3 if mode == "training" else 1
    return 2 * passes * batch * network.macs / 1e9
