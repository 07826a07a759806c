"""The parent's end of a peer's process: start it, tell it something, wait for the reply, end it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from .peers import Peer
from .task import Task

__all__ = ["PeerError", "Process", "until_idle"]

_CHILD = f"{__package__}.child"
_KILLED = 9  # the signal of that name
_LOOK, _BUSY, _AT_MOST = 0.002, 0.1, 0.5  # seconds between looks; share of a CPU that is work; seconds


class PeerError(Exception):
    """A peer that cannot go on, in one line."""


class Process:
    """A peer's process.

    Parameters
    ----------
    peer : Peer
    task : Task
    """

    def __init__(self, peer: Peer, task: Task) -> None:
        self.peer = peer
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (end() closes it)
        self.replies: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=_environment(task.threads),
            start_new_session=True,  # Ctrl-C is for the parent, which ends everyone
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.tell(module=peer.module, options=dict(peer.options), task=task.to_json())

    def tell(self, **order: Any) -> None:
        """Send an order; the reply is fetched by :meth:`reply`."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone: reply() says so
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def reply(self, patience: float) -> dict[str, Any]:
        """Wait for the reply to the last order.

        Raises
        ------
        PeerError
            If there is an error instead, the process ends, or it takes longer than `patience` seconds.
        """
        try:
            line = self.replies.get(timeout=patience)
        except queue.Empty:
            raise PeerError(f"took longer than {patience:.0f} s") from None
        if not line:
            raise PeerError(self._last_words())
        message = json.loads(line)
        if "error" in message:
            raise PeerError(message["error"])
        return message

    def end(self) -> None:
        """End the process, with all that it has started, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, _KILLED)
            else:
                self.process.kill()
        self.process.wait()
        self.reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _read(self) -> None:
        """Hand on each line; an empty one says that there will be no more."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.replies.put(line)
        self.replies.put("")

    def _last_words(self) -> str:
        status = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        if status == -_KILLED:
            return "its process was killed; is there too little memory?"
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return f"its process ended {how}" + (f": {lines[-1]}" if lines else "")


def _environment(threads: int) -> dict[str, str]:
    """Return this process's environment, with one number of threads for all libraries."""
    libraries = ("OMP", "OPENBLAS", "MKL")
    return {
        **os.environ,
        **{f"{library}_NUM_THREADS": str(threads) for library in libraries},
        "KMP_BLOCKTIME": "1",  # milliseconds that Intel's threads wait in a loop, instead of 200
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }


def until_idle(pid: int) -> None:
    """Wait until a process rests: threads that have done their work look for more in a loop, some for long.

    Where the system does not say what a process is doing, wait for a moment.
    """
    end = time.monotonic() + _AT_MOST
    before, at = _cpu_seconds(pid), time.monotonic()
    if before is None:
        time.sleep(10 * _LOOK)
        return
    while time.monotonic() < end:
        time.sleep(_LOOK)
        now = _cpu_seconds(pid)
        if now is None or now - before < _BUSY * (time.monotonic() - at):
            return
        before, at = now, time.monotonic()


def _cpu_seconds(pid: int) -> float | None:
    """Return the processor time of all threads of a process; None where Linux's figures are missing."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (OSError, ValueError, IndexError):
        return None
