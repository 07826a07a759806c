"""Show versions, BLAS and its kernel, threads, GPU, and what is slowing minicnn down.

Example: minicnn config
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(arguments: argparse.Namespace) -> None:
    """Print them."""
    from ..config import show_config

    show_config()
