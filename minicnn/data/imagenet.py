"""The names of ImageNet's 1,000 classes, in the order of a network's outputs.

``imagenet.LICENSE`` says where they come from and on which terms they are here.

>>> from minicnn.data import imagenet
>>> imagenet.CLASSES[281]
'tabby'
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["CLASSES", "SYNSETS"]

FILE = Path(__file__).with_name("imagenet.txt")

CLASSES: tuple[str, ...]
"""A name for each class; no two are the same."""

SYNSETS: tuple[str, ...]
"""The number of each class's noun in WordNet 3.0, such as n02123045; data sets name their folders so."""


def __getattr__(name: str) -> tuple[str, ...]:
    """Read the file when a column of it is first asked for, not when this module is imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _columns()[name]


@cache
def _columns() -> dict[str, tuple[str, ...]]:
    lines = FILE.read_text(encoding="ascii").splitlines()
    synsets, names = zip(*(line.split(" ", 1) for line in lines), strict=True)
    return {"CLASSES": names, "SYNSETS": synsets}
