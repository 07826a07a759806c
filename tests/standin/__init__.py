"""A stand-in for CuPy 14.2 and two GPUs, for tests on machines that have neither; see README.md."""

from .device import machine
from .module import cupy, installed
from .record import Launch, Transfer, launches, transfers

__all__ = ["Launch", "Transfer", "cupy", "installed", "launches", "machine", "transfers"]
