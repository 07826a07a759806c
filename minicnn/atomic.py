"""Files that are either wholly the old ones or wholly the new ones, whatever happens while they are written.

The new content goes to a temporary name in the same folder, is forced to the disk, and then takes the file's name in
one step, which the operating system does not split.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends, and is removed if it raises.

    Parameters
    ----------
    path : str or path
        The file to write or replace.  Its folder must exist.  A symbolic link stays one: its target is replaced.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "note.txt")
    ...     with replacing(file) as temporary:
    ...         _ = temporary.write_text("all of it")
    ...     file.read_text()
    'all of it'
    """
    target = Path(path).resolve()
    # The suffix is kept last: matplotlib and others read the file's format from it.
    temporary = target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, target)
    except OSError as error:
        if str(error.filename) == str(temporary):
            error.filename = os.fspath(path)  # the name its user knows
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _to_disk(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
