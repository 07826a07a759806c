"""How many CPUs this process may use.

A machine has some number of them, and a process is often allowed fewer: ``taskset``, a batch system or a container's
``--cpuset-cpus`` name those it may run on, and a container's ``--cpus`` limits the time it gets on all of them
together.  Linux keeps that quota in the files of the process's control group, and no system call tells it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath

__all__ = ["usable_cpus"]


def usable_cpus(root: Path = Path("/")) -> int:
    """Return how many CPUs this process may use: those it may run on, or fewer where it has a quota of time.

    Parameters
    ----------
    root : Path
        Where the system's ``proc`` and ``sys`` are.

    Examples
    --------
    >>> usable_cpus() >= 1
    True
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        return min([allowed, *_quotas(root)])
    except (OSError, ValueError, ZeroDivisionError):  # not as Linux writes it: then we know of no quota
        return allowed


def _quotas(root: Path) -> Iterator[int]:
    """Yield each limit on the way from this process's control group up to the root, in CPUs, rounded up."""
    membership = root / "proc/self/cgroup"
    if not membership.exists():
        return
    for line in membership.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mount = root / "sys/fs/cgroup"
        if not controllers:  # version 2: one tree for all
            files = ("cpu.max",)
        elif "cpu" in controllers.split(","):
            mount /= "cpu"
            files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        else:
            continue
        # A container may see its own group as the root, and be told the path it has outside.
        group = PurePosixPath(path.lstrip("/"))
        for folder in (group, *group.parents):
            yield from _quota([mount / folder / file for file in files])


def _quota(files: list[Path]) -> Iterator[int]:
    """Yield the limit in these files, if there is one: microseconds of a CPU's time in so many."""
    if all(file.exists() for file in files):
        quota, period = " ".join(file.read_text() for file in files).split()
        if quota not in ("max", "-1"):
            yield max(ceil(int(quota) / int(period)), 1)
