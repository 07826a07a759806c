"""The folder a training run leaves behind.

::

    runs/lenet5/
      settings.json            what was asked for
      metrics.jsonl            one JSON line an epoch, written as soon as the epoch ends
      checkpoint.safetensors   the weights after the last finished epoch
      best.safetensors         the weights after the epoch with the best test accuracy
      *.png                    pictures, where matplotlib is installed

The accuracy a run reports is that of ``checkpoint``.  The one of ``best`` flatters: it was picked by the test images.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..weights import save
from .history import Epoch

__all__ = ["CHECKPOINT", "RunFolder", "checkpoint_of", "newest_run"]

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
_MOST = 1000  # numbered folders tried for one name


class RunFolder:
    """A folder that belongs to one training run.

    Parameters
    ----------
    path : path
        An existing folder; :meth:`create` makes one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._best = -1.0

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Make the folder `path`, or where that exists `path`-001, `path`-002, …: no run is overwritten.

        Raises
        ------
        OSError
            If it cannot be made or written to.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as runs:
        ...     [RunFolder.create(f"{runs}/lenet5").path.name for _ in range(3)]
        ['lenet5', 'lenet5-001', 'lenet5-002']
        """
        base = Path(path)
        base.parent.mkdir(parents=True, exist_ok=True)
        for number in range(_MOST):
            folder = base.with_name(f"{base.name}-{number:03}") if number else base
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return cls(folder)
        raise FileExistsError(f"{base} and {_MOST - 1} numbered folders beside it exist already")

    @property
    def checkpoint(self) -> Path:
        """The weights after the last finished epoch."""
        return self.path / CHECKPOINT

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write ``settings.json``."""
        with replacing(self.path / "settings.json") as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def record(self, epoch: Epoch, state_dict: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        """Save the weights after an epoch, then add its line to the metrics."""
        save(self.checkpoint, state_dict, metadata)
        if epoch.test_accuracy is not None and epoch.test_accuracy > self._best:
            self._best = epoch.test_accuracy
            save(self.path / BEST, state_dict, metadata)
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(epoch)) + "\n")


def checkpoint_of(path: str | os.PathLike[str]) -> Path:
    """Return the checkpoint meant by a path to one, or to a run folder.

    Raises
    ------
    ValueError
        If a folder holds none.
    """
    given = Path(path)
    if not given.is_dir():
        return given
    if not (given / CHECKPOINT).is_file():
        raise ValueError(f"{os.fspath(path)!r} is no run folder: it holds no {CHECKPOINT}")
    return given / CHECKPOINT


def newest_run(runs: str | os.PathLike[str] = "runs") -> Path:
    """Return the folder in `runs` with the latest checkpoint.

    Raises
    ------
    ValueError
        If there is none.
    """
    checkpoints = sorted(Path(runs).glob(f"*/{CHECKPOINT}"), key=lambda file: file.stat().st_mtime_ns)
    if not checkpoints:
        raise ValueError(f"there is no run in {os.fspath(runs)!r} yet; `minicnn train lenet5` makes one")
    return checkpoints[-1].parent
