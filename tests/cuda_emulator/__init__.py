"""CUDA kernels on the CPU: the unmodified .cu file, compiled by g++, one fiber a thread, under sanitizers.

See README.md in this folder for what it finds, how, and what it does not emulate.
"""

from .build import available
from .emulator import Emulator, Kernel
from .errors import EmulatorError
from .traffic import Access, Traffic

__all__ = ["Access", "Emulator", "EmulatorError", "Kernel", "Traffic", "available"]
