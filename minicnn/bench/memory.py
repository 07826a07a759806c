"""The memory of this process: what it has now, and the most it had lately."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

from ..backend.recycling import release

__all__ = ["give_back", "peak", "reset_peak", "resident"]

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def give_back() -> None:
    """Return to the system what is free: what loading took for a moment must not count as there before."""
    gc.collect()
    release()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # the GNU library's
        if trim is not None:
            trim(0)


def resident() -> int:
    """Return the bytes of main memory this process has now; where the system does not say, the most it ever had.

    Examples
    --------
    >>> 10_000_000 < resident() <= peak()
    True
    """
    return _of_status("VmRSS") or _maximum()


def reset_peak() -> None:
    """Let :func:`peak` begin anew, where the system can do so."""
    try:
        _RESET.write_text("5")
    except OSError:
        return


def peak() -> int:
    """Return the most bytes of main memory this process had since :func:`reset_peak`, or else ever."""
    return _of_status("VmHWM") or _maximum()


def _of_status(name: str) -> int | None:
    """Return a figure of the Linux kernel, which has it in kilobytes."""
    if not _STATUS.exists():
        return None
    lines = (line.split() for line in _STATUS.read_text().splitlines())
    return next((int(line[1]) * 1024 for line in lines if line and line[0] == f"{name}:"), None)


def _maximum() -> int:
    import resource  # Unix has it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
