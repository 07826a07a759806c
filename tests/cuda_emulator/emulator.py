"""The emulator as its user sees it: a source, its kernels, and calls as CuPy's RawKernel takes them."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .arguments import Parameter, pack
from .build import CHECKS, build, default_cache
from .errors import EmulatorError
from .rewrite import kernel_lines, sources
from .server import Server
from .traffic import Access, Recording, Traffic

__all__ = ["COPIES", "ORDERS", "Emulator", "Kernel"]

ORDERS = ("forward", "reverse", "random")
COPIES = ("eager", "late")

_MOST_GRID = (2**31 - 1, 65535, 65535)
_MOST_BLOCK = (1024, 1024, 64)
_MOST_SHARED = 227 << 10


class Emulator:
    """The kernels of one .cu file, compiled for the CPU.

    Parameters
    ----------
    source : path
        The .cu file.
    kernels : sequence of str
        The instances wanted, as C++ writes them: ``'scale<float, 4>'``.
    include : iterable of path
        Folders to look for ``#include "…"`` in, after that of the including file.
    check : {'address', 'threads', 'traffic', 'none'}
        'address': AddressSanitizer and UBSan end a launch at the first access outside of an array, misaligned
        access or integer overflow.  'threads': ThreadSanitizer finds what no barrier orders.  'traffic': every
        access is counted.  'none': nothing is looked for; fastest.
    cache : path, optional
        The folder that keeps compiled kernels; by default one in the user's cache.
    timeout : float
        Seconds a launch may take.

    Raises
    ------
    EmulatorError
        If there is no compiler, or the source does not compile.
    """

    def __init__(
        self,
        source: str | Path,
        kernels: Sequence[str],
        *,
        include: Iterable[str | Path] = (),
        check: str = "address",
        cache: str | Path | None = None,
        timeout: float = 120.0,
    ) -> None:
        if check not in CHECKS:
            raise ValueError(f"Emulator: check must be one of {', '.join(CHECKS)}, got {check!r}")
        folders = [Path(folder).resolve() for folder in include]
        files = sources(Path(source), folders)
        self.check = check
        self.kernels = tuple(kernels)
        self.places = kernel_lines(files)
        executable = build(files, self.kernels, folders, check, Path(cache or default_cache()))
        self.executable = executable
        self.server = Server(executable, [str(file.path) for file in files], timeout)

    def kernel(self, name: str, *, order: str = "forward", copies: str = "eager", seed: int = 0) -> Kernel:
        """One of the kernels, to be called as CuPy's RawKernel is.

        Parameters
        ----------
        name : str
            One of the instances this emulator was made with.
        order : {'forward', 'reverse', 'random'}
            Which of the threads that can run goes on: the first, the last, or one at random, so that one warp mostly
            runs far ahead of the others.  Blocks run in the same order.
        copies : {'eager', 'late'}
            Whether ``cp.async`` copies at once or as late as it may.
        seed : int
            Of the random order.
        """
        if name not in self.kernels:
            raise ValueError(f"Emulator: no kernel {name!r}; there are {', '.join(self.kernels)}")
        if order not in ORDERS:
            raise ValueError(f"Emulator: order must be one of {', '.join(ORDERS)}, got {order!r}")
        if copies not in COPIES:
            raise ValueError(f"Emulator: copies must be one of {', '.join(COPIES)}, got {copies!r}")
        return Kernel(self, name, order, copies, seed)

    def close(self) -> None:
        """End the process that runs the kernels; a later call starts another."""
        self.server.stop()


class Kernel:
    """A kernel that can be launched; made by :meth:`Emulator.kernel`.

    Attributes
    ----------
    traffic : Traffic or None
        After a launch under check='traffic': what it moved.
    """

    def __init__(self, emulator: Emulator, name: str, order: str, copies: str, seed: int) -> None:
        self.name = name
        self.traffic: Traffic | None = None
        self._recording: Recording | None = None
        self._emulator = emulator
        self._mode = (ORDERS.index(order), COPIES.index(copies), seed)
        self._place = emulator.places.get(re.sub(r"<.*", "", name, flags=re.DOTALL).split("::")[-1].strip())

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared_mem: int = 0
    ) -> None:
        """Run the kernel to its end.

        Parameters
        ----------
        grid, block : sequence of up to three ints
            Blocks of the grid, threads of a block: x, y, z.
        args : sequence
            Arrays (changed in place) or None for pointers, NumPy scalars for numbers, np.void for structs.
        shared_mem : int
            Bytes of dynamic shared memory.

        Raises
        ------
        EmulatorError
            If the arguments are not what the kernel takes, or the kernel does wrong.
        """
        server = self._emulator.server
        server.start()
        shape = self._shape(grid, block, shared_mem)
        index = self._emulator.kernels.index(self.name)
        parameters = [Parameter.parse(line) for line in server.parameters[index].splitlines()]
        packed = pack(self.name, self._place, parameters, args)
        header = struct.pack("=I9IQ", index, *shape, *self._mode)
        server.launch(self.name, header + packed.message)
        for array in packed.returned:
            changed = np.ndarray(array.shape, array.dtype, server.bytes(array.nbytes))
            array[...] = changed
        if self._emulator.check == "traffic":
            self._recording = Recording(server, self._emulator.executable, packed.numbers)
            self.traffic = self._recording.traffic()
        if printed := server.printed():
            sys.stdout.write(printed)

    @property
    def trace(self) -> list[Access]:
        """After a launch under check='traffic': every access of every warp, in the order they began."""
        return self._recording.trace() if self._recording else []

    def _shape(self, grid: Sequence[int], block: Sequence[int], shared_mem: int) -> tuple[int, ...]:
        """Grid, block and shared memory, if a device could have them."""
        for what, sizes in (("grid", grid), ("block", block)):
            if not 1 <= len(sizes) <= 3:
                raise self._refusal(f"a {what} has one to three sizes, got {tuple(sizes)}")
        grid, block = _three(grid), _three(block)
        for what, sizes, most in (("grid", grid, _MOST_GRID), ("block", block, _MOST_BLOCK)):
            if not all(1 <= size <= limit for size, limit in zip(sizes, most, strict=True)):
                raise self._refusal(f"a {what} of {sizes} is not between (1, 1, 1) and {most}")
        if block[0] * block[1] * block[2] > 1024:
            raise self._refusal(f"a block of {block} has more than 1024 threads")
        if not 0 <= shared_mem <= _MOST_SHARED:
            raise self._refusal(
                f"{shared_mem} bytes of dynamic shared memory are not between 0 and {_MOST_SHARED}"
            )
        return (*grid, *block, shared_mem)

    def _refusal(self, what: str) -> EmulatorError:
        return EmulatorError(f"{self.name}: {what}", "arguments", (self._place,) if self._place else ())


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*(int(size) for size in sizes), 1, 1)[:3]
    return x, y, z
