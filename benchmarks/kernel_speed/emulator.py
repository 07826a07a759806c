"""The tests' emulator in the GPU's place: everything is compared, nothing timed."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np

from .peers import Peers
from .worker import Unavailable

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from emulated import launcher, needs_compiler


class Emulated:
    """The methods of hardware.Gpu, over NumPy's arrays.

    Raises
    ------
    Unavailable
        If there is no compiler for the emulator.
    """

    xp = np
    seconds = None

    def __init__(self) -> None:
        if needs_compiler.args[0]:
            raise Unavailable(needs_compiler.kwargs["reason"])
        self.on = launcher(order="forward", copies="eager")
        self.random = np.random.default_rng(0)
        self.peers = None
        with contextlib.suppress(ImportError):
            import torch

            self.peers = Peers(torch, np)

    def poisoned(self) -> contextlib.AbstractContextManager[None]:
        """It gives out no other arrays."""
        return contextlib.nullcontext()

    def synchronize(self) -> None:
        """It is always done."""

    def release(self) -> None:
        """It keeps nothing."""
