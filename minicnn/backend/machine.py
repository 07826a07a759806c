"""What this machine is, for those who keep measurements of it."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

from threadpoolctl import threadpool_info

__all__ = ["blas_name", "cpu_name"]


@cache
def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name as it tells it, or what Python knows of it.

    Examples
    --------
    >>> isinstance(cpu_name(), str)
    True
    """
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


@cache
def blas_name() -> str:
    """Return the BLAS library in use with its version and the processor type it takes this one for.

    Examples
    --------
    >>> isinstance(blas_name(), str)
    True
    """
    for library in threadpool_info():
        if library["user_api"] == "blas":
            return f"{library['internal_api']} {library['version']} {library.get('architecture', '')}".strip()
    return "unknown"
