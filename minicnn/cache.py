"""The user's cache: what can be made anew at any time, and is kept because making it takes a while."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["folder"]


def folder() -> Path:
    """Return minicnn's folder in the user's cache, by each system's custom; it need not be there yet.

    Examples
    --------
    >>> folder().name
    'minicnn'
    """
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "minicnn"
