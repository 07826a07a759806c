"""Where the CUDA sources are: beside the package in a checkout, inside it when installed from a wheel."""

from __future__ import annotations

from pathlib import Path

__all__ = ["folder"]


def folder() -> Path:
    """Return the folder of the ``.cu`` files and their README.

    Raises
    ------
    FileNotFoundError
        If neither place has it: the installation is incomplete.

    Examples
    --------
    >>> (folder() / "README.md").is_file()
    True
    """
    package = Path(__file__).resolve().parents[1]
    for place in (package / "kernels", package.parent / "kernels"):
        if (place / "README.md").is_file():
            return place
    raise FileNotFoundError(
        f"kernels: no folder of CUDA sources in {package} or beside it; reinstall minicnn"
    )
