"""Show versions, BLAS and its kernel, threads, GPU, and what slows minicnn down or keeps it off the GPU.

For example: minicnn config
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: it takes no arguments."""


def run(arguments: argparse.Namespace) -> None:
    """Print them."""
    from ..config import show_config

    show_config()
